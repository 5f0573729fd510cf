// A small valid tokenizer.json for tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "datasets/hugging_face/byte_letters.h"

namespace oasis {

inline nlohmann::json added_token(std::uint32_t id, const std::string& content,
                                  const std::vector<std::string>& flags = {"special"}) {
  nlohmann::json token = {{"id", id}, {"content", content}};
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
    token[flag] = false;
  }
  for (const auto& flag : flags) token[flag] = true;
  return token;
}

// Bytes are ids 0 to 255, merges the ids after them, <|endoftext|> the last; words as GPT-2 cuts
// them.
inline nlohmann::json small_tokenizer(
    const std::vector<std::pair<std::string, std::string>>& merges = {
        {"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"Ġ", "w"}, {"Ġw", "o"}, {"r", "l"}}) {
  nlohmann::json vocab, pairs = nlohmann::json::array();
  for (unsigned byte = 0; byte < 256; ++byte) {
    vocab[byte_letter(static_cast<unsigned char>(byte))] = byte;
  }
  for (const auto& [left, right] : merges) {
    const std::size_t id = vocab.size();
    vocab[left + right] = id;
    pairs.push_back({left, right});
  }
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  const auto end = static_cast<std::uint32_t>(vocab.size());
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {added_token(end, "<|endoftext|>")}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", pairs}}}};
}

}  // namespace oasis
