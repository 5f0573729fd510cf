// The regular expressions of tokenizer.json, for PCRE2.
//
// Such a file means them as Oniguruma (Ruby's syntax, Unicode 16) reads them. PCRE2 reads most of
// them alike, but not all, and would then split text elsewhere without a word. So only what both
// read alike, or what can be written so that they do, is let through:
//
//   literal characters; \r \n \t; a backslash before punctuation
//   [...] and [^...] of these, of ranges and of the next two
//   \s \S          White_Space, which PCRE2 takes to hold U+180E as well
//   \p{...}        general categories L, M, N and those below them; \P{...} outside of [...]
//   | ( ) (?:...) (?=...) (?!...)
//   (?i:...)       with ASCII literals and | inside
//   ? * + {n} {n,} {n,m}, and the lazy and possessive ? * +
#pragma once

#include <string>
#include <string_view>

namespace oasis {

// The same expression for PCRE2 with UTF and UCP. Throws Error (bad input) that names `where` and
// what is not supported.
std::string pcre2_syntax(std::string_view pattern, const std::string& where);

}  // namespace oasis
