// Reading and checking a suite.
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "suites/suite.h"
#include "suites/suite_fields.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

using suite_fields::Choices;
using suite_fields::IntegerRange;
using suite_fields::Label;
using suite_fields::NumberRange;
using suite_fields::Presence;

constexpr std::size_t kMaxBytes = 4 << 20;
constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxItems = 10'000;

struct Position {
  std::size_t line = 1;
  std::size_t column = 1;
};

Position position_of(const std::string& text, std::size_t byte) {
  Position position;
  for (std::size_t i = 0; i + 1 < byte && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++position.line;
      position.column = 1;
    } else {
      ++position.column;
    }
  }
  return position;
}

std::string shortened(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

std::string kind_of(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return fmt::format("the boolean {}", shortened(value));
  if (value.is_string()) return fmt::format("the string {}", shortened(value));
  if (value.is_number()) return fmt::format("the number {}", shortened(value));
  return value.is_array() ? "a list" : "an object";
}

// nlohmann::json keeps the last of two equal keys without a word; a suite with both is a mistake.
Json parse_json(const std::string& text, const std::string& source) {
  if (text.size() > kMaxBytes) {
    throw bad_input("{}: {} of JSON is more than a suite may have ({})", source,
                    human_bytes(static_cast<double>(text.size())),
                    human_bytes(static_cast<double>(kMaxBytes)));
  }
  std::vector<std::set<std::string>> open_objects;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (static_cast<std::size_t>(depth) > kMaxDepth) {
      throw bad_input("{}: nested more than {} deep", source, kMaxDepth);
    }
    if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == Json::parse_event_t::object_end) open_objects.pop_back();
    if (event == Json::parse_event_t::key &&
        !open_objects.back().insert(parsed.get<std::string>()).second) {
      throw bad_input("{}: key '{}' appears twice in one object; keep one of them", source,
                      parsed.get<std::string>());
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::parse_error& error) {
    const Position at = position_of(text, error.byte);
    std::string cause = error.what();
    if (const auto colon = cause.rfind(": "); colon != std::string::npos) {
      cause = cause.substr(colon + 2);
    }
    throw bad_input("{}: line {}, column {}: not valid JSON: {}", source, at.line, at.column,
                    cause);
  } catch (const Json::exception& error) {
    throw bad_input("{}: not valid JSON: {}", source, error.what());
  }
}

class Reader {
 public:
  Reader(const Json& object, std::string path, const std::string& source)
      : object_(object), path_(std::move(path)), source_(source) {
    if (!object.is_object()) {
      throw bad_input("{}: {}must be an object, not {}", source, path_.empty() ? "" : path_ + ": ",
                      kind_of(object));
    }
  }

  template <typename T>
  void read(T& target) {
    suite_fields::fields(*this, target);
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        throw bad_input("{}: {}: unknown key{}", source_, child(key), suggestion(key, known_));
      }
    }
  }

  void text(const Label& label, std::string& target) {
    if (const Json* value = find(label)) target = as_text(*value, child(label.name));
  }

  void optional_text(const Label& label, std::optional<std::string>& target) {
    optional(label, target, [&](const Json& v) { return as_text(v, child(label.name)); });
  }

  void choice(const Label& label, std::string& target, const Choices& choices) {
    if (const Json* value = find(label)) target = as_choice(*value, child(label.name), choices);
  }

  void optional_choice(const Label& label, std::optional<std::string>& target,
                       const Choices& choices) {
    optional(label, target,
             [&](const Json& v) { return as_choice(v, child(label.name), choices); });
  }

  void boolean(const Label& label, bool& target) {
    if (const Json* value = find(label)) target = as_boolean(*value, child(label.name));
  }

  void optional_boolean(const Label& label, std::optional<bool>& target) {
    optional(label, target, [&](const Json& v) { return as_boolean(v, child(label.name)); });
  }

  void integer(const Label& label, std::int64_t& target, IntegerRange range) {
    if (const Json* value = find(label)) target = as_integer(*value, child(label.name), range);
  }

  void optional_integer(const Label& label, std::optional<std::int64_t>& target,
                        IntegerRange range) {
    optional(label, target, [&](const Json& v) { return as_integer(v, child(label.name), range); });
  }

  void number(const Label& label, double& target, NumberRange range) {
    if (const Json* value = find(label)) target = as_number(*value, child(label.name), range);
  }

  void optional_number(const Label& label, std::optional<double>& target, NumberRange range) {
    optional(label, target, [&](const Json& v) { return as_number(v, child(label.name), range); });
  }

  void coupling(const Label& label, std::optional<SuiteCoupling>& target) {
    optional(label, target, [&](const Json& value) {
      if (value.is_number()) {
        return SuiteCoupling{"fixed", as_number(value, child(label.name), {0, 10})};
      }
      if (!value.is_string()) {
        throw bad_input("{}: {}: must be none, learned or a number, not {}", source_,
                        child(label.name), kind_of(value));
      }
      return SuiteCoupling{as_choice(value, child(label.name), {"none", "learned"}), 0};
    });
  }

  template <typename T>
  void object(const Label& label, T& target) {
    if (const Json* value = find(label)) Reader(*value, child(label.name), source_).read(target);
  }

  template <typename T>
  void optional_object(const Label& label, std::optional<T>& target) {
    optional(label, target, [&](const Json& value) {
      T object;
      Reader(value, child(label.name), source_).read(object);
      return object;
    });
  }

  template <typename T>
  void objects(const Label& label, std::vector<T>& target) {
    list(label, target, [&](const Json& item, const std::string& path) {
      T value;
      Reader(item, path, source_).read(value);
      return value;
    });
  }

  // A string stands for an object with that string under `key`.
  template <typename T>
  void named_object(const Label& label, T& target, const char* key) {
    if (const Json* value = find(label)) target = as_named<T>(*value, child(label.name), key);
  }

  template <typename T>
  void named_objects(const Label& label, std::vector<T>& target, const char* key) {
    list(label, target,
         [&](const Json& item, const std::string& path) { return as_named<T>(item, path, key); });
  }

  void texts(const Label& label, std::vector<std::string>& target) {
    list(label, target,
         [&](const Json& item, const std::string& path) { return as_text(item, path); });
  }

  void integers(const Label& label, std::vector<std::int64_t>& target, IntegerRange range) {
    list(label, target,
         [&](const Json& item, const std::string& path) { return as_integer(item, path, range); });
  }

 private:
  std::string child(const std::string& name) const {
    return path_.empty() ? name : path_ + "." + name;
  }

  const Json* find(const Label& label) {
    known_.emplace_back(label.name);
    const auto found = object_.find(label.name);
    if (found != object_.end()) return &*found;
    if (label.presence == Presence::kRequired) {
      // A misspelt required key is better reported as the misspelling.
      for (const auto& [key, value] : object_.items()) {
        if (nearest_name(key, {label.name}) == label.name &&
            std::find(known_.begin(), known_.end(), key) == known_.end()) {
          throw bad_input("{}: {}: unknown key (did you mean '{}'?)", source_, child(key),
                          label.name);
        }
      }
      throw bad_input("{}: {}: missing; {}", source_, child(label.name), label.meaning);
    }
    return nullptr;
  }

  template <typename T, typename Convert>
  void optional(const Label& label, std::optional<T>& target, Convert convert) {
    const Json* value = find(label);
    if (value == nullptr) return;
    if (value->is_null()) {
      target.reset();
    } else {
      target = convert(*value);
    }
  }

  template <typename T, typename Convert>
  void list(const Label& label, std::vector<T>& target, Convert convert) {
    const Json* value = find(label);
    if (value == nullptr) return;
    const std::string path = child(label.name);
    if (!value->is_array()) {
      throw bad_input("{}: {}: must be a list, not {}", source_, path, kind_of(*value));
    }
    if (value->empty() && (label.presence == Presence::kRequired || !target.empty())) {
      throw bad_input("{}: {}: must have at least one item", source_, path);
    }
    if (value->size() > kMaxItems) {
      throw bad_input("{}: {}: {} items are more than {}", source_, path, value->size(), kMaxItems);
    }
    target.clear();
    for (std::size_t i = 0; i < value->size(); ++i) {
      target.push_back(convert((*value)[i], fmt::format("{}[{}]", path, i)));
    }
  }

  template <typename T>
  T as_named(const Json& item, const std::string& path, const char* key) const {
    T value;
    const Json object = item.is_string() ? Json{{key, item}} : item;
    if (!object.is_object()) {
      throw bad_input("{}: {}: must be a name or an object, not {}", source_, path, kind_of(item));
    }
    Reader(object, path, source_).read(value);
    return value;
  }

  std::string as_text(const Json& value, const std::string& path) const {
    if (!value.is_string()) {
      throw bad_input("{}: {}: must be a string, not {}", source_, path, kind_of(value));
    }
    return value.get<std::string>();
  }

  std::string as_choice(const Json& value, const std::string& path, const Choices& choices) const {
    const std::string text = as_text(value, path);
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
      throw bad_input("{}: {}: '{}' is not one of {}{}", source_, path, text, join(choices, ", "),
                      nearest_name(text, choices).empty() ? "" : suggestion(text, choices));
    }
    return text;
  }

  bool as_boolean(const Json& value, const std::string& path) const {
    if (!value.is_boolean()) {
      throw bad_input("{}: {}: must be true or false, not {}", source_, path, kind_of(value));
    }
    return value.get<bool>();
  }

  std::int64_t as_integer(const Json& value, const std::string& path, IntegerRange range) const {
    const bool whole =
        value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>();
    if (!value.is_number_integer() && !whole) {
      throw bad_input("{}: {}: must be an integer, not {}", source_, path, kind_of(value));
    }
    // Compared as a double first: an unsigned or float value may not fit an int64.
    const double approximate = value.get<double>();
    if (approximate < static_cast<double>(range.least) ||
        approximate > static_cast<double>(range.most)) {
      throw bad_input("{}: {}: must be between {} and {}, not {}", source_, path, range.least,
                      range.most, shortened(value));
    }
    return whole ? static_cast<std::int64_t>(approximate) : value.get<std::int64_t>();
  }

  double as_number(const Json& value, const std::string& path, NumberRange range) const {
    if (!value.is_number()) {
      throw bad_input("{}: {}: must be a number, not {}", source_, path, kind_of(value));
    }
    const double number = value.get<double>();
    const bool above = range.least_excluded ? number > range.least : number >= range.least;
    if (!above || number > range.most) {
      throw bad_input("{}: {}: must be {} {} and at most {}, not {}", source_, path,
                      range.least_excluded ? "more than" : "at least", range.least, range.most,
                      shortened(value));
    }
    return number;
  }

  const Json& object_;
  std::string path_;
  const std::string& source_;
  std::vector<std::string> known_;
};

}  // namespace

// In suite_check.cpp. Also resolves names that stand for a definition elsewhere in the suite.
void check_suite(Suite& suite, const std::string& source, const KnownNames& known);

Suite parse_suite(const std::string& text, const std::string& source, const KnownNames& known) {
  const Json json = parse_json(text, source);
  Suite suite;
  Reader(json, "", source).read(suite);
  for (std::size_t i = 0; i < suite.methods.size(); ++i) {
    SuiteMethod& method = suite.methods[i];
    if (method.label.empty()) method.label = method.method;
    method.initialization = suite.initialization;
    const Json& item = json["methods"][i];
    if (item.is_object() && item.contains("initialization")) {
      Reader(item["initialization"], fmt::format("methods[{}].initialization", i), source)
          .read(method.initialization);
    }
  }
  check_suite(suite, source, known);
  return suite;
}

}  // namespace oasis
