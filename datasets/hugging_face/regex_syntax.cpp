#include "datasets/hugging_face/regex_syntax.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "datasets/utf8.h"
#include "support/error.h"

namespace oasis {
namespace {

// \p ends it: a hyphen that follows is then an error of PCRE2's and never a range.
constexpr std::string_view kWhiteSpace = R"(\t-\r\x{85}\p{Z})";

struct Category {
  std::string_view name;
  std::string_view members;  // some of it, as they are written between brackets
};

// Characters since Unicode 14, which is PCRE2 10.42's, as of Unicode 16
// (DerivedGeneralCategory.txt). Where PCRE2 is newer, they only say again what it knows. And ASCII,
// which PCRE2 then has in a bitmap: it matches twice as fast with them.
constexpr std::array<Category, 11> kCategories = {{
    {"Lu", R"(A-Z\x{1c89}\x{a7cb}-\x{a7cc}\x{a7da}\x{a7dc}\x{10d50}-\x{10d65})"},
    {"Ll", R"(a-z\x{1c8a}\x{a7cd}\x{a7db}\x{10d70}-\x{10d85}\x{1df25}-\x{1df2a})"},
    {"Lt", ""},
    {"Lm",
     R"(\x{10d4e}\x{10d6f}\x{16d40}-\x{16d42}\x{16d6b}-\x{16d6c}\x{1e030}-\x{1e06d}\x{1e4eb})"},
    {"Lo",
     R"(\x{105c0}-\x{105f3}\x{10d4a}-\x{10d4d}\x{10d4f}\x{10ec2}-\x{10ec4}\x{1123f}-\x{11240})"
     R"(\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}\x{113d1}\x{113d3})"
     R"(\x{11bc0}-\x{11be0}\x{11f02}\x{11f04}-\x{11f10}\x{11f12}-\x{11f33}\x{1342f})"
     R"(\x{13441}-\x{13446}\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d43}-\x{16d6a}\x{18cff})"
     R"(\x{1b132}\x{1b155}\x{1e4d0}-\x{1e4ea}\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2b739})"
     R"(\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})"},
    {"Mn",
     R"(\x{897}\x{ece}\x{10d69}-\x{10d6d}\x{10efc}-\x{10eff}\x{11241}\x{113bb}-\x{113c0}\x{113ce})"
     R"(\x{113d0}\x{113d2}\x{113e1}-\x{113e2}\x{11f00}-\x{11f01}\x{11f36}-\x{11f3a}\x{11f40})"
     R"(\x{11f42}\x{11f5a}\x{13440}\x{13447}-\x{13455}\x{1611e}-\x{16129}\x{1612d}-\x{1612f})"
     R"(\x{1e08f}\x{1e4ec}-\x{1e4ef}\x{1e5ee}-\x{1e5ef})"},
    {"Mc", R"(\x{cf3}\x{113b8}-\x{113ba}\x{113c2}\x{113c5}\x{113c7}-\x{113ca}\x{113cc}-\x{113cd})"
           R"(\x{113cf}\x{1171e}\x{11f03}\x{11f34}-\x{11f35}\x{11f3e}-\x{11f3f}\x{11f41})"
           R"(\x{1612a}-\x{1612c})"},
    {"Me", ""},
    {"Nd", R"(\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{11f50}-\x{11f59})"
           R"(\x{16130}-\x{16139}\x{16d70}-\x{16d79}\x{1ccf0}-\x{1ccf9}\x{1e4f0}-\x{1e4f9})"
           R"(\x{1e5f1}-\x{1e5fa})"},
    {"Nl", ""},
    {"No", R"(\x{1d2c0}-\x{1d2d3})"},
}};

class Translation {
 public:
  Translation(std::string_view pattern, const std::string& where)
      : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) outside_class();
    return std::move(out_);
  }

 private:
  Error refused(std::string_view what) const {
    return bad_input("{}: {} at byte {} of the pattern is not supported", where_, what, at_);
  }

  bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }

  // Takes `text`, which means the same on both sides.
  bool copy(std::string_view text) {
    if (!take(text)) return false;
    out_ += text;
    return true;
  }

  void outside_class() {
    if (next_is("\\")) return escape_outside_class();
    if (next_is("[")) return character_class();
    if (next_is("(")) return group();
    if (next_is("{")) return count();
    for (const std::string_view meta : {"^", "$", ".", "]", "}"}) {
      if (next_is(meta)) throw refused(fmt::format("'{}'", meta));
    }
    for (const std::string_view quantifier : {"?", "*", "+"}) {
      if (copy(quantifier)) {
        if (!copy("?")) copy("+");
        return;
      }
    }
    literal();
  }

  void literal() {
    const auto length = character_length(pattern_.substr(at_));
    if (length == 0) throw refused("what is not UTF-8");
    out_ += pattern_.substr(at_, length);
    at_ += length;
  }

  void escape_outside_class() {
    if (take("\\s")) {
      out_ += fmt::format("[{}]", kWhiteSpace);
    } else if (take("\\S")) {
      out_ += fmt::format("[^{}]", kWhiteSpace);
    } else if (next_is("\\p") || next_is("\\P")) {
      const bool negated = next_is("\\P");
      out_ += fmt::format("[{}{}]", negated ? "^" : "", category());
    } else {
      plain_escape();
    }
  }

  void plain_escape() {
    const char escaped = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    const bool punctuation = std::ispunct(static_cast<unsigned char>(escaped)) != 0;
    if (!punctuation && escaped != 'r' && escaped != 'n' && escaped != 't') {
      throw refused(fmt::format("'{}'", pattern_.substr(at_, 2)));
    }
    out_ += pattern_.substr(at_, 2);
    at_ += 2;
  }

  // \p{...} as what may stand between brackets, the property last.
  std::string category() {
    const auto end = pattern_.find('}', at_);
    const bool braced = pattern_.substr(at_ + 2).starts_with("{") && end != std::string_view::npos;
    const auto name = braced ? pattern_.substr(at_ + 3, end - at_ - 3) : std::string_view();
    std::string members;
    bool known = false;
    for (const auto& entry : kCategories) {
      if (name.empty() || !entry.name.starts_with(name)) continue;
      known = true;
      members += entry.members;
    }
    if (!known) {
      throw refused(
          fmt::format("the property '{}' (known: general categories L, M, N and those "
                      "below them)",
                      pattern_.substr(at_, braced ? end + 1 - at_ : 3)));
    }
    at_ = end + 1;
    return fmt::format("{}\\p{{{}}}", members, name);
  }

  void character_class() {
    copy("[");
    copy("^");
    if (next_is("]")) throw refused("an empty class");
    while (!copy("]")) {
      if (at_ == pattern_.size()) throw refused("a class without its ']'");
      if (next_is("[") || next_is("&&")) throw refused("a class inside a class");
      if (next_is("-\\s") || next_is("-\\p")) throw refused("a range that ends in a class");
      if (take("\\s")) {
        out_ += kWhiteSpace;
      } else if (next_is("\\p")) {
        out_ += category();
      } else if (next_is("\\")) {
        plain_escape();
      } else {
        literal();
      }
    }
  }

  void group() {
    if (take("(?i:")) return caseless_group();
    for (const std::string_view opening : {"(?:", "(?=", "(?!"}) {
      if (copy(opening)) return;
    }
    if (next_is("(?")) throw refused(fmt::format("'{}'", pattern_.substr(at_, 3)));
    take("(");
    out_ += "(?:";
  }

  void caseless_group() {
    const auto inside = pattern_.substr(at_, pattern_.find(')', at_) - at_);
    const bool ascii = std::all_of(inside.begin(), inside.end(), [](char c) {
      return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '\'' || c == '|';
    });
    if (!ascii) throw refused("anything but letters, ' and | in '(?i:'");
    // Pairs of letters that Unicode folds one character to: Oniguruma would match ß for ss.
    std::string lower(inside);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const std::string_view folded : {"ff", "fi", "fl", "ss", "st"}) {
      if (lower.find(folded) != std::string::npos) {
        throw refused(fmt::format("'{}' in '(?i:'", folded));
      }
    }
    out_ += fmt::format("(?i:{}", inside);
    at_ += inside.size();
  }

  // {n}, {n,} or {n,m}.
  void count() {
    const auto end = pattern_.find('}', at_);
    const auto inside = pattern_.substr(at_ + 1, end == std::string_view::npos ? 0 : end - at_ - 1);
    const auto comma = std::min(inside.find(','), inside.size());
    const auto digits = [](std::string_view text) {
      return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    };
    const auto most = inside.substr(std::min(comma + 1, inside.size()));
    if (comma == 0 || !digits(inside.substr(0, comma)) || !digits(most)) throw refused("'{'");
    out_ += fmt::format("{{{}}}", inside);
    at_ = end + 1;
    if (next_is("?") || next_is("+")) throw refused("'?' or '+' after '}'");
  }

  std::string_view pattern_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string pcre2_syntax(std::string_view pattern, const std::string& where) {
  return Translation(pattern, where).run();
}

}  // namespace oasis
