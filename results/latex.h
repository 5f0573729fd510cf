// The tables as a LaTeX document that compiles as it is, made from their Markdown.
#pragma once

#include <string>
#include <string_view>

namespace oasis {

// Of the Markdown that render_tables() writes: headings, paragraphs, tables with a caption of
// their own (a paragraph that begins in bold) and numbered remarks. Tables are booktabs', no wider
// than the line; **bold** stays bold (the best), *italic* is underlined (the second). Needs
// pdflatex with array, booktabs, graphicx, geometry and textcomp. Landscape; texts of more than 40
// characters are wrapped.
std::string markdown_to_latex(std::string_view markdown);

// Text with its special characters escaped; a character that LaTeX has no name for here is "?".
std::string latex_text(std::string_view text);

}  // namespace oasis
