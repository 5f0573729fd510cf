#include "baselines/method_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "baselines/registry.h"
#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;
using nlohmann::json;

MethodSpec resolve(const json& object, int64_t hidden_size = 512) {
  return resolve_method(object, hidden_size, "config.json: oasis");
}

std::string refusal_of(const json& object) {
  return refusal([&] { resolve(object); });
}

TEST(MethodConfigTest, NothingIsAPlainPrenorm) {
  for (const auto& object : {json(), json::object()}) {
    const auto spec = resolve(object);
    EXPECT_EQ(spec.method, "prenorm");
    EXPECT_EQ(spec.token.kind, Normalizer::kSoftmax);
    EXPECT_EQ(spec.routing, Routing::kNone);
    EXPECT_FALSE(spec.depth);
    EXPECT_FALSE(spec.gate);
    EXPECT_EQ(spec.coupling.kind, Coupling::Kind::kNone);
  }
}

TEST(MethodConfigTest, DefaultsAreTheMethods) {
  for (const auto& method : methods()) {
    json object = {{"method", method.name}};
    if (method.token == Normalizer::kClippedSoftmax) object["clip_gamma"] = -0.1;
    const auto spec = resolve(object);
    EXPECT_EQ(spec.method, method.name);
    EXPECT_EQ(spec.token.kind, method.token) << method.name;
    EXPECT_EQ(spec.gate, method.gate) << method.name;
    EXPECT_EQ(spec.depth.has_value(), method.depth.has_value()) << method.name;
    if (spec.depth) {
      EXPECT_EQ(spec.depth->kind, *method.depth) << method.name;
    }
    EXPECT_EQ(spec.coupling.kind, method.coupling.kind) << method.name;
    EXPECT_EQ(spec.coupling.beta, method.coupling.beta) << method.name;
    EXPECT_EQ(spec.routing, method.is_routed() ? Routing::kProjected : Routing::kNone)
        << method.name;
    EXPECT_EQ(spec.recency, Recency::kNormalized);
    EXPECT_EQ(spec.block_count, 0);
  }
}

TEST(MethodConfigTest, RouterSizeIsAQuarterOfTheHiddenSizeAndAtLeast64) {
  EXPECT_EQ(resolve({{"method", "oasis"}}, 512).router_size, 128);
  EXPECT_EQ(resolve({{"method", "oasis"}}, 256).router_size, 64);
  EXPECT_EQ(resolve({{"method", "oasis"}}, 48).router_size, 64);
  EXPECT_EQ(resolve({{"method", "oasis"}, {"router_size", 7}}, 512).router_size, 7);
}

TEST(MethodConfigTest, ClippedSoftmaxConstants) {
  const auto spec = resolve({{"method", "clipped_softmax"}, {"clip_gamma", -12.0 / 512}});
  EXPECT_EQ(spec.token.zeta, 1.0);
  EXPECT_EQ(spec.token.gamma, -12.0 / 512);
  EXPECT_EQ(spec.depth->kind, Normalizer::kSoftmax);
  EXPECT_EQ(spec.depth->gamma, 0.0);
  const auto deep = resolve({{"method", "attnres"},
                             {"depth_normalizer", "clipped_softmax"},
                             {"clip_zeta", 1.03},
                             {"clip_gamma", -0.03}});
  EXPECT_EQ(deep.depth->zeta, 1.03);
  EXPECT_EQ(deep.depth->gamma, -0.03);
  EXPECT_EQ(deep.token.zeta, 1.0);
}

TEST(MethodConfigTest, EveryOverrideWins) {
  for (const char* name : {"softmax", "softmax1", "clipped_softmax", "sparsemax", "entmax15"}) {
    json object = {{"method", "attnres"}, {"clip_gamma", -0.1}};
    object["token_normalizer"] = name;
    EXPECT_EQ(normalizer_name(resolve(object).token.kind), name);
    object.erase("token_normalizer");
    object["depth_normalizer"] = name;
    EXPECT_EQ(normalizer_name(resolve(object).depth->kind), name);
  }
  const auto none = resolve({{"method", "attnres"}, {"depth_normalizer", "none"}});
  EXPECT_FALSE(none.depth);
  EXPECT_EQ(none.routing, Routing::kNone);
  const auto deep = resolve({{"method", "prenorm"}, {"depth_normalizer", "softmax"}});
  EXPECT_EQ(deep.routing, Routing::kProjected);
  EXPECT_EQ(resolve({{"method", "oasis"}, {"coupling", "none"}}).coupling.kind,
            Coupling::Kind::kNone);
  EXPECT_EQ(resolve({{"method", "attnres"}, {"coupling", "learned"}}).coupling.kind,
            Coupling::Kind::kLearned);
  const auto fixed = resolve({{"method", "oasis"}, {"coupling", 2.5}}).coupling;
  EXPECT_EQ(fixed.kind, Coupling::Kind::kFixed);
  EXPECT_EQ(fixed.beta, 2.5);
  EXPECT_EQ(resolve({{"method", "oasis"}, {"coupling", 0}}).coupling.beta, 0.0);
  EXPECT_TRUE(resolve({{"method", "oasis"}, {"gate", true}}).gate);
  EXPECT_FALSE(resolve({{"method", "gated_attention"}, {"gate", false}}).gate);
  EXPECT_EQ(resolve({{"method", "oasis"}, {"recency", "absolute"}}).recency, Recency::kAbsolute);
  EXPECT_EQ(resolve({{"method", "oasis"}, {"routing", "pseudo_query"}}).routing,
            Routing::kPseudoQuery);
  const auto block = resolve({{"method", "oasis"}, {"routing", "block"}, {"block_count", 4}});
  EXPECT_EQ(block.routing, Routing::kBlock);
  EXPECT_EQ(block.block_count, 4);
}

TEST(MethodConfigTest, Contradictions) {
  for (const char* form : {"projected", "pseudo_query", "block"}) {
    EXPECT_TRUE(says(refusal_of({{"method", "prenorm"}, {"routing", form}}), "contradicts", form,
                     "'prenorm'"));
  }
  EXPECT_TRUE(
      says(refusal_of({{"method", "oasis"}, {"routing", "none"}}), "contradicts", "'oasis'"));
  EXPECT_TRUE(says(
      refusal_of({{"method", "attnres"}, {"depth_normalizer", "none"}, {"routing", "projected"}}),
      "contradicts"));
  EXPECT_TRUE(says(refusal_of({{"method", "oasis"}, {"routing", "block"}}), "block_count"));
  EXPECT_TRUE(says(refusal_of({{"method", "clipped_softmax"}}), "clip_gamma", "−12"));
  EXPECT_TRUE(says(refusal_of({{"method", "attnres"}, {"depth_normalizer", "clipped_softmax"}}),
                   "clip_gamma"));
  // Found with the model's sizes at hand.
  json model = model_config_json(small_config());
  model["oasis"] = {{"method", "prenorm"}, {"coupling", "learned"}};
  EXPECT_TRUE(says(refusal([&] { parse_checkpoint_config(model, "c.json"); }), "c.json",
                   "coupling needs depth routing"));
  model["oasis"] = {{"method", "oasis"}, {"routing", "block"}, {"block_count", 3}};
  EXPECT_TRUE(says(refusal([&] { parse_checkpoint_config(model, "c.json"); }), "c.json",
                   "block_count = 3 must divide"));
}

TEST(MethodConfigTest, UnknownNamesGetTheNearest) {
  EXPECT_TRUE(says(refusal_of({{"method", "oasiss"}}), "config.json: oasis.method", "'oasis'"));
  EXPECT_TRUE(says(refusal_of({{"metod", "oasis"}}), "unknown key 'metod'", "'method'"));
  EXPECT_TRUE(says(refusal_of({{"method", "oasis"}, {"routing", "pseudoquery"}}), "oasis.routing",
                   "'pseudo_query'"));
  EXPECT_TRUE(says(refusal_of({{"method", "oasis"}, {"token_normalizer", "sofmax"}}),
                   "oasis.token_normalizer", "'softmax'"));
  EXPECT_TRUE(says(refusal_of({{"method", "oasis"}, {"depth_normalizer", "entmax"}}),
                   "oasis.depth_normalizer", "'entmax15'"));
  EXPECT_TRUE(says(refusal_of({{"method", "oasis"}, {"recency", "absolut"}}), "oasis.recency",
                   "'absolute'"));
}

TEST(MethodConfigTest, WrongTypesAndRanges) {
  const auto refused = [](const char* key, const json& value) {
    json object = {{"method", "clipped_softmax"}, {"clip_gamma", -0.1}};
    object[key] = value;
    return refusal_of(object);
  };
  for (const char* key : {"method", "routing", "token_normalizer", "depth_normalizer", "recency"}) {
    EXPECT_TRUE(says(refused(key, 5), key, "must be a string, not 5")) << key;
  }
  EXPECT_TRUE(says(refused("gate", 1), "gate", "true or false"));
  for (const char* key : {"block_count", "router_size"}) {
    for (const auto& value : {json(0), json(-3), json(1.5), json("2"), json()}) {
      EXPECT_TRUE(says(refused(key, value), key, "positive integer")) << key << value;
    }
  }
  EXPECT_TRUE(says(refused("router_size", std::numeric_limits<uint64_t>::max()), "router_size"));
  EXPECT_TRUE(says(refused("coupling", "fixed"), "coupling", "'learned'"));
  EXPECT_TRUE(says(refused("coupling", -1.0), "coupling", "β ≥ 0"));
  EXPECT_TRUE(says(refused("coupling", true), "coupling"));
  EXPECT_TRUE(says(refused("clip_gamma", "x"), "clip_gamma", "a number"));
  EXPECT_TRUE(says(refused("clip_gamma", 0.1), "clip_gamma", "at most 0"));
  EXPECT_TRUE(says(refused("clip_zeta", 0.9), "clip_zeta", "at least 1"));
  EXPECT_TRUE(says(refusal_of(json("oasis")), "must be an object"));
  EXPECT_TRUE(says(refusal_of(json::array({"oasis"})), "must be an object"));
}

bool same(const MethodSpec& a, const MethodSpec& b) {
  const auto normalizer = [](const NormalizerSpec& x, const NormalizerSpec& y) {
    return x.kind == y.kind && x.zeta == y.zeta && x.gamma == y.gamma;
  };
  return a.method == b.method && normalizer(a.token, b.token) && a.gate == b.gate &&
         a.depth.has_value() == b.depth.has_value() &&
         (!a.depth || normalizer(*a.depth, *b.depth)) && a.routing == b.routing &&
         a.coupling.kind == b.coupling.kind && a.coupling.beta == b.coupling.beta &&
         a.block_count == b.block_count && a.recency == b.recency &&
         (a.routing != Routing::kProjected || a.router_size == b.router_size);
}

TEST(MethodConfigTest, WrittenAndReadAgain) {
  for (const auto& method : methods()) {
    for (const char* form : {"none", "projected", "pseudo_query", "block"}) {
      if ((std::string(form) == "none") == method.is_routed()) continue;
      json object = {{"method", method.name}, {"routing", form}};
      if (std::string(form) == "block") object["block_count"] = 2;
      if (std::string(form) == "projected") {
        object["recency"] = "absolute";
        object["router_size"] = 40;
      }
      if (method.token == Normalizer::kClippedSoftmax) {
        object["clip_gamma"] = -12.0 / 511;
        object["clip_zeta"] = 1.003;
      }
      const auto spec = resolve(object);
      const auto written = method_json(spec);
      // Another hidden size: nothing is left to defaults that depend on it.
      EXPECT_TRUE(same(resolve(written, 4096), spec)) << written;
      EXPECT_EQ(method_json(resolve(json::parse(written.dump()))), written);
      auto config = small_config(spec);
      const auto again = parse_checkpoint_config(checkpoint_config_json(config), "c.json");
      EXPECT_TRUE(same(again.method, spec)) << written;
      EXPECT_EQ(checkpoint_config_json(again), checkpoint_config_json(config));
    }
  }
}

}  // namespace
}  // namespace oasis
