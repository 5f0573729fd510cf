#include "results/latex.h"

#include <gtest/gtest.h>

#include <string>

namespace oasis {
namespace {

TEST(Latex, EscapesWhatIsSpecialAndNamesWhatIsNotAscii) {
  EXPECT_EQ(latex_text("gated_attention 5 % & #1 {x} ~^\\"),
            "gated\\_attention 5 \\% \\& \\#1 \\{x\\} \\textasciitilde{}\\textasciicircum{}"
            "\\textbackslash{}");
  EXPECT_EQ(latex_text("1 ± 2 × ρ"), "1 $\\pm$ 2 $\\times$ $\\rho$");
  EXPECT_EQ(latex_text("日x"), "?x");
}

TEST(Latex, TablesKeepBestSecondAlignmentAndCaption) {
  const auto text = markdown_to_latex(
      "## tiny_suite\n\n### Title\n\n**Model a_b** · n 5\n\n"
      "| Method | a \\| b |\n| ------ | ----: |\n| `x`    | **1 ± 2** (×3) |\n| y | *4* |\n\n[1] "
      "note\n");
  EXPECT_NE(text.find("\\section*{tiny\\_suite}"), std::string::npos) << text;
  EXPECT_NE(text.find("\\tablecaption{\\textbf{Model a\\_b} $\\cdot$ n 5}"), std::string::npos)
      << text;
  EXPECT_NE(text.find("\\begin{tabular}{lr}\n\\toprule\nMethod & a | b \\\\\n\\midrule\n"
                      "\\texttt{x} & \\textbf{1 $\\pm$ 2} ($\\times$3) \\\\\n"
                      "y & \\underline{4} \\\\\n\\bottomrule"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("[1] note"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\\end{document}\n"));
}

TEST(Latex, LongTextsAreWrappedAndBracketsAreText) {
  const std::string rule(41, '-');
  const auto text = markdown_to_latex("| a | b | c |\n| " + rule + " | " + rule.substr(1) + " | " +
                                      rule + ": |\n| [1] x | y | z |\n");
  EXPECT_NE(text.find("{>{\\raggedright\\arraybackslash}p{55mm}lr}"), std::string::npos) << text;
  EXPECT_NE(text.find("\n{}[1] x & y & z"), std::string::npos) << text;
}

TEST(Latex, AStarAloneIsAStar) {
  EXPECT_NE(markdown_to_latex("a * b\n").find("a * b"), std::string::npos);
}

}  // namespace
}  // namespace oasis
