// SentencePiece BPE with byte fallback: training and use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "datasets/tokenizer.h"

namespace oasis {

inline constexpr const char* kSentencePieceFile = "tokenizer.model";

// A trained model, as SentencePiece serialises it. `next_line` fills in one line of text at a time
// (without its newline), and returns false at the end. Deterministic: the same lines and vocabulary
// size give the same bytes. Throws Error (bad input) when the text cannot fill the vocabulary.
std::string train_sentencepiece(std::uint32_t vocab_size,
                                const std::function<bool(std::string&)>& next_line);

// From a serialised model. `where` names it in messages. Throws Error (bad input) when it is
// damaged or not a BPE model with byte fallback and an end-of-text control.
TokenizerPtr sentencepiece_from_model(const std::string& model, const std::string& where);

// From a file whose SHA-256 must be `sha256`.
TokenizerPtr load_sentencepiece(const std::filesystem::path& file, const std::string& sha256);

}  // namespace oasis
