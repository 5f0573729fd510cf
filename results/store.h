// The results database: one SQLite file that outlives the run.
//
// Life of a row: add_suite → add_cell → plan_stage (state pending, so that what was never run shows
// in the tables) → begin_stage → add_curve_points … → finish_stage | fail_stage | stop_stage.
// add_* and plan_stage may be repeated: the same suite, cell or stage gives the same id.
//
// Errors, all Error with one message that names the file: bad input (exit status 2) for a file that
// is no database, is damaged, is of a newer schema, cannot be written, or stays locked longer than
// the timeout, and for a full disk. Every change is one transaction: after an
// error the old contents stand. Any number of processes may write at once; a Store must not be
// carried over a fork.
//
// Columns that may differ between two runs of one suite: everything in `runs` and `events`,
// stages.{run_id, started, ended, seconds, artifact_path}, curves.seconds_per_step, suites.used,
// and metrics marked `varies`. Everything else is in comparable_contents().
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/wilson_interval.h"

namespace SQLite {
class Database;
}

namespace oasis {

// Where and by what a run was made. host_environment() in results/environment.h fills all but the
// GPU and the libraries that only the caller knows.
struct Environment {
  std::string machine = {};           // host name
  std::string operating_system = {};  // "Debian GNU/Linux 12 (bookworm)"
  std::string cpu = {};               // model name
  std::int64_t cores = 0;             // hardware threads usable by this process
  std::int64_t memory_bytes = 0;
  std::string gpu = {};                               // model and count, "" without one
  std::string driver = {};                            // GPU driver version, "" without one
  std::map<std::string, std::string> libraries = {};  // name → version
  std::string source_revision = {};                   // commit
  bool source_dirty = false;                          // the tree differed from that commit
  std::string build_type = {};                        // "Release", "Debug", …
  std::string command_line = {};
};

struct CellSpec {
  std::int64_t suite_id = 0;
  std::string method = {};  // name in the registry of baselines
  // As the tables show it, "" = method. Differs when the suite overrides settings of the method.
  std::string label = {};
  std::string dataset = {};  // trained on
  std::string model = {};
  std::int64_t seed = 0;
  std::string config_json = {};  // complete: every value that determines the outcome
};

enum class StageState { kPending, kRunning, kDone, kFailed, kStopped };
std::string_view to_string(StageState state);  // "pending", "running", …

struct StageSpec {
  std::string key = {};         // hash of all that determines the outcome; unique in the database
  std::string kind = {};        // "pretrain", "finetune", "evaluate", "quantized", "generate"
  std::string parent_key = {};  // the stage whose artifact this one starts from, "" for none
  std::string config_json = {};
  std::string evaluated_on = {};        // data set that is evaluated, "" for training
  std::optional<int> weight_bits = {};  // both empty: full precision
  std::optional<int> activation_bits = {};
  std::string points = {};  // "published" | "all_inputs"; "" at full precision
  // "" = published ranges and granularity; else a short label, "weights per row".
  std::string quantizer = {};
  std::optional<std::int64_t> shots = {};  // solved examples in each prompt of a "generate"
};

struct StageRow {
  std::int64_t id = 0;
  StageSpec spec = {};
  StageState state = StageState::kPending;
  std::int64_t run_id = 0;  // run that last worked on it, 0 for none
  std::string device = {};
  std::string dtype = {};
  std::optional<std::int64_t> step = {};  // last step that is part of the stored state
  double seconds = 0;      // working time so far; a killed session's share is missing
  std::string error = {};  // why it failed
  std::string artifact_path = {};
  std::string artifact_sha256 = {};
};

struct CurvePoint {
  std::int64_t step = 0;    // optimizer steps done, from 1
  std::int64_t tokens = 0;  // tokens seen up to and including this step
  double loss = 0;          // nat per token, this step's batch
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  double seconds_per_step = 0;
};

// A non-finite value is stored as NULL with `reason`, or with "not a number" / "infinite" when that
// is empty. `unit` is never empty: "1" for a pure number.
struct MetricRow {
  std::string name = {};  // as in PROTOCOLS.md: "perplexity", "max_inf_norm/seq", …
  double value = 0;
  std::string unit = {};
  std::int64_t n = 0;        // how many things were averaged: tokens, sequences, …
  std::string dataset = {};  // evaluated on; "" = the stage's evaluated_on
  std::string reason = {};   // why there is no value
  bool varies = false;  // a time, speed or memory figure: differs between two runs of one suite
  std::optional<Interval> interval = {};  // at 95 %, in the figure's unit
};

// Quantities: "max_inf_norm/seq", "avg_kurtosis/seq", … at the sites of DESIGN section 5.
struct SiteStatistic {
  std::string site = {};  // module name, "model.layers.0.mlp"
  std::string quantity = {};
  double value = 0;
  std::string unit = {};
  std::int64_t n = 0;
  std::string dataset = {};  // as MetricRow::dataset
};

// Quantities that the tables read: "depth_weight" (layer, part, source), "depth_null_mass" (layer,
// part), "null_posterior" (layer), "first_token_mass" (layer, head). Others are kept as they are.
struct LayerStatistic {
  std::string quantity = {};
  std::optional<std::int64_t> layer = {};   // empty: the router before the final norm
  std::string part = {};                    // "sa", "mlp", "final" for routers; "" otherwise
  std::optional<std::int64_t> head = {};    // empty: over all heads
  std::optional<std::int64_t> source = {};  // routed source, 0 = the embedding
  double value = 0;
  std::string unit = {};
  std::int64_t n = 0;
  std::string dataset = {};  // as MetricRow::dataset
};

// Massive activations (models/evaluation.h) of one channel at one token and position.
struct MassiveActivationRow {
  std::int64_t token = 0;
  std::string text = {};  // that the token stands for; UTF-8
  std::int64_t position = 0;
  std::int64_t channel = 0;
  std::int64_t first_layer = 0, last_layer = 0;
  double largest = 0;  // with its sign
  std::int64_t largest_layer = 0;
  std::int64_t n = 0;
};

// What a model answered to one problem, and what a scoring rule says of it.
struct GenerationRow {
  std::int64_t problem = 0;  // its place in the split evaluated, from 0
  std::string gold = {};     // the right answer as the data set writes it
  std::string text = {};     // generated after the prompt; any bytes
  std::int64_t tokens = 0;   // generated
};
struct GenerationScore {
  std::int64_t problem = 0;
  std::string rule = {};                      // "strict", "flexible", …
  std::optional<std::string> extracted = {};  // empty: no answer was found
  bool correct = false;
};

struct Artifact {
  std::string path = {};    // relative to the folder of the database where possible
  std::string sha256 = {};  // of the weights
};

// A matrix of one example; columns as in the table `examples`.
struct ExampleRow {
  std::string quantity = {};
  std::optional<std::int64_t> layer = {};
  std::string part = {};
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 1;
  std::string contents = {};  // rows · columns IEEE float16, little-endian
};

struct StageResult {
  std::vector<MetricRow> metrics = {};
  std::vector<SiteStatistic> site_statistics = {};
  std::vector<LayerStatistic> layer_statistics = {};
  std::vector<MassiveActivationRow> massive_activations = {};  // of the data set evaluated on
  std::vector<ExampleRow> examples = {};                       // of it too
  std::vector<GenerationScore> generation_scores = {};  // of texts that the stage added before
  std::optional<Artifact> artifact = {};
  std::optional<std::int64_t> step = {};
};

class Store {
 public:
  enum class Mode {
    kCreate,    // read and write; made when missing, migrated when of an older schema
    kReadOnly,  // must exist; nothing is written, not even beside the file when that is impossible
  };
  struct Options {
    std::chrono::milliseconds busy_timeout{60'000};  // wait this long for other writers
  };

  static Store open(const std::filesystem::path& path, Mode mode);
  static Store open(const std::filesystem::path& path, Mode mode, Options options);
  ~Store();
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;

  std::int64_t begin_run(const Environment& environment);
  void end_run(std::int64_t run_id);

  // `json` is stored as given; the same name and text give the same row.
  std::int64_t add_suite(std::string_view name, std::string_view json);
  std::int64_t add_cell(const CellSpec& cell);
  // Makes the stage (pending) unless its key is known, and ties it to the cell. A stage belongs to
  // every cell that plans it, in whatever suite: work done once counts for all.
  StageRow plan_stage(std::int64_t cell_id, const StageSpec& spec);

  std::optional<StageRow> find_stage(std::string_view key) const;
  std::vector<StageRow> stages(std::int64_t cell_id) const;  // in the order planned

  // Takes the stage for this run. False, and nothing changed, when it is done already or another
  // process that is still alive on this machine works on it. Metrics, statistics and scores of an
  // earlier failed try are removed; the curve (see truncate_curve) and generated texts stay.
  [[nodiscard]] bool begin_stage(std::int64_t stage_id, std::int64_t run_id,
                                 std::string_view device, std::string_view dtype);
  void add_curve_points(std::int64_t stage_id, const std::vector<CurvePoint>& points);
  // Forgets what came after the checkpoint at `step` (0: everything), so that a killed and resumed
  // run leaves the contents of an undisturbed one. Call it before training goes on.
  void truncate_curve(std::int64_t stage_id, std::int64_t step);
  void add_event(std::int64_t stage_id, std::optional<std::int64_t> step, std::string_view kind,
                 std::string_view message);  // "resumed", "micro_batch_halved", …

  // Texts are stored as they are made, so that a killed stage goes on after the last of them. A
  // second text for a problem replaces the first.
  void add_generations(std::int64_t stage_id, const std::vector<GenerationRow>& rows);
  std::vector<GenerationRow> generations(std::int64_t stage_id) const;  // by problem

  // Each ends a running stage in one transaction; Error (failed) when it is not running.
  void finish_stage(std::int64_t stage_id, const StageResult& result);
  void fail_stage(std::int64_t stage_id, std::string_view reason,
                  std::optional<std::int64_t> step = std::nullopt,
                  const std::optional<Artifact>& last_good = std::nullopt);
  void stop_stage(std::int64_t stage_id, std::optional<std::int64_t> step = std::nullopt,
                  const std::optional<Artifact>& checkpoint = std::nullopt);

  // Puts scores and metrics of a finished stage in place of those of the same rules and names, in
  // one transaction; those of other rules stay.
  void rescore_stage(std::int64_t stage_id, const std::vector<GenerationScore>& scores,
                     const std::vector<MetricRow>& metrics);
  std::vector<GenerationScore> generation_scores(std::int64_t stage_id) const;  // by problem, rule
  std::vector<std::string> stages_with_generations() const;  // keys of those that are done

  std::vector<MetricRow> metrics(std::int64_t stage_id) const;  // by data set and name
  std::vector<CurvePoint> curve(std::int64_t stage_id) const;   // by step

  // The view `comparable`, everything that two runs of one suite must agree on: one sorted line for
  // each row, numbers in full precision.
  std::string comparable_contents() const;

  const std::filesystem::path& path() const { return path_; }
  SQLite::Database& database() const { return *database_; }

 private:
  Store(std::filesystem::path path, std::unique_ptr<SQLite::Database> database);
  void end_stage(std::int64_t stage_id, StageState state, std::string_view error,
                 const StageResult& result);

  std::filesystem::path path_;
  std::unique_ptr<SQLite::Database> database_;
  // When this process began each running stage, for stages.seconds.
  std::map<std::int64_t, std::chrono::steady_clock::time_point> began_;
};

}  // namespace oasis
