// A suite written out: complete JSON, the JSON Schema, the reference table.
#include <fmt/format.h>

#include "suites/suite.h"
#include "suites/suite_fields.h"
#include "support/text.h"

namespace oasis {
namespace {

using suite_fields::Choices;
using suite_fields::IntegerRange;
using suite_fields::Label;
using suite_fields::NumberRange;
using suite_fields::Presence;

Json coupling_json(const SuiteCoupling& coupling) {
  return coupling.kind == "fixed" ? Json(coupling.beta) : Json(coupling.kind);
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

class Writer {
 public:
  template <typename T>
  static Json write(T value) {
    Writer writer;
    suite_fields::fields(writer, value);
    return writer.json_;
  }

  void text(const Label& l, std::string& v) { json_[l.name] = v; }
  void optional_text(const Label& l, std::optional<std::string>& v) { json_[l.name] = or_null(v); }
  void choice(const Label& l, std::string& v, const Choices&) { json_[l.name] = v; }
  void optional_choice(const Label& l, std::optional<std::string>& v, const Choices&) {
    json_[l.name] = or_null(v);
  }
  void boolean(const Label& l, bool& v) { json_[l.name] = v; }
  void optional_boolean(const Label& l, std::optional<bool>& v) { json_[l.name] = or_null(v); }
  void integer(const Label& l, std::int64_t& v, IntegerRange) { json_[l.name] = v; }
  void optional_integer(const Label& l, std::optional<std::int64_t>& v, IntegerRange) {
    json_[l.name] = or_null(v);
  }
  void number(const Label& l, double& v, NumberRange) { json_[l.name] = v; }
  void optional_number(const Label& l, std::optional<double>& v, NumberRange) {
    json_[l.name] = or_null(v);
  }
  void coupling(const Label& l, std::optional<SuiteCoupling>& v) {
    json_[l.name] = v ? coupling_json(*v) : Json(nullptr);
  }
  template <typename T>
  void object(const Label& l, T& v) {
    json_[l.name] = write(v);
  }
  template <typename T>
  void optional_object(const Label& l, std::optional<T>& v) {
    json_[l.name] = v ? write(*v) : Json(nullptr);
  }
  template <typename T>
  void objects(const Label& l, std::vector<T>& v) {
    json_[l.name] = Json::array();
    for (const T& item : v) json_[l.name].push_back(write(item));
  }
  template <typename T>
  void named_object(const Label& l, T& v, const char*) {
    object(l, v);
  }
  template <typename T>
  void named_objects(const Label& l, std::vector<T>& v, const char*) {
    objects(l, v);
  }
  void texts(const Label& l, std::vector<std::string>& v) { json_[l.name] = v; }
  void integers(const Label& l, std::vector<std::int64_t>& v, IntegerRange) { json_[l.name] = v; }

 private:
  Json json_ = Json::object();
};

class SchemaMaker {
 public:
  template <typename T>
  static Json make() {
    T defaults;
    SchemaMaker maker;
    suite_fields::fields(maker, defaults);
    Json schema = {
        {"type", "object"}, {"additionalProperties", false}, {"properties", maker.properties_}};
    if (!maker.required_.empty()) schema["required"] = maker.required_;
    return schema;
  }

  void text(const Label& l, std::string& v) { add(l, {{"type", "string"}}, v); }
  void optional_text(const Label& l, std::optional<std::string>& v) {
    add(l, {{"type", {"string", "null"}}}, or_null(v));
  }
  void choice(const Label& l, std::string& v, const Choices& choices) {
    add(l, {{"enum", choices}}, v);
  }
  void optional_choice(const Label& l, std::optional<std::string>& v, const Choices& choices) {
    Json values = choices;
    values.push_back(nullptr);
    add(l, {{"enum", values}}, or_null(v));
  }
  void boolean(const Label& l, bool& v) { add(l, {{"type", "boolean"}}, v); }
  void optional_boolean(const Label& l, std::optional<bool>& v) {
    add(l, {{"type", {"boolean", "null"}}}, or_null(v));
  }
  void integer(const Label& l, std::int64_t& v, IntegerRange range) {
    add(l, integer_schema("integer", range), v);
  }
  void optional_integer(const Label& l, std::optional<std::int64_t>& v, IntegerRange range) {
    add(l, integer_schema({"integer", "null"}, range), or_null(v));
  }
  void number(const Label& l, double& v, NumberRange range) {
    add(l, number_schema("number", range), v);
  }
  void optional_number(const Label& l, std::optional<double>& v, NumberRange range) {
    add(l, number_schema({"number", "null"}, range), or_null(v));
  }
  void coupling(const Label& l, std::optional<SuiteCoupling>& v) {
    const Json fixed = {{"type", "number"}, {"minimum", 0}, {"maximum", 10}};
    const Json named = {{"enum", {"none", "learned", nullptr}}};
    add(l, {{"anyOf", {named, fixed}}}, v ? coupling_json(*v) : Json(nullptr));
  }
  template <typename T>
  void object(const Label& l, T&) {
    add(l, make<T>(), Json::object());
  }
  template <typename T>
  void optional_object(const Label& l, std::optional<T>&) {
    Json schema = make<T>();
    schema["type"] = {"object", "null"};
    add(l, schema, nullptr);
  }
  template <typename T>
  void objects(const Label& l, std::vector<T>&) {
    list(l, make<T>());
  }
  template <typename T>
  void named_object(const Label& l, T& v, const char* key) {
    add(l, name_or_object<T>(), Writer::write(v)[key]);
  }
  template <typename T>
  void named_objects(const Label& l, std::vector<T>&, const char*) {
    list(l, name_or_object<T>());
  }
  void texts(const Label& l, std::vector<std::string>&) { list(l, {{"type", "string"}}); }
  void integers(const Label& l, std::vector<std::int64_t>& v, IntegerRange range) {
    Json schema = {{"type", "array"}, {"items", integer_schema("integer", range)}};
    schema["minItems"] = 1;
    add(l, schema, v);
  }

 private:
  template <typename T>
  static Json name_or_object() {
    return {{"anyOf", {{{"type", "string"}}, make<T>()}}};
  }

  static Json integer_schema(const Json& type, IntegerRange range) {
    return {{"type", type}, {"minimum", range.least}, {"maximum", range.most}};
  }

  static Json number_schema(const Json& type, NumberRange range) {
    Json schema = {{"type", type}, {"maximum", range.most}};
    schema[range.least_excluded ? "exclusiveMinimum" : "minimum"] = range.least;
    return schema;
  }

  void list(const Label& l, const Json& item) {
    Json schema = {{"type", "array"}, {"items", item}};
    if (l.presence == Presence::kRequired) schema["minItems"] = 1;
    add(l, schema, Json::array());
  }

  void add(const Label& l, Json schema, const Json& default_value) {
    schema["description"] = l.meaning;
    if (l.presence == Presence::kRequired) {
      required_.emplace_back(l.name);
    } else {
      schema["default"] = default_value;
    }
    properties_[l.name] = std::move(schema);
  }

  Json properties_ = Json::object();
  std::vector<std::string> required_;
};

std::string type_text(const Json& schema) {
  if (schema.contains("enum")) {
    std::vector<std::string> values;
    for (const auto& value : schema["enum"]) {
      values.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
    return join(values, ", ");
  }
  if (schema.contains("anyOf")) return "a name or an object";
  const Json& type = schema["type"];
  std::string text = type.is_string() ? type.get<std::string>() : type[0].get<std::string>();
  if (text == "array") return "list";
  if (schema.contains("minimum")) text += " ≥ " + schema["minimum"].dump();
  if (schema.contains("exclusiveMinimum")) text += " > " + schema["exclusiveMinimum"].dump();
  if (schema.contains("maximum")) text += ", ≤ " + schema["maximum"].dump();
  return text;
}

void append_reference(const Json& schema, const std::string& prefix, std::string& text) {
  for (const auto& [name, field] : schema["properties"].items()) {
    const std::string path = prefix.empty() ? name : prefix + "." + name;
    const Json* nested = nullptr;
    std::string nested_path = path;
    if (field.contains("properties")) nested = &field;
    if (field.contains("items")) {
      const Json& item = field["items"];
      nested_path += "[]";
      if (item.contains("properties")) nested = &item;
      if (item.contains("anyOf")) nested = &item["anyOf"][1];
    }
    const std::string default_text = !field.contains("default") ? "required"
                                     : nested != nullptr && !field["default"].is_null()
                                         ? ""
                                         : field["default"].dump();
    text += fmt::format("| `{}` | {} | {} | {} |\n", path, nested ? "" : type_text(field),
                        default_text, field["description"].get<std::string>());
    // A method's initialization is the suite's, listed once.
    if (nested != nullptr && path != "methods[].initialization") {
      append_reference(*nested, nested_path, text);
    }
  }
}

}  // namespace

Json suite_to_json(const Suite& suite) {
  return Writer::write(suite);
}
Json to_json_object(const DatasetSpec& dataset) {
  return Writer::write(dataset);
}
Json to_json_object(const TokenizerSpec& tokenizer) {
  return Writer::write(tokenizer);
}
Json to_json_object(const ModelSpec& model) {
  return Writer::write(model);
}
Json to_json_object(const SuiteMethod& method) {
  return Writer::write(method);
}
Json to_json_object(const InitializationSpec& init) {
  return Writer::write(init);
}
Json to_json_object(const TrainingSpec& training) {
  return Writer::write(training);
}
Json to_json_object(const EvaluationSpec& evaluation) {
  return Writer::write(evaluation);
}
Json to_json_object(const QuantizationSpec& quantization) {
  return Writer::write(quantization);
}
Json to_json_object(const FineTuningSpec& fine_tuning) {
  return Writer::write(fine_tuning);
}

Json suite_schema() {
  Json schema = SchemaMaker::make<Suite>();
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = "OASIS suite";
  return schema;
}

std::string suite_reference() {
  std::string text =
      "# Fields of a suite file\n\n"
      "Printed by `oasis suite-schema --markdown`. `x[]` is each item of the list `x`; items of "
      "`datasets[]`, `methods[]` and `evaluation.datasets[]` may be a name alone. Defaults are the "
      "published protocol.\n\n"
      "| field | type | default | meaning |\n|---|---|---|---|\n";
  append_reference(suite_schema(), "", text);
  return text;
}

std::vector<std::string> quantizer_differences(const std::string& weight_range,
                                               const std::string& weight_grain,
                                               const std::string& activation_range) {
  const QuantizationSpec published;
  std::vector<std::string> found;
  if (weight_range != published.weight_range || weight_grain != published.weight_grain) {
    found.push_back(fmt::format("weights {} per {}", weight_range, weight_grain));
  }
  if (activation_range != published.activation_range) found.emplace_back("activations per token");
  return found;
}

std::string setting_name(const QuantizationSpec& setting) {
  const std::string bits = fmt::format("W{}A{}", setting.weight_bits, setting.activation_bits);
  std::vector<std::string> parts =
      quantizer_differences(setting.weight_range, setting.weight_grain, setting.activation_range);
  parts.insert(parts.begin(),
               setting.points == "published" ? bits : fmt::format("{} {}", bits, setting.points));
  return join(parts, ", ");
}

}  // namespace oasis
