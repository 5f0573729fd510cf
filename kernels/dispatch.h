// Calls a template on the element type of a tensor: float32 or float64.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <utility>

namespace oasis {

// function.template operator()<T>(), T float or double. A function rather than ATen's macro, so
// that its argument may hold pragmas.
template <typename Function>
void dispatch_floating(at::ScalarType type, const char* operation, Function&& function) {
  if (type == at::kFloat) {
    function.template operator()<float>();
  } else if (type == at::kDouble) {
    function.template operator()<double>();
  } else {
    TORCH_CHECK(false, operation, ": needs float32 or float64 on the CPU, not ", type);
  }
}

}  // namespace oasis
