#include "models/trainer.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "models/model_testing.h"
#include "models/safetensors.h"

namespace oasis {
namespace {

using namespace testing_support;

// With routers, β, biases and a gate: a parameter of every kind.
ModelConfig full_config() {
  auto method = routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned);
  method.gate = true;
  auto config = small_config(method);
  config.attention_bias = true;
  return config;
}

TrainingOptions short_run() {
  TrainingOptions options;
  options.steps = 20;
  options.warmup_steps = 4;
  options.learning_rate = 1e-2;
  return options;
}

bool is_bias(const std::string& name) {
  return name.find("bias") != std::string::npos;
}
bool is_router(const std::string& name) {
  return name.find(".attn_res_") != std::string::npos;
}

void expect_identical(const Decoder& a, const Decoder& b) {
  for (size_t i = 0; i < a.parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(a.parameters()[i].second, b.parameters()[i].second))
        << a.parameters()[i].first;
  }
}

TEST(TrainingScheduleTest, WarmsUpThenFallsLinearly) {
  TrainingOptions options;
  options.steps = 100;
  options.warmup_steps = 10;
  options.learning_rate = 1.0;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 4), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 9), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 55), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 99), 1.0 / 90);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 100), 0.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 500), 0.0);
  options.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 0), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 50), 0.5);
  options.warmup_steps = 100;  // nothing left to fall in
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 99), 1.0);
}

TEST(TrainerTest, TheLossFalls) {
  auto model = small_model(full_config(), at::kFloat);
  Trainer trainer(model, short_run());
  const auto tokens = some_tokens(4, 12);
  const auto first = trainer.step(tokens);
  EXPECT_EQ(first.step, 1);
  EXPECT_EQ(first.tokens, 48);
  EXPECT_DOUBLE_EQ(first.learning_rate, 1e-2 / 4);
  EXPECT_GT(first.gradient_norm, 0);
  StepReport last;
  while (trainer.steps_done() < 20) last = trainer.step(tokens);
  EXPECT_LT(last.loss, first.loss - 0.5);
}

// The AdamW of Loshchilov & Hutter 2019, written out, for the first two steps of one parameter.
TEST(TrainerTest, UpdatesAreThoseOfAdamW) {
  auto model = small_model(small_config());
  auto options = short_run();
  options.gradient_clip = 0;
  Trainer trainer(model, options);
  const auto& weight = model.layers()[1].down_proj.weight;
  auto expected = weight.detach().clone();
  auto m = at::zeros_like(expected), v = at::zeros_like(expected);
  for (int step = 1; step <= 2; ++step) {
    trainer.step(some_tokens(3, 8));
    const auto& g = weight.grad();
    const double lr = learning_rate_at(options, step - 1);
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const auto m_hat = m / (1 - std::pow(options.beta1, step));
    const auto v_hat = v / (1 - std::pow(options.beta2, step));
    expected =
        expected * (1 - lr * options.weight_decay) - lr * m_hat / (v_hat.sqrt() + options.epsilon);
    EXPECT_LE(relative_error(weight.detach(), expected), 1e-13) << "step " << step;
  }
}

TEST(TrainerTest, AccumulatedGradientsGiveTheUpdateOfTheWholeBatch) {
  const auto tokens = some_tokens(5, 9);
  auto whole = small_model(full_config());
  Trainer reference(whole, short_run());
  const auto expected = reference.step(tokens);
  for (const int64_t micro_batch : {1, 2, 3, 5, 100}) {
    auto model = small_model(full_config());
    auto options = short_run();
    options.micro_batch = micro_batch;
    Trainer trainer(model, options);
    const auto found = trainer.step(tokens);
    EXPECT_NEAR(found.loss, expected.loss, 1e-13);
    EXPECT_NEAR(found.gradient_norm, expected.gradient_norm, 1e-12 * expected.gradient_norm);
    for (size_t i = 0; i < model.parameters().size(); ++i) {
      const auto& [name, parameter] = model.parameters()[i];
      EXPECT_LE(relative_error(parameter.detach(), whole.parameters()[i].second.detach()), 1e-9)
          << name << " micro_batch " << micro_batch;
    }
  }
}

TEST(TrainerTest, RecomputedActivationsGiveTheSameUpdate) {
  const auto tokens = some_tokens(3, 9);
  for (const auto routing : {Routing::kNone, Routing::kProjected, Routing::kPseudoQuery}) {
    auto config = full_config();
    if (routing == Routing::kNone) {
      config.method = MethodSpec{};
    } else {
      config.method.routing = routing;
    }
    auto kept = small_model(config), recomputed = small_model(config);
    auto options = short_run();
    Trainer reference(kept, options);
    options.recompute = true;
    Trainer trainer(recomputed, options);
    for (int step = 0; step < 2; ++step) {
      const auto expected = reference.step(tokens), found = trainer.step(tokens);
      EXPECT_EQ(found.loss, expected.loss);
      EXPECT_NEAR(found.gradient_norm, expected.gradient_norm, 1e-12 * expected.gradient_norm);
    }
    for (size_t i = 0; i < kept.parameters().size(); ++i) {
      EXPECT_LE(relative_error(recomputed.parameters()[i].second.detach(),
                               kept.parameters()[i].second.detach()),
                1e-9)
          << kept.parameters()[i].first;
    }
  }
}

TEST(TrainerTest, SavedAndLoadedContinuesBitForBit) {
  const TemporaryFolder folder;
  const auto file = folder / "training.safetensors";
  const auto batch = [](int64_t step) { return some_tokens(2 + step % 3, 10); };
  auto straight = small_model(full_config(), at::kFloat);
  Trainer reference(straight, short_run());
  std::vector<double> losses;
  at::manual_seed(3);
  at::Tensor random;
  for (int64_t step = 0; step < 9; ++step) {
    if (step == 4) {
      reference.save(file, "stage-key");
      random = at::rand({5});
    }
    losses.push_back(reference.step(batch(step)).loss);
  }
  auto resumed = small_model(full_config(), at::kFloat, /*seed=*/99);
  Trainer trainer(resumed, short_run());
  trainer.step(batch(7));  // what was there before the load does not matter
  trainer.load(file, "stage-key");
  EXPECT_EQ(trainer.steps_done(), 4);
  EXPECT_TRUE(at::equal(at::rand({5}), random));
  for (int64_t step = 4; step < 9; ++step) {
    EXPECT_EQ(trainer.step(batch(step)).loss, losses[static_cast<size_t>(step)]) << step;
  }
  expect_identical(resumed, straight);
}

TEST(TrainerTest, ANonFiniteLossLeavesEverythingAsItWas) {
  const auto tokens = some_tokens(2, 8);
  auto model = small_model(small_config(), at::kFloat);
  auto other = small_model(small_config(), at::kFloat);
  Trainer trainer(model, short_run()), reference(other, short_run());
  trainer.step(tokens);
  reference.step(tokens);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto norm = model.final_norm().detach();
    const auto kept = norm.clone();
    norm[3] = poison;
    const auto before = model.to(at::TensorOptions(at::kFloat));
    const auto report = trainer.step(tokens);
    EXPECT_FALSE(report.is_finite());
    EXPECT_EQ(trainer.steps_done(), 1);
    for (size_t i = 0; i < model.parameters().size(); ++i) {
      const auto& [name, parameter] = model.parameters()[i];
      if (name == "model.norm.weight") continue;  // NaN is not equal to itself
      EXPECT_TRUE(at::equal(parameter, before.parameters()[i].second)) << name;
    }
    norm.copy_(kept);
  }
  // The moments were left alone too: the next step is the one that would have been.
  trainer.step(tokens);
  reference.step(tokens);
  expect_identical(model, other);
}

TEST(TrainerTest, WeightDecayIsOnEverythingButBiases) {
  const auto tokens = some_tokens(2, 8);
  const auto trained = [&](double weight_decay) {
    auto model = small_model(full_config());
    auto options = short_run();
    options.weight_decay = weight_decay;
    Trainer(model, options).step(tokens);
    return model;
  };
  const auto start = small_model(full_config());
  const auto without = trained(0), with = trained(0.1);
  const double shrink = learning_rate_at(short_run(), 0) * 0.1;
  bool saw_bias = false, saw_norm = false;
  for (size_t i = 0; i < start.parameters().size(); ++i) {
    const auto& [name, before] = start.parameters()[i];
    const auto pulled = (without.parameters()[i].second - with.parameters()[i].second).detach();
    const auto expected = is_bias(name) ? at::zeros_like(before) : before * shrink;
    EXPECT_LE((pulled - expected).abs().max().item<double>(), 1e-15) << name;
    saw_bias = saw_bias || is_bias(name);
    saw_norm = saw_norm || name == "model.norm.weight";
  }
  EXPECT_TRUE(saw_bias && saw_norm);
}

// AdamW's first step hides the size of a gradient, its first moment does not.
struct Norms {
  double body = 0, routers = 0, reported = 0;
};

Norms clipped_norms(double gradient_clip, std::optional<double> router_clip) {
  const TemporaryFolder folder;
  auto model = small_model(full_config());
  auto options = short_run();
  options.gradient_clip = gradient_clip;
  options.router_clip = router_clip;
  Trainer trainer(model, options);
  Norms norms;
  norms.reported = trainer.step(some_tokens(2, 8)).gradient_norm;
  trainer.save(folder / "t", "id");
  const auto file = read_safetensors(folder / "t");
  double body = 0, routers = 0;
  for (const auto& [name, parameter] : model.parameters()) {
    const auto moment = file.at("optimizer.exp_avg." + name, folder / "t");
    const double squares = (moment / (1 - options.beta1)).square().sum().item<double>();
    (is_router(name) ? routers : body) += squares;
  }
  norms.body = std::sqrt(body);
  norms.routers = std::sqrt(routers);
  return norms;
}

TEST(TrainerTest, RoutersMayHaveAClipOfTheirOwn) {
  const auto free = clipped_norms(0, std::nullopt);
  ASSERT_GT(free.body, 0.1);
  ASSERT_GT(free.routers, 1e-3);
  const double total = std::hypot(free.body, free.routers);
  EXPECT_NEAR(free.reported, total, 1e-9 * total);

  const double limit = total / 10;  // one norm over all: both shrink alike
  const auto global = clipped_norms(limit, std::nullopt);
  EXPECT_NEAR(global.body, free.body / 10, 1e-4 * free.body);
  EXPECT_NEAR(global.routers, free.routers / 10, 1e-4 * free.routers);
  EXPECT_NEAR(global.reported, total, 1e-9 * total);

  const auto apart = clipped_norms(free.body / 2, free.routers / 4);
  EXPECT_NEAR(apart.body, free.body / 2, 1e-3 * free.body);
  EXPECT_NEAR(apart.routers, free.routers / 4, 1e-3 * free.routers);
  EXPECT_NEAR(apart.reported, total, 1e-9 * total);

  const auto loose = clipped_norms(0, free.routers * 2);
  EXPECT_NEAR(loose.body, free.body, 1e-9 * free.body);
  EXPECT_NEAR(loose.routers, free.routers, 1e-9 * free.routers);
}

class TrainingFileTest : public testing::Test {
 protected:
  TrainingFileTest() : model(small_model(small_config(), at::kFloat)), trainer(model, short_run()) {
    trainer.step(some_tokens(2, 8));
    trainer.save(file, "key");
    stored = read_safetensors(file);
  }

  std::string refusal_of_load(const std::string& identity = "key") {
    return refusal([&] { trainer.load(file, identity); });
  }
  // Writes the file again after `edit` and gives the refusal; the model must stay as it is.
  template <typename Edit>
  std::string refusal_after(Edit&& edit) {
    auto changed = stored;
    edit(changed);
    write_safetensors(file, changed.tensors, changed.metadata);
    const auto before = model.to(at::TensorOptions(at::kFloat));
    const auto message = refusal_of_load();
    expect_identical(model, before);
    return message;
  }

  TemporaryFolder folder;
  std::filesystem::path file = folder / "training.safetensors";
  Decoder model;
  Trainer trainer;
  SafetensorsFile stored;
};

TEST_F(TrainingFileTest, AnotherRunsFileIsRefused) {
  EXPECT_TRUE(says(refusal_of_load("other"), file.string(), "belongs to another run"));
  EXPECT_EQ(refusal_of_load(), "no error");
}

TEST_F(TrainingFileTest, OtherFilesAreRefused) {
  const auto metadata = [&](const std::string& text) {
    return refusal_after([&](SafetensorsFile& f) { f.metadata["training"] = text; });
  };
  for (const char* text :
       {"", "{", "5", "{}", R"({"format": "1"})", R"({"format": 2})",
        R"({"format": 1, "identity": 5, "step": 1})", R"({"format": 1, "identity": "key"})",
        R"({"format": 1, "identity": "key", "step": "one"})",
        R"({"format": 1, "identity": "key", "step": -1})"}) {
    EXPECT_TRUE(says(metadata(text), file.string())) << text;
  }
  EXPECT_TRUE(says(refusal_after([](SafetensorsFile& f) { f.metadata.clear(); }),
                   "not a training checkpoint"));
}

TEST_F(TrainingFileTest, TensorsThatDoNotFitAreNamed) {
  const auto with = [&](size_t index, const at::Tensor& value) {
    return refusal_after([&](SafetensorsFile& f) { f.tensors[index].second = value; });
  };
  // The last parameter, so that everything before it would have been copied already.
  size_t last = 0;
  for (size_t i = 0; i < stored.tensors.size(); ++i) {
    if (stored.tensors[i].first == "optimizer.exp_avg_sq.lm_head.weight") last = i;
  }
  stored.tensors[0].second += 1;  // so that a partial load would show
  EXPECT_TRUE(says(with(last, at::zeros({3})), "optimizer.exp_avg_sq.lm_head.weight", "shape"));
  EXPECT_TRUE(says(refusal_after([&](SafetensorsFile& f) {
                     f.tensors.erase(f.tensors.begin() + static_cast<std::ptrdiff_t>(last));
                   }),
                   "'optimizer.exp_avg_sq.lm_head.weight' is missing"));
  for (size_t i = 0; i < stored.tensors.size(); ++i) {
    if (stored.tensors[i].first != "random_state") continue;
    EXPECT_TRUE(says(with(i, at::zeros({3})), "random_state"));
    EXPECT_TRUE(says(with(i, at::zeros({7}, at::TensorOptions(at::kByte))), "random_state"));
  }
}

TEST_F(TrainingFileTest, AFlippedBitIsFound) {
  const auto good = read_bytes(file);
  for (size_t i = 0; i < good.size(); i += 1 + i / 40) {
    auto bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ 1);
    write_bytes(file, bytes);
    EXPECT_TRUE(says(refusal_of_load(), file.string())) << "byte " << i;
  }
}

}  // namespace
}  // namespace oasis
