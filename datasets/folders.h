// Where data lie and where what is made from them is kept.
#pragma once

#include <filesystem>
#include <string>

namespace oasis {

struct DataFolders {
  // Data files; may be read-only. The command line's --data-home, else OASIS_DATA_HOME, else
  // `data` in the default cache folder.
  std::filesystem::path home;
  // Tokenizers and shards. OASIS_CACHE_HOME, else the default cache folder: XDG_CACHE_HOME/oasis,
  // else ~/.cache/oasis.
  std::filesystem::path cache;
};

// `data_home`: the command line's value, empty when not given.
DataFolders resolve_folders(const std::string& data_home);

// A checkpoint or tokenizer that a suite names: an absolute path, or one in the data folder, or
// else in the default data folder (`home` may be read-only and lack it).
std::filesystem::path find_model_files(const DataFolders& folders, const std::string& path);

}  // namespace oasis
