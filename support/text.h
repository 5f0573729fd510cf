// Small text helpers for messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace oasis {

// The candidate with the smallest edit distance to `name`, or "" when none is near enough
// (more than a third of the longer name, and more than 2 edits, away).
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// " (did you mean 'x'?)" or, when nothing is near, " (known: a, b, c)".
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

std::string join(const std::vector<std::string>& parts, std::string_view separator);

std::string human_bytes(double bytes);       // "1.5 GiB"
std::string human_duration(double seconds);  // "1h02m", "3m07s", "12s"
std::string human_count(double count);       // "1.2M"

}  // namespace oasis
