#include "datasets/gsm8k/generations_file.h"

#include <nlohmann/json.hpp>

#include "datasets/json_lines.h"
#include "support/error.h"

namespace oasis::gsm8k {
namespace {

std::int64_t problem_of(const nlohmann::json& row, const JsonLines& lines, std::size_t problems) {
  if (row.contains("index") == row.contains("id")) {
    throw bad_input("{}: needs one of the fields 'index' and 'id', the problem's place from 0",
                    lines.where());
  }
  const char* name = row.contains("index") ? "index" : "id";
  const auto& value = row.at(name);
  const bool whole = value.is_number_unsigned();
  if (!whole || value.get<std::uint64_t>() >= problems) {
    throw bad_input("{}: field '{}' must be a whole number from 0 to {}, not {}", lines.where(),
                    name, problems - 1, value.is_number() ? value.dump() : value.type_name());
  }
  return value.get<std::int64_t>();
}

}  // namespace

std::vector<Generation> read_generations(const std::filesystem::path& file, std::size_t problems) {
  JsonLines lines(file);
  std::vector<Generation> generations;
  std::vector<bool> seen(problems);
  nlohmann::json row;
  while (lines.next(row)) {
    Generation generation{.problem = 0, .text = lines.take_text(row, "text")};
    generation.problem = problem_of(row, lines, problems);
    const auto place = static_cast<std::size_t>(generation.problem);
    if (seen[place]) {
      throw bad_input("{}: a second text for problem {}; Pass@1 takes one for each", lines.where(),
                      place);
    }
    seen[place] = true;
    generations.push_back(std::move(generation));
  }
  if (generations.empty()) {
    throw bad_input("{}: holds no generated text; each line is one, {}", file.string(),
                    R"({"index": 0, "text": "…"})");
  }
  return generations;
}

}  // namespace oasis::gsm8k
