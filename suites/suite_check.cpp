// What one field's range cannot say: names that must exist, fields that must agree.
#include <algorithm>
#include <map>

#include "suites/suite.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

bool usable_in_a_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 100 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

void check_name(const std::string& name, const std::string& source, const std::string& path) {
  if (!usable_in_a_file_name(name)) {
    throw bad_input(
        "{}: {}: '{}' cannot name a file; use 1 to 100 letters, digits, '-', '_' and '.', not "
        "starting with '.'",
        source, path, name);
  }
}

// What a checkpoint's config.json says cannot be said again.
void check_continued(const ModelSpec& m, const std::string& source, const std::string& path) {
  ModelSpec alone;
  alone.name = m.name;
  alone.checkpoint = m.checkpoint;
  const Json given = to_json_object(m), plain = to_json_object(alone);
  for (const auto& [key, value] : given.items()) {
    if (value != plain[key]) {
      throw bad_input("{}: {}.{}: comes from the checkpoint '{}'; drop it", source, path, key,
                      *m.checkpoint);
    }
  }
  if (m.checkpoint->empty()) {
    throw bad_input("{}: {}.checkpoint: is empty; name a folder with a config.json", source, path);
  }
}

void check_model(const ModelSpec& m, const std::string& source, const std::string& path) {
  check_name(m.name, source, path + ".name");
  if (m.checkpoint) {
    check_continued(m, source, path);
    return;
  }
  for (const auto& [field, value] : {std::pair("hidden_size", m.hidden_size),
                                     std::pair("num_hidden_layers", m.num_hidden_layers),
                                     std::pair("num_attention_heads", m.num_attention_heads),
                                     std::pair("intermediate_size", m.intermediate_size)}) {
    if (!value) {
      throw bad_input("{}: {}.{}: missing; give the model's sizes, or a checkpoint that has them",
                      source, path, field);
    }
  }
  const std::int64_t heads = *m.num_attention_heads;
  if (!m.head_dim && *m.hidden_size % heads != 0) {
    throw bad_input(
        "{}: {}.num_attention_heads: {} heads do not divide the hidden size {}; change one of "
        "them or give head_dim",
        source, path, heads, *m.hidden_size);
  }
  const std::int64_t head_dim = m.head_dim.value_or(*m.hidden_size / heads);
  if (head_dim % 2 != 0) {
    throw bad_input(
        "{}: {}: a head size of {} is odd; rotary embeddings turn pairs, so it must "
        "be even",
        source, path, head_dim);
  }
  const std::int64_t kv_heads = m.num_key_value_heads.value_or(heads);
  if (heads % kv_heads != 0) {
    throw bad_input(
        "{}: {}.num_key_value_heads: {} key-value heads do not divide the {} query heads", source,
        path, kv_heads, heads);
  }
}

const KnownMethod& find_method(const std::string& name, const std::string& source,
                               const std::string& path, const KnownNames& known) {
  std::vector<std::string> names;
  for (const auto& method : known.methods) {
    if (method.name == name) return method;
    names.push_back(method.name);
  }
  throw bad_input("{}: {}: unknown method '{}'{}", source, path, name, suggestion(name, names));
}

void check_method(const Suite& suite, std::size_t i, const std::string& source,
                  const KnownNames& known) {
  const SuiteMethod& m = suite.methods[i];
  const std::string path = fmt::format("methods[{}]", i);
  const KnownMethod& declared = find_method(m.method, source, path, known);
  check_name(m.label, source, path + ".label");
  const bool routed = m.depth_normalizer.value_or(declared.depth_normalizer) != "none";
  if (!routed && m.routing) {
    throw bad_input("{}: {}.routing: '{}' is the plain residual sum and takes no routing form",
                    source, path, m.method);
  }
  if (declared.depth_normalizer == "none" && routed) {
    throw bad_input(
        "{}: {}.depth_normalizer: '{}' is the plain residual sum; start from a routed "
        "method instead",
        source, path, m.method);
  }
  if (!routed && m.coupling && m.coupling->kind != "none") {
    throw bad_input("{}: {}.coupling: the plain residual sum has nothing to couple", source, path);
  }
  const std::string form = m.routing.value_or(suite.routing.form);
  const auto block_count = m.block_count ? m.block_count : suite.routing.block_count;
  const std::string block_path = m.block_count ? path + ".block_count" : "routing.block_count";
  if (routed && form == "block") {
    if (!block_count) {
      throw bad_input("{}: {}: missing; the block form needs a number of blocks", source,
                      block_path);
    }
    for (const ModelSpec& model : suite.models) {
      if (model.checkpoint) continue;  // checked once its config.json is read
      const std::int64_t sublayers = 2 * *model.num_hidden_layers;
      if (sublayers % *block_count != 0) {
        throw bad_input("{}: {}: {} blocks do not divide the {} sublayers of model '{}'", source,
                        block_path, *block_count, sublayers, model.name);
      }
    }
  } else if (m.block_count) {
    throw bad_input("{}: {}: only the block form has blocks", source, block_path);
  }
  if (m.steps == 0) {
    for (const ModelSpec& model : suite.models) {
      if (!model.checkpoint) {
        throw bad_input(
            "{}: {}.steps: 0 would evaluate the random weights of model '{}'; train, "
            "or give the model a checkpoint",
            source, path, model.name);
      }
    }
  }
  if (m.gate.value_or(declared.gate)) {
    for (const ModelSpec& model : suite.models) {
      if (!model.checkpoint && *model.hidden_size % *model.num_attention_heads != 0) {
        throw bad_input(
            "{}: {}: the attention gate needs a hidden size that the heads divide; "
            "model '{}' has {} heads and {}",
            source, path, model.name, *model.num_attention_heads, *model.hidden_size);
      }
    }
  }
}

void check_dataset(const DatasetSpec& d, const std::string& source, const std::string& path,
                   const KnownNames& known) {
  check_name(d.name, source, path + ".name");
  const bool registered =
      std::find(known.datasets.begin(), known.datasets.end(), d.name) != known.datasets.end();
  if (!d.files.empty() && registered) {
    throw bad_input(
        "{}: {}.name: '{}' is a data set of the registry; give your own files another "
        "name",
        source, path, d.name);
  }
  if (d.files.empty() && !registered) {
    throw bad_input("{}: {}: unknown data set '{}'{}", source, path, d.name,
                    suggestion(d.name, known.datasets));
  }
}

void check_tokenizer(const TokenizerSpec& tokenizer, const std::string& source,
                     const std::string& path) {
  if (tokenizer.type == "sentencepiece" && !tokenizer.vocab_size) {
    throw bad_input(
        "{}: {}.vocab_size: missing; a sentencepiece tokenizer needs its number of "
        "pieces",
        source, path);
  }
  if (tokenizer.type != "sentencepiece" && tokenizer.vocab_size) {
    throw bad_input("{}: {}.vocab_size: only a sentencepiece tokenizer has it", source, path);
  }
  if (tokenizer.type == "hugging_face" && tokenizer.path.value_or("").empty()) {
    throw bad_input(
        "{}: {}.path: missing; a hugging_face tokenizer needs its tokenizer.json or the folder "
        "with it",
        source, path);
  }
  if (tokenizer.type != "hugging_face" && tokenizer.path) {
    throw bad_input("{}: {}.path: only a hugging_face tokenizer has it", source, path);
  }
}

// The definition that a name alone refers to: the suite's own, else the registry's.
void resolve(DatasetSpec& named, const Suite& suite) {
  for (const TrainingDatasetSpec& defined : suite.datasets) {
    DatasetSpec by_name;
    by_name.name = named.name;
    if (defined.name == named.name && to_json_object(named) == to_json_object(by_name)) {
      named = defined;
    }
  }
}

void check_optimization(const OptimizationSpec& s, const std::string& source,
                        const std::string& path) {
  if (s.warmup_steps > s.steps) {
    throw bad_input("{0}: {1}.warmup_steps: {2} is more than {1}.steps, {3}", source, path,
                    s.warmup_steps, s.steps);
  }
  if (s.micro_batch && s.sequences_per_step % *s.micro_batch != 0) {
    throw bad_input("{0}: {1}.micro_batch: {2} does not divide {1}.sequences_per_step, {3}", source,
                    path, *s.micro_batch, s.sequences_per_step);
  }
}

void check_gsm8k(const Gsm8kSpec& gsm8k, const std::string& source, const KnownNames& known) {
  check_dataset(gsm8k.dataset, source, "gsm8k.dataset", known);
  if (!gsm8k.shots && !gsm8k.fine_tuning) {
    throw bad_input(
        "{}: gsm8k: neither shots nor fine_tuning is given, so no model is asked; give one of "
        "them, or drop gsm8k",
        source);
  }
  if (gsm8k.fine_tuning) {
    check_optimization(*gsm8k.fine_tuning, source, "gsm8k.fine_tuning");
  }
}

// `name_of(i)` of two items must differ: they would be the same cells.
template <typename Items, typename NameOf>
void check_unique(const Items& items, NameOf name_of, const std::string& source,
                  const std::string& path, const std::string& what_to_do) {
  std::map<std::string, std::size_t> seen;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto [first, inserted] = seen.emplace(name_of(items[i]), i);
    if (!inserted) {
      throw bad_input("{}: {}[{}]: the same as {}[{}]; {}", source, path, i, path, first->second,
                      what_to_do);
    }
  }
}

std::string without_label(const SuiteMethod& method) {
  Json json = to_json_object(method);
  json.erase("label");
  return json.dump();
}

std::string without_name(const ModelSpec& model) {
  Json json = to_json_object(model);
  json.erase("name");
  return json.dump();
}

}  // namespace

void check_suite(Suite& suite, const std::string& source, const KnownNames& known) {
  check_name(suite.name, source, "name");
  for (std::size_t i = 0; i < suite.datasets.size(); ++i) {
    const std::string path = fmt::format("datasets[{}]", i);
    check_dataset(suite.datasets[i], source, path, known);
    check_tokenizer(suite.datasets[i].tokenizer, source, path + ".tokenizer");
  }
  for (std::size_t i = 0; i < suite.models.size(); ++i) {
    check_model(suite.models[i], source, fmt::format("models[{}]", i));
  }
  for (std::size_t i = 0; i < suite.methods.size(); ++i) check_method(suite, i, source, known);
  check_optimization(suite.training, source, "training");
  if (suite.gsm8k) {
    check_gsm8k(*suite.gsm8k, source, known);
    resolve(suite.gsm8k->dataset, suite);
  }

  for (DatasetSpec& evaluated_on : suite.evaluation.datasets) resolve(evaluated_on, suite);
  const auto& evaluated = suite.evaluation.datasets;
  for (std::size_t i = 0; i < evaluated.size(); ++i) {
    check_dataset(evaluated[i], source, fmt::format("evaluation.datasets[{}]", i), known);
  }

  const auto itself = [](const auto& value) { return fmt::format("{}", value); };
  check_unique(
      suite.datasets, [](const auto& d) { return d.name; }, source, "datasets",
      "a data set is trained on once");
  check_unique(
      suite.models, [](const auto& m) { return m.name; }, source, "models",
      "give each model a name of its own");
  check_unique(suite.models, without_name, source, "models", "two models differ by name alone");
  check_unique(
      suite.methods, [](const auto& m) { return m.label; }, source, "methods",
      "drop one, or give each a label of its own");
  check_unique(suite.methods, without_label, source, "methods",
               "two methods differ by label alone");
  check_unique(suite.seeds, itself, source, "seeds", "two equal seeds are the same cell");
  check_unique(
      evaluated, [](const auto& d) { return d.name; }, source, "evaluation.datasets", "drop one");
  check_unique(
      suite.quantization, [](const auto& q) { return to_json_object(q).dump(); }, source,
      "quantization", "drop one");
}

}  // namespace oasis
