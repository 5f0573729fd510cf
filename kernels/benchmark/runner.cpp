#include "kernels/benchmark/runner.h"

#include <benchmark/benchmark.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <regex.h>

#include <array>
#include <map>
#include <memory>
#include <optional>

#include "kernels/benchmark/timing.h"
#include "support/error.h"

namespace oasis::bench {
namespace {

constexpr std::size_t kFewestSamples = 5;

// A POSIX extended regular expression, as Google Benchmark takes them.
class Expression {
 public:
  explicit Expression(const std::string& text) {
    const int status = ::regcomp(&compiled_, text.c_str(), REG_EXTENDED | REG_NOSUB);
    if (status == 0) return;
    std::array<char, 128> reason{};
    ::regerror(status, &compiled_, reason.data(), reason.size());
    throw bad_input("--filter: '{}' is not a regular expression: {}", text, reason.data());
  }
  ~Expression() { ::regfree(&compiled_); }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  bool finds(const std::string& text) const {
    return ::regexec(&compiled_, text.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  ::regex_t compiled_{};
};

// Google Benchmark wants a reporter; the rows are reported by their owner.
class SilentReporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

// Ceilings of the types that were asked for so far.
class Ceilings {
 public:
  explicit Ceilings(const Target& target) : target_(target) {}

  const Ceiling& of(at::ScalarType type) {
    const auto known = measured_.find(type);
    if (known != measured_.end()) return known->second;
    const auto& ceiling = measured_[type] = measure_ceiling(target_, type);
    release_cached_memory(target_.device);
    return ceiling;
  }

 private:
  Target target_;
  std::map<at::ScalarType, Ceiling> measured_;
};

// "" or the first line of what `work` threw (LibTorch's messages end with a backtrace).
std::string error_of(const std::function<void()>& work, const char* what) {
  std::string text;
  try {
    work();
  } catch (const c10::OutOfMemoryError&) {
    text = fmt::format("{} does not fit into the device's memory", what);
  } catch (const std::exception& error) {
    text = error.what();
  }
  return text.substr(0, text.find('\n'));
}

// One benchmark on its way. Google Benchmark calls it several times, until it has enough.
class Running {
 public:
  Running(const Benchmark& benchmark, const ColdTimer& timer, at::Device device,
          const Ceiling& ceiling)
      : benchmark_(benchmark), timer_(timer), memory_(device) {
    row_.labels = benchmark.labels;
    row_.bytes = benchmark.bytes;
    row_.flops = benchmark.flops;
    row_.tokens = benchmark.tokens;
    row_.ceiling = ceiling;
    if (benchmark.check) {
      std::string wrong;
      row_.error = error_of([&] { wrong = benchmark.check(); }, "its check");
      if (row_.error.empty()) row_.error = wrong;
      if (!row_.error.empty()) return;
    }
    row_.error = error_of(
        [&] {
          memory_.begin();
          prepared_ = benchmark.prepare();
        },
        "it");
    row_.parts = prepared_.parts;
  }

  void repeat(benchmark::State& state) {
    if (!row_.error.empty()) {
      state.SkipWithError(row_.error.c_str());
      return;
    }
    row_.error = error_of(
        [&] {
          double typical = 0;
          for (auto _ : state) {
            const bool enough = samples_.size() >= kMostSamples;
            if (enough && typical == 0) typical = spread_of(samples_).median;
            state.SetIterationTime(enough ? typical : sample());
          }
          while (samples_.size() < kFewestSamples) sample();
        },
        "it");
    if (!row_.error.empty()) {
      state.SkipWithError(row_.error.c_str());
      return;
    }
    row_.seconds = spread_of(samples_);
    if (benchmark_.reports_memory) row_.peak_bytes = memory_.peak_bytes() - timer_.device_bytes();
    report(state);
  }

  const Row& row() const { return row_; }

 private:
  // Clearing the caches takes far longer than a short operation: what Google Benchmark asks for
  // beyond this many repetitions is told to take as long as they did.
  static constexpr std::size_t kMostSamples = 300;

  double sample() {
    samples_.push_back(timer_.seconds(prepared_.repetition) * prepared_.parts);
    return samples_.back();
  }

  void report(benchmark::State& state) const {
    auto& counters = state.counters;
    counters["median_s"] = row_.seconds.median;
    counters["p10_s"] = row_.seconds.p10;
    counters["p90_s"] = row_.seconds.p90;
    counters["n"] = static_cast<double>(row_.seconds.n);
    counters["bytes"] = row_.bytes;
    counters["flops"] = row_.flops;
    counters["share_of_ceiling"] =
        row_.ceiling.seconds(row_.bytes, row_.flops) / row_.seconds.median;
    if (row_.peak_bytes > 0) counters["peak_bytes"] = static_cast<double>(row_.peak_bytes);
    if (row_.tokens > 0) {
      counters["tokens_per_s"] = static_cast<double>(row_.tokens) / row_.seconds.median;
    }
  }

  const Benchmark& benchmark_;
  const ColdTimer& timer_;
  MemoryMeter memory_;
  Prepared prepared_;
  std::vector<double> samples_;
  Row row_;
};

// Runs the benchmarks in Google Benchmark's order, one prepared at a time.
class Session {
 public:
  Session(const Target& target, const RunEvents& events)
      : target_(target), events_(events), ceilings_(target), timer_(target.device) {}

  void run(const Benchmark& benchmark, benchmark::State& state) {
    if (current_ != &benchmark) {
      finish();
      events_.begins(benchmark.labels);
      const auto& ceiling = ceilings_.of(benchmark.dtype);
      running_.emplace(benchmark, timer_, target_.device, ceiling);
      current_ = &benchmark;
    }
    running_->repeat(state);
  }

  void finish() {
    if (!running_) return;
    const Row row = running_->row();
    running_.reset();
    current_ = nullptr;
    events_.ended(row);
  }

 private:
  Target target_;
  const RunEvents& events_;
  Ceilings ceilings_;
  ColdTimer timer_;
  const Benchmark* current_ = nullptr;
  std::optional<Running> running_;
};

}  // namespace

std::vector<Benchmark> filtered(std::vector<Benchmark> benchmarks, const std::string& expression) {
  const bool without = expression.starts_with('-');
  const Expression wanted(without ? expression.substr(1) : expression);
  std::erase_if(benchmarks, [&](const Benchmark& benchmark) {
    return wanted.finds(benchmark.labels.name()) == without;
  });
  return benchmarks;
}

GoogleFlags initialize_google_benchmark(const std::vector<std::string>& arguments, bool quick) {
  GoogleFlags flags;
  // Google Benchmark keeps the first word. A user's own --benchmark_min_time comes later and wins.
  static std::vector<std::string> words;
  words = {"oasis", quick ? "--benchmark_min_time=0.1" : "--benchmark_min_time=0.25"};
  for (const auto& argument : arguments) {
    words.push_back(argument);
    if (argument.starts_with("--benchmark_list_tests")) {
      flags.list_only = !argument.ends_with("=false");
    }
    if (argument.starts_with("--benchmark_format")) flags.own_output = true;
  }
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  int count = static_cast<int>(words.size());
  benchmark::Initialize(&count, pointers.data());
  if (count > 1) {
    throw bad_input("{}: Google Benchmark knows no such flag; its manual lists them", pointers[1]);
  }
  flags.filter = benchmark::GetBenchmarkFilter();
  return flags;
}

void run_benchmarks(const std::vector<Benchmark>& benchmarks, const Target& target,
                    const GoogleFlags& flags, const Context& context, const RunEvents& events) {
  for (const auto& [key, value] : context) benchmark::AddCustomContext(key, value);
  Session session(target, events);
  benchmark::ClearRegisteredBenchmarks();
  for (const auto& row : benchmarks) {
    benchmark::RegisterBenchmark(row.labels.name().c_str(),
                                 [&](benchmark::State& state) { session.run(row, state); })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
  SilentReporter silent;
  const bool report = flags.list_only || flags.own_output;
  benchmark::RunSpecifiedBenchmarks(report ? nullptr : &silent, ".");
  session.finish();
}

}  // namespace oasis::bench
