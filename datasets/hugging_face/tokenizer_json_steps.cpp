#include <map>
#include <nlohmann/json.hpp>

#include "datasets/hugging_face/json_parts.h"
#include "datasets/hugging_face/pre_tokenizer.h"
#include "datasets/json_fields.h"
#include "datasets/tokenizer.h"
#include "support/error.h"

namespace oasis {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxSteps = 16;
constexpr int kMaxDepth = 4;  // of sequences in sequences

// Calls `read(part, its place)` on each part of a Sequence.
template <typename Read>
void for_each_part(const json& object, const std::string& where, const std::string& parts,
                   int depth, Read&& read) {
  if (depth == kMaxDepth) throw unsupported(where, "a sequence nested so deep", "four in all");
  const JsonFields fields(object, where, {"type", parts});
  const auto& array = fields.array(parts);
  for (std::size_t i = 0; i < array.size(); ++i) {
    read(array[i], fmt::format("{}.{}[{}]", where, parts, i));
  }
}

void add_normalizer(const json& object, const std::string& where, int depth,
                    HuggingFaceDescription& description) {
  const auto type = type_of(object, where);
  if (type == "NFC") {
    const JsonFields fields(object, where, {"type"});
    description.nfc = true;
  } else if (type == "Sequence") {
    for_each_part(object, where, "normalizers", depth, [&](const json& part, const auto& place) {
      add_normalizer(part, place, depth + 1, description);
    });
  } else if (type != "null") {
    throw unsupported(where, fmt::format("the type '{}'", type), "null, NFC, Sequence");
  }
}

PreTokenizerStep read_split(const json& object, const std::string& where) {
  const JsonFields fields(object, where, {"type", "pattern", "behavior", "invert"});
  PreTokenizerStep step;
  step.where = where + ".pattern";
  const JsonFields pattern(fields.at("pattern"), step.where, {"Regex", "String"});
  step.literal = pattern.has("String");
  if (step.literal == pattern.has("Regex")) {
    throw bad_input("{}: must have either 'Regex' or 'String'", step.where);
  }
  step.pattern = pattern.text(step.literal ? "String" : "Regex");
  if (step.pattern.empty()) throw bad_input("{}: is empty", step.where);
  const auto behavior = fields.text("behavior");
  if (behavior != "Isolated" && behavior != "Removed") {
    throw unsupported(where + ".behavior", fmt::format("'{}'", behavior), "Isolated, Removed");
  }
  step.behavior = behavior == "Removed" ? SplitBehavior::kRemoved : SplitBehavior::kIsolated;
  step.invert = fields.boolean("invert");
  return step;
}

PreTokenizerStep read_digits(const json& object, const std::string& where) {
  const JsonFields fields(object, where, {"type", "individual_digits"});
  PreTokenizerStep step;
  step.where = where;
  step.pattern = kDigitPattern;
  if (!fields.boolean("individual_digits")) step.pattern += "+";
  return step;
}

PreTokenizerStep read_byte_level(const json& object, const std::string& where) {
  const JsonFields fields(object, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  PreTokenizerStep step;
  step.where = where;
  step.add_prefix_space = fields.boolean("add_prefix_space");
  if (fields.boolean_or(true, "use_regex")) step.pattern = kGpt2Pattern;
  return step;
}

// `bytes`: whether a ByteLevel has been met; it turns characters into bytes, so it must be last.
void add_pre_tokenizer(const json& object, const std::string& where, int depth, bool& bytes,
                       std::vector<PreTokenizerStep>& steps) {
  const auto type = type_of(object, where);
  if (bytes) throw unsupported(where, "a step after ByteLevel", "ByteLevel as the last step");
  if (steps.size() == kMaxSteps) {
    throw unsupported(where, "another step", fmt::format("{} steps", kMaxSteps));
  }
  if (type == "Split") {
    steps.push_back(read_split(object, where));
  } else if (type == "Digits") {
    steps.push_back(read_digits(object, where));
  } else if (type == "ByteLevel") {
    steps.push_back(read_byte_level(object, where));
    bytes = true;
  } else if (type == "Sequence") {
    for_each_part(object, where, "pretokenizers", depth, [&](const json& part, const auto& place) {
      add_pre_tokenizer(part, place, depth + 1, bytes, steps);
    });
  } else {
    throw unsupported(where, fmt::format("the type '{}'", type),
                      "Split, Digits, ByteLevel, Sequence");
  }
}

// The ids of a template's special tokens, by name.
std::map<std::string, std::vector<std::uint32_t>> read_special_ids(const json& object,
                                                                   const std::string& where) {
  std::map<std::string, std::vector<std::uint32_t>> ids;
  if (!object.is_object()) {
    throw bad_input("{}: must be an object, not {}", where, object.type_name());
  }
  for (const auto& item : object.items()) {
    const auto place = fmt::format("{}.{}", where, item.key());
    const JsonFields fields(item.value(), place, {"id", "ids", "tokens"});
    for (const auto& id : fields.array("ids")) {
      ids[item.key()].push_back(
          static_cast<std::uint32_t>(json_integer(id, place + ".ids", 0, kMaxVocabSize - 1)));
    }
  }
  return ids;
}

void read_template(const json& object, const std::string& where,
                   HuggingFaceDescription& description) {
  const JsonFields fields(object, where, {"type", "single", "pair", "special_tokens"});
  const auto special = read_special_ids(fields.at("special_tokens"), where + ".special_tokens");
  const auto& items = fields.array("single");
  bool text_met = false;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto place = fmt::format("{}.single[{}]", where, i);
    const JsonFields item(items[i], place, {"SpecialToken", "Sequence"});
    const bool is_text = item.has("Sequence");
    if (is_text == item.has("SpecialToken")) {
      throw bad_input("{}: must have either 'SpecialToken' or 'Sequence'", place);
    }
    const JsonFields inside(item.at(is_text ? "Sequence" : "SpecialToken"), place,
                            {"id", "type_id"});
    const auto id = inside.text("id");
    if (is_text) {
      if (id != "A" || text_met) throw unsupported(place, "this sequence", "A, once");
      text_met = true;
      continue;
    }
    const auto found = special.find(id);
    if (found == special.end()) {
      throw bad_input("{}: '{}' is not among the template's special_tokens", place, id);
    }
    auto& side = text_met ? description.after : description.before;
    side.insert(side.end(), found->second.begin(), found->second.end());
  }
  if (!text_met) throw bad_input("{}.single: has no Sequence A", where);
}

void add_post_processor(const json& object, const std::string& where, int depth,
                        HuggingFaceDescription& description) {
  const auto type = type_of(object, where);
  if (type == "ByteLevel") {  // moves offsets alone
    const JsonFields fields(object, where,
                            {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  } else if (type == "TemplateProcessing") {
    if (!description.before.empty() || !description.after.empty()) {
      throw unsupported(where, "a second template", "one");
    }
    read_template(object, where, description);
  } else if (type == "Sequence") {
    for_each_part(object, where, "processors", depth, [&](const json& part, const auto& place) {
      add_post_processor(part, place, depth + 1, description);
    });
  } else if (type != "null") {
    throw unsupported(where, fmt::format("the type '{}'", type),
                      "null, ByteLevel, TemplateProcessing, Sequence");
  }
}

}  // namespace

Error unsupported(const std::string& field, const std::string& what, const std::string& supported) {
  return bad_input("{}: {} is not supported; supported: {}", field, what, supported);
}

std::string type_of(const json& object, const std::string& where) {
  if (object.is_null()) return "null";
  if (!object.is_object()) {
    throw bad_input("{}: must be an object or null, not {}", where, object.type_name());
  }
  const auto type = object.find("type");
  if (type == object.end() || !type->is_string()) {
    throw bad_input("{}: has no string 'type'", where);
  }
  return type->get<std::string>();
}

void read_normalizer(const json& object, const std::string& where,
                     HuggingFaceDescription& description) {
  add_normalizer(object, where, 0, description);
}

void read_pre_tokenizer(const json& object, const std::string& where,
                        HuggingFaceDescription& description) {
  bool bytes = false;
  add_pre_tokenizer(object, where, 0, bytes, description.pre_tokenizer);
  if (!bytes) {
    throw unsupported(where, "text that no ByteLevel turns into bytes",
                      "ByteLevel as the last step");
  }
}

void read_post_processor(const json& object, const std::string& where,
                         HuggingFaceDescription& description) {
  add_post_processor(object, where, 0, description);
}

void check_decoder(const json& object, const std::string& where) {
  const auto type = type_of(object, where);
  if (type != "ByteLevel") {
    throw unsupported(where, fmt::format("the type '{}'", type), "ByteLevel");
  }
  const JsonFields fields(object, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

}  // namespace oasis
