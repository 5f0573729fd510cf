#include "models/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;
using nlohmann::json;

at::Tensor ramp(at::IntArrayRef shape, at::ScalarType type) {
  int64_t count = 1;
  for (const auto n : shape) count *= n;
  return at::arange(count, at::TensorOptions(at::kDouble)).view(shape).to(type);
}

// A file as raw bytes, from a header and its payload.
std::string file_of(const std::string& header, const std::string& payload) {
  const uint64_t size = header.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + payload;
}

json entry(const std::string& dtype, const std::vector<uint64_t>& shape, uint64_t begin,
           uint64_t end) {
  return {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, end}}};
}

class SafetensorsTest : public testing::Test {
 protected:
  std::string refusal_of(const std::string& bytes) {
    write_bytes(path, bytes);
    return refusal([&] { read_safetensors(path); });
  }

  NamedTensors sample() {
    return {{"weights", ramp({3, 5}, at::kFloat)},
            {"tokens", ramp({2, 4}, at::kLong)},
            {"empty", at::empty({0, 7}, at::TensorOptions(at::kFloat))},
            {"scalar", ramp({1}, at::kDouble).view({})}};
  }

  TemporaryFolder folder;
  std::filesystem::path path = folder / "file.safetensors";
};

TEST_F(SafetensorsTest, EveryTypeComesBackBitForBit) {
  NamedTensors written = sample();
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kByte, at::kBool}) {
    written.emplace_back(c10::toString(type), ramp({4, 3}, type));
  }
  written.emplace_back("strided", ramp({4, 6}, at::kFloat).t().slice(0, 1, 5));
  written.emplace_back("name \"with\" ünïcode\n", ramp({2}, at::kFloat));
  write_safetensors(path, written, {{"format", "pt"}, {"note", "a \"quote\""}});
  const auto file = read_safetensors(path);
  ASSERT_EQ(file.tensors.size(), written.size());
  for (const auto& [name, tensor] : written) {
    const auto& found = file.at(name, path);
    EXPECT_EQ(found.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(found.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(at::equal(found, tensor)) << name;
  }
  EXPECT_EQ(file.metadata.at("format"), "pt");
  EXPECT_EQ(file.metadata.at("note"), "a \"quote\"");
  EXPECT_TRUE(file.contains("empty"));
  EXPECT_FALSE(file.contains("weight"));
  EXPECT_TRUE(says(refusal([&] { (void)file.at("weight", path); }), "'weight' is missing"));
}

TEST_F(SafetensorsTest, AFileWithoutAHashIsRead) {
  const auto values = ramp({2, 3}, at::kFloat);
  write_bytes(path, file_of(json{{"x", entry("F32", {2, 3}, 0, 24)}}.dump() + "   ",
                            {static_cast<const char*>(values.const_data_ptr()), 24}));
  EXPECT_TRUE(at::equal(read_safetensors(path).at("x", path), values));
}

TEST_F(SafetensorsTest, NoTensorsAtAll) {
  write_safetensors(path, {}, {{"format", "pt"}});
  EXPECT_TRUE(read_safetensors(path).tensors.empty());
}

// Whatever bit flips, the file is refused, or (in the name of the hash itself) reads the same.
TEST_F(SafetensorsTest, AFlippedBitIsFound) {
  const auto written = sample();
  write_safetensors(path, written, {{"training", R"({"step":4})"}});
  const auto good = read_bytes(path);
  int accepted = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto bytes = good;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      write_bytes(path, bytes);
      SafetensorsFile file;
      const auto message = refusal([&] { file = read_safetensors(path); });
      if (message != "no error") {
        EXPECT_TRUE(says(message, path.string())) << "byte " << i << " bit " << bit;
        continue;
      }
      ++accepted;
      EXPECT_FALSE(file.metadata.contains("sha256")) << "byte " << i << " bit " << bit;
      for (const auto& [name, tensor] : written)
        EXPECT_TRUE(at::equal(tensor, file.at(name, path)));
    }
  }
  EXPECT_LE(accepted, 6 * 8);  // the six letters of "sha256"
}

TEST_F(SafetensorsTest, CutShortAtEveryLength) {
  write_safetensors(path, sample());
  const auto good = read_bytes(path);
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_TRUE(says(refusal_of(good.substr(0, length)), path.string())) << length;
  }
  EXPECT_TRUE(says(refusal_of(good + "x"), "1 bytes follow the last tensor"));
}

TEST_F(SafetensorsTest, MissingFilesAndFolders) {
  EXPECT_TRUE(says(refusal([&] { read_safetensors(folder / "none"); }), "cannot be read"));
  EXPECT_TRUE(says(refusal([&] { read_safetensors(folder / ""); }), "cannot be read"));
}

TEST_F(SafetensorsTest, HeadersThatLie) {
  const std::string payload(24, 'x');
  const auto one = [&](const json& value) {
    return refusal_of(file_of(json{{"x", value}}.dump(), payload));
  };
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  EXPECT_TRUE(says(one(entry("F32", {2, 4}, 0, 32)), "outside the 24 bytes"));
  EXPECT_TRUE(says(one(entry("F32", {2, 3}, 8, 32)), "outside the 24 bytes"));
  EXPECT_TRUE(says(one(entry("F32", {2, 3}, kHuge - 23, kHuge)), "outside"));
  EXPECT_TRUE(says(one(entry("F32", {2, 3}, 24, 0)), "outside"));
  EXPECT_TRUE(says(one(entry("F32", {2, 2}, 0, 24)), "needs 16 bytes"));
  EXPECT_TRUE(says(one(entry("F64", {2, 3}, 0, 24)), "needs 48 bytes"));
  EXPECT_TRUE(says(one(entry("F32", {2}, 0, 8)), "16 bytes follow"));
  EXPECT_TRUE(says(one(entry("F32", {4}, 8, 24)), "begins at byte 8"));
  EXPECT_TRUE(says(one(entry("F8", {24}, 0, 24)), "dtype \"F8\" is not supported", "BF16"));
  EXPECT_TRUE(says(one(entry("F32", {kHuge, 1}, 0, 24)), "overflows"));
  EXPECT_TRUE(says(one(entry("F32", {1ULL << 32, 1ULL << 32}, 0, 24)), "overflows"));
  EXPECT_TRUE(says(one(entry("F32", {0, 1ULL << 62, 1ULL << 62}, 0, 0)), "overflows"));
  EXPECT_TRUE(says(one(entry("F32", std::vector<uint64_t>(40, 1), 0, 24)), "shape must be"));
  EXPECT_TRUE(
      says(one({{"dtype", "F32"}, {"shape", {-1}}, {"data_offsets", {0, 24}}}), "shape must be"));
  EXPECT_TRUE(
      says(one({{"dtype", "F32"}, {"shape", "6"}, {"data_offsets", {0, 24}}}), "shape must be"));
  EXPECT_TRUE(says(one({{"dtype", "F32"}, {"shape", {6}}, {"data_offsets", {0.0, 24}}}),
                   "two byte counts"));
  EXPECT_TRUE(says(one({{"dtype", 5}, {"shape", {6}}, {"data_offsets", {0, 24}}}),
                   "dtype 5 is not supported"));
  EXPECT_TRUE(says(one({{"dtype", "F32"}, {"shape", {6}}}), "needs dtype"));
  EXPECT_TRUE(says(one("text"), "needs dtype"));
}

TEST_F(SafetensorsTest, OverlappingTensors) {
  const json header = {{"a", entry("F32", {4}, 0, 16)}, {"b", entry("F32", {4}, 8, 24)}};
  EXPECT_TRUE(says(refusal_of(file_of(header.dump(), std::string(24, 'x'))),
                   "tensor 'b' begins at byte 8 of the data, expected 16"));
  const json twice = {{"a", entry("F32", {4}, 0, 16)}, {"b", entry("F32", {4}, 0, 16)}};
  EXPECT_TRUE(says(refusal_of(file_of(twice.dump(), std::string(16, 'x'))), "expected 16"));
}

TEST_F(SafetensorsTest, NotASafetensorsFile) {
  EXPECT_TRUE(says(refusal_of(""), "cut short"));
  EXPECT_TRUE(says(refusal_of("a text file of some length"), "past the end of the file"));
  EXPECT_TRUE(says(refusal_of(file_of("[1, 2]", "")), "not a JSON object"));
  EXPECT_TRUE(says(refusal_of(file_of("{\"a\": ", "")), "not a JSON object"));
  EXPECT_TRUE(says(refusal_of(file_of("{\"\xff\": 1}", "")), "not a JSON object"));
  EXPECT_TRUE(says(refusal_of(file_of(std::string(200'000, '['), "")), "not a JSON object"));
  for (const char* metadata : {"5", "null", "\"text\"", "[\"a\"]"}) {
    EXPECT_TRUE(says(refusal_of(file_of(std::string("{\"__metadata__\": ") + metadata + "}", "")),
                     "__metadata__ is", "not an object"));
  }
  for (const char* metadata : {"{}", "{\"a\": 1}"}) {
    write_bytes(path, file_of(std::string("{\"__metadata__\": ") + metadata + "}", ""));
    EXPECT_TRUE(read_safetensors(path).metadata.empty()) << metadata;
  }
}

// Mutations of a good file: bytes set, inserted, removed, runs copied elsewhere, numbers replaced.
TEST_F(SafetensorsTest, RandomDamageNeverCrashes) {
  write_safetensors(path, sample(), {{"format", "pt"}});
  const auto good = read_bytes(path);
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  const std::vector<std::string> pieces = {"18446744073709551615",
                                           "9223372036854775807",
                                           "4294967296",
                                           "-1",
                                           "1e999",
                                           "0",
                                           "{}",
                                           "[]",
                                           "null",
                                           "\"F32\"",
                                           "\"BOOL\"",
                                           "\\u0000",
                                           "\xff"};
  int refused = 0;
  constexpr int kMutations = 4000;
  for (int i = 0; i < kMutations; ++i) {
    auto bytes = good;
    for (size_t edits = 1 + below(3); edits > 0 && !bytes.empty(); --edits) {
      const size_t at = below(bytes.size());
      switch (below(5)) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.insert(at, 1, static_cast<char>(random()));
          break;
        case 2:
          bytes.erase(at, 1 + below(8));
          break;
        case 3:
          bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(40)));
          break;
        default: {
          const auto& piece = pieces[below(pieces.size())];
          bytes.replace(at, piece.size(), piece);
          // Half of these keep the header's length true, so that the parser goes further.
          if (below(2) == 0) break;
          const uint64_t header = std::min<uint64_t>(bytes.size(), 8 + below(600)) - 8;
          std::memcpy(bytes.data(), &header, sizeof(header));
        }
      }
    }
    if (refusal_of(bytes) != "no error") ++refused;
  }
  EXPECT_GT(refused, kMutations * 9 / 10);
}

TEST_F(SafetensorsTest, TokensAreChecked) {
  write_safetensors(path, {{"tokens", ramp({2, 4}, at::kLong)}});
  EXPECT_TRUE(at::equal(read_tokens(path, 2, 8), ramp({2, 4}, at::kLong)));
  EXPECT_TRUE(says(refusal([&] { read_tokens(path, 2, 6); }),
                   "token 6 at row 1, position 2 is outside the vocabulary [0, 6)"));
  EXPECT_TRUE(says(refusal([&] { read_tokens(path, 3, 8); }), "3 dimensions"));
  write_safetensors(path, {{"tokens", ramp({2, 4}, at::kLong) - 1}});
  EXPECT_TRUE(says(refusal([&] { read_tokens(path, 2, 8); }), "token -1 at row 0"));
  write_safetensors(path, {{"tokens", ramp({2, 4}, at::kInt)}});
  EXPECT_TRUE(says(refusal([&] { read_tokens(path, 2, 8); }), "int64"));
  write_safetensors(path, {{"tokens", at::empty({0, 4}, at::TensorOptions(at::kLong))}});
  EXPECT_TRUE(says(refusal([&] { read_tokens(path, 2, 8); }), "non-empty"));
  write_safetensors(path, {{"token", ramp({2, 4}, at::kLong)}});
  EXPECT_TRUE(says(refusal([&] { read_tokens(path, 2, 8); }), "'tokens' is missing"));
}

}  // namespace
}  // namespace oasis
