#include "models/trainer.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/hypot.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "models/autocast.h"
#include "models/safetensors.h"
#include "models/target_loss.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr int64_t kCheckpointFormat = 1;

bool is_router(const std::string& name) {
  return name.find(".attn_res_") != std::string::npos ||
         name.find(".final_res.") != std::string::npos;
}

at::Tensor total_norm(const std::vector<at::Tensor>& gradients, const at::Tensor& none) {
  return gradients.empty() ? none : at::stack(at::_foreach_norm(gradients, 2)).norm();
}

// For the length of a scope no kernel runs whose order of adding up varies.
class DeterministicScope {
 public:
  explicit DeterministicScope(bool wanted)
      : before_(at::globalContext().deterministicAlgorithms()) {
    if (!wanted) return;
    // cuBLAS reads its workspace from the environment, and Torch insists on this setting.
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  ~DeterministicScope() {
    at::globalContext().setDeterministicAlgorithms(before_, /*warn_only=*/false);
  }
  DeterministicScope(const DeterministicScope&) = delete;
  DeterministicScope& operator=(const DeterministicScope&) = delete;

 private:
  bool before_;
};

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
    : model_(model), options_(options) {
  model_.set_requires_grad(true);
  model_.set_recompute(options_.recompute);
  const auto device = model_.embed_tokens().device();
  const auto scalar = at::TensorOptions(at::kFloat).device(device);
  // Weights and biases of the body, then of the routers when those are clipped by themselves.
  groups_.resize(options_.router_clip ? 4 : 2);
  for (size_t i = 0; i < groups_.size(); ++i) {
    groups_[i].weight_decay = i % 2 == 0 ? options_.weight_decay : 0.0;
    groups_[i].norm = i / 2;
    groups_[i].clip = i < 2 ? options_.gradient_clip : options_.router_clip.value_or(0.0);
  }
  for (const auto& [name, parameter] : model_.parameters()) {
    const size_t of_routers = options_.router_clip && is_router(name) ? 2 : 0;
    auto& group = groups_[of_routers + (name.find("bias") == std::string::npos ? 0 : 1)];
    group.parameters.push_back(parameter);
    group.exp_avg.push_back(at::zeros_like(parameter).detach());
    group.exp_avg_sq.push_back(at::zeros_like(parameter).detach());
    group.steps.push_back(at::zeros({}, scalar));
    moments_.push_back(group.exp_avg.back());
    moments_.push_back(group.exp_avg_sq.back());
  }
  // The optimizer reads it on the GPU as float32, on the CPU in double precision.
  learning_rate_ = at::zeros({}, scalar.dtype(device.is_cuda() ? at::kFloat : at::kDouble));
  outcome_ = at::zeros({2}, scalar.dtype(at::kDouble));
}

void Trainer::prepare(at::IntArrayRef shape, bool with_targets) {
  if (tokens_.defined() && tokens_.sizes() == shape && targets_.defined() == with_targets) return;
  const auto device = learning_rate_.device();
  tokens_ = at::empty(shape, at::TensorOptions(at::kLong).device(device));
  targets_ = with_targets ? at::empty_like(tokens_) : at::Tensor();
  micro_batch_ = shape[0];
  if (options_.micro_batch > 0) micro_batch_ = std::min(options_.micro_batch, micro_batch_);
  const bool recorded = device.is_cuda() && options_.cuda_graph && make_step_graph != nullptr;
  graph_ = recorded ? make_step_graph() : nullptr;
}

at::Tensor Trainer::weighted_loss(int64_t begin, int64_t count) const {
  const auto tokens = tokens_.narrow(0, begin, count);
  const Autocast autocast(options_.autocast_bf16);
  if (!targets_.defined()) {
    const double share = static_cast<double>(count) / static_cast<double>(tokens_.size(0));
    const auto mean = model_.loss(tokens).first;
    return share == 1.0 ? mean : mean * share;
  }
  const auto targets = targets_.narrow(0, begin, count);
  const auto mean = target_loss(model_, tokens, targets);
  if (count == targets_.size(0)) return mean;
  // On the device: to ask it for the counts would make the host wait.
  const auto counted = [&mean](const at::Tensor& t) {
    return t.ne(kIgnoredTarget).sum().to(mean.scalar_type());
  };
  return mean * (counted(targets) / counted(targets_));
}

void Trainer::accumulate_gradients() {
  const int64_t sequences = tokens_.size(0);
  for (int64_t begin = 0; begin < sequences; begin += micro_batch_) {
    const auto weighted = weighted_loss(begin, std::min(micro_batch_, sequences - begin));
    weighted.backward();
    outcome_.select(0, 0).add_(weighted.detach());
  }
}

void Trainer::clip_and_update() {
  std::vector<std::vector<at::Tensor>> gradients(groups_.size());
  std::array<std::vector<at::Tensor>, 2> clipped;  // by norm
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (const auto& parameter : groups_[i].parameters) {
      // A weight without influence (β where no null exists) has no gradient; decay still applies.
      if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
      gradients[i].push_back(parameter.grad());
      clipped[groups_[i].norm].push_back(parameter.grad());
    }
  }
  const auto zero = at::zeros({}, outcome_.options().dtype(at::kFloat));
  const std::array norms = {total_norm(clipped[0], zero), total_norm(clipped[1], zero)};
  outcome_.select(0, 1).copy_(at::hypot(norms[0], norms[1]));
  const auto failed = at::isfinite(outcome_).all().logical_not().to(at::kFloat);
  for (size_t i = 0; i < groups_.size(); ++i) {
    auto& group = groups_[i];
    if (gradients[i].empty()) continue;
    // The optimizer divides by the scale as it reads a gradient (in float32 alone), and leaves all
    // as it is where the step failed.
    std::optional<at::Tensor> scale;
    if (group.clip > 0) {
      scale = at::clamp_min((norms[group.norm] + 1e-6) / group.clip, 1.0);
      if (scale->scalar_type() != at::kFloat) {
        at::_foreach_mul_(gradients[i], scale->reciprocal());
        scale = std::nullopt;
      }
    }
    at::_foreach_add_(group.steps, 1 - failed);
    at::_fused_adamw_(group.parameters, gradients[i], group.exp_avg, group.exp_avg_sq, {},
                      group.steps, learning_rate_, options_.beta1, options_.beta2,
                      group.weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false,
                      scale, failed);
  }
}

void Trainer::run_step() {
  for (const auto& [name, parameter] : model_.parameters()) {
    parameter.mutable_grad() = at::Tensor();
  }
  outcome_.zero_();
  accumulate_gradients();
  const at::NoGradGuard no_grad;
  clip_and_update();
}

bool Trainer::halve_micro_batch() {
  if (micro_batch_ <= 1) return false;
  micro_batch_ = (micro_batch_ + 1) / 2;
  return true;
}

StepReport Trainer::step(const at::Tensor& tokens, const at::Tensor& targets) {
  const DeterministicScope scope(learning_rate_.is_cuda() && options_.deterministic);
  prepare(tokens.sizes(), targets.defined());
  StepReport report;
  report.learning_rate = learning_rate_at(options_, step_);
  tokens_.copy_(tokens);
  if (targets_.defined()) targets_.copy_(targets);
  learning_rate_.fill_(report.learning_rate);
  for (bool done = false; !done;) {
    try {
      graph_ ? graph_->run([this] { run_step(); }) : run_step();
      done = true;
    } catch (const c10::OutOfMemoryError&) {
      if (!halve_micro_batch()) throw;
    }
  }
  const auto outcome = outcome_.cpu();
  report.loss = outcome[0].item<double>();
  report.gradient_norm = outcome[1].item<double>();
  report.tokens = tokens.numel();
  report.micro_batch = micro_batch_;
  report.step = step_ + 1;
  if (report.is_finite()) ++step_;
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
