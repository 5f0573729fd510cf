#include "models/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/mapped_file.h"
#include "support/sha256.h"

namespace oasis {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors bytes are little-endian");

constexpr uint64_t kLargestHeader = 100'000'000;       // as the format's own reader has it
constexpr uint64_t kMostElements = uint64_t{1} << 59;  // their bytes fit in an int64
constexpr const char* kHashKey = "sha256";

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr std::array<TypeName, 10> kTypes = {{{"F64", at::kDouble},
                                              {"F32", at::kFloat},
                                              {"F16", at::kHalf},
                                              {"BF16", at::kBFloat16},
                                              {"I64", at::kLong},
                                              {"I32", at::kInt},
                                              {"I16", at::kShort},
                                              {"I8", at::kChar},
                                              {"U8", at::kByte},
                                              {"BOOL", at::kBool}}};

std::optional<at::ScalarType> type_of(const std::string& name) {
  for (const auto& entry : kTypes) {
    if (name == entry.name) return entry.type;
  }
  return std::nullopt;
}

const char* name_of(at::ScalarType type) {
  for (const auto& entry : kTypes) {
    if (type == entry.type) return entry.name;
  }
  throw failed("safetensors has no type for {}", c10::toString(type));
}

std::string known_types() {
  std::vector<std::string_view> names;
  for (const auto& entry : kTypes) names.emplace_back(entry.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

struct Entry {
  std::string name;
  at::ScalarType type;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

// Checks one header entry against the number of bytes that follow the header.
Entry parse_entry(const std::string& name, const json& value, uint64_t payload,
                  const std::string& where) {
  const auto bad = [&](const std::string& what) {
    return bad_input("{}: tensor '{}': {}; the file is damaged", where, name, what);
  };
  const auto is_count = [](const json& v) { return v.is_number_unsigned(); };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    throw bad("header entry needs dtype, shape and data_offsets");
  }
  const auto& dtype = value.at("dtype");
  const auto& shape = value.at("shape");
  const auto& offsets = value.at("data_offsets");
  const auto type = dtype.is_string() ? type_of(dtype.get<std::string>()) : std::nullopt;
  if (!type) {
    throw bad_input("{}: tensor '{}': dtype {} is not supported (known: {})", where, name,
                    dtype.dump(), known_types());
  }
  if (!offsets.is_array() || offsets.size() != 2 || !std::ranges::all_of(offsets, is_count)) {
    throw bad("data_offsets must be two byte counts, not " + offsets.dump());
  }
  if (!shape.is_array() || shape.size() > 16 || !std::ranges::all_of(shape, is_count)) {
    throw bad("shape must be a list of sizes, not " + shape.dump());
  }
  Entry entry{name, *type, {}, offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
  uint64_t bytes = c10::elementSize(*type), elements = 1;
  for (const auto& size : shape) {
    const auto extent = size.get<uint64_t>();
    if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        // Empty tensors have strides too, which are products of their other sizes.
        (extent != 0 && elements > kMostElements / extent)) {
      throw bad("shape " + shape.dump() + " overflows");
    }
    if (extent != 0) elements *= extent;
    bytes *= extent;
    entry.shape.push_back(static_cast<int64_t>(extent));
  }
  if (entry.begin > entry.end || entry.end > payload) {
    throw bad(fmt::format("data_offsets {} lie outside the {} bytes of tensor data", offsets.dump(),
                          payload));
  }
  if (entry.end - entry.begin != bytes) {
    throw bad(fmt::format("shape {} needs {} bytes, data_offsets give {}", shape.dump(), bytes,
                          entry.end - entry.begin));
  }
  return entry;
}

// A tensor that lies in the file's memory, and keeps it; a copy where it lies unaligned.
at::Tensor tensor_at(const std::shared_ptr<MappedFile>& file, size_t offset, const Entry& entry) {
  const size_t bytes = entry.end - entry.begin;
  char* data = file->data() + offset;
  const at::TensorOptions options(entry.type);
  if (bytes > 0 && reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.type) == 0) {
    return at::from_blob(
        data, entry.shape, [file](void*) {}, options);
  }
  auto tensor = at::empty(entry.shape, options);
  if (bytes > 0) std::memcpy(tensor.mutable_data_ptr(), data, bytes);
  return tensor;
}

}  // namespace

bool SafetensorsFile::contains(const std::string& name) const {
  return std::ranges::any_of(tensors, [&](const auto& entry) { return entry.first == name; });
}

const at::Tensor& SafetensorsFile::at(const std::string& name,
                                      const std::filesystem::path& path) const {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return tensor;
  }
  throw bad_input("{}: tensor '{}' is missing", path.string(), name);
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  const std::string where = path.string();
  const auto file = std::make_shared<MappedFile>(path);
  const uint64_t size = file->size();
  uint64_t header_size = 0;
  if (size < sizeof(header_size)) {
    throw bad_input("{}: cut short: {} bytes are no safetensors file", where, size);
  }
  std::memcpy(&header_size, file->data(), sizeof(header_size));
  if (header_size > kLargestHeader || header_size > size - sizeof(header_size)) {
    throw bad_input(
        "{}: header length {} is past the end of the file ({} bytes); the file is cut "
        "short or no safetensors file",
        where, header_size, size);
  }
  const std::string_view text(file->data() + sizeof(header_size), header_size);
  auto header = json::parse(text, nullptr, /*allow_exceptions=*/false);
  // The parser takes a NUL for the end of its text.
  if (!header.is_object() || text.find('\0') != std::string_view::npos) {
    throw bad_input(
        "{}: the header is not a JSON object; the file is damaged or no safetensors "
        "file",
        where);
  }
  const uint64_t payload = size - sizeof(header_size) - header_size;
  SafetensorsFile result;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) {
        throw bad_input("{}: __metadata__ is {}, not an object; the file is damaged", where,
                        value.type_name());
      }
      for (const auto& [key, item] : value.items()) {
        if (item.is_string()) result.metadata[key] = item.get<std::string>();
      }
    } else {
      entries.push_back(parse_entry(name, value, payload, where));
    }
  }
  // The hash is of the header without it, as this program writes it, and of the tensors.
  Sha256 hash;
  const bool is_hashed = result.metadata.contains(kHashKey);
  if (is_hashed) {
    header["__metadata__"].erase(kHashKey);
    const auto hashed = header.dump();
    hash.update(hashed.data(), hashed.size());
  }
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::pair(e.begin, e.end); });
  uint64_t position = 0;
  for (const auto& entry : entries) {
    if (entry.begin != position) {
      throw bad_input(
          "{}: tensor '{}' begins at byte {} of the data, expected {}; the file is "
          "damaged",
          where, entry.name, entry.begin, position);
    }
    auto tensor = tensor_at(file, sizeof(header_size) + header_size + position, entry);
    if (const size_t bytes = entry.end - entry.begin; bytes > 0 && is_hashed) {
      hash.update(tensor.const_data_ptr(), bytes);
    }
    position = entry.end;
    result.tensors.emplace_back(entry.name, std::move(tensor));
  }
  if (position != payload) {
    throw bad_input("{}: {} bytes follow the last tensor; the file is damaged", where,
                    payload - position);
  }
  if (is_hashed && result.metadata.at(kHashKey) != hash.hex()) {
    throw bad_input(
        "{}: damaged: its content does not match its SHA-256; restore it from a copy "
        "or delete it to have it made again",
        where);
  }
  return result;
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       Metadata metadata) {
  NamedTensors dense;
  json header = json::object();
  uint64_t position = 0;
  for (const auto& [name, tensor] : tensors) {
    auto value = tensor.detach().cpu().contiguous();
    const uint64_t bytes = value.nbytes();
    header[name] = {{"dtype", name_of(value.scalar_type())},
                    {"shape", value.sizes().vec()},
                    {"data_offsets", {position, position + bytes}}};
    position += bytes;
    dense.emplace_back(name, std::move(value));
  }
  metadata.erase(kHashKey);
  header["__metadata__"] = metadata;
  const auto hashed = header.dump();
  Sha256 hash;
  hash.update(hashed.data(), hashed.size());
  for (const auto& [name, tensor] : dense) {
    if (tensor.nbytes() > 0) hash.update(tensor.const_data_ptr(), tensor.nbytes());
  }
  header["__metadata__"][kHashKey] = hash.hex();
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors start aligned
  const uint64_t header_size = text.size();
  AtomicFile file(path);
  file.write(&header_size, sizeof(header_size));
  file.write(text);
  for (const auto& [name, tensor] : dense) {
    if (tensor.nbytes() > 0) file.write(tensor.const_data_ptr(), tensor.nbytes());
  }
  file.commit();
}

at::Tensor read_tokens(const std::filesystem::path& path, int64_t dimensions, int64_t vocab_size) {
  const auto file = read_safetensors(path);
  const auto& tokens = file.at("tokens", path);
  if (tokens.scalar_type() != at::kLong || tokens.dim() != dimensions || tokens.numel() == 0) {
    throw bad_input("{}: 'tokens' must be a non-empty int64 tensor of {} dimensions, not {} of {}",
                    path.string(), dimensions, c10::toString(tokens.scalar_type()),
                    fmt::join(tokens.sizes().vec(), "×"));
  }
  const auto* values = tokens.const_data_ptr<int64_t>();
  const int64_t length = tokens.size(-1);
  for (int64_t i = 0; i < tokens.numel(); ++i) {
    if (values[i] < 0 || values[i] >= vocab_size) {
      throw bad_input("{}: token {} at row {}, position {} is outside the vocabulary [0, {})",
                      path.string(), values[i], i / length, i % length, vocab_size);
    }
  }
  return tokens;
}

}  // namespace oasis
