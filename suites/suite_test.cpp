#include "suites/suite.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "suites/embedded_suites.h"
#include "suites/test_names.h"
#include "support/error.h"

namespace oasis {
namespace {

using testing_names::known_names;
using testing_names::small_suite;

Suite parse(const Json& json) {
  return parse_suite(json.dump(), "suites/x.json", known_names());
}

std::string error_of(const std::string& text) {
  try {
    parse_suite(text, "suites/x.json", known_names());
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_status(), 2);
    return error.what();
  }
  return "accepted";
}

// `small_suite()` with one value put in by its JSON pointer.
std::string error_with(const std::string& pointer, const Json& value) {
  Json json = small_suite();
  json[Json::json_pointer(pointer)] = value;
  return error_of(json.dump());
}

TEST(Suite, FillsInThePublishedProtocol) {
  Json json = small_suite();
  json.erase("training");
  const Suite suite = parse(json);
  EXPECT_EQ(suite.training.steps, 100'000);
  EXPECT_EQ(suite.training.warmup_steps, 2000);
  EXPECT_EQ(suite.training.sequences_per_step, 192);
  EXPECT_DOUBLE_EQ(suite.training.learning_rate, 4e-4);
  EXPECT_EQ(suite.quantization.at(0).seed, 6789);
  EXPECT_EQ(suite.evaluation.seed, 5678);
  EXPECT_EQ(suite.methods.at(1).label, "oasis");
}

TEST(Suite, WrittenOutReadsBackTheSame) {
  Json json = small_suite();
  json["methods"][1] = {{"method", "oasis"},
                        {"label", "b8"},
                        {"coupling", 1.5},
                        {"initialization", {{"recency_bias", 8}}}};
  json["initialization"] = {{"recency", "absolute"}};
  const Suite suite = parse(json);
  EXPECT_EQ(suite.methods[1].initialization.recency_bias, 8);
  EXPECT_EQ(suite.methods[1].initialization.recency, "absolute") << "the suite's value is lost";
  EXPECT_EQ(suite.methods[0].initialization.recency_bias, 0);
  const Json written = suite_to_json(suite);
  EXPECT_EQ(suite_to_json(parse(written)), written);
}

TEST(Suite, Gsm8kIsAskedOnlyWhereTheSuiteSaysSo) {
  Json json = small_suite();
  EXPECT_FALSE(parse(json).gsm8k);
  json["gsm8k"] = Json::object();
  const Suite asked = parse(json);
  EXPECT_EQ(asked.gsm8k->dataset.name, "gsm8k");
  EXPECT_EQ(asked.gsm8k->shots, 5);
  EXPECT_EQ(asked.gsm8k->max_new_tokens, 256);
  EXPECT_FALSE(asked.gsm8k->fine_tuning);
  json["gsm8k"] = {{"shots", nullptr}, {"fine_tuning", {{"steps", 100}}}};
  const Suite tuned = parse(json);
  EXPECT_FALSE(tuned.gsm8k->shots);
  EXPECT_EQ(tuned.gsm8k->fine_tuning->steps, 100);
  EXPECT_EQ(tuned.gsm8k->fine_tuning->sequences_per_step, 32);
  const Json written = suite_to_json(tuned);
  EXPECT_EQ(suite_to_json(parse(written)), written);
  EXPECT_NE(error_with("/gsm8k", {{"shots", nullptr}}).find("neither shots nor fine_tuning"),
            std::string::npos);
  EXPECT_NE(error_with("/gsm8k", 5).find("gsm8k: must be an object, not the number 5"),
            std::string::npos);
  EXPECT_NE(error_with("/gsm8k", {{"fine_tuning", {{"step", 5}}}})
                .find("gsm8k.fine_tuning.step: unknown key (did you mean 'steps'?)"),
            std::string::npos);
}

TEST(Suite, AMethodsOwnDefaultsComeFromTheSuiteNotFromTheStruct) {
  Json json = small_suite();
  json["initialization"] = {{"beta_raw", -3}};
  EXPECT_EQ(parse(json).methods[0].initialization.beta_raw, -3);
}

TEST(Suite, UnknownKeySuggestsTheNearest) {
  EXPECT_EQ(error_with("/training/learning_rat", 1e-3),
            "suites/x.json: training.learning_rat: unknown key (did you mean 'learning_rate'?)");
  EXPECT_EQ(error_with("/sed", 1), "suites/x.json: sed: unknown key (did you mean 'seeds'?)");
}

TEST(Suite, MisspeltRequiredKeyIsNamedAsTheMisspelling) {
  Json json = small_suite();
  json["model"] = json["models"];
  json.erase("models");
  EXPECT_EQ(error_of(json.dump()), "suites/x.json: model: unknown key (did you mean 'models'?)");
}

TEST(Suite, MissingRequiredKey) {
  Json json = small_suite();
  json["models"][0].erase("hidden_size");
  EXPECT_NE(error_of(json.dump()).find("suites/x.json: models[0].hidden_size: missing"),
            std::string::npos);
}

TEST(Suite, ACheckpointStandsForTheSizes) {
  Json json = small_suite();
  json["models"][0] = {{"name", "m"}, {"checkpoint", "SmolLM2"}};
  json["methods"] = {{{"method", "attnres"}, {"steps", 0}}, "gated_attention"};
  const Suite suite = parse(json);
  EXPECT_EQ(suite.models[0].checkpoint, "SmolLM2");
  EXPECT_EQ(suite.methods[0].steps, 0);
  EXPECT_EQ(parse(suite_to_json(suite)).models[0].checkpoint, "SmolLM2");
  json["models"][0]["hidden_size"] = 64;
  EXPECT_EQ(error_of(json.dump()),
            "suites/x.json: models[0].hidden_size: comes from the checkpoint 'SmolLM2'; drop it");
  json["models"][0] = {{"checkpoint", ""}};
  EXPECT_NE(error_of(json.dump()).find("models[0].checkpoint: is empty"), std::string::npos);
  EXPECT_NE(error_with("/methods/0", {{"method", "attnres"}, {"steps", 0}})
                .find("methods[0].steps: 0 would evaluate the random weights of model 'm'"),
            std::string::npos);
}

TEST(Suite, WrongType) {
  EXPECT_EQ(error_with("/training/steps", "20"),
            "suites/x.json: training.steps: must be an integer, not the string \"20\"");
  EXPECT_EQ(error_with("/training/steps", 2.5),
            "suites/x.json: training.steps: must be an integer, not the number 2.5");
  EXPECT_EQ(
      error_with("/models/0/tie_word_embeddings", 1),
      "suites/x.json: models[0].tie_word_embeddings: must be true or false, not the number 1");
  EXPECT_EQ(error_with("/methods", "oasis"),
            "suites/x.json: methods: must be a list, not the string \"oasis\"");
  EXPECT_EQ(error_with("/training", Json::array()),
            "suites/x.json: training: must be an object, not a list");
  EXPECT_EQ(error_with("/methods/0", 3),
            "suites/x.json: methods[0]: must be a name or an object, not the number 3");
  EXPECT_EQ(error_of("[]"), "suites/x.json: must be an object, not a list");
}

TEST(Suite, OutOfRange) {
  EXPECT_EQ(error_with("/quantization/0/weight_bits", 1),
            "suites/x.json: quantization[0].weight_bits: must be between 2 and 16, not 1");
  EXPECT_EQ(error_with("/training/learning_rate", 0),
            "suites/x.json: training.learning_rate: must be more than 0 and at most 10, not 0");
  EXPECT_NE(error_with("/training/steps", 18446744073709551615ULL).find("must be between"),
            std::string::npos);
  EXPECT_NE(error_with("/seeds/0", -1).find("seeds[0]: must be between 0"), std::string::npos);
  EXPECT_NE(error_with("/seeds", Json::array()).find("seeds: must have at least one item"),
            std::string::npos);
}

TEST(Suite, UnknownMethodAndDataSetSuggestTheNearest) {
  EXPECT_EQ(error_with("/methods/1", "oassis"),
            "suites/x.json: methods[1]: unknown method 'oassis' (did you mean 'oasis'?)");
  EXPECT_EQ(error_with("/datasets/0", "boks"),
            "suites/x.json: datasets[0]: unknown data set 'boks' (did you mean 'books'?)");
  EXPECT_EQ(error_with("/evaluation/datasets/1", "wikitext2"),
            "suites/x.json: evaluation.datasets[1]: unknown data set 'wikitext2' (did you mean "
            "'wikitext-2'?)");
  EXPECT_NE(error_with("/routing", {{"form", "projecte"}}).find("(did you mean 'projected'?)"),
            std::string::npos);
}

TEST(Suite, HeadsMustDivideTheHiddenSize) {
  EXPECT_EQ(error_with("/models/0/num_attention_heads", 5),
            "suites/x.json: models[0].num_attention_heads: 5 heads do not divide the hidden size "
            "64; change one of them or give head_dim");
  EXPECT_NE(error_with("/models/0/num_key_value_heads", 3).find("do not divide the 4 query heads"),
            std::string::npos);
  Json json = small_suite();
  json["models"][0]["num_attention_heads"] = 5;
  json["models"][0]["head_dim"] = 16;
  EXPECT_EQ(parse(json).models[0].num_attention_heads, 5);
  json["methods"] = {"gated_attention"};
  EXPECT_NE(error_of(json.dump()).find("the attention gate needs"), std::string::npos);
  EXPECT_NE(error_with("/models/0/head_dim", 15).find("is odd"), std::string::npos);
}

TEST(Suite, FieldsThatContradictEachOther) {
  EXPECT_NE(error_with("/training/warmup_steps", 21).find("training.warmup_steps: 21 is more than"),
            std::string::npos);
  EXPECT_NE(error_with("/training/micro_batch", 3).find("training.micro_batch: 3 does not divide"),
            std::string::npos);
  EXPECT_NE(error_with("/methods/0", {{"method", "prenorm"}, {"routing", "projected"}})
                .find("methods[0].routing: 'prenorm' is the plain residual sum"),
            std::string::npos);
  EXPECT_NE(error_with("/routing", {{"form", "block"}}).find("routing.block_count: missing"),
            std::string::npos);
  EXPECT_NE(error_with("/routing", {{"form", "block"}, {"block_count", 3}})
                .find("3 blocks do not divide the 4 sublayers"),
            std::string::npos);
  EXPECT_NE(
      error_with("/datasets/0", {{"name", "books"}, {"tokenizer", {{"type", "sentencepiece"}}}})
          .find("datasets[0].tokenizer.vocab_size: missing"),
      std::string::npos);
  EXPECT_NE(
      error_with("/datasets/0", {{"name", "books"}, {"tokenizer", {{"type", "hugging_face"}}}})
          .find("datasets[0].tokenizer.path: missing"),
      std::string::npos);
  EXPECT_NE(error_with("/datasets/0", {{"name", "books"}, {"tokenizer", {{"path", "x"}}}})
                .find("datasets[0].tokenizer.path: only a hugging_face tokenizer has it"),
            std::string::npos);
  EXPECT_NE(error_with("/name", "../escape").find("name: '../escape' cannot name a file"),
            std::string::npos);
}

TEST(Suite, EqualCellsAreAnError) {
  EXPECT_NE(error_with("/seeds", {1, 1}).find("seeds[1]: the same as seeds[0]"), std::string::npos);
  EXPECT_NE(error_with("/methods/1", "attnres").find("methods[1]: the same as methods[0]"),
            std::string::npos);
  EXPECT_NE(error_with("/methods/1", {{"method", "attnres"}, {"label", "other"}})
                .find("methods[1]: the same as methods[0]"),
            std::string::npos);
  EXPECT_NE(error_with("/datasets/1", "books").find("datasets[1]: the same as datasets[0]"),
            std::string::npos);
  Json json = small_suite();
  json["quantization"].push_back(json["quantization"][0]);
  EXPECT_NE(error_of(json.dump()).find("quantization[1]: the same as quantization[0]"),
            std::string::npos);
}

TEST(Suite, SyntaxErrorsGiveLineAndColumn) {
  EXPECT_NE(error_of("{\n  \"name\": \"x\",\n  \"seeds\": [1,]\n}")
                .find("suites/x.json: line 3, column 15: not valid JSON"),
            std::string::npos)
      << error_of("{\n  \"name\": \"x\",\n  \"seeds\": [1,]\n}");
  EXPECT_NE(error_of("").find("not valid JSON"), std::string::npos);
  EXPECT_NE(error_of("{\"name\": \"\xff\"}").find("not valid JSON"), std::string::npos);
  EXPECT_NE(error_of("{\"steps\": 1e999}").find("not valid JSON"), std::string::npos);
  EXPECT_NE(error_of("{\"name\": \"a\", \"name\": \"b\"}").find("'name' appears twice"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(100'000, '[')).find("nested more than"), std::string::npos);
}

TEST(Suite, EvaluatedNameTakesTheSuitesOwnDefinition) {
  Json json = small_suite();
  json["datasets"][0] = {{"name", "mine"}, {"files", {{"train", {"a.txt"}}, {"valid", {"b.txt"}}}}};
  json["evaluation"]["datasets"] = {"mine"};
  EXPECT_EQ(parse(json).evaluation.datasets.at(0).files.valid.at(0), "b.txt");
}

std::string committed(const std::string& path) {
  std::ifstream file(OASIS_SOURCE_FOLDER "/" + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(SuiteSchema, CommittedFilesAreTheGeneratedOnes) {
  EXPECT_TRUE(committed("suites/suite.schema.json") == suite_schema().dump(2) + "\n")
      << "run: build/oasis suite-schema > suites/suite.schema.json";
  EXPECT_TRUE(committed("docs/suite-fields.md") == suite_reference())
      << "run: build/oasis suite-schema --markdown > docs/suite-fields.md";
}

TEST(SuiteSchema, DescribesEveryField) {
  const Json schema = suite_schema();
  const Json& training = schema["properties"]["training"];
  EXPECT_EQ(training["properties"]["learning_rate"]["default"], 4e-4);
  EXPECT_EQ(training["additionalProperties"], false);
  EXPECT_EQ(schema["required"], Json({"name", "datasets", "models", "methods"}));
  EXPECT_NE(suite_reference().find("| `quantization[].weight_bits` |"), std::string::npos);
}

TEST(EmbeddedSuites, AreValid) {
  ASSERT_FALSE(embedded_suites().empty());
  for (const EmbeddedSuite& suite : embedded_suites()) {
    const SuiteFile file = load_suite_file(std::string(suite.name));
    EXPECT_EQ(parse_suite(file.text, file.source, known_names()).name, suite.name);
  }
}

TEST(SuiteFile, UnknownNameSuggestsAnEmbeddedOne) {
  try {
    load_suite_file("smok");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_status(), 2);
    EXPECT_NE(std::string(error.what()).find("did you mean 'smoke'?"), std::string::npos);
  }
  EXPECT_THROW(load_suite_file("/nonexistent/x.json"), Error);
  EXPECT_THROW(load_suite_file("/"), Error);
}

}  // namespace
}  // namespace oasis
