#include "suites/commands/evaluate_command.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "baselines/checkpoint.h"
#include "datasets/test_support.h"
#include "datasets/tokenizer.h"
#include "models/initialization.h"
#include "models/safetensors.h"
#include "support/error.h"

namespace oasis {
namespace {

// A tiny byte-level model in a checkpoint folder, with its tokenizer.
class EvaluateCommand : public testing::Test {
 protected:
  EvaluateCommand() {
    setenv("OASIS_DATA_HOME", (folder_ / "home").c_str(), 1);
    setenv("OASIS_CACHE_HOME", (folder_ / "cache").c_str(), 1);
    ModelConfig config;
    config.vocab_size = 257;
    config.hidden_size = 8;
    config.num_hidden_layers = 1;
    config.num_attention_heads = config.num_key_value_heads = 2;
    config.head_dim = 4;
    config.intermediate_size = 12;
    Decoder model(config, at::TensorOptions(at::kFloat));
    initialize(model, {}, 3);
    save_checkpoint(model, folder_ / "model");
    byte_tokenizer()->save(folder_ / "model");
    save_tokens("tokens", at::remainder(at::arange(60, at::kLong) * 7, 257).view({4, 15}));
    save_tokens("calibration", at::arange(40, at::kLong).view({2, 2, 10}));
  }

  void save_tokens(const std::string& name, const at::Tensor& tokens) {
    write_safetensors(folder_ / name, {{"tokens", tokens}});
  }

  // What is printed to stdout. {model}, {tokens} and {calibration} are files of the folder.
  std::string run(std::string arguments) const {
    for (const std::string name : {"model", "tokens", "calibration"}) {
      const auto place = "{" + name + "}";
      for (auto at = arguments.find(place); at != std::string::npos; at = arguments.find(place)) {
        arguments.replace(at, place.size(), (folder_ / name).string());
      }
    }
    CLI::App app;
    add_evaluate_command(app);
    testing::internal::CaptureStdout();
    try {
      app.parse("evaluate --device cpu " + arguments);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    std::fflush(stdout);
    return testing::internal::GetCapturedStdout();
  }

  static nlohmann::json metric(const nlohmann::json& json, const std::string& name) {
    for (const auto& entry : json["metrics"]) {
      if (entry["name"] == name) return entry;
    }
    return {};
  }

  std::string message(const std::string& arguments) const {
    try {
      run(arguments);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kBadInput) << error.what();
      return error.what();
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    ADD_FAILURE() << "no error from " << arguments;
    return "";
  }

  TestFolder folder_;
};

TEST_F(EvaluateCommand, TokensGiveEveryMetricWithItsN) {
  const auto json = nlohmann::json::parse(run("{model} --tokens {tokens} --json"));
  EXPECT_EQ(metric(json, "loss")["n"], 4 * 14);
  EXPECT_EQ(metric(json, "loss")["unit"], "nat/token");
  EXPECT_EQ(metric(json, "first_token_mass")["n"], 4 * 2 * 15);
  // Every token here is one byte.
  const double loss = metric(json, "loss")["value"];
  EXPECT_NEAR(metric(json, "bits_per_byte")["value"], loss / std::log(2.0), 1e-9 * loss);
  EXPECT_TRUE(metric(json, "word_perplexity")["value"].is_null());
  EXPECT_FALSE(metric(json, "word_perplexity")["note"].get<std::string>().empty());
  EXPECT_FALSE(json.contains("statistics"));
  const auto with = nlohmann::json::parse(run("{model} --tokens {tokens} --json --statistics"));
  EXPECT_GT(with["statistics"].size(), 10u);
}

TEST_F(EvaluateCommand, TableHasTheSameFigures) {
  const auto json = nlohmann::json::parse(run("{model} --tokens {tokens} --json"));
  const auto table = run("{model} --tokens {tokens}");
  EXPECT_TRUE(
      contains(table, fmt::format("{:.6g}", metric(json, "perplexity")["value"].get<double>())));
  EXPECT_TRUE(contains(table, "the words of the text are not known"));
}

TEST_F(EvaluateCommand, DataSetIsTokenizedByTheCheckpointsTokenizer) {
  const auto json = nlohmann::json::parse(
      run("{model} --dataset word_problems --split valid --block-length 32 --sequences 5 "
          "--batch-size 2 --json"));
  EXPECT_EQ(metric(json, "loss")["n"], 5 * 31);
  EXPECT_GT(metric(json, "word_perplexity")["value"], 1.0);
  EXPECT_NEAR(metric(json, "loss")["value"], std::log(257.0), 0.3);
}

TEST_F(EvaluateCommand, QuantizedGivesTheLossAlone) {
  const auto json = nlohmann::json::parse(
      run("{model} --tokens {tokens} --weight-bits 4 --activation-bits 4 --calibration "
          "{calibration} --points all_inputs --dtype float64 --json"));
  EXPECT_EQ(json["metrics"].size(), 4u);
  EXPECT_GT(metric(json, "loss")["value"], 0.0);
}

TEST_F(EvaluateCommand, MassiveActivationsAreNamed) {
  const auto folder = folder_ / "model";
  auto model = load_checkpoint(folder, at::kFloat);
  model.embed_tokens()['!'][3] = 1e5;
  save_checkpoint(model, folder);
  save_tokens("tokens", at::tensor({65, 66, 33, 67, 33, 68}, at::kLong).view({2, 3}));
  const auto json = nlohmann::json::parse(run("{model} --tokens {tokens} --json"));
  const auto& massive = json["massive_activations"];
  EXPECT_EQ(massive["places"], 2);
  ASSERT_EQ(massive["rows"].size(), 2u);
  for (const auto& row : massive["rows"]) {
    EXPECT_EQ(row["token"], '!');
    EXPECT_EQ(row["text"], "!");
    EXPECT_EQ(row["channel"], 3);
    EXPECT_EQ(row["layers"], (nlohmann::json{0, 0}));
    EXPECT_EQ(row["n"], 1);
    EXPECT_TRUE(row["position"] == 2 || row["position"] == 1);
  }
  const auto table = run("{model} --tokens {tokens}");
  EXPECT_TRUE(contains(table, "massive activations: 2 places, layers 0 to 0"));
  EXPECT_TRUE(contains(table, "\"!\""));
}

TEST_F(EvaluateCommand, SiteCostsRankEverySite) {
  const std::string arguments =
      "{model} --tokens {tokens} --weight-bits 3 --activation-bits 3 --calibration {calibration} "
      "--site-costs 30";
  const auto json = nlohmann::json::parse(run(arguments + " --json"));
  const auto& costs = json["site_costs"];
  EXPECT_EQ(costs["n"], 2 * 14);
  EXPECT_EQ(costs["sites"].size(), 12u + 7u + 1u);
  for (size_t i = 1; i < costs["sites"].size(); ++i) {
    EXPECT_GE(costs["sites"][i - 1]["perplexity"], costs["sites"][i]["perplexity"]);
  }
  const auto table = run(arguments);
  EXPECT_TRUE(contains(table, costs["sites"][0]["site"].get<std::string>()));
  EXPECT_TRUE(contains(message("{model} --tokens {tokens} --site-costs 30"), "--weight-bits"));
}

TEST_F(EvaluateCommand, ContradictionsAreNamed) {
  EXPECT_TRUE(contains(message("{model}"), "--tokens FILE or --dataset NAME"));
  EXPECT_TRUE(contains(message("{model} --tokens {tokens} --dataset books"), "--dataset"));
  EXPECT_TRUE(contains(message("{model} --tokens {tokens} --split test"), "--dataset"));
  EXPECT_TRUE(contains(message("{model} --tokens {tokens} --weight-bits 8"), "--activation-bits"));
  EXPECT_TRUE(contains(message("{model} --tokens {tokens} --points all_inputs"), "--weight-bits"));
  EXPECT_TRUE(contains(message("{model} --tokens {tokens} --weight-bits 8 --activation-bits 8"),
                       "--calibration"));
  EXPECT_TRUE(contains(message("{model} --tokens {tokens} --dtype float16"), "float16"));
  EXPECT_TRUE(contains(message("{model} --dataset word_problem"), "word_problems"));
  EXPECT_TRUE(contains(message("{tokens} --tokens {tokens}"), "tokens"));
  EXPECT_TRUE(
      contains(message("{model} --dataset word_problems --block-length 1000000"), "1000000"));
  std::filesystem::remove(folder_ / "model" / kTokenizerFile);
  EXPECT_TRUE(contains(message("{model} --dataset word_problems"), kTokenizerFile));
}

}  // namespace
}  // namespace oasis
