#include "suites/suite_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "baselines/checkpoint.h"
#include "baselines/method_config.h"
#include "datasets/description.h"
#include "datasets/gsm8k/fine_tuning.h"
#include "datasets/prepare.h"
#include "support/error.h"

namespace oasis {
namespace {

Json without_nulls(const Json& object) {
  Json result = Json::object();
  for (const auto& [key, value] : object.items()) {
    if (value.is_null() || (value.is_structured() && value.empty())) continue;
    result[key] = value.is_object() ? without_nulls(value) : value;
    if (result[key].is_object() && result[key].empty()) result.erase(key);
  }
  return result;
}

DatasetDescription describe(const DatasetSpec& dataset, const std::string& where) {
  return parse_dataset(without_nulls(to_json_object(dataset)), where);
}

TokenizerOptions tokenizer_options(const TokenizerSpec& spec) {
  TokenizerOptions options;
  options.type = spec.type;
  if (spec.vocab_size) options.vocab_size = static_cast<std::uint32_t>(*spec.vocab_size);
  options.sample_bytes = static_cast<std::uint64_t>(spec.sample_bytes);
  options.path = spec.path.value_or("");
  return options;
}

SplitIdentity identity_of(const TokenSplit& split, const Tokenizer& tokenizer) {
  const SplitInfo& info = split.info();
  return {info.content_hash(), static_cast<std::int64_t>(info.tokens),
          static_cast<std::int64_t>(info.source_bytes), tokenizer.vocab_size()};
}

CheckpointIdentity open_checkpoint(const ModelSpec& model, const DataFolders& folders,
                                   const std::string& where) {
  const auto folder = find_model_files(folders, *model.checkpoint);
  if (!std::filesystem::exists(folder / "config.json")) {
    throw bad_input(
        "{}.checkpoint: {} is no Hugging Face folder: it has no config.json; name another, or make "
        "it (scripts/get-smollm2 makes SmolLM2's)",
        where, folder.string());
  }
  auto config = checkpoint_config_json(read_checkpoint_config(folder));
  config.erase("oasis");
  return {checkpoint_hash(folder), folder.string(), std::move(config)};
}

// Other ids than those it was trained with would make noise of a checkpoint.
void check_tokenizer(const CheckpointIdentity& checkpoint, const Tokenizer& tokenizer,
                     const std::string& where) {
  if (!has_tokenizer(checkpoint.folder)) return;
  if (load_tokenizer(checkpoint.folder)->hash() != tokenizer.hash()) {
    throw bad_input(
        "{}.tokenizer: is not the tokenizer of the checkpoint {}; its type is hugging_face, its "
        "path the folder",
        where, checkpoint.folder);
  }
}

OpenedGsm8k open_gsm8k(const Gsm8kSpec& spec, const DataFolders& folders,
                       const std::string& where) {
  const DatasetDescription description = describe(spec.dataset, where + ".dataset");
  const std::int64_t limit = spec.problems.value_or(0);
  const auto ask = [&](std::int64_t shots) {
    return Gsm8kQuestions(description, spec.split,
                          {.shots = static_cast<std::uint32_t>(shots),
                           .seed = static_cast<std::uint64_t>(spec.shot_seed)},
                          limit, folders);
  };
  OpenedGsm8k opened;
  if (spec.shots) opened.few_shot = ask(*spec.shots);
  if (spec.fine_tuning) {
    opened.zero_shot = ask(0);
    opened.training = gsm8k::problems_of(description, "train", folders);
  }
  return opened;
}

ProblemsIdentity identity_of(const OpenedGsm8k& gsm8k, const Tokenizer& tokenizer) {
  const auto questions = [&](const Gsm8kQuestions& asked) {
    ProblemsIdentity::Questions identity{.sha256 = asked.sha256};
    for (const auto& prompt : asked.prompts) {
      identity.prompt_tokens += std::ssize(tokenizer.encode(prompt));
    }
    return identity;
  };
  ProblemsIdentity identity{.tokenizer = tokenizer.hash(),
                            .few_shot = questions(gsm8k.few_shot),
                            .zero_shot = questions(gsm8k.zero_shot)};
  identity.problems = std::ssize(gsm8k.few_shot.problems.empty() ? gsm8k.zero_shot.problems
                                                                 : gsm8k.few_shot.problems);
  if (gsm8k.training.empty()) return identity;
  identity.training_sha256 = problems_sha256(gsm8k.training);
  // A sample is enough for a mean, and thousands of examples take their time.
  const std::int64_t sample = std::min<std::int64_t>(std::ssize(gsm8k.training), 200);
  for (std::int64_t i = 0; i < sample; ++i) {
    const auto& problem = gsm8k.training[static_cast<std::size_t>(i)];
    identity.example_tokens += std::ssize(gsm8k::training_example(problem, tokenizer).tokens);
  }
  identity.example_tokens /= sample;
  return identity;
}

}  // namespace

SuiteData OpenedSuiteData::identities() const {
  SuiteData data;
  for (const auto& [name, opened] : by_dataset) {
    SuiteData::ForTraining& entry = data.by_dataset[name];
    entry.train = identity_of(*opened.train, *opened.tokenizer);
    for (const auto& [evaluated, split] : opened.evaluated) {
      entry.evaluated[evaluated] = identity_of(*split, *opened.tokenizer);
    }
    if (gsm8k) entry.gsm8k = identity_of(*gsm8k, *opened.tokenizer);
  }
  data.checkpoints = checkpoints;
  return data;
}

OpenedSuiteData open_suite_data(const Suite& suite, const DataFolders& folders,
                                const std::string& source, ProgressLine& progress) {
  std::string current;
  const ProgressCallback report = [&](const Progress& p) {
    if (p.what != current) {
      progress.end();
      current = p.what;
      progress.begin(p.what, 0, static_cast<double>(p.total), "bytes");
    }
    progress.update(static_cast<double>(p.done));
  };
  OpenedSuiteData data;
  for (std::size_t i = 0; i < suite.models.size(); ++i) {
    const ModelSpec& model = suite.models[i];
    if (!model.checkpoint) continue;
    data.checkpoints[model.name] =
        open_checkpoint(model, folders, fmt::format("{}: models[{}]", source, i));
  }
  for (std::size_t i = 0; i < suite.datasets.size(); ++i) {
    const TrainingDatasetSpec& spec = suite.datasets[i];
    const std::string where = fmt::format("{}: datasets[{}]", source, i);
    const DatasetDescription description = describe(spec, where);
    OpenedSuiteData::ForTraining& opened = data.by_dataset[spec.name];
    opened.tokenizer =
        prepare_tokenizer(tokenizer_options(spec.tokenizer), description, folders, report);
    for (const auto& [name, checkpoint] : data.checkpoints) {
      check_tokenizer(checkpoint, *opened.tokenizer, where);
    }
    opened.train = prepare_split(description, "train", opened.tokenizer, folders, report);
    const auto evaluated = evaluated_datasets(suite, spec);
    for (std::size_t j = 0; j < evaluated.size(); ++j) {
      const bool own = suite.evaluation.datasets.empty();
      const std::string place = own ? where : fmt::format("{}: evaluation.datasets[{}]", source, j);
      opened.evaluated[evaluated[j].name] = prepare_split(
          describe(evaluated[j], place), suite.evaluation.split, opened.tokenizer, folders, report);
    }
  }
  if (suite.gsm8k) data.gsm8k = open_gsm8k(*suite.gsm8k, folders, source + ": gsm8k");
  progress.end();
  return data;
}

}  // namespace oasis
