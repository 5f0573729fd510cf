// oasis export CELL --out FOLDER: a trained model as a checkpoint folder in Hugging Face's layout
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_export_command(CLI::App& app);

}  // namespace oasis
