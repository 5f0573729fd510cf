#include "suites/commands/data_command.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "datasets/hugging_face/test_tokenizer.h"
#include "datasets/registry.h"
#include "datasets/shards.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

class DataCommand : public testing::Test {
 protected:
  DataCommand() {
    setenv("OASIS_DATA_HOME", (folder_ / "home").c_str(), 1);
    setenv("OASIS_CACHE_HOME", (folder_ / "cache").c_str(), 1);
  }

  // What is printed to stdout.
  static std::string run(const std::string& arguments) {
    CLI::App app;
    add_data_command(app);
    testing::internal::CaptureStdout();
    try {
      app.parse("data " + arguments);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    std::fflush(stdout);
    return testing::internal::GetCapturedStdout();
  }

  static nlohmann::json run_json(const std::string& arguments) {
    return nlohmann::json::parse(run(arguments + " --json"));
  }

  TestFolder folder_;
};

TEST_F(DataCommand, ListKnowsEveryDataSetWithOriginAndLicence) {
  const auto text = run("list");
  const auto json = run_json("list");
  ASSERT_EQ(json["datasets"].size(), dataset_registry().size());
  EXPECT_EQ(json["data_home"], (folder_ / "home").string());
  for (const auto& entry : dataset_registry()) {
    EXPECT_TRUE(contains(text, entry.description.name));
    EXPECT_TRUE(contains(text, entry.licence));
  }
}

TEST_F(DataCommand, ListNamesTheConversionOfParquetFiles) {
  const auto command =
      "scripts/parquet_to_jsonl.py \"" + (folder_ / "home").string() + "\"/wiki40b/*.parquet";
  EXPECT_TRUE(contains(run("list"), command));
  const auto listed = run_json("list");
  for (const auto& entry : listed["datasets"]) {
    if (entry["name"] == "bookcorpus_and_wiki") {
      EXPECT_TRUE(contains(entry["note"].get<std::string>(), command));
    }
  }
}

TEST_F(DataCommand, TokenizeGivesTheSidecarAndItsFolder) {
  const auto made = run_json("tokenize word_problems --split valid");
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(made[0]["documents"], 1000);
  EXPECT_EQ(made[0]["vocab_size"], 257);
  EXPECT_TRUE(std::filesystem::exists(made[0]["folder"].get<std::string>() + "/split.json"));
  EXPECT_TRUE(contains(run("tokenize word_problems --split valid"), "1000 documents"));
}

TEST_F(DataCommand, TokenizeTakesAHuggingFaceTokenizer) {
  write_text(folder_ / "tok/tokenizer.json", small_tokenizer().dump());
  const auto command = "tokenize word_problems --split valid --tokenizer hugging_face";
  const auto made = run_json(command + (" --tokenizer-path " + (folder_ / "tok").string()));
  EXPECT_EQ(made[0]["vocab_size"], 264);
  EXPECT_EQ(made[0]["end_of_text"], 263);
  EXPECT_TRUE(contains(message_of([&] { run(command); }), "--tokenizer-path: missing"));
}

TEST_F(DataCommand, VerifyNamesEachDamagedFileAndEndsWithTwo) {
  write_text(folder_ / "home/gsm8k/test.jsonl", "{\"text\": \"not the real one\"}\n");
  const auto made = run_json("tokenize word_problems --split valid");
  const auto shard = made[0]["folder"].get<std::string>() + "/" + shard_name(0);
  auto bytes = read_text(shard);
  bytes[10] ^= 1;
  write_text(shard, bytes);
  const auto message = message_of([] { run("verify"); });
  EXPECT_TRUE(contains(message, "3 of 3 damaged or missing"));
  EXPECT_TRUE(contains(message, (folder_ / "home/gsm8k/train.jsonl").string()));
  EXPECT_TRUE(contains(message, (folder_ / "home/gsm8k/test.jsonl").string()));
  EXPECT_TRUE(contains(message, made[0]["folder"].get<std::string>()));
  EXPECT_TRUE(contains(message_of([] { run("verify gsm8k"); }), "2 of 2 damaged or missing"));
}

TEST_F(DataCommand, MistakesEndWithTwoAndSayWhatToDo) {
  EXPECT_TRUE(contains(message_of([] { run("verify"); }), "holds no file of a known data set"));
  EXPECT_TRUE(contains(message_of([] { run("fetch gsm9k"); }), "did you mean 'gsm8k'?"));
  EXPECT_TRUE(contains(message_of([] { run("fetch specs"); }), "cannot be fetched"));
  EXPECT_TRUE(contains(message_of([] { run("tokenize books"); }), "--data-home"));
  EXPECT_TRUE(contains(message_of([] { run("tokenize word_problems --split dev"); }), "'dev'"));
  EXPECT_TRUE(contains(message_of([] { run("tokenize word_problems --tokenizer bpe"); }),
                       "unknown tokenizer 'bpe'"));
  EXPECT_TRUE(contains(
      message_of([] { run("tokenize word_problems --tokenizer sentencepiece --vocab-size 3"); }),
      "--tokenizer.vocab_size: must be from 259"));
}

}  // namespace
}  // namespace oasis
