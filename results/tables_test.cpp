#include "results/tables.h"

#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "results/test_support.h"

namespace oasis {
namespace {

class Tables : public ::testing::Test {
 protected:
  std::string render(const TableRequest& request) {
    const auto store = Store::open(path_, Store::Mode::kReadOnly);
    return render_tables(store, request);
  }
  void write_sample() {
    auto store = Store::open(path_, Store::Mode::kCreate);
    write_sample_results(store);
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "r.db";
};

TEST_F(Tables, PerplexityGolden) {
  write_sample();
  EXPECT_EQ(render({.names = {"perplexity"}, .suite = "sample"}),
            R"(## sample

Suite sample (976cd2d13306) · source 0123456789ab · cpu float32 · database r.db

### Perplexity at full precision

Mean ± sample standard deviation over seeds. Less is better; the least mean is bold, the second in italics, which is no test of significance.

**Model tiny trained on books** · n per seed: wikitext-2 perplexity 4,096; wikitext-2 bits/byte 16,384

| Method    | wikitext-2 perplexity | wikitext-2 bits/byte |  seeds |
| --------- | --------------------: | -------------------: | -----: |
| attnres   |       **105.0 ± 7.1** |    **1.641 ± 0.110** |      2 |
| oasis     |           125.0 ± 7.1 |        1.953 ± 0.110 |      2 |
| sparsemax |            failed [1] |           failed [1] | 0 of 1 |
| softmax1  |               not run |              not run | 0 of 1 |

[1] sparsemax: seed 1, pretrain at step 17: the loss is not a number

)");
}

TEST_F(Tables, OutliersGolden) {
  write_sample();
  const std::string text = render({.names = {"outliers"}});
  EXPECT_NE(
      text.find(
          R"(**Model tiny trained on books, evaluated on wikitext-2** · n per seed: max inf norm 8; avg kurtosis 8

| Method    |     max inf norm | vs attnres |     avg kurtosis | vs attnres | massive |  seeds |
| --------- | ---------------: | ---------: | ---------------: | ---------: | ------: | -----: |
| attnres   | **52.50 ± 3.54** |          – | **26.25 ± 1.77** |          – |  1 of 2 |      2 |
| oasis     |     62.50 ± 3.54 |    +19.0 % |     31.25 ± 1.77 |    +19.0 % |  1 of 2 |      2 |
)"),
      std::string::npos)
      << text;
}

TEST_F(Tables, QuantizationGolden) {
  write_sample();
  const std::string text = render({.names = {"quantization"}});
  EXPECT_NE(text.find(
                R"(| Method    |  full precision |              W8A8 published | massive |  seeds |
| --------- | --------------: | --------------------------: | ------: | -----: |
| attnres   | **105.0 ± 7.1** | **1.05e6 ± 7.1e4** (×10000) |  1 of 2 |      2 |
| oasis     |     125.0 ± 7.1 |     1.25e6 ± 7.1e4 (×10000) |  1 of 2 |      2 |
| sparsemax |      failed [1] |                  failed [1] |       – | 0 of 1 |
| softmax1  |         not run |                     not run |       – | 0 of 1 |
)"),
            std::string::npos)
      << text;
}

TEST_F(Tables, SinksAndDepthGolden) {
  write_sample();
  const std::string text = render({.names = {"sinks", "depth"}});
  EXPECT_NE(
      text.find(
          R"(| Quantity            | attnres, 2 seeds |  oasis, 2 seeds | sparsemax, 0 of 1 seed | softmax1, 0 of 1 seed |   n |
| ------------------- | ---------------: | --------------: | ---------------------: | --------------------: | --: |
| first-token mass    |  0.2500 ± 0.0000 | 0.2500 ± 0.0000 |             failed [1] |               not run | 512 |
)"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find(R"(evaluated on wikitext-2: weight on the embedding**

| Router     | attnres, 2 seeds |  oasis, 2 seeds | sparsemax, 0 of 1 seed | softmax1, 0 of 1 seed |   n |
| ---------- | ---------------: | --------------: | ---------------------: | --------------------: | --: |
| layer 0 sa |  0.5000 ± 0.0000 | 0.5000 ± 0.0000 |             failed [1] |               not run | 512 |
)"),
            std::string::npos)
      << text;
}

TEST_F(Tables, Gsm8kGolden) {
  {
    auto store = Store::open(path_, Store::Mode::kCreate);
    const auto run = store.begin_run({.machine = "host"});
    const auto suite = store.add_suite("sample", "{}");
    double correct = 0.4;
    for (const std::string method : {"attnres", "oasis"}) {
      for (const std::int64_t seed : {1, 2}) {
        if (method == "attnres" && seed == 2) continue;
        const auto cell = store.add_cell(sample_cell(suite, method, seed));
        auto spec = sample_stage(method + std::to_string(seed), "quantized", "gsm8k");
        spec.weight_bits = spec.activation_bits = 4;
        spec.points = "published";
        const auto stage = store.plan_stage(cell, spec);
        ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
        MetricRow metric{.name = "gsm8k_pass1_flexible", .value = correct, .unit = "1", .n = 200};
        metric.interval = Interval{correct - 0.05, correct + 0.075};
        MetricRow strict = metric;
        strict.name = "gsm8k_pass1_strict";
        store.finish_stage(stage.id, {.metrics = {metric, strict}});
        correct += 0.1;
      }
    }
  }
  const std::string text = render({.names = {"gsm8k", "claims"}});
  EXPECT_NE(text.find(R"(evaluated on gsm8k: W4A4 published**

| Rule         |      attnres, 1 seed |   oasis, 2 seeds |   n |
| ------------ | -------------------: | ---------------: | --: |
| strict (%)   | 40.00 [35.00, 47.50] | **55.00 ± 7.07** | 200 |
| flexible (%) | 40.00 [35.00, 47.50] | **55.00 ± 7.07** | 200 |
)"),
            std::string::npos)
      << text;
  for (const char* part : {"+12.42 points | attnres ", "| +10.00 points |"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST_F(Tables, EverythingThatHasContentIsPrinted) {
  write_sample();
  std::string text = render({});
  for (const char* part :
       {"### Perplexity at full precision", "### Activation outliers at full precision",
        "### Perplexity under quantization", "### Attention sinks",
        "More: oasis tables depth massive_activations site_costs comparisons answers\n",
        "### Speed of training", "### Training",
        "| sparsemax | books      | tiny  |    1 | pretrain | failed |   17 |",
        "### The paper's claims", "+12.42 points | attnres ", "| not distinguishable |"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_EQ(text.find("### Depth routing"), std::string::npos);  // long: when asked for
  text = render({.details = true});
  EXPECT_NE(text.find("### Depth routing"), std::string::npos);
  EXPECT_EQ(text.find("other variants"), std::string::npos);  // nothing measured: not printed
}

TEST_F(Tables, EveryTableAsCsvHoldsItsViewInFullPrecision) {
  write_sample();
  for (const auto& table : known_tables()) {
    if (table.name == "bench") continue;  // not of a suite; see benchmark_rows_test.cpp
    const std::string text =
        render({.names = {table.name}, .suite = "", .format = TableFormat::kCsv});
    EXPECT_TRUE(text.starts_with("# " + table.description + "\n# Suite sample (")) << text;
    const bool computed = text.find("\nsuite,") != std::string::npos;  // by more than SQL
    EXPECT_TRUE(computed || text.find("\nsuite_id,suite,") != std::string::npos) << text;
    const std::string json =
        render({.names = {table.name}, .suite = "", .format = TableFormat::kJson});
    EXPECT_TRUE(json.starts_with("[\n{") && json.ends_with("}\n]\n")) << json;
    EXPECT_NE(json.find("\"name\":\"" + table.name + "\""), std::string::npos) << json;
  }
  const std::string csv =
      render({.names = {"perplexity"}, .suite = "", .format = TableFormat::kCsv});
  EXPECT_NE(csv.find("wikitext-2,attnres,perplexity,1,105.0,7.0710678118654755,100.0,110.0,2,4096"),
            std::string::npos)
      << csv;
}

TEST_F(Tables, NothingHidesWhatIsMissingOrDiffers) {
  {
    auto store = Store::open(path_, Store::Mode::kCreate);
    const auto run = store.begin_run({});
    const auto suite = store.add_suite("odd", "{}");
    const auto add = [&](const std::string& method, std::int64_t seed, double value,
                         std::int64_t n) {
      const auto cell = store.add_cell(sample_cell(suite, method, seed));
      const auto stage =
          store.plan_stage(cell, sample_stage(method + std::to_string(seed), "evaluate", "books"));
      ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
      store.finish_stage(
          stage.id, {.metrics = {{.name = "perplexity", .value = value, .unit = "1", .n = n}}});
    };
    add("attnres", 1, 10, 100);
    add("attnres", 2, NAN, 100);  // one of two seeds has no value
    add("oasis", 1, 9, 99);       // another n
    add("softmax1", 1, INFINITY, 100);
    const auto unplanned = store.add_cell(sample_cell(suite, "prenorm", 1));
    ASSERT_GT(unplanned, 0);
    const auto stopped = store.add_cell(sample_cell(suite, "we|ird\n", 1));
    const auto stage = store.plan_stage(stopped, sample_stage("t", "pretrain"));
    ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
    store.stop_stage(stage.id, 3);
  }
  const std::string text = render({.names = {"perplexity", "failures"}});
  for (const char* row : {
           "| attnres   |    10.00 (n 100) | 1 of 2 |",
           "| oasis     | **9.000** (n 99) |      1 |",
           "| softmax1  |         infinite | 0 of 1 |",
           "| prenorm   |          not run | 0 of 1 |",
           "| we\\|ird\\n |          stopped | 0 of 1 |",
           "stopped by request",
       }) {
    EXPECT_NE(text.find(row), std::string::npos) << row << "\n" << text;
  }
}

TEST_F(Tables, OneNoteForEachReason) {
  {
    auto store = Store::open(path_, Store::Mode::kCreate);
    const auto run = store.begin_run({});
    const auto suite = store.add_suite("s", "{}");
    for (const std::string method : {"attnres", "softmax1", "oasis"}) {
      const auto cell = store.add_cell(sample_cell(suite, method, 1));
      const auto stage = store.plan_stage(cell, sample_stage(method, "evaluate", "bigram"));
      ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
      const std::string reason =
          method == "oasis" ? "another reason altogether" : "the text has no bytes";
      store.finish_stage(stage.id, {.metrics = {{.name = "bits_per_byte",
                                                 .value = NAN,
                                                 .unit = "bit/byte",
                                                 .n = 10,
                                                 .reason = reason}}});
    }
  }
  const std::string text = render({.names = {"perplexity"}});
  for (const char* part : {"| attnres  |         none [1] |", "| softmax1 |         none [1] |",
                           "| oasis    |         none [2] |",
                           "\n\n[1] the text has no bytes\n[2] another reason altogether\n\n"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST_F(Tables, SpeedMassiveActivationsAndSiteCostsGolden) {
  write_sample();
  const std::string text = render({.names = {"speed", "massive_activations", "site_costs"}});
  for (const char* part : {
           // 2,048 tokens a step of 0.25 s, in every seed
           "| oasis   | books      | tiny  | pretrain | cpu float32 | **8192 ± 0** |     +0.0 % |"
           "     2 |         2 |",
           "| attnres | books      | tiny  | wikitext-2   |    1 |  -250.0 |        2 | 1 to 2 |"
           "       3 |        0 | the   |   4 |",
       }) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_NE(text.find("W8A8 published | model.layers.0.mlp |"), std::string::npos) << text;
  EXPECT_NE(text.find("|      200.0 | 2.000 | 512 |"), std::string::npos) << text;
}

TEST_F(Tables, LatexOfEveryTableCompilesAsItIs) {
  if (std::system("command -v pdflatex >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "pdflatex is not installed (Debian: texlive-latex-recommended)";
  }
  write_sample();
  {
    auto store = Store::open(path_, Store::Mode::kCreate);
    const auto run = store.begin_run({});
    const auto suite = store.add_suite("h_o$t&i#l%e", "{}");
    const auto cell = store.add_cell(sample_cell(suite, "gated_attention", 1));
    const auto train = store.plan_stage(cell, sample_stage("hostile", "pretrain"));
    ASSERT_TRUE(store.begin_stage(train.id, run, "cpu", "float32"));
    store.fail_stage(train.id, "100 % of C:\\runs\\{x}_#1 ~ $5 & <b> \"q\" ^ * | é 雪 `c [8]", 17);
    store.add_cell(sample_cell(suite, "[softmax1]", 1));
  }
  std::vector<std::string> names;
  for (const auto& table : known_tables()) {
    if (table.name != "bench") names.push_back(table.name);
  }
  std::ofstream(folder_ / "tables.tex")
      << render({.names = names, .suite = "", .format = TableFormat::kLatex});
  const std::string command = "cd '" + folder_.path().string() +
                              "' && pdflatex -interaction=nonstopmode -halt-on-error tables.tex"
                              " >/dev/null 2>&1";
  const int status = std::system(command.c_str());
  std::ifstream log(folder_ / "tables.log");
  const std::string said((std::istreambuf_iterator<char>(log)), {});
  EXPECT_EQ(status, 0) << said;
  EXPECT_EQ(said.find("Missing character"), std::string::npos) << said;
}

TEST_F(Tables, TheNewestVersionOfASuiteIsShown) {
  {
    auto store = Store::open(path_, Store::Mode::kCreate);
    store.add_cell(sample_cell(store.add_suite("s", R"({"v":1})"), "attnres", 1));
    store.add_cell(sample_cell(store.add_suite("s", R"({"v":2})"), "oasis", 1));
  }
  std::string text = render({.names = {"perplexity"}});
  EXPECT_EQ(text.find("attnres "), std::string::npos) << text;
  EXPECT_NE(text.find("| oasis "), std::string::npos) << text;
  {
    auto store = Store::open(path_, Store::Mode::kCreate);
    store.add_suite("s", R"({"v":1})");  // run again: now the newest
  }
  text = render({.names = {"perplexity"}});
  EXPECT_NE(text.find("| attnres "), std::string::npos) << text;
}

TEST_F(Tables, UnknownNamesAreBadInput) {
  { Store::open(path_, Store::Mode::kCreate); }
  expect_error(Error::Kind::kBadInput, {"r.db", "no suite yet"}, [&] { render({}); });
  write_sample();
  expect_error(Error::Kind::kBadInput, {"'outlier'", "did you mean 'outliers'"},
               [&] { render({.names = {"outlier"}}); });
  expect_error(Error::Kind::kBadInput, {"'sampel'", "did you mean 'sample'"},
               [&] { render({.names = {}, .suite = "sampel"}); });
}

TEST_F(Tables, ShowOneStateWhileAnotherWrites) {
  write_sample();
  const auto writer = Store::open(path_, Store::Mode::kCreate);
  writer.database().exec("UPDATE metrics SET value = 0.5 WHERE name = 'perplexity'");
  std::atomic<bool> done = false;
  std::thread writing([&] {
    for (int value = 1; !done; ++value) {
      writer.database().exec(
          fmt::format("UPDATE metrics SET value = {} WHERE name = 'perplexity'", value));
    }
  });
  std::set<double> seen;
  for (int i = 0; i < 40; ++i) {
    const auto store = Store::open(path_, Store::Mode::kReadOnly);
    const auto tables = nlohmann::json::parse(render_tables(
        store, {.names = {"perplexity", "quantization"}, .format = TableFormat::kJson}));
    std::set<double> of_this;
    for (const auto& table : tables) {
      const auto& columns = table["columns"];
      const auto mean = std::find(columns.begin(), columns.end(), "mean") - columns.begin();
      const auto metric = std::find(columns.begin(), columns.end(), "metric") - columns.begin();
      for (const auto& row : table["rows"]) {
        if (row[metric] == "perplexity") of_this.insert(row[mean].get<double>());
      }
    }
    EXPECT_EQ(of_this.size(), 1U);
    seen.merge(of_this);
  }
  done = true;
  writing.join();
  EXPECT_GT(seen.size(), 3U);  // it was written meanwhile
}

}  // namespace
}  // namespace oasis
