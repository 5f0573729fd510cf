#include "models/recompute.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <utility>

#include "models/autocast.h"

namespace oasis {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Part = std::function<std::vector<at::Tensor>(const at::Tensor&)>;

// A capsule for the graph's node, since saved_data holds IValues only.
struct Recipe : torch::CustomClassHolder {
  explicit Recipe(Part p) : part(std::move(p)) {}
  Part part;
  bool autocast = at::autocast::is_autocast_enabled(at::kCUDA);
};

class RecomputeFunction : public torch::autograd::Function<RecomputeFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const Part& part) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({x});
    ctx->saved_data["recipe"] = c10::IValue::make_capsule(c10::make_intrusive<Recipe>(part));
    return part(x);  // not recorded: a custom function's forward runs without gradients
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto recipe =
        c10::static_intrusive_pointer_cast<Recipe>(ctx->saved_data["recipe"].toCapsule());
    const auto x = ctx->get_saved_variables()[0].detach().requires_grad_();
    variable_list results, outputs, output_grads;
    {
      const at::AutoGradMode record(true);
      const Autocast autocast(recipe->autocast);
      results = recipe->part(x);
    }
    for (size_t i = 0; i < results.size(); ++i) {
      if (!grads[i].defined()) continue;
      outputs.push_back(results[i]);
      output_grads.push_back(grads[i]);
    }
    if (!outputs.empty()) torch::autograd::backward(outputs, output_grads);
    return {x.grad(), at::Tensor()};
  }
};

}  // namespace

std::vector<at::Tensor> recompute(const Part& part, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return part(x);
  return RecomputeFunction::apply(x, part);
}

}  // namespace oasis
