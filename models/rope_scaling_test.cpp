#include "models/rope_scaling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;
using nlohmann::json;

// As in Llama-3.2-1B.
json llama3() {
  return {{"rope_type", "llama3"},
          {"factor", 32.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", 8192}};
}

json longrope() {
  return {
      {"type", "longrope"}, {"short_factor", {1.0, 1.1, 1.2}}, {"long_factor", {2.0, 20.0, 40.0}}};
}

json config_with(const json& scaling) {
  return {{"vocab_size", 19},
          {"hidden_size", 12},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"intermediate_size", 20},
          {"rope_scaling", scaling},
          {"max_position_embeddings", 131072},
          {"original_max_position_embeddings", 4096}};
}

std::string refusal_of(json scaling, const char* key, const json& value) {
  scaling[key] = value;
  return refusal(
      [&] { parse_model_config(config_with(scaling), "config.json").validate("config.json"); });
}

TEST(RopeScalingTest, Llama3StretchesLongWavelengths) {
  const auto scaling = parse_rope_scaling(llama3(), json::object(), 131072, "rope_scaling");
  EXPECT_EQ(scaling.attention_factor, 1.0);
  const auto divisors = scaling.divisors(5e5, 64, 100);
  ASSERT_EQ(divisors.size(), 32);
  // Wavelengths up to 8192/4 = 2048 stay; those beyond 8192 are stretched by the factor.
  for (size_t i = 0; i <= 14; ++i) EXPECT_EQ(divisors[i], 1.0);
  for (size_t i = 18; i < 32; ++i) EXPECT_EQ(divisors[i], 32.0);
  // From the published rule, computed apart.
  EXPECT_NEAR(divisors[15], 1.6513292457638982, 1e-12);
  EXPECT_NEAR(divisors[16], 3.2922621029408843, 1e-12);
  EXPECT_NEAR(divisors[17], 9.66672897875329, 1e-12);
}

TEST(RopeScalingTest, LongRopeHasFactorsForShortAndLongSequences) {
  const auto scaling = parse_model_config(config_with(longrope()), "config.json").rope_scaling;
  EXPECT_EQ(scaling.divisors(1e4, 6, 4096), (std::vector<double>{1.0, 1.1, 1.2}));
  EXPECT_EQ(scaling.divisors(1e4, 6, 4097), (std::vector<double>{2.0, 20.0, 40.0}));
  // 32 times the length: √(1 + ln 32 / ln 4096) = √(17/12)
  EXPECT_NEAR(scaling.attention_factor, std::sqrt(17.0 / 12.0), 1e-15);
  auto given = longrope();
  given["attention_factor"] = 1.5;
  EXPECT_EQ(parse_model_config(config_with(given), "a").rope_scaling.attention_factor, 1.5);
  auto inside = longrope();  // since transformers 5
  inside["original_max_position_embeddings"] = 131072;
  EXPECT_EQ(parse_model_config(config_with(inside), "a").rope_scaling.attention_factor, 1.0);
  auto stretched = longrope();
  stretched["factor"] = 4.0;
  EXPECT_NEAR(parse_model_config(config_with(stretched), "a").rope_scaling.attention_factor,
              std::sqrt(14.0 / 12.0), 1e-15);
}

TEST(RopeScalingTest, PlainRopeHasNoDivisors) {
  EXPECT_TRUE(RopeScaling().divisors(1e4, 64, 100).empty());
  EXPECT_EQ(refusal_of({{"rope_type", "default"}}, "factor", 2), "no error");
}

TEST(RopeScalingTest, RoundTrip) {
  auto given = longrope();
  given["attention_factor"] = 1.5;
  for (const auto& scaling : {llama3(), longrope(), given}) {
    const auto config = parse_model_config(config_with(scaling), "a");
    const auto written = model_config_json(config);
    EXPECT_EQ(written.at("rope_scaling"), scaling);
    EXPECT_EQ(model_config_json(parse_model_config(written, "b")), written);
  }
}

TEST(RopeScalingTest, WhatIsWrongIsNamed) {
  EXPECT_TRUE(says(refusal_of(llama3(), "rope_type", "yarn"), "config.json: rope_scaling",
                   "'yarn' is not supported", "longrope"));
  EXPECT_TRUE(says(refusal_of(llama3(), "factor", nullptr), "'factor' is missing"));
  EXPECT_TRUE(says(refusal_of(llama3(), "factor", "8"), "'factor' must be a number"));
  EXPECT_TRUE(says(refusal_of(llama3(), "factor", 0), "factor = 0"));
  EXPECT_TRUE(says(refusal_of(llama3(), "high_freq_factor", 1.0), "below high_freq_factor = 1"));
  EXPECT_TRUE(says(refusal_of(llama3(), "low_freq_factor", 0.0), "low_freq_factor = 0"));
  EXPECT_TRUE(says(refusal_of(llama3(), "original_max_position_embeddings", 0), "at least 1"));
  EXPECT_TRUE(says(refusal_of(longrope(), "short_factor", nullptr), "'short_factor' is missing"));
  EXPECT_TRUE(says(refusal_of(longrope(), "short_factor", 2), "must be a list of numbers"));
  EXPECT_TRUE(says(refusal_of(longrope(), "short_factor", {1, 2}), "short_factor has 2 numbers",
                   "6 rotated dimensions are 3"));
  EXPECT_TRUE(says(refusal_of(longrope(), "long_factor", {1, 2, 0}), "must hold positive"));
  EXPECT_TRUE(says(refusal_of(longrope(), "attention_factor", -1), "attention_factor = -1"));
  auto without = config_with(longrope());
  without.erase("original_max_position_embeddings");
  EXPECT_TRUE(says(refusal([&] { parse_model_config(without, "config.json"); }),
                   "'original_max_position_embeddings' is missing"));
}

}  // namespace
}  // namespace oasis
