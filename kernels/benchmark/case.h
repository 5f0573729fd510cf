// One case of one operation: what is checked against float64 and then timed.
//
// A case holds its operation in three formulations over the same inputs: ours, eager (the plain
// composition of ATen operators, which materialises what the authors' code materialises) and what a
// library offers. The eager formulation on float64 inputs is the truth of the check.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace oasis::bench {

using Tensors = std::vector<at::Tensor>;
// Inputs to outputs. With gradients on, differentiable in every floating input.
using Operation = std::function<Tensors(const Tensors&)>;

struct Library {
  std::string name;     // "SDPA flash"
  Operation operation;  // none: a copy of as many bytes as the case moves
};

inline constexpr int kShared = -1;  // a tensor that all of the batch shares

struct Case {
  std::string operation;  // "attention"
  std::string variant;    // "softmax1"; "" where there is one only
  std::string shape;      // "B64 H32 T512 d64"
  at::ScalarType dtype = at::kFloat;

  std::function<Tensors()> draw;  // the inputs, on the device, of their types
  Operation ours;
  Operation eager;
  std::vector<Library> libraries;
  bool backward = true;  // timed and checked with the gradient of every floating input

  // Where a batch of independent problems lies in each input and output: dimension or kShared. The
  // float64 check and an eager formulation that does not fit take the first few of the batch.
  // Empty: the case has no such batch.
  std::vector<int> input_batch, output_batch;
  std::int64_t checked_batch = 0;  // how many of the batch the float64 check takes; 0: all

  // At least, of one repetition: what must be read and written, and multiply-adds counted as two.
  double bytes = 0;
  double flops = 0;

  const char* pass() const { return backward ? "forward+backward" : "forward"; }
};

// What to measure on, and how much of it.
struct Target {
  at::Device device = at::kCPU;
  bool quick = false;

  bool cuda() const { return device.is_cuda(); }
  // The types that the device trains in; float32 is too slow a type for the large sizes on CUDA.
  std::vector<at::ScalarType> dtypes() const;
};

std::string dtype_name(at::ScalarType type);  // "bfloat16"
double bytes_of(at::ScalarType type);         // of one element

void seed_generator(at::Device device, std::uint64_t seed);

// Normal values, the same for the same seed and device.
at::Tensor draw(at::IntArrayRef shape, at::ScalarType type, const Target& target,
                std::uint64_t seed, double scale = 1.0);

// The first `count` of the batch, as views.
Tensors narrowed(const Tensors& tensors, const std::vector<int>& batch, std::int64_t count);
std::int64_t batch_size(const Tensors& inputs, const std::vector<int>& batch);  // 1 without one

// Fixed random weights of the outputs, in their types, under which gradients are taken.
Tensors cotangents_for(const Tensors& outputs);

// One run of an operation, to be repeated: forward, and backward with the gradients of
// Σ outputs ∘ cotangents in every floating input.
class Repetition {
 public:
  Repetition(Operation operation, const Tensors& inputs, bool backward);
  void set_cotangents(Tensors cotangents) { cotangents_ = std::move(cotangents); }

  struct Result {
    Tensors outputs;
    Tensors gradients;  // of the floating inputs; undefined where an input has no influence
  };
  Result operator()() const;
  const Tensors& leaves() const { return leaves_; }

 private:
  Operation operation_;
  Tensors arguments_, leaves_, cotangents_;
  bool backward_;
};

Tensors outputs_of(const Operation& operation, const Tensors& inputs);  // without gradients

// The outputs and then the gradients, zeros where an input has no influence.
Tensors run(const Operation& operation, const Tensors& inputs, const Tensors& cotangents,
            bool backward);

// Each operation's cases, in kernels/<operation>/<operation>_benchmark.cpp.
std::vector<Case> activation_stats_cases(const Target& target);
std::vector<Case> attention_cases(const Target& target);
std::vector<Case> depth_route_cases(const Target& target);
std::vector<Case> fake_quantize_cases(const Target& target);
std::vector<Case> gated_product_cases(const Target& target);
std::vector<Case> integer_linear_cases(const Target& target);
std::vector<Case> linear_cross_entropy_cases(const Target& target);
std::vector<Case> rms_norm_cases(const Target& target);
std::vector<Case> rope_cases(const Target& target);
std::vector<Case> all_cases(const Target& target);

}  // namespace oasis::bench
