// Normalization Form C, as the Hugging Face library does it: by Unicode 9. What was assigned later
// neither reorders nor composes there, so that text keeps the ids that models were trained on.
#pragma once

#include <string>
#include <string_view>

namespace oasis {

// `text` is valid UTF-8. Returns it as it is when it is normalized already and that is easily seen,
// else a view of `buffer`.
std::string_view to_nfc(std::string_view text, std::string& buffer);

}  // namespace oasis
