// `oasis gsm8k generate`: a checkpoint's answers to GSM8K, stored and scored.
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_gsm8k_generate(CLI::App& gsm8k);

}  // namespace oasis
