// The operator namespace. Each operation's folder adds its own operators with
// TORCH_LIBRARY_FRAGMENT(oasis, library).
#include <torch/library.h>

TORCH_LIBRARY(oasis, library) {
  static_cast<void>(library);
}
