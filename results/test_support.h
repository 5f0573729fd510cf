// What the tests of this folder share: a folder of their own, and a small suite of results.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "results/store.h"
#include "support/error.h"

namespace oasis {

// A folder that is removed with its contents.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "oasis_results_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Expects `work` to throw an Error of this kind whose message holds each of `parts`.
inline void expect_error(Error::Kind kind, const std::vector<std::string>& parts,
                         const std::function<void()>& work) {
  try {
    work();
    ADD_FAILURE() << "no error was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const auto& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "'" << part << "' is not in: " << error.what();
    }
  }
}

// Does `work` in a process of its own. Its exit status is 0 unless it throws or fails an
// expectation.
class ChildProcess {
 public:
  explicit ChildProcess(const std::function<void()>& work) : id_(::fork()) {
    if (id_ < 0) throw std::runtime_error("no process can be made");
    if (id_ > 0) return;
    try {
      work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
      ::_exit(1);
    }
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  ChildProcess(ChildProcess&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess() { kill(); }

  // The exit status; −1 when a signal ended it, or it was waited for before.
  int wait() {
    if (id_ < 0) return -1;
    int status = 0;
    ::waitpid(std::exchange(id_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  void kill() {
    if (id_ < 0) return;
    ::kill(id_, SIGKILL);
    wait();
  }

 private:
  pid_t id_;
};

inline int in_child(const std::function<void()>& work) {
  return ChildProcess(work).wait();
}

// Does `work(0)`, …, `work(count − 1)` at once, each in a process of its own, and expects success.
inline void at_once(int count, const std::function<void(int)>& work) {
  std::vector<ChildProcess> children;
  for (int i = 0; i < count; ++i) children.emplace_back([&] { work(i); });
  for (auto& child : children) EXPECT_EQ(child.wait(), 0);
}

inline CellSpec sample_cell(std::int64_t suite, const std::string& method, std::int64_t seed) {
  return {.suite_id = suite,
          .method = method,
          .dataset = "books",
          .model = "tiny",
          .seed = seed,
          .config_json = R"({"hidden_size":64})"};
}

inline StageSpec sample_stage(const std::string& key, const std::string& kind,
                              const std::string& evaluated_on = "") {
  return {.key = key, .kind = kind, .config_json = "{}", .evaluated_on = evaluated_on};
}

// Two methods × two seeds, trained, evaluated and quantized, with one failed and one unrun cell.
// `tag` goes into the machine's name only.
inline void write_sample_results(Store& store, const std::string& tag = "host") {
  const auto run = store.begin_run({.machine = tag, .source_revision = "0123456789abcdef"});
  const auto suite = store.add_suite("sample", R"({"name":"sample"})");
  int figure = 0;
  for (const std::string method : {"attnres", "oasis"}) {
    for (const std::int64_t seed : {1, 2}) {
      const auto cell = store.add_cell(sample_cell(suite, method, seed));
      const std::string name = method + std::to_string(seed);
      const auto train = store.plan_stage(cell, sample_stage("train-" + name, "pretrain"));
      ASSERT_TRUE(store.begin_stage(train.id, run, "cpu", "float32"));
      store.add_curve_points(train.id, {{1, 2048, 5.5, 4e-4, 1.5, 0.25},
                                        {2, 4096, 5.25 - 0.125 * figure, 3e-4, 1.25, 0.25}});
      store.finish_stage(train.id, {.artifact = Artifact{"checkpoints/" + name, "abc"}, .step = 2});
      const auto evaluate =
          store.plan_stage(cell, sample_stage("evaluate-" + name, "evaluate", "wikitext-2"));
      ASSERT_TRUE(store.begin_stage(evaluate.id, run, "cpu", "float32"));
      const double base = 100 + 10 * figure;
      store.finish_stage(
          evaluate.id,
          {.metrics = {{.name = "perplexity", .value = base, .unit = "1", .n = 4096},
                       {.name = "bits_per_byte", .value = base / 64, .unit = "bit", .n = 16384},
                       {.name = "max_inf_norm/seq", .value = base / 2, .unit = "1", .n = 8},
                       {.name = "avg_kurtosis/seq", .value = base / 4, .unit = "1", .n = 8},
                       {.name = "massive_activations",
                        .value = figure % 2 == 0 ? 3.0 : 0.0,
                        .unit = "1",
                        .n = 8},
                       {.name = "first_token_mass", .value = 0.25, .unit = "1", .n = 512}},
           .layer_statistics = {{"depth_weight", 0, "sa", {}, 0, 0.5, "1", 512},
                                {"depth_weight", 0, "sa", {}, 1, 0.25, "1", 512},
                                {"depth_weight", 0, "sa", {}, 2, 0.125, "1", 512},
                                {"depth_null_mass", 0, "sa", {}, {}, 0.125, "1", 512}},
           .massive_activations = {{.token = 5,
                                    .text = "the",
                                    .channel = 3,
                                    .first_layer = 1,
                                    .last_layer = 2,
                                    .largest = -250,
                                    .largest_layer = 2,
                                    .n = 4}}});
      StageSpec quantized = sample_stage("w8a8-" + name, "quantized", "wikitext-2");
      quantized.weight_bits = quantized.activation_bits = 8;
      quantized.points = "published";
      const auto stage = store.plan_stage(cell, quantized);
      ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
      store.finish_stage(
          stage.id,
          {.metrics = {{.name = "perplexity", .value = base * 1e4, .unit = "1", .n = 4096}},
           .site_statistics = {{"", "perplexity_none", base, "1", 512},
                               {"model.layers.0.mlp", "perplexity_alone", 2 * base, "1", 512}}});
      const auto asked = store.plan_stage(cell, sample_stage("gsm8k-" + name, "gsm8k", "gsm8k"));
      ASSERT_TRUE(store.begin_stage(asked.id, run, "cpu", "float32"));
      store.add_generations(asked.id, {{0, "18", "#### 18", 4}, {1, "1,234", "It is 7.", 5}});
      store.finish_stage(asked.id, {.metrics = {{.name = "gsm8k_pass1_strict",
                                                 .value = figure % 2 == 0 ? 0.5 : 0.25,
                                                 .unit = "1",
                                                 .n = 2,
                                                 .interval = Interval{0.1, 0.9}}},
                                    .generation_scores = {{0, "strict", "18", true},
                                                          {1, "strict", std::nullopt, false}}});
      ++figure;
    }
  }
  const auto failing = store.add_cell(sample_cell(suite, "sparsemax", 1));
  const auto train = store.plan_stage(failing, sample_stage("train-sparsemax1", "pretrain"));
  ASSERT_TRUE(store.begin_stage(train.id, run, "cpu", "float32"));
  store.fail_stage(train.id, "the loss is not a number", 17);
  const auto waiting = store.add_cell(sample_cell(suite, "softmax1", 1));
  store.plan_stage(waiting, sample_stage("train-softmax11", "pretrain"));
  store.end_run(run);
}

}  // namespace oasis
