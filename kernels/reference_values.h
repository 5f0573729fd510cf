// What the float64 references share.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis::reference {

// The values alone, in memory order: detached, float64, contiguous.
inline at::Tensor plain(const at::Tensor& x) {
  return x.detach().to(at::kDouble).contiguous();
}

}  // namespace oasis::reference
