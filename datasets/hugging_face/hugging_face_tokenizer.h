// Byte-level BPE as Hugging Face's tokenizer.json describes it: the tokenizers of GPT-2, Llama 3,
// Qwen 2 and 3, SmolLM2 and their like. Ids are those of the Python package `tokenizers`, without
// special tokens added.
//
// Added tokens are found first; the text between them is normalized (NFC, where the file asks) and
// cut into words, and each word's bytes are merged. Bytes that are not valid UTF-8, which the
// Python package does not take, become the tokens of single bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "datasets/tokenizer.h"

namespace oasis {

inline constexpr const char* kHuggingFaceFile = "tokenizer.json";

// From the content of a tokenizer.json. `where` names it in messages. `end_of_text` is the content
// of the token that ends a document; when not given, the first special token there is of
// <|endoftext|>, <|end_of_text|>, </s> and <|im_end|>. Throws Error (bad input) naming the field
// that is malformed or not supported, or when there is no such token.
TokenizerPtr hugging_face_from_json(std::string text, const std::string& where,
                                    const std::optional<std::string>& end_of_text = std::nullopt);

// From a tokenizer.json or a folder with one. A tokenizer_config.json beside it tells the
// end-of-text token: its `eos_token`.
TokenizerPtr load_hugging_face(const std::filesystem::path& path);

// What save() wrote: a tokenizer.json with this SHA-256.
TokenizerPtr load_saved_hugging_face(const std::filesystem::path& folder, const std::string& sha256,
                                     std::uint32_t end_of_text);

}  // namespace oasis
