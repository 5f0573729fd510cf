// What a cell costs, from its configuration alone: parameters, arithmetic, memory.
#pragma once

#include <cstdint>

#include "suites/plan.h"

namespace oasis {

// Parameters of a model with this config.json, tied weights once.
std::int64_t parameter_count(const Json& model_config);

// Floating-point operations of one token's forward pass in a block of `block_length`, a
// multiply-add counted as two. Matrix products, attention over the (T + 1)/2 keys that a token sees
// on average, and depth routing over its sources; elementwise work is left out.
double forward_flops_per_token(const Json& model_config, std::int64_t block_length);

struct CellCost {
  std::int64_t parameters = 0;
  std::int64_t training_tokens = 0;    // fine-tuning included, without its padding
  std::int64_t evaluation_tokens = 0;  // over all evaluations, calibration included
  // GSM8K's prompts, and answers each as long as allowed: at most.
  std::int64_t generation_tokens = 0;
  double flops = 0;         // training counts its forward pass three times
  double memory_bytes = 0;  // of training; see cost.cpp
};

// `data`: of the data set that the cell is trained on.
CellCost cost_of(const Plan& plan, const Cell& cell, const SuiteData::ForTraining& data);

// Blocks that an evaluation reads of a split.
std::int64_t evaluated_blocks(const Suite& suite, const SplitIdentity& split);

}  // namespace oasis
