// The element types that CUDA kernels take. Free of Torch.
#pragma once

namespace oasis::cuda {

enum class ElementType { kFloat32, kBFloat16, kFloat16 };

constexpr int size_of(ElementType type) {
  return type == ElementType::kFloat32 ? 4 : 2;
}

}  // namespace oasis::cuda
