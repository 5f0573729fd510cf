#include "baselines/method_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "baselines/registry.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

using nlohmann::json;

constexpr int64_t kSmallestRouter = 64;

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys = {
      "method",      "routing",     "token_normalizer", "depth_normalizer", "coupling",  "gate",
      "block_count", "router_size", "recency",          "clip_zeta",        "clip_gamma"};
  return keys;
}

const std::vector<std::string>& normalizer_names() {
  static const std::vector<std::string> names = {"softmax", "softmax1", "clipped_softmax",
                                                 "sparsemax", "entmax15"};
  return names;
}

struct ObjectReader {
  const json& object;
  const std::string& where;

  const json* find(const char* key) const {
    const auto found = object.find(key);
    return found == object.end() ? nullptr : &*found;
  }
  Error wrong(const char* key, const char* expected) const {
    return bad_input("{}.{}: must be {}, not {}", where, key, expected, object.at(key).dump());
  }
  std::string string(const char* key) const {
    const auto& value = object.at(key);
    if (!value.is_string()) throw wrong(key, "a string");
    return value.get<std::string>();
  }
  int64_t integer(const char* key) const {
    const auto& value = object.at(key);
    if (!value.is_number_integer() || value.get<int64_t>() < 1)
      throw wrong(key, "a positive integer");
    return value.get<int64_t>();
  }
  double number(const char* key) const {
    const auto& value = object.at(key);
    if (!value.is_number() || !std::isfinite(value.get<double>())) throw wrong(key, "a number");
    return value.get<double>();
  }
  // A parser's message, opened by the place.
  template <typename Parse>
  auto named(const char* key, Parse&& parse) const {
    const auto text = string(key);
    try {
      return parse(text);
    } catch (const Error& error) {
      throw bad_input("{}.{}: {}", where, key, error.what());
    }
  }
};

Normalizer normalizer_by_name(const std::string& name) {
  const auto& names = normalizer_names();
  if (std::ranges::find(names, name) == names.end()) {
    throw bad_input("unknown normalizer '{}'{}", name, suggestion(name, names));
  }
  return parse_normalizer(name).kind;
}

Coupling parse_coupling(const ObjectReader& read) {
  const auto& value = read.object.at("coupling");
  if (value.is_number()) {
    const double beta = read.number("coupling");
    if (beta < 0) throw read.wrong("coupling", "'none', 'learned' or a β ≥ 0");
    return {Coupling::Kind::kFixed, beta};
  }
  if (value == "none") return {};
  if (value == "learned") return {Coupling::Kind::kLearned, 0.0};
  throw read.wrong("coupling", "'none', 'learned' or a number");
}

}  // namespace

MethodSpec resolve_method(const json& object, int64_t hidden_size, const std::string& where) {
  MethodSpec spec;
  const json empty = json::object();
  const json& fields = object.is_null() ? empty : object;
  if (!fields.is_object()) throw bad_input("{}: must be an object", where);
  for (const auto& [key, value] : fields.items()) {
    if (std::ranges::find(known_keys(), key) == known_keys().end()) {
      throw bad_input("{}: unknown key '{}'{}", where, key, suggestion(key, known_keys()));
    }
  }
  const ObjectReader read{fields, where};
  if (read.find("method") != nullptr) spec.method = read.string("method");
  const auto& declaration =
      read.find("method") == nullptr
          ? find_method(spec.method)
          : read.named("method", [](const auto& name) -> const MethodDeclaration& {
              return find_method(name);
            });
  spec.token.kind = declaration.token;
  spec.gate = declaration.gate;
  spec.coupling = declaration.coupling;
  std::optional<Normalizer> depth = declaration.depth;
  if (read.find("token_normalizer")) {
    spec.token.kind = read.named("token_normalizer", normalizer_by_name);
  }
  if (read.find("depth_normalizer")) {
    if (fields.at("depth_normalizer") == "none") {
      depth = std::nullopt;
    } else {
      depth = read.named("depth_normalizer", normalizer_by_name);
    }
  }
  spec.routing = depth ? Routing::kProjected : Routing::kNone;
  if (read.find("routing")) spec.routing = read.named("routing", parse_routing);
  if ((spec.routing == Routing::kNone) == depth.has_value()) {
    throw bad_input(
        "{}: routing '{}' contradicts depth_normalizer '{}' of method '{}'; leave one "
        "out or make both 'none'",
        where, routing_name(spec.routing),
        depth ? normalizer_name(*depth) : std::string_view("none"), spec.method);
  }
  if (depth) spec.depth = NormalizerSpec{*depth};
  if (read.find("coupling")) spec.coupling = parse_coupling(read);
  if (read.find("gate")) {
    if (!fields.at("gate").is_boolean()) throw read.wrong("gate", "true or false");
    spec.gate = fields.at("gate").get<bool>();
  }
  if (read.find("recency")) spec.recency = read.named("recency", parse_recency);
  if (read.find("block_count")) spec.block_count = read.integer("block_count");
  if (spec.routing == Routing::kBlock && spec.block_count == 0) {
    throw bad_input("{}: routing 'block' needs block_count, a divisor of 2 × num_hidden_layers",
                    where);
  }
  spec.router_size = std::max(hidden_size / 4, kSmallestRouter);
  if (read.find("router_size")) spec.router_size = read.integer("router_size");
  if (spec.needs_clip_constants()) {
    if (!read.find("clip_gamma")) {
      throw bad_input(
          "{}: clipped_softmax needs clip_gamma; the published value is −12 over the "
          "training block length",
          where);
    }
    const double zeta = read.find("clip_zeta") ? read.number("clip_zeta") : 1.0;
    const double gamma = read.number("clip_gamma");
    if (zeta < 1) throw read.wrong("clip_zeta", "at least 1");
    if (gamma > 0) throw read.wrong("clip_gamma", "at most 0");
    const auto set = [&](NormalizerSpec& normalizer) {
      if (normalizer.kind != Normalizer::kClippedSoftmax) return;
      normalizer.zeta = zeta;
      normalizer.gamma = gamma;
    };
    set(spec.token);
    if (spec.depth) set(*spec.depth);
  }
  return spec;
}

json method_json(const MethodSpec& spec) {
  json object = {{"method", spec.method},
                 {"routing", routing_name(spec.routing)},
                 {"token_normalizer", normalizer_name(spec.token.kind)},
                 {"depth_normalizer",
                  spec.depth ? normalizer_name(spec.depth->kind) : std::string_view("none")},
                 {"gate", spec.gate}};
  switch (spec.coupling.kind) {
    case Coupling::Kind::kNone:
      object["coupling"] = "none";
      break;
    case Coupling::Kind::kLearned:
      object["coupling"] = "learned";
      break;
    case Coupling::Kind::kFixed:
      object["coupling"] = spec.coupling.beta;
      break;
  }
  if (spec.routing == Routing::kBlock) object["block_count"] = spec.block_count;
  if (spec.routing == Routing::kProjected) {
    object["router_size"] = spec.router_size;
    object["recency"] = recency_name(spec.recency);
  }
  if (spec.needs_clip_constants()) {
    const auto& clipped = spec.token.kind == Normalizer::kClippedSoftmax ? spec.token : *spec.depth;
    object["clip_zeta"] = clipped.zeta;
    object["clip_gamma"] = clipped.gamma;
  }
  return object;
}

ModelConfig parse_checkpoint_config(const json& object, const std::string& where) {
  auto config = parse_model_config(object, where);
  const auto found = object.find("oasis");
  config.method = resolve_method(found == object.end() ? json() : *found, config.hidden_size,
                                 where + ": oasis");
  config.validate(where);
  return config;
}

json checkpoint_config_json(const ModelConfig& config) {
  auto object = model_config_json(config);
  object["oasis"] = method_json(config.method);
  return object;
}

}  // namespace oasis
