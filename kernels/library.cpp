// The operator namespace. Each operation's folder adds its own operators with
// TORCH_LIBRARY_FRAGMENT(oasis, m) and its implementations with TORCH_LIBRARY_IMPL.
#include <torch/library.h>

TORCH_LIBRARY(oasis, library) {
  library.def("library_version() -> str", [] { return std::string("0.1.0"); });
}
