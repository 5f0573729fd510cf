#include "kernels/benchmark/benchmark.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>

#include "kernels/benchmark/check.h"
#include "kernels/benchmark/timing.h"

namespace oasis::bench {
namespace {

// The inputs of the case that runs now: large, so one case's at a time.
class Inputs {
 public:
  const Tensors& of(const Case* c) {
    if (drawn_ != c) {
      inputs_.clear();
      inputs_ = c->draw();
      drawn_ = c;
    }
    return inputs_;
  }

 private:
  const Case* drawn_ = nullptr;
  Tensors inputs_;
};

std::function<void()> repetition_of(const Case& c, const Operation& operation,
                                    const Tensors& inputs) {
  auto repetition = std::make_shared<Repetition>(operation, inputs, c.backward);
  if (c.backward) repetition->set_cotangents(cotangents_for(outputs_of(operation, inputs)));
  return [repetition] { (*repetition)(); };
}

Prepared prepared(std::function<void()> repetition, const Target& target) {
  for (int i = 0; i < 2; ++i) repetition();  // what libraries choose and allocate at first
  synchronize(target.device);
  return {std::move(repetition), 1};
}

// T×T matrices may not fit: then half of the batch, a quarter, …
Prepared prepare_eager(const Case& c, const Tensors& inputs, const Target& target) {
  const auto batch = batch_size(inputs, c.input_batch);
  for (std::int64_t count = batch;; count /= 2) {
    try {
      auto part =
          prepared(repetition_of(c, c.eager, narrowed(inputs, c.input_batch, count)), target);
      part.parts = static_cast<double>(batch) / static_cast<double>(count);
      return part;
    } catch (const c10::OutOfMemoryError&) {
      if (count == 1) throw;
    }
    release_cached_memory(target.device);
  }
}

Prepared prepare_copy(const Case& c, const Target& target) {
  const at::TensorOptions bytes = at::TensorOptions(at::kByte).device(target.device);
  const auto from = at::empty({static_cast<std::int64_t>(c.bytes / 2)}, bytes).fill_(1);
  const auto to = at::empty_like(from);
  return prepared([from, to] { to.copy_(from, /*non_blocking=*/true); }, target);
}

}  // namespace

std::string Labels::name() const {
  std::string text = operation;
  for (const auto* part : {&variant, &shape, &dtype, &pass, &formulation}) {
    if (!part->empty()) text += "/" + *part;
  }
  if (!implementation.empty()) text += ":" + implementation;
  std::ranges::replace(text, ' ', '_');
  return text;
}

std::vector<Benchmark> benchmarks_of(const std::vector<Case>& cases, const Target& target) {
  const auto inputs = std::make_shared<Inputs>();
  std::vector<Benchmark> benchmarks;
  for (const auto& listed : cases) {
    const auto c = std::make_shared<const Case>(listed);
    Benchmark row;
    row.labels = {c->operation, c->variant, c->shape, dtype_name(c->dtype), c->pass(), "ours", ""};
    row.dtype = c->dtype;
    row.bytes = c->bytes;
    row.flops = c->flops;
    row.reports_memory =
        target.cuda();  // a processor's resident set is too coarse for one operation
    row.check = [c, inputs] { return check(*c, inputs->of(c.get())); };
    row.prepare = [c, inputs, target] {
      return prepared(repetition_of(*c, c->ours, inputs->of(c.get())), target);
    };
    benchmarks.push_back(row);

    row.check = nullptr;
    row.labels.formulation = "eager";
    row.prepare = [c, inputs, target] { return prepare_eager(*c, inputs->of(c.get()), target); };
    benchmarks.push_back(row);

    row.labels.formulation = "library";
    for (const auto& library : c->libraries) {
      row.labels.implementation = library.name;
      row.prepare = [c, inputs, target, library] {
        if (!library.operation) return prepare_copy(*c, target);
        return prepared(repetition_of(*c, library.operation, inputs->of(c.get())), target);
      };
      benchmarks.push_back(row);
    }
  }
  return benchmarks;
}

}  // namespace oasis::bench
