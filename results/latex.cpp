#include "results/latex.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace oasis {
namespace {

struct Named {
  std::string_view utf8, latex;
};
constexpr Named kCharacters[] = {{"±", "$\\pm$"},
                                 {"×", "$\\times$"},
                                 {"ρ", "$\\rho$"},
                                 {"ε", "$\\varepsilon$"},
                                 {"ψ", "$\\psi$"},
                                 {"β", "$\\beta$"},
                                 {"α", "$\\alpha$"},
                                 {"γ", "$\\gamma$"},
                                 {"ζ", "$\\zeta$"},
                                 {"−", "$-$"},
                                 {"–", "--"},
                                 {"—", "---"},
                                 {"≥", "$\\geq$"},
                                 {"≤", "$\\leq$"},
                                 {"·", "$\\cdot$"},
                                 {"…", "\\ldots{}"},
                                 {"→", "$\\rightarrow$"},
                                 {"∞", "$\\infty$"},
                                 {"²", "$^2$"},
                                 {"√", "$\\surd$"},
                                 {"Σ", "$\\Sigma$"},
                                 {"Δ", "$\\Delta$"},
                                 {"’", "'"},
                                 {"‖", "$\\|$"},
                                 {"\\", "\\textbackslash{}"},
                                 {"&", "\\&"},
                                 {"%", "\\%"},
                                 {"$", "\\$"},
                                 {"#", "\\#"},
                                 {"_", "\\_"},
                                 {"{", "\\{"},
                                 {"}", "\\}"},
                                 {"~", "\\textasciitilde{}"},
                                 {"^", "\\textasciicircum{}"},
                                 {"<", "\\textless{}"},
                                 {">", "\\textgreater{}"},
                                 {"\"", "\\textquotedbl{}"}};

constexpr const char* kPreamble = R"(\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=1.5cm]{geometry}
\usepackage{array,textcomp,booktabs,graphicx}
\setlength{\parindent}{0pt}
% Tables stay under their headings: a caption without a float.
\makeatletter
\newcommand{\tablecaption}[1]{\def\@captype{table}\caption{#1}}
\makeatother
\begin{document}
)";

constexpr std::size_t kLongestLine = 40;  // characters of a text on the left, else it is wrapped
constexpr const char* kWrapped = ">{\\raggedright\\arraybackslash}p{55mm}";

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Text with **bold**, *second* and `code`, and \| as Markdown's cells have it.
std::string inline_latex(std::string_view text) {
  std::string result;
  const auto spanned = [&](std::string_view mark, std::string_view command) {
    if (!text.starts_with(mark)) return false;
    const auto end = text.find(mark, mark.size());
    if (end == std::string_view::npos) return false;
    result +=
        fmt::format("\\{}{{{}}}", command, latex_text(text.substr(mark.size(), end - mark.size())));
    text.remove_prefix(end + mark.size());
    return true;
  };
  while (!text.empty()) {
    if (spanned("**", "textbf") || spanned("*", "underline") || spanned("`", "texttt")) continue;
    if (text.starts_with("\\|")) text.remove_prefix(1);
    const auto next =
        std::max<std::size_t>(1, std::min(text.find_first_of("*`\\", 1), text.size()));
    result += latex_text(text.substr(0, next));
    text.remove_prefix(next);
  }
  return result;
}

std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells;
  std::string cell;
  for (std::size_t i = 1; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '|') {
      cell += "\\|";
      ++i;
    } else if (line[i] == '|') {
      cells.emplace_back(trimmed(cell));
      cell.clear();
    } else {
      cell += line[i];
    }
  }
  return cells;
}

std::string row_latex(std::string_view line) {
  std::string row;
  for (const auto& cell : cells_of(line)) {
    if (!row.empty()) row += " & ";
    row += inline_latex(cell);
  }
  if (row.starts_with('[')) row = "{}" + row;  // else an argument of the \\ of the row before
  return row + " \\\\\n";
}

std::string table_latex(const std::vector<std::string_view>& lines, const std::string& caption) {
  std::string columns;
  for (const auto& rule : cells_of(lines[1])) {
    // A rule is as long as the longest text of its column.
    const bool is_long = rule.size() > kLongestLine;
    columns += rule.ends_with(':') ? "r" : is_long ? kWrapped : "l";
  }
  std::string text = "\\begin{center}\n\\begin{minipage}{\\linewidth}\n\\centering\n";
  if (!caption.empty()) text += fmt::format("\\tablecaption{{{}}}\n", caption);
  text += "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n";
  text += fmt::format("\\begin{{tabular}}{{{}}}\n\\toprule\n{}\\midrule\n", columns,
                      row_latex(lines[0]));
  for (std::size_t i = 2; i < lines.size(); ++i) text += row_latex(lines[i]);
  return text + "\\bottomrule\n\\end{tabular}}\n\\end{minipage}\n\\end{center}\n\n";
}

}  // namespace

std::string latex_text(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const auto* named = std::ranges::find_if(
        kCharacters, [&](const Named& character) { return text.starts_with(character.utf8); });
    if (named != std::end(kCharacters)) {
      result += named->latex;
      text.remove_prefix(named->utf8.size());
      continue;
    }
    const auto lead = static_cast<unsigned char>(text.front());
    result += lead < 0x80 ? text.front() : '?';
    text.remove_prefix(1);
    while (lead >= 0x80 && !text.empty() &&
           (static_cast<unsigned char>(text.front()) & 0xC0) == 0x80) {
      text.remove_prefix(1);
    }
  }
  return result;
}

std::string markdown_to_latex(std::string_view markdown) {
  std::vector<std::string_view> lines;
  while (!markdown.empty()) {
    const auto end = std::min(markdown.find('\n'), markdown.size());
    lines.push_back(markdown.substr(0, end));
    markdown.remove_prefix(std::min(end + 1, markdown.size()));
  }
  std::string text = kPreamble, caption;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto line = lines[i];
    if (line.starts_with("## ")) {
      text += fmt::format("\\clearpage\n\\section*{{{}}}\n\n", inline_latex(line.substr(3)));
    } else if (line.starts_with("### ")) {
      text += fmt::format("\\subsection*{{{}}}\n\n", inline_latex(line.substr(4)));
    } else if (line.starts_with("|")) {
      auto last = i;
      while (last + 1 < lines.size() && lines[last + 1].starts_with("|")) ++last;
      text += table_latex({lines.begin() + static_cast<std::ptrdiff_t>(i),
                           lines.begin() + static_cast<std::ptrdiff_t>(last) + 1},
                          caption);
      caption.clear();
      i = last;
    } else if (line.starts_with("**")) {
      caption = inline_latex(line);
    } else if (!line.empty()) {
      text += fmt::format("{{\\footnotesize {}\\par}}\n\n", inline_latex(line));
    }
  }
  return text + "\\end{document}\n";
}

}  // namespace oasis
