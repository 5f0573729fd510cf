// What the tests of this folder let a suite name, and a small suite.
#pragma once

#include "suites/suite.h"

namespace oasis::testing_names {

inline KnownNames known_names() {
  const SuiteCoupling learned{"learned", 0};
  return {{{"prenorm", "softmax", "none", {}, false},
           {"attnres", "softmax", "softmax", {}, false},
           {"clipped_softmax", "clipped_softmax", "softmax", {}, false},
           {"gated_attention", "softmax", "softmax", {}, true},
           {"softmax1", "softmax1", "softmax", {}, false},
           {"sparsemax", "sparsemax", "sparsemax", {}, false},
           {"oasis_no_coupling", "softmax1", "softmax1", {}, false},
           {"oasis_token_null_only", "softmax1", "softmax", learned, false},
           {"oasis_depth_null_only", "softmax", "softmax1", {}, false},
           {"oasis_fixed_beta", "softmax1", "softmax1", {"fixed", 1}, false},
           {"oasis", "softmax1", "softmax1", learned, false}},
          {"bigram_backcopy", "word_problems", "books", "wikitext-2", "gsm8k"}};
}

inline Json small_suite() {
  return Json::parse(R"({
    "name": "small",
    "datasets": ["books"],
    "models": [{"name": "m", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                "intermediate_size": 128}],
    "methods": ["attnres", "oasis"],
    "seeds": [0, 1],
    "training": {"steps": 20, "block_length": 32, "sequences_per_step": 4, "warmup_steps": 2},
    "evaluation": {"datasets": ["books", "wikitext-2"]},
    "quantization": [{"weight_bits": 8, "activation_bits": 8}]
  })");
}

}  // namespace oasis::testing_names
