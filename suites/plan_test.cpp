#include "suites/plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "suites/test_names.h"
#include "support/error.h"

namespace oasis {
namespace {

using testing_names::known_names;
using testing_names::small_suite;

SuiteData small_data() {
  const SplitIdentity train{"aaaa", 10'000, 40'000, 300};
  const SplitIdentity books{"bbbb", 5'000, 20'000, 300};
  const SplitIdentity wiki{"cccc", 6'000, 24'000, 300};
  return {{{"books", {train, {{"books", books}, {"wikitext-2", wiki}}}}}};
}

Plan plan_of(const Json& json, const SuiteData& data = small_data(), const RunDevice& device = {}) {
  const Suite suite = parse_suite(json.dump(), "x.json", known_names());
  return make_plan(suite, data, device, known_names(), "x.json");
}

Plan changed(const std::string& pointer, const Json& value) {
  Json json = small_suite();
  json[Json::json_pointer(pointer)] = value;
  return plan_of(json);
}

TEST(Plan, ExpandsToCellsAndStages) {
  const Plan plan = plan_of(small_suite());
  ASSERT_EQ(plan.cells.size(), 4u);
  EXPECT_EQ(plan.cells[1].name, "oasis/books/m/0");
  std::vector<std::string> stages;
  for (const Stage& stage : plan.cells[0].stages) stages.push_back(stage.description());
  EXPECT_EQ(stages,
            (std::vector<std::string>{"pretrain books", "evaluate books", "evaluate wikitext-2",
                                      "evaluate books W8A8", "evaluate wikitext-2 W8A8"}));
  std::set<std::string> keys;
  for (const Cell& cell : plan.cells) {
    for (const Stage& stage : cell.stages) keys.insert(stage.key);
  }
  EXPECT_EQ(keys.size(), 20u) << "two stages share a key";
  EXPECT_EQ(plan.cells[0].stages[3].parent_key, plan.cells[0].pretrain().key);
}

TEST(Plan, ConfigIsHuggingFacesWithTheMethodResolved) {
  Json json = small_suite();
  json["methods"][0] = "clipped_softmax";
  json["routing"] = {{"form", "block"}, {"block_count", 2}};
  const Plan plan = plan_of(json);
  const Json& config = plan.cells[0].model_config;
  EXPECT_EQ(config["vocab_size"], 300);
  EXPECT_EQ(config["head_dim"], 16);
  EXPECT_EQ(config["oasis"]["clip_gamma"], -12.0 / 32);
  EXPECT_EQ(config["oasis"]["block_count"], 2);
  EXPECT_EQ(plan.cells[1].model_config["oasis"]["coupling"], "learned");
  EXPECT_FALSE(plan.cells[1].model_config["oasis"].contains("clip_gamma"));
}

struct KeyCase {
  const char* pointer;
  Json value;
  bool pretrain;   // the pretraining's key changes
  bool evaluate;   // the full-precision evaluation's
  bool quantized;  // the quantized evaluation's
};

void PrintTo(const KeyCase& c, std::ostream* out) {
  *out << c.pointer << " = " << c.value;
}

class PlanKeys : public ::testing::TestWithParam<KeyCase> {};

TEST_P(PlanKeys, ChangeWithWhatDeterminesTheFiguresAndNothingElse) {
  const Plan before = plan_of(small_suite());
  const Plan after = changed(GetParam().pointer, GetParam().value);
  const auto& a = before.cells[1].stages;
  const auto& b = after.cells[1].stages;
  EXPECT_EQ(a[0].key != b[0].key, GetParam().pretrain);
  EXPECT_EQ(a[1].key != b[1].key, GetParam().evaluate);
  EXPECT_EQ(a[3].key != b[3].key, GetParam().quantized);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, PlanKeys,
    ::testing::Values(
        KeyCase{"/training/learning_rate", 1e-3, true, true, true},
        KeyCase{"/training/steps", 21, true, true, true},
        KeyCase{"/training/micro_batch", 2, true, true, true},
        KeyCase{"/training/router_clip", 1.0, true, true, true},
        KeyCase{"/models/0/rope_theta", 5e5, true, true, true},
        KeyCase{"/models/0/model_type", "qwen3", true, true, true},
        KeyCase{"/initialization", {{"beta_raw", -4}}, true, true, true},
        KeyCase{"/routing", {{"form", "projected"}}, true, true, true},
        KeyCase{"/methods/1", {{"method", "oasis"}, {"coupling", 1.0}}, true, true, true},
        KeyCase{"/evaluation/sequences", 3, false, true, true},
        KeyCase{"/evaluation/block_length", 16, false, true, true},
        KeyCase{"/evaluation/seed", 1, false, true, false},
        KeyCase{"/quantization/0/percentile", 99.9, false, false, true},
        KeyCase{"/quantization/0/calibration_batch_size", 4, false, false, true},
        KeyCase{"/quantization/0/points", "all_inputs", false, false, true},
        KeyCase{"/quantization/0/site_cost_tokens", 64, false, false, true},
        KeyCase{"/name", "renamed", false, false, false},
        KeyCase{"/description", "said otherwise", false, false, false},
        KeyCase{"/models/0/name", "other", false, false, false},
        KeyCase{"/methods/1", {{"method", "oasis"}, {"label", "ours"}}, false, false, false},
        KeyCase{"/training/checkpoint_every", 7, false, false, false},
        KeyCase{"/training/log_every", 3, false, false, false},
        KeyCase{"/training/activation_checkpointing", true, false, false, false},
        KeyCase{"/training/cuda_graph", false, false, false, false},
        KeyCase{"/training/deterministic", true, false, false, false},  // on a CPU
        KeyCase{"/training/micro_batch", 4, false, false, false},  // all at once, as by default
        KeyCase{"/initialization", {{"recency_bias", 8}}, false, false, false},  // projected only
        KeyCase{"/methods/0", "prenorm", false, false, false}));

TEST(PlanKeys, DependOnDataAndDevice) {
  const Plan before = plan_of(small_suite());
  SuiteData other_train = small_data();
  other_train.by_dataset["books"].train.sha256 = "dddd";
  EXPECT_NE(plan_of(small_suite(), other_train).cells[0].stages[0].key,
            before.cells[0].stages[0].key);
  SuiteData other_wiki = small_data();
  other_wiki.by_dataset["books"].evaluated["wikitext-2"].sha256 = "dddd";
  const Plan after = plan_of(small_suite(), other_wiki);
  EXPECT_EQ(after.cells[0].stages[0].key, before.cells[0].stages[0].key);
  EXPECT_EQ(after.cells[0].stages[1].key, before.cells[0].stages[1].key);
  EXPECT_NE(after.cells[0].stages[2].key, before.cells[0].stages[2].key);
  const Plan cuda = plan_of(small_suite(), small_data(), {"cuda", "bfloat16"});
  EXPECT_NE(cuda.cells[0].stages[0].key, before.cells[0].stages[0].key);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_status(), 2);
    return error.what();
  }
  return "accepted";
}

TEST(Plan, BlockLongerThanTheData) {
  SuiteData data = small_data();
  data.by_dataset["books"].evaluated["wikitext-2"].tokens = 31;
  EXPECT_EQ(error_of([&] { plan_of(small_suite(), data); }),
            "x.json: evaluation.block_length: a block of 32 tokens is longer than the data: split "
            "'valid' of 'wikitext-2' has 31 tokens; shorten the block or use more data");
  data = small_data();
  data.by_dataset["books"].train.tokens = 31;
  EXPECT_NE(error_of([&] { plan_of(small_suite(), data); }).find("x.json: training.block_length"),
            std::string::npos);
}

class PlanOfACheckpoint : public ::testing::Test {
 protected:
  PlanOfACheckpoint() {
    json = small_suite();
    json["models"][0] = {{"name", "m"}, {"checkpoint", "here"}};
    json["routing"] = {{"form", "projected"}};
    json["methods"] = {"prenorm", {{"method", "oasis"}, {"steps", 1}}};
    data.checkpoints["m"] = {.sha256 = "eeee",
                             .folder = "/somewhere/here",
                             .config = {{"vocab_size", 301}, {"rope_theta", 1e5}}};
  }
  Json json;
  SuiteData data = small_data();
};

TEST_F(PlanOfACheckpoint, GoesOnWithItsConfigurationUnderTheMethod) {
  const Plan plan = plan_of(json, data);
  const Cell& cell = plan.cells[1];
  EXPECT_EQ(cell.checkpoint, "/somewhere/here");
  EXPECT_EQ(cell.model_config["vocab_size"], 301);
  EXPECT_EQ(cell.model_config["rope_theta"], 1e5);
  EXPECT_EQ(cell.model_config["oasis"]["token_normalizer"], "softmax1");
  EXPECT_EQ(cell.pretrain().config["training"]["steps"], 1);
  EXPECT_EQ(cell.pretrain().config["training"]["warmup_steps"], 1);
  EXPECT_EQ(plan.cells[0].pretrain().config["training"]["steps"], 20);
}

TEST_F(PlanOfACheckpoint, KeysDependOnItsHashNotOnItsFolder) {
  const Plan before = plan_of(json, data);
  SuiteData moved = data;
  moved.checkpoints["m"].folder = "/elsewhere";
  json["models"][0]["checkpoint"] = "/elsewhere";
  EXPECT_EQ(plan_of(json, moved).cells[1].pretrain().key, before.cells[1].pretrain().key);
  SuiteData other = data;
  other.checkpoints["m"].sha256 = "ffff";
  const Plan after = plan_of(json, other);
  for (std::size_t i = 0; i < before.cells[1].stages.size(); ++i) {
    EXPECT_NE(after.cells[1].stages[i].key, before.cells[1].stages[i].key) << i;
  }
  json["initialization"] = {{"recency_bias", 8}};
  const Plan biased = plan_of(json, data);
  EXPECT_EQ(biased.cells[0].pretrain().key, before.cells[0].pretrain().key);
  EXPECT_NE(biased.cells[1].pretrain().key, before.cells[1].pretrain().key);
}

TEST_F(PlanOfACheckpoint, RefusesATokenizerWithMoreIds) {
  data.checkpoints["m"].config["vocab_size"] = 299;
  EXPECT_NE(
      error_of([&] { plan_of(json, data); }).find("has 299 ids, the tokenizer of the data 300"),
      std::string::npos);
}

TEST(Plan, MethodsThatComeToTheSameAreAnError) {
  Json json = small_suite();
  json["methods"] = {"oasis_no_coupling", {{"method", "oasis"}, {"coupling", "none"}}};
  EXPECT_NE(error_of([&] { plan_of(json); }).find("are the same computation"), std::string::npos);
}

class PlanOfGsm8k : public ::testing::Test {
 protected:
  PlanOfGsm8k() {
    json["gsm8k"] = {{"problems", 3},
                     {"max_new_tokens", 16},
                     {"fine_tuning", {{"steps", 5}, {"warmup_steps", 1}}}};
    data.by_dataset["books"].gsm8k = {.tokenizer = "tttt",
                                      .problems = 3,
                                      .few_shot = {"5555", 100},
                                      .zero_shot = {"0000", 50},
                                      .training_sha256 = "eeee",
                                      .example_tokens = 20};
  }
  std::vector<Stage> stages() const { return plan_of(json, data).cells[1].stages; }
  std::vector<std::string> keys() const {
    std::vector<std::string> result;
    for (const Stage& stage : stages()) result.push_back(stage.key);
    return result;
  }

  // The stages whose keys differ from those of `before`.
  std::set<std::size_t> changed_since(const std::vector<std::string>& before) const {
    const auto now = keys();
    EXPECT_EQ(now.size(), before.size());
    std::set<std::size_t> changed;
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (now[i] != before[i]) changed.insert(i);
    }
    return changed;
  }

  Json json = small_suite();
  SuiteData data = small_data();
};

TEST_F(PlanOfGsm8k, AsksBeforeAndAfterFineTuningUnderEverySetting) {
  const auto stages = this->stages();
  std::vector<std::string> descriptions;
  for (const Stage& stage : stages) descriptions.push_back(stage.description());
  EXPECT_EQ(descriptions,
            (std::vector<std::string>{"pretrain books", "evaluate books", "evaluate wikitext-2",
                                      "answer gsm8k 5-shot", "evaluate books W8A8",
                                      "evaluate wikitext-2 W8A8", "answer gsm8k 5-shot W8A8",
                                      "finetune gsm8k", "answer gsm8k 0-shot after fine-tuning",
                                      "answer gsm8k 0-shot after fine-tuning W8A8"}));
  for (const std::size_t i : {3, 6, 7}) EXPECT_EQ(stages[i].parent_key, stages[0].key) << i;
  for (const std::size_t i : {8, 9}) EXPECT_EQ(stages[i].parent_key, stages[7].key) << i;
  json["gsm8k"]["shots"] = nullptr;
  EXPECT_EQ(this->stages().size(), 8u);
  json["gsm8k"]["fine_tuning"] = nullptr;
  json["gsm8k"]["shots"] = 5;
  EXPECT_EQ(this->stages().size(), 7u);
}

TEST_F(PlanOfGsm8k, TheOtherStagesKeepTheirKeys) {
  const auto with = stages();
  json.erase("gsm8k");
  const auto without = stages();
  std::set<std::string> keys;
  for (const Stage& stage : with) keys.insert(stage.key);
  for (const Stage& stage : without) EXPECT_TRUE(keys.contains(stage.key)) << stage.description();
}

TEST_F(PlanOfGsm8k, KeysChangeWithWhatDeterminesTheAnswersAndNothingElse) {
  using Set = std::set<std::size_t>;
  const auto before = keys();
  const auto after = [&](const std::string& pointer, const Json& value) {
    Json old = json;
    json["gsm8k"][Json::json_pointer(pointer)] = value;
    const auto changed = changed_since(before);
    json = std::move(old);
    return changed;
  };
  EXPECT_EQ(after("/max_new_tokens", 17), (Set{3, 6, 8, 9}));
  EXPECT_EQ(after("/shots", 4), (Set{3, 6}));
  EXPECT_EQ(after("/batch_size", 2), Set{});
  EXPECT_EQ(after("/fine_tuning/steps", 6), (Set{7, 8, 9}));
  EXPECT_EQ(after("/fine_tuning/learning_rate", 0.1), (Set{7, 8, 9}));
  EXPECT_EQ(after("/fine_tuning/max_length", 31), (Set{7, 8, 9}));
  EXPECT_EQ(after("/fine_tuning/max_length", 32), Set{}) << "as in training, by default";
  EXPECT_EQ(after("/fine_tuning/checkpoint_every", 2), Set{});
  EXPECT_EQ(after("/fine_tuning/micro_batch", 32), Set{}) << "all at once, by default";
  auto& problems = data.by_dataset["books"].gsm8k;
  problems.few_shot.sha256 = "changed";
  EXPECT_EQ(changed_since(before), (Set{3, 6}));
  problems.few_shot.sha256 = "5555";
  problems.zero_shot.sha256 = "changed";
  EXPECT_EQ(changed_since(before), (Set{8, 9}));
  problems.zero_shot.sha256 = "0000";
  problems.training_sha256 = "changed";
  EXPECT_EQ(changed_since(before), (Set{7, 8, 9}));
  problems.training_sha256 = "eeee";
  problems.tokenizer = "changed";
  EXPECT_EQ(changed_since(before), (Set{3, 6, 7, 8, 9}));
}

std::vector<std::string> names(const std::vector<Cell>& cells) {
  std::vector<std::string> result;
  for (const Cell& cell : cells) result.push_back(cell.name);
  return result;
}

TEST(Selection, ByGlobSeedAndShard) {
  const Plan plan = plan_of(small_suite());
  EXPECT_EQ(names(select_cells(plan, {.only = "oasis*"})),
            (std::vector<std::string>{"oasis/books/m/0", "oasis/books/m/1"}));
  EXPECT_EQ(names(select_cells(plan, {.only = "*/1", .seeds = {1}})),
            (std::vector<std::string>{"attnres/books/m/1", "oasis/books/m/1"}));
  EXPECT_EQ(select_cells(plan, {.only = "attnres,oasis"}).size(), 4u);
  Selection shard;
  std::set<std::string> seen;
  for (const char* text : {"1/3", "2/3", "3/3"}) {
    parse_shard(text, shard);
    for (const auto& name : names(select_cells(plan, shard))) {
      EXPECT_TRUE(seen.insert(name).second) << name << " is in two shards";
    }
  }
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_EQ(parse_seeds("0,2-4"), (std::vector<std::int64_t>{0, 2, 3, 4}));
}

TEST(Selection, BadInput) {
  const Plan plan = plan_of(small_suite());
  Selection selection;
  for (const char* text : {"0/2", "3/2", "1", "a/b", "1/2/3", "1/0", "-1/2", "1/2x"}) {
    EXPECT_NE(error_of([&] { parse_shard(text, selection); }), "accepted") << text;
  }
  for (const char* text : {"", "x", "1-", "3-1", "1,,2", "-1"}) {
    EXPECT_NE(error_of([&] { parse_seeds(text); }), "accepted") << text;
  }
  EXPECT_NE(error_of([&] { select_cells(plan, {.only = "oassis"}); }).find("matches no cell"),
            std::string::npos);
  EXPECT_NE(error_of([&] { select_cells(plan, {.seeds = {7}}); }).find("7 is not a seed"),
            std::string::npos);
}

TEST(Plan, SettingsFromBeforeAFieldKeepTheirKeys) {
  const auto published = key_json({});
  for (const char* later :
       {"site_cost_tokens", "weight_range", "weight_grain", "activation_range"}) {
    EXPECT_FALSE(published.contains(later)) << later;
  }
  QuantizationSpec finer;
  finer.weight_grain = "row";
  EXPECT_EQ(key_json(finer)["weight_grain"], "row");
  EXPECT_EQ(setting_name(finer), "W8A8, weights min_max per row");
  EXPECT_EQ(setting_name({}), "W8A8");
}

}  // namespace
}  // namespace oasis
