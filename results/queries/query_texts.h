// Names and texts of the .sql files in this folder.
#pragma once

#include <span>
#include <string_view>
#include <utility>

namespace oasis {

std::span<const std::pair<std::string_view, std::string_view>> query_texts();

}  // namespace oasis
