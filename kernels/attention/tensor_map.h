// How the copy engine of compute capability 9.0 finds tiles of a tensor of heads. Free of Torch.
#pragma once

#include <cuda.h>

#include "kernels/attention/sparse_attention_kernel.h"

namespace oasis::cuda {

// For boxes of kTileRows rows and 64 columns in the layout of attention_tiles.cuh; zeros stand
// beyond the tensor. Left empty on devices that have no such engine.
CUtensorMap make_tensor_map(const HeadTensor& tensor, const SparseAttention& problem, int heads);

}  // namespace oasis::cuda
