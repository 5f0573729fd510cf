#include "models/trainer.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "models/safetensors.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr int64_t kCheckpointFormat = 1;

bool is_router(const std::string& name) {
  return name.find(".attn_res_") != std::string::npos ||
         name.find(".final_res.") != std::string::npos;
}

// Matrix products in bfloat16 while it lives.
class Autocast {
 public:
  explicit Autocast(bool enabled) : enabled_(enabled) {
    if (!enabled_) return;
    at::autocast::set_autocast_enabled(at::kCUDA, true);
    at::autocast::set_autocast_dtype(at::kCUDA, at::kBFloat16);
  }
  ~Autocast() {
    if (!enabled_) return;
    at::autocast::set_autocast_enabled(at::kCUDA, false);
    at::autocast::clear_cache();  // the casts of weights that the update is about to change
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool enabled_;
};

double total_norm(const std::vector<at::Tensor>& gradients) {
  if (gradients.empty()) return 0.0;
  return at::stack(at::_foreach_norm(gradients, 2)).norm().item<double>();
}

// Scales the gradients so that their norm is at most `limit`; returns the norm before.
double clip(const std::vector<at::Tensor>& gradients, double limit) {
  const double norm = total_norm(gradients);
  if (limit > 0 && norm > limit) at::_foreach_mul_(gradients, limit / (norm + 1e-6));
  return norm;
}

}  // namespace

double learning_rate_at(const TrainingOptions& options, int64_t step) {
  if (step < options.warmup_steps) {
    return options.learning_rate * static_cast<double>(step + 1) /
           static_cast<double>(options.warmup_steps);
  }
  const auto decay_steps =
      static_cast<double>(std::max<int64_t>(1, options.steps - options.warmup_steps));
  return options.learning_rate *
         std::max(0.0, static_cast<double>(options.steps - step) / decay_steps);
}

bool StepReport::is_finite() const {
  return std::isfinite(loss) && std::isfinite(gradient_norm);
}

Trainer::Trainer(Decoder& model, const TrainingOptions& options)
    : model_(model), options_(options), groups_(2) {
  model_.set_requires_grad(true);
  groups_[0].weight_decay = options_.weight_decay;
  for (const auto& [name, parameter] : model_.parameters()) {
    auto& group = groups_[name.find("bias") == std::string::npos ? 0 : 1];
    group.parameters.push_back(parameter);
    group.exp_avg.push_back(at::zeros_like(parameter).detach());
    group.exp_avg_sq.push_back(at::zeros_like(parameter).detach());
    group.steps.push_back(at::zeros({}, at::TensorOptions(at::kFloat).device(parameter.device())));
    moments_.push_back(group.exp_avg.back());
    moments_.push_back(group.exp_avg_sq.back());
  }
}

double Trainer::accumulate_gradients(const at::Tensor& tokens) {
  const int64_t sequences = tokens.size(0);
  const int64_t micro =
      options_.micro_batch > 0 ? std::min(options_.micro_batch, sequences) : sequences;
  const auto device = model_.embed_tokens().device();
  double loss = 0.0;
  for (int64_t begin = 0; begin < sequences; begin += micro) {
    const int64_t count = std::min(micro, sequences - begin);
    const auto part = tokens.narrow(0, begin, count).to(device);
    const double share = static_cast<double>(count) / static_cast<double>(sequences);
    at::Tensor mean;
    {
      const Autocast autocast(options_.autocast_bf16);
      mean = model_.loss(part).first;
    }
    const auto weighted = share == 1.0 ? mean : mean * share;
    weighted.backward();
    loss += weighted.item<double>();
  }
  return loss;
}

double Trainer::clip_gradients() {
  std::vector<at::Tensor> body, routers;
  for (const auto& [name, parameter] : model_.parameters()) {
    const auto& gradient = parameter.grad();
    if (!gradient.defined()) continue;
    (options_.router_clip && is_router(name) ? routers : body).push_back(gradient);
  }
  const double body_norm = clip(body, options_.gradient_clip);
  const double router_norm = clip(routers, options_.router_clip.value_or(0.0));
  return std::hypot(body_norm, router_norm);
}

void Trainer::update(double learning_rate) {
  for (auto& group : groups_) {
    std::vector<at::Tensor> parameters, gradients, exp_avg, exp_avg_sq, steps;
    for (size_t i = 0; i < group.parameters.size(); ++i) {
      auto& gradient = group.parameters[i].mutable_grad();
      // A weight without influence (β where no null exists) has no gradient; decay still applies.
      if (!gradient.defined()) gradient = at::zeros_like(group.parameters[i]);
      group.steps[i].add_(1);
      gradients.push_back(gradient);
    }
    if (gradients.empty()) continue;
    at::_fused_adamw_(group.parameters, gradients, group.exp_avg, group.exp_avg_sq, {}, group.steps,
                      learning_rate, options_.beta1, options_.beta2, group.weight_decay,
                      options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
}

StepReport Trainer::step(const at::Tensor& tokens) {
  for (const auto& [name, parameter] : model_.parameters()) {
    parameter.mutable_grad() = at::Tensor();
  }
  StepReport report;
  report.loss = accumulate_gradients(tokens);
  report.tokens = tokens.numel();
  report.learning_rate = learning_rate_at(options_, step_);
  const at::NoGradGuard no_grad;
  report.gradient_norm = clip_gradients();
  report.step = step_ + 1;
  if (!report.is_finite()) return report;
  update(report.learning_rate);
  ++step_;
  return report;
}

void Trainer::save(const std::filesystem::path& file, const std::string& identity) const {
  NamedTensors tensors;
  size_t i = 0;
  for (const auto& [name, parameter] : model_.parameters()) {
    tensors.emplace_back(name, parameter);
    tensors.emplace_back("optimizer.exp_avg." + name, moments_[i++]);
    tensors.emplace_back("optimizer.exp_avg_sq." + name, moments_[i++]);
  }
  tensors.emplace_back("random_state", at::globalContext().defaultGenerator(at::kCPU).get_state());
  const nlohmann::json position = {
      {"format", kCheckpointFormat}, {"step", step_}, {"identity", identity}};
  write_safetensors(file, tensors, {{"training", position.dump()}});
}

void Trainer::load(const std::filesystem::path& file, const std::string& identity) {
  const auto stored = read_safetensors(file);
  const auto found = stored.metadata.find("training");
  const auto position = found == stored.metadata.end()
                            ? nlohmann::json()
                            : nlohmann::json::parse(found->second, nullptr, false);
  const auto field = [&](const char* key) {
    return position.is_object() ? position.value(key, nlohmann::json()) : nlohmann::json();
  };
  // Without its hash, damage to the step or to the weights would go unseen.
  if (field("format") != kCheckpointFormat || !field("step").is_number_unsigned() ||
      !stored.metadata.contains("sha256")) {
    throw bad_input("{}: not a training checkpoint of this version; delete it to train again",
                    file.string());
  }
  if (field("identity") != identity) {
    throw bad_input("{}: belongs to another run; choose another output folder or delete it",
                    file.string());
  }
  // All is checked before anything changes.
  const at::NoGradGuard no_grad;
  std::vector<std::pair<at::Tensor, at::Tensor>> restored;  // target, value
  const auto restore = [&](const std::string& name, const at::Tensor& target) {
    const auto& value = stored.at(name, file);
    if (value.sizes() != target.sizes() || value.scalar_type() != target.scalar_type()) {
      throw bad_input("{}: tensor '{}' has another shape or type than the model", file.string(),
                      name);
    }
    restored.emplace_back(target, value);
  };
  size_t i = 0;
  for (const auto& [name, parameter] : model_.parameters()) {
    restore(name, parameter);
    restore("optimizer.exp_avg." + name, moments_[i++]);
    restore("optimizer.exp_avg_sq." + name, moments_[i++]);
  }
  auto generator = at::globalContext().defaultGenerator(at::kCPU);
  const auto& random_state = stored.at("random_state", file);
  try {
    generator.set_state(random_state);
  } catch (const c10::Error&) {
    throw bad_input("{}: tensor 'random_state' is not a state of the random generator",
                    file.string());
  }
  for (const auto& [target, value] : restored) target.copy_(value);
  step_ = field("step").get<int64_t>();
  for (auto& group : groups_) {
    for (auto& steps : group.steps) steps.fill_(static_cast<double>(step_));
  }
}

}  // namespace oasis
