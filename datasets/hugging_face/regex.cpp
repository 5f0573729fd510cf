#include "datasets/hugging_face/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <utility>

#include "support/error.h"

namespace oasis {
namespace {

constexpr std::size_t kMaxPatternBytes = 10'000;
constexpr std::uint32_t kMaxMatchSteps = 10'000'000;
constexpr std::size_t kFirstStackBytes = 32 << 10;
constexpr std::size_t kMaxStackBytes = 4 << 20;

std::string message_of_code(int code) {
  std::array<PCRE2_UCHAR, 256> message{};
  pcre2_get_error_message(code, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

}  // namespace

struct RegexState::Impl {
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match = {
      pcre2_match_data_create(1, nullptr), &pcre2_match_data_free};
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context = {
      pcre2_match_context_create(nullptr), &pcre2_match_context_free};
  std::unique_ptr<pcre2_jit_stack, decltype(&pcre2_jit_stack_free)> stack = {
      pcre2_jit_stack_create(kFirstStackBytes, kMaxStackBytes, nullptr), &pcre2_jit_stack_free};
};

RegexState::RegexState() : impl_(std::make_unique<Impl>()) {
  if (!impl_->match || !impl_->context) throw failed("out of memory for regular expressions");
  pcre2_set_match_limit(impl_->context.get(), kMaxMatchSteps);
  pcre2_jit_stack_assign(impl_->context.get(), nullptr, impl_->stack.get());
}

RegexState::~RegexState() = default;

struct Regex::Impl {
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code = {nullptr, &pcre2_code_free};
  std::string where;
};

Regex::Regex(const std::string& pattern, Syntax syntax, std::string where)
    : impl_(std::make_unique<Impl>()) {
  impl_->where = std::move(where);
  if (pattern.empty()) throw bad_input("{}: an empty pattern splits nothing", impl_->where);
  if (pattern.size() > kMaxPatternBytes) {
    throw bad_input("{}: a pattern of {} bytes is more than is supported ({})", impl_->where,
                    pattern.size(), kMaxPatternBytes);
  }
  const std::uint32_t options =
      PCRE2_UTF | (syntax == Syntax::kLiteral ? PCRE2_LITERAL : PCRE2_UCP);
  int error = 0;
  PCRE2_SIZE place = 0;
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  options, &error, &place, nullptr));
  if (!impl_->code) {
    throw bad_input("{}: not a regular expression: {} (at byte {} of {})", impl_->where,
                    message_of_code(error), place, pattern);
  }
  // Where there is no just-in-time compiler, the interpreter gives the same matches.
  pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

std::optional<Regex::Match> Regex::find(std::string_view text, std::size_t from,
                                        RegexState& state) const {
  auto& matching = *state.impl_;
  const int status =
      pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                  PCRE2_NO_UTF_CHECK, matching.match.get(), matching.context.get());
  if (status == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (status < 0) {
    throw bad_input("{}: the regular expression cannot be used on this text: {}", impl_->where,
                    message_of_code(status));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(matching.match.get());
  return Match{bounds[0], bounds[1]};
}

}  // namespace oasis
