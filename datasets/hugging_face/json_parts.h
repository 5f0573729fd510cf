// The parts of a tokenizer.json. Every function throws Error (bad input) naming the field.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "datasets/hugging_face/description.h"
#include "support/error.h"

namespace oasis {

// "FIELD: WHAT is not supported; supported: SUPPORTED".
Error unsupported(const std::string& field, const std::string& what, const std::string& supported);

// The field "type" of an object that is one of several kinds; "null" where there is none.
std::string type_of(const nlohmann::json& object, const std::string& where);

void read_normalizer(const nlohmann::json& object, const std::string& where,
                     HuggingFaceDescription& description);
void read_pre_tokenizer(const nlohmann::json& object, const std::string& where,
                        HuggingFaceDescription& description);
void read_post_processor(const nlohmann::json& object, const std::string& where,
                         HuggingFaceDescription& description);
void check_decoder(const nlohmann::json& object, const std::string& where);

}  // namespace oasis
