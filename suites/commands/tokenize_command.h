// oasis tokenize --tokenizer FOLDER_OR_FILE FILE: the token ids of each line of a text, and back
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_tokenize_command(CLI::App& app);

}  // namespace oasis
