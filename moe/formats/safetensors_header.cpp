#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <tuple>

#include <moe/base/error.h>
#include <moe/formats/safetensors_header.h>
#include <moe/formats/strict_json.h>

namespace moe::formats {

namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr std::string_view kHeaderPlace = "formats/safetensors";
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr uint64_t kLengthBytes = 8;

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 15> kDtypes = {{
    {"BOOL", at::ScalarType::Bool},
    {"U8", at::ScalarType::Byte},
    {"I8", at::ScalarType::Char},
    {"I16", at::ScalarType::Short},
    {"U16", at::ScalarType::UInt16},
    {"I32", at::ScalarType::Int},
    {"U32", at::ScalarType::UInt32},
    {"I64", at::ScalarType::Long},
    {"U64", at::ScalarType::UInt64},
    {"F16", at::ScalarType::Half},
    {"BF16", at::ScalarType::BFloat16},
    {"F32", at::ScalarType::Float},
    {"F64", at::ScalarType::Double},
    {"F8_E4M3", at::ScalarType::Float8_e4m3fn},
    {"F8_E5M2", at::ScalarType::Float8_e5m2},
}};

/// Reads the entry of one tensor; `where` says "tensor 'w' of 'file'".
class EntryReader {
 public:
  EntryReader(const json& entry, const std::string& where) : entry_(entry), where_(where) {}

  TensorInfo read() const {
    check(entry_.is_object(), kHeaderPlace, "expected an object for ", where_, ", got ",
          entry_.type_name(), '.', kDamaged);
    for (const auto& item : entry_.items())
      check(item.key() == "dtype" || item.key() == "shape" || item.key() == "data_offsets",
            kHeaderPlace, "expected only dtype, shape and data_offsets in ", where_, ", got ",
            in_quotes(item.key()), '.', kDamaged);
    TensorInfo info{dtype(), shape(), 0, 0};
    const auto& offsets = array("data_offsets");
    check(offsets.size() == 2, kHeaderPlace, "expected two data_offsets in ", where_, ", got ",
          offsets.size(), '.', kDamaged);
    info.begin = natural(offsets[0], "data_offsets");
    info.end = natural(offsets[1], "data_offsets");
    check(info.begin <= info.end, kHeaderPlace, "expected data_offsets of ", where_,
          " to be ascending, got [", info.begin, ", ", info.end, "].", kDamaged);
    const uint64_t bytes = byte_count(info);
    check(info.end - info.begin == bytes, kHeaderPlace, "expected ", bytes,
          " bytes (dtype times shape) for ", where_, ", got data_offsets [", info.begin, ", ",
          info.end, "] of ", info.end - info.begin, " bytes.", kDamaged);
    return info;
  }

 private:
  static constexpr std::string_view kDamaged = " The file is damaged; fetch or write it again.";

  const json& member(const char* key) const {
    const auto found = entry_.find(key);
    check(found != entry_.end(), kHeaderPlace, "expected '", key, "' in ", where_, ", got none.",
          kDamaged);
    return *found;
  }

  const json& array(const char* key) const {
    const auto& value = member(key);
    check(value.is_array(), kHeaderPlace, "expected '", key, "' of ", where_, " to be a list, got ",
          value.type_name(), '.', kDamaged);
    return value;
  }

  uint64_t natural(const json& value, const char* key) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX)
      fail(kHeaderPlace, "expected '", key, "' of ", where_,
           " to hold whole numbers from 0 to 2^63-1, got ", value.dump().substr(0, 40), '.',
           kDamaged);
    return value.get<uint64_t>();
  }

  at::ScalarType dtype() const {
    const auto& value = member("dtype");
    check(value.is_string(), kHeaderPlace, "expected 'dtype' of ", where_, " to be a string, got ",
          value.type_name(), '.', kDamaged);
    const auto& name = value.get_ref<const std::string&>();
    const auto known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                    [&](const auto& dtype) { return dtype.first == name; });
    if (known == kDtypes.end()) {
      std::vector<std::string> names;
      for (const auto& dtype : kDtypes) names.emplace_back(dtype.first);
      fail(kHeaderPlace, "expected the dtype of ", where_, " to be one of ", join(names), ", got ",
           in_quotes(name), ". Convert the file to one of these.");
    }
    return known->second;
  }

  std::vector<int64_t> shape() const {
    const auto& dims = array("shape");
    check(dims.size() <= kSafetensorsMaxDims, kHeaderPlace, "expected at most ",
          kSafetensorsMaxDims, " dimensions in the shape of ", where_, ", got ", dims.size(),
          ". Reshape the tensor before writing it.");
    std::vector<int64_t> shape;
    for (const auto& dim : dims) shape.push_back(static_cast<int64_t>(natural(dim, "shape")));
    return shape;
  }

  uint64_t byte_count(const TensorInfo& info) const {
    // Strides multiply the dimensions too, so the product must fit even where a dimension of 0
    // empties the tensor.
    auto spanned = static_cast<int64_t>(c10::elementSize(info.dtype));
    bool empty = false;
    for (const int64_t dim : info.shape) {
      check(!__builtin_mul_overflow(spanned, std::max<int64_t>(dim, 1), &spanned), kHeaderPlace,
            "expected the shape of ", where_, " to span less than 2^63 bytes, got more.", kDamaged);
      empty |= dim == 0;
    }
    return empty ? 0 : static_cast<uint64_t>(spanned);
  }

  const json& entry_;
  const std::string& where_;
};

std::map<std::string, std::string> read_metadata(const json& entry, const std::string& origin) {
  check(entry.is_object(), kHeaderPlace, "expected __metadata__ of '", origin,
        "' to be a map of strings, got ", entry.type_name(), ". Write the file again.");
  std::map<std::string, std::string> metadata;
  for (const auto& item : entry.items()) {
    check(item.value().is_string(), kHeaderPlace, "expected __metadata__ of '", origin,
          "' to be a map of strings, got ", item.value().type_name(), " at ", in_quotes(item.key()),
          ". Write the value as a string.");
    metadata[item.key()] = item.value().get<std::string>();
  }
  return metadata;
}

/// Throws unless the ranges, already sorted, tile [0, data_size).
void check_tiling(const SafetensorsHeader& header, uint64_t data_size, const std::string& origin) {
  uint64_t end = 0;
  for (const auto& [name, info] : header.tensors) {
    if (info.begin < end)
      fail(kHeaderPlace, "expected tensors of '", origin, "' not to overlap, got tensor ",
           in_quotes(name), " at byte ", info.begin, " before the end of another at ", end,
           ". The file is damaged or hostile.");
    if (info.begin > end)
      fail(kHeaderPlace, "expected no hole between the tensors of '", origin, "', got ",
           info.begin - end, " unused bytes before tensor ", in_quotes(name),
           ". Write the file again.");
    end = info.end;
  }
  check(end <= data_size, kHeaderPlace, "expected ", end, " bytes of tensor data in '", origin,
        "', got ", data_size, ". The file is cut short; fetch it again.");
  check(end >= data_size, kHeaderPlace, "expected ", end, " bytes of tensor data in '", origin,
        "', got ", data_size - end, " bytes more at the end. The file is damaged; fetch it again.");
}

}  // namespace

std::optional<std::string> safetensors_name(at::ScalarType dtype) {
  for (const auto& [name, known] : kDtypes)
    if (known == dtype) return std::string(name);
  return std::nullopt;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& origin) {
  check(file.size() >= kLengthBytes, kHeaderPlace, "expected at least ", kLengthBytes,
        " bytes in '", origin, "', got ", file.size(), ". The file is cut short; fetch it again.");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  check(length <= kSafetensorsMaxHeader, kHeaderPlace, "expected a header of at most ",
        kSafetensorsMaxHeader, " bytes in '", origin, "', got ", length,
        ". This is no safetensors file, or a damaged one.");
  check(length <= file.size() - kLengthBytes, kHeaderPlace, "expected a header of ", length,
        " bytes in '", origin, "', got only ", file.size() - kLengthBytes,
        " bytes after its length. The file is cut short; fetch it again.");

  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  const auto root = parse_strict_json(text, kHeaderPlace, "the header of '" + origin + "'",
                                      {.depth = 3, .values = size_t{1} << 24});
  SafetensorsHeader header;
  header.data_begin = kLengthBytes + length;
  for (const auto& item : root.items()) {
    if (item.key() == kMetadataKey) {
      header.metadata = read_metadata(item.value(), origin);
      continue;
    }
    const std::string where = concat("tensor ", in_quotes(item.key()), " of '", origin, '\'');
    header.tensors.emplace_back(item.key(), EntryReader(item.value(), where).read());
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.second.begin, a.second.end, a.first) <
           std::tie(b.second.begin, b.second.end, b.first);
  });
  check_tiling(header, file.size() - header.data_begin, origin);
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header) {
  std::string text = "{";
  const auto text_of = [](const std::string& word) {
    try {
      return json(word).dump();
    } catch (const json::exception&) {
      fail(kHeaderPlace, "expected names and metadata in UTF-8, got ", in_quotes(word),
           ". Rename it.");
    }
  };
  const auto comma = [&] { return text.size() > 1 ? "," : ""; };
  if (!header.metadata.empty()) {
    text += "\"__metadata__\":{";
    std::string_view separator = "";
    for (const auto& [key, value] : header.metadata) {
      text.append(separator).append(text_of(key)).append(":").append(text_of(value));
      separator = ",";
    }
    text += '}';
  }
  for (const auto& [name, info] : header.tensors) {
    text += comma() + text_of(name);
    text += concat(":{\"dtype\":\"", safetensors_name(info.dtype).value(),
                   "\",\"shape\":", json(info.shape).dump(), ",\"data_offsets\":[", info.begin, ',',
                   info.end, "]}");
  }
  text += '}';
  const uint64_t used = kLengthBytes + text.size();
  text.append((kSafetensorsAlignment - used % kSafetensorsAlignment) % kSafetensorsAlignment, ' ');
  check(text.size() <= kSafetensorsMaxHeader, kHeaderPlace, "expected a header of at most ",
        kSafetensorsMaxHeader, " bytes, got ", text.size(), ". Split the tensors over files.");
  const uint64_t length = text.size();
  std::string prefix(kLengthBytes, '\0');
  std::memcpy(prefix.data(), &length, kLengthBytes);
  return prefix + text;
}

}  // namespace moe::formats
