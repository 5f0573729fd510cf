#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda/step_graph.h"

namespace oasis {
namespace {

class CudaStepGraph : public StepGraph {
 public:
  void run(const std::function<void()>& step) override {
    const auto caller = c10::cuda::getCurrentCUDAStream();
    order(caller, stream_);
    {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      if (graph_ != nullptr) {
        graph_->replay();
      } else if (!warm_) {
        step();
        warm_ = true;
      } else {
        record(step);
        graph_->replay();
      }
    }
    order(stream_, caller);
  }

 private:
  // What `later` is given from now on waits for what `earlier` was given so far.
  static void order(const c10::cuda::CUDAStream& earlier, const c10::cuda::CUDAStream& later) {
    at::cuda::CUDAEvent event;
    event.record(earlier);
    event.block(later);
  }

  void record(const std::function<void()>& step) {
    // The warm-up's memory goes back to the device: a graph allocates from a pool of its own.
    stream_.synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    graph->capture_begin();
    try {
      step();
    } catch (...) {
      // A capture that a failed step has broken cannot be ended without an error of its own.
      try {
        graph->capture_end();
      } catch (const c10::Error&) {
      }
      throw;
    }
    graph->capture_end();
    graph_ = std::move(graph);
  }

  c10::cuda::CUDAStream stream_ = c10::cuda::getStreamFromPool();
  std::unique_ptr<at::cuda::CUDAGraph> graph_;
  bool warm_ = false;
};

std::unique_ptr<StepGraph> make() {
  return std::make_unique<CudaStepGraph>();
}

const bool registered = [] {
  make_step_graph = make;
  return true;
}();

}  // namespace
}  // namespace oasis
