#include "kernels/cuda/step_graph.h"

namespace oasis {

std::unique_ptr<StepGraph> (*make_step_graph)() = nullptr;

}  // namespace oasis
