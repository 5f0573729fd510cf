#include "suites/commands/generate_command.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "baselines/checkpoint.h"
#include "datasets/test_support.h"
#include "datasets/tokenizer.h"
#include "models/initialization.h"
#include "results/store.h"
#include "suites/commands/gsm8k_command.h"
#include "support/error.h"

namespace oasis {
namespace {

using nlohmann::json;

// A tiny byte-level model in a checkpoint folder, with its tokenizer.
class GenerateCommand : public testing::Test {
 protected:
  GenerateCommand() {
    setenv("OASIS_DATA_HOME", (folder_ / "home").c_str(), 1);
    setenv("OASIS_CACHE_HOME", (folder_ / "cache").c_str(), 1);
    ModelConfig config;
    config.vocab_size = 257;
    config.hidden_size = 8;
    config.num_hidden_layers = 2;
    config.num_attention_heads = config.num_key_value_heads = 2;
    config.head_dim = 4;
    config.intermediate_size = 12;
    config.max_position_embeddings = 300;
    Decoder model(config, at::TensorOptions(at::kFloat));
    initialize(model, {}, 3);
    for (const auto& [name, parameter] : model.parameters()) {
      if (parameter.dim() == 2) parameter.mul_(8);  // so that texts are not all one byte
    }
    save_checkpoint(model, folder_ / "model");
    byte_tokenizer()->save(folder_ / "model");
  }

  // What is printed to stdout; {model} and {out} are in the folder. Errors pass.
  std::string run(std::string line) const {
    for (const std::string name : {"model", "out", "prompts"}) {
      const auto place = "{" + name + "}";
      for (auto at = line.find(place); at != std::string::npos; at = line.find(place)) {
        line.replace(at, place.size(), (folder_ / name).string());
      }
    }
    CLI::App app;
    add_generate_command(app);
    add_gsm8k_command(app);
    testing::internal::CaptureStdout();
    try {
      app.parse(line);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    std::fflush(stdout);
    return testing::internal::GetCapturedStdout();
  }

  static std::vector<json> lines(const std::string& text) {
    std::istringstream stream(text);
    std::vector<json> found;
    for (std::string line; std::getline(stream, line);) found.push_back(json::parse(line));
    return found;
  }

  std::string message(const std::string& line) const {
    try {
      run(line);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kBadInput) << error.what();
      return error.what();
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    ADD_FAILURE() << "no error from " << line;
    return "";
  }

  TestFolder folder_;
};

TEST_F(GenerateCommand, OnePromptIsShownAsItIsMade) {
  const auto text = run("generate {model} --prompt abc --max-new-tokens 20 --device cpu");
  const auto row =
      lines(run("generate {model} --prompt abc --max-new-tokens 20 --device cpu --json"))[0];
  EXPECT_EQ(text, row["text"].get<std::string>() + "\n");
  EXPECT_EQ(row["prompt_tokens"], 3);
  EXPECT_EQ(row["end"], "length");
  EXPECT_EQ(row["tokens"], 20);
}

TEST_F(GenerateCommand, APromptFileGivesALineEachWhateverTheBatch) {
  {
    std::ofstream file(folder_ / "prompts");
    for (const char* prompt : {"one", "and two", "t", ""}) {
      file << json{{"prompt", prompt}}.dump() << "\n";
    }
  }
  const std::string line =
      "generate {model} --prompts {prompts} --max-new-tokens 17 --temperature 0.9 --top-k 40 "
      "--top-p 0.95 --seed 3 --device cpu --batch ";
  const auto found = lines(run(line + "1"));
  ASSERT_EQ(found.size(), 4U);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(found[static_cast<size_t>(i)]["index"], i);
  EXPECT_EQ(lines(run(line + "3")), found);
  // A stop string ends a text, itself left out.
  const std::string whole = found[0]["text"];
  const auto letter = std::find_if(whole.begin() + 1, whole.end(),
                                   [](unsigned char c) { return std::isalnum(c) != 0; });
  ASSERT_NE(letter, whole.end());
  const std::string stop(1, *letter);
  EXPECT_EQ(lines(run(line + "2 --stop " + stop))[0]["text"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(lines(run(line + "2 --stop " + stop))[0]["end"], "stop");
}

TEST_F(GenerateCommand, BadInputIsNamed) {
  EXPECT_NE(message("generate {model}").find("prompt"), std::string::npos);
  EXPECT_NE(message("generate {model} --prompt a --prompts {prompts}").find("prompt"),
            std::string::npos);
  EXPECT_NE(message("generate {out} --prompt a").find("config.json"), std::string::npos);
  EXPECT_NE(message("generate {model} --prompt a --max-new-tokens 300 --device cpu").find("300"),
            std::string::npos);
  EXPECT_NE(message("generate {model} --prompt a --dtype bfloat16 --device cpu").find("bfloat16"),
            std::string::npos);
  EXPECT_NE(message("generate {model} --prompt a --device cpu --stop=").find("stop"),
            std::string::npos);
  std::ofstream(folder_ / "prompts") << "{\"prompt\": 3}\n";
  EXPECT_NE(message("generate {model} --prompts {prompts}").find("line 1"), std::string::npos);
  std::filesystem::remove(folder_ / "model" / kTokenizerFile);
  EXPECT_NE(message("generate {model} --prompt a").find(kTokenizerFile), std::string::npos);
}

TEST_F(GenerateCommand, AnswersAreStoredOnceAndScored) {
  const std::string line =
      "gsm8k generate {model} --dataset word_problems --split valid --shots 0 --limit 5 "
      "--max-new-tokens 12 --device cpu --out {out} --json";
  const auto first = json::parse(run(line + " --batch 2"));
  EXPECT_EQ(first["known"], false);
  ASSERT_EQ(first["metrics"].size(), 4U);
  EXPECT_EQ(first["metrics"][0]["name"], "gsm8k_pass1_strict");
  EXPECT_EQ(first["metrics"][0]["n"], 5);
  const auto again = json::parse(run(line + " --batch 3"));
  EXPECT_EQ(again["known"], true);
  EXPECT_EQ(again["metrics"], first["metrics"]);
  EXPECT_EQ(again["stage"], first["stage"]);

  auto store = Store::open(folder_ / "out" / "results.db", Store::Mode::kReadOnly);
  const auto stage = store.find_stage(first["stage"].get<std::string>());
  ASSERT_TRUE(stage);
  const auto rows = store.generations(stage->id);
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_EQ(store.generation_scores(stage->id).size(), 20U);
  EXPECT_EQ(store.metrics(stage->id).size(), 4U);

  // Another checkpoint, shots or length is another stage.
  const auto shots = json::parse(
      run("gsm8k generate {model} --dataset word_problems --split valid --shots 1 --limit 5 "
          "--max-new-tokens 12 --device cpu --out {out} --json"));
  EXPECT_NE(shots["stage"], first["stage"]);
}

// What a kill left is kept, and only the rest is generated: a text of another origin stays.
TEST_F(GenerateCommand, AnInterruptedStageGoesOn) {
  const std::string line =
      "gsm8k generate {model} --dataset word_problems --split valid --shots 0 --limit 4 "
      "--max-new-tokens 9 --device cpu --json --out ";
  const auto whole = json::parse(run(line + "{out}"));
  auto store = Store::open(folder_ / "out" / "results.db", Store::Mode::kCreate);
  const auto key = whole["stage"].get<std::string>();
  const auto before = store.generations(store.find_stage(key)->id);

  // The same database as a killed process leaves it: the stage running, two texts stored.
  const auto id = store.find_stage(key)->id;
  store.database().exec("DELETE FROM generation_scores");
  store.database().exec("DELETE FROM metrics");
  store.database().exec("DELETE FROM generations WHERE problem IN (1, 3)");
  store.database().exec("UPDATE generations SET text = '#### 7' WHERE problem = 0");
  store.database().exec("UPDATE stages SET state = 'stopped'");
  const auto resumed = json::parse(run(line + "{out}"));
  EXPECT_EQ(resumed["resumed"], 2);
  const auto after = store.generations(id);
  ASSERT_EQ(after.size(), before.size());
  EXPECT_EQ(after[0].text, "#### 7");
  for (size_t i = 1; i < after.size(); ++i) EXPECT_EQ(after[i].text, before[i].text);
  EXPECT_EQ(store.generation_scores(id).size(), 16U);
}

TEST_F(GenerateCommand, BadGsm8kInputIsNamed) {
  EXPECT_NE(message("gsm8k generate {model} --dataset books --out {out}").find("books"),
            std::string::npos);
  EXPECT_NE(message("gsm8k generate {model} --dataset word_problems --split valid --shots 0 "
                    "--max-new-tokens 400 --device cpu --out {out}")
                .find("400"),
            std::string::npos);
  EXPECT_FALSE(message("gsm8k generate {model} --out {out}").empty());  // no gsm8k files here
}

}  // namespace
}  // namespace oasis
