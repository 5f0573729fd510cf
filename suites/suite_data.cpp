#include "suites/suite_data.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "datasets/description.h"
#include "datasets/prepare.h"

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

}  // namespace

SuiteData OpenedSuiteData::identities() const {
  SuiteData data;
  for (const auto& [name, opened] : by_dataset) {
    SuiteData::ForTraining& entry = data.by_dataset[name];
    entry.train = identity_of(*opened.train, *opened.tokenizer);
    for (const auto& [evaluated, split] : opened.evaluated) {
      entry.evaluated[evaluated] = identity_of(*split, *opened.tokenizer);
    }
  }
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
  for (std::size_t i = 0; i < suite.datasets.size(); ++i) {
    const TrainingDatasetSpec& spec = suite.datasets[i];
    const std::string where = fmt::format("{}: datasets[{}]", source, i);
    const DatasetDescription description = describe(spec, where);
    OpenedSuiteData::ForTraining& opened = data.by_dataset[spec.name];
    opened.tokenizer =
        prepare_tokenizer(tokenizer_options(spec.tokenizer), description, folders, report);
    opened.train = prepare_split(description, "train", opened.tokenizer, folders, report);
    const auto evaluated = evaluated_datasets(suite, spec);
    for (std::size_t j = 0; j < evaluated.size(); ++j) {
      const bool own = suite.evaluation.datasets.empty();
      const std::string place = own ? where : fmt::format("{}: evaluation.datasets[{}]", source, j);
      opened.evaluated[evaluated[j].name] = prepare_split(
          describe(evaluated[j], place), suite.evaluation.split, opened.tokenizer, folders, report);
    }
  }
  progress.end();
  return data;
}

}  // namespace oasis
