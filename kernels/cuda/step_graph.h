// A training step recorded once as a CUDA graph and replayed, so that its hundreds of launches cost
// the host nothing. Free of CUDA headers.
#pragma once

#include <functional>
#include <memory>

namespace oasis {

class StepGraph {
 public:
  virtual ~StepGraph() = default;

  // Runs `step` on a stream of its own, in order with the caller's: the first time directly (which
  // warms up libraries and allocators), the second time recorded and played, from then on played.
  // Played means: the same kernels on the same memory; `step` itself is not called any more. It must
  // not wait for the device, and what it reads and writes must stay where it is. Throws what `step`
  // throws and c10::Error; a step that failed is not recorded.
  virtual void run(const std::function<void()>& step) = 0;
};

// Makes one for the current CUDA device; null unless the CUDA library is loaded.
extern std::unique_ptr<StepGraph> (*make_step_graph)();

}  // namespace oasis
