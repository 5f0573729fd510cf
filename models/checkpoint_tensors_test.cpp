#include "models/checkpoint_tensors.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "models/model_testing.h"
#include "models/safetensors.h"

namespace oasis {
namespace {

using namespace testing_support;
using nlohmann::json;

constexpr const char* kFirst = "model-00001-of-00002.safetensors";
constexpr const char* kSecond = "model-00002-of-00002.safetensors";

class CheckpointTensorsTest : public testing::Test {
 protected:
  CheckpointTensorsTest() {
    write_safetensors(folder / kFirst, {{"a", at::full({2, 3}, 1.0)}, {"b", at::full({4}, 2.0)}});
    write_safetensors(folder / kSecond, {{"c", at::full({3}, 3.0).to(at::kBFloat16)}});
    write_index({{"a", kFirst}, {"b", kFirst}, {"c", kSecond}});
  }
  void write_index(const json& weight_map) {
    write_bytes(folder / kWeightsIndex, json{{"weight_map", weight_map}}.dump());
  }
  std::string refusal_of_reading() {
    return refusal([&] { CheckpointTensors{folder / ""}; });
  }

  TemporaryFolder folder;
};

TEST_F(CheckpointTensorsTest, ShardsAreReadAsOne) {
  const CheckpointTensors tensors(folder / "");
  ASSERT_EQ(tensors.all().size(), 3u);
  EXPECT_TRUE(at::equal(tensors.at("a").tensor, at::full({2, 3}, 1.0)));
  EXPECT_EQ(tensors.at("c").tensor.scalar_type(), at::kBFloat16);
  EXPECT_EQ(tensors.at("c").file.filename(), kSecond);
  EXPECT_TRUE(says(refusal([&] { (void)tensors.at("d"); }), kWeightsIndex, "'d' is missing"));
  EXPECT_EQ(weight_files(folder / "").size(), 2u);
}

TEST_F(CheckpointTensorsTest, OneFileGoesBeforeAnIndex) {
  write_safetensors(folder / kWeightsFile, {{"z", at::full({1}, 9.0)}});
  const CheckpointTensors tensors(folder / "");
  EXPECT_EQ(tensors.all().size(), 1u);
  EXPECT_EQ(tensors.at("z").tensor.item<double>(), 9.0);
  EXPECT_EQ(weight_files(folder / "").front().filename(), kWeightsFile);
}

TEST_F(CheckpointTensorsTest, AnIndexThatDoesNotFitItsShards) {
  std::filesystem::rename(folder / kSecond, folder / "elsewhere");
  EXPECT_TRUE(says(refusal_of_reading(), kWeightsIndex, kSecond, "not there"));
  std::filesystem::rename(folder / "elsewhere", folder / kSecond);
  write_index({{"a", kFirst}, {"b", kFirst}, {"c", kSecond}, {"d", kSecond}});
  EXPECT_TRUE(says(refusal_of_reading(), kWeightsIndex, "'d'", kSecond, "does not hold it"));
  write_index({{"a", kFirst}, {"c", kSecond}});
  EXPECT_TRUE(says(refusal_of_reading(), kFirst, "'b'", "does not place there"));
  write_index({{"a", kFirst}, {"b", kSecond}, {"c", kSecond}});
  EXPECT_TRUE(says(refusal_of_reading(), kFirst, "'b'", "does not place there"));
}

TEST_F(CheckpointTensorsTest, AnIndexThatIsNone) {
  const auto refusal_of_index = [&](const std::string& text) {
    write_bytes(folder / kWeightsIndex, text);
    return refusal_of_reading();
  };
  EXPECT_TRUE(says(refusal_of_index(""), kWeightsIndex, "not a JSON object"));
  EXPECT_TRUE(says(refusal_of_index("[]"), "not a JSON object"));
  EXPECT_TRUE(says(refusal_of_index("{}"), "'weight_map' must be an object"));
  EXPECT_TRUE(says(refusal_of_index(R"({"weight_map": {}})"), "is empty"));
  for (const char* shard : {R"("../model.safetensors")", R"("/etc/passwd")", R"("config.json")",
                            "7", R"("a\u0000.safetensors")", "null"}) {
    EXPECT_TRUE(says(refusal_of_index(fmt::format(R"({{"weight_map": {{"a": {}}}}})", shard)),
                     "weight_map: 'a' must name a .safetensors file of this folder"))
        << shard;
  }
}

TEST_F(CheckpointTensorsTest, AShardCutShort) {
  const auto good = read_bytes(folder / kSecond);
  write_bytes(folder / kSecond, good.substr(0, good.size() - 1));
  EXPECT_TRUE(says(refusal_of_reading(), kSecond, "outside"));
}

// Bytes of the index changed, dropped and doubled at random: read, or refused in words.
TEST_F(CheckpointTensorsTest, RandomDamageToTheIndexNeverCrashes) {
  const auto good = read_bytes(folder / kWeightsIndex);
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    auto text = good;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
      const auto at = random() % text.size();
      if (random() % 3 == 0) {
        text.erase(at, 1 + random() % 8);
      } else if (random() % 2 == 0) {
        text.insert(at, text.substr(random() % text.size(), 1 + random() % 8));
      } else {
        text[at] = static_cast<char>(random());
      }
      if (text.empty()) text = " ";
    }
    write_bytes(folder / kWeightsIndex, text);
    const auto message = refusal_of_reading();
    if (message == "no error") continue;
    ++refused;
    EXPECT_TRUE(says(message, folder.operator/("").string())) << text;
  }
  EXPECT_GT(refused, 2000);
}

}  // namespace
}  // namespace oasis
