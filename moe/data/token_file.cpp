#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <moe/base/error.h>
#include <moe/data/token_file.h>
#include <moe/formats/checksum.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfTokenFile = "data/token_file";
constexpr std::string_view kMagic = "MOETOKEN";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMostTokens = uint64_t{1} << 48;
constexpr size_t kChecksumAt = 56;

struct TokenFileHeader {
  std::array<char, 8> magic = {};
  uint32_t version = kVersion;
  uint32_t id_bytes = 0;
  uint64_t vocabulary = 0;
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint64_t marks = 0;
  uint64_t tokenizer = 0;
  uint64_t checksum = 0;

  uint64_t ids_end() const { return (sizeof(TokenFileHeader) + tokens * id_bytes + 7) / 8 * 8; }
  uint64_t starts_end() const { return ids_end() + documents * sizeof(int64_t); }
  uint64_t size() const { return starts_end() + (marks != 0 ? tokens : 0); }
};
static_assert(sizeof(TokenFileHeader) == 64 && offsetof(TokenFileHeader, checksum) == kChecksumAt);
static_assert(std::endian::native == std::endian::little, "token files are mapped as they lie");

uint64_t checksum_of_tokenizer(const Tokenizer& tokenizer) {
  const std::string json = tokenizer.tokenizer_json();
  return formats::checksum_of(json.empty() ? tokenizer.name() : json);
}

template <class T>
std::span<const std::byte> bytes_of_value(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

/// The parts of a file behind its header, in order.
void put_payload(const Tokens& tokens, const TokenFileHeader& header,
                 const std::function<void(std::span<const std::byte>)>& put) {
  std::vector<int64_t> ids(size_t{1} << 16);
  std::vector<uint16_t> short_ids;
  std::vector<uint32_t> long_ids;
  for (int64_t begin = 0; begin < tokens.size(); begin += static_cast<int64_t>(ids.size())) {
    ids.resize(std::min(ids.size(), static_cast<size_t>(tokens.size() - begin)));
    tokens.copy(begin, ids);
    if (header.id_bytes == 2) {
      short_ids.assign(ids.begin(), ids.end());
      put(std::as_bytes(std::span(short_ids)));
    } else {
      long_ids.assign(ids.begin(), ids.end());
      put(std::as_bytes(std::span(long_ids)));
    }
  }
  constexpr std::array<std::byte, 8> kZeros = {};
  put(std::span(kZeros).first(static_cast<size_t>(header.ids_end() - sizeof header) -
                              static_cast<size_t>(header.tokens * header.id_bytes)));
  put(std::as_bytes(tokens.starts()));
  if (header.marks == 0) return;
  std::vector<uint8_t> marks;
  for (int64_t i = 0; i < tokens.size(); ++i) marks.push_back(tokens.is_trained(i) ? 1 : 0);
  put(std::as_bytes(std::span(marks)));
}

/// The header of `file`, whose sizes fit the file's.
TokenFileHeader read_header(const MappedFile& file) {
  const auto bytes = file.bytes();
  const std::string name = concat('\'', file.path().string(), '\'');
  TokenFileHeader header;
  check(bytes.size() >= sizeof header, kPlaceOfTokenFile, "expected a token file in ", name,
        ", got ", bytes.size(), " bytes. Write it with `moe data tokenize`.");
  std::memcpy(&header, bytes.data(), sizeof header);
  check(std::string_view(header.magic.data(), header.magic.size()) == kMagic, kPlaceOfTokenFile,
        "expected a token file that begins with ", kMagic, " in ", name,
        ", got something else. Write it with `moe data tokenize`.");
  check(header.version == kVersion, kPlaceOfTokenFile, "expected version ", kVersion,
        " of token files in ", name, ", got ", header.version, ". Write it again.");
  const bool fits = (header.id_bytes == 2 || header.id_bytes == 4) && header.marks <= 1 &&
                    header.tokens >= 1 && header.tokens <= kMostTokens &&
                    header.documents <= header.tokens;
  check(fits && header.size() == bytes.size(), kPlaceOfTokenFile,
        "expected a header that fits the ", bytes.size(), " bytes of ", name, ", got ",
        header.tokens, " tokens of ", header.id_bytes, " bytes, ", header.documents,
        " documents and marks ", header.marks,
        ". The file is cut short or damaged; write it again.");
  return header;
}

}  // namespace

void write_token_file(FileSystem& files, const Path& path, const Tokens& tokens,
                      const Tokenizer& tokenizer) {
  TokenFileHeader header;
  std::ranges::copy(kMagic, header.magic.begin());
  header.vocabulary = static_cast<uint64_t>(tokenizer.vocabulary());
  header.id_bytes = header.vocabulary <= (uint64_t{1} << 16) ? 2 : 4;
  header.tokens = static_cast<uint64_t>(tokens.size());
  header.documents = tokens.starts().size();
  header.marks = tokens.is_masked() ? 1 : 0;
  header.tokenizer = checksum_of_tokenizer(tokenizer);
  formats::Checksum checksum;
  checksum.update(bytes_of_value(header).first(kChecksumAt));
  put_payload(tokens, header, [&](std::span<const std::byte> part) { checksum.update(part); });
  header.checksum = checksum.value();
  write_file_atomically(files, path, [&](OutputFile& out) {
    out.write(bytes_of_value(header));
    put_payload(tokens, header, [&](std::span<const std::byte> part) { out.write(part); });
  });
}

Tokens read_token_file(const std::shared_ptr<const MappedFile>& file, const Tokenizer& tokenizer) {
  const TokenFileHeader header = read_header(*file);
  const auto bytes = file->bytes();
  const std::string name = concat('\'', file->path().string(), '\'');
  formats::Checksum checksum;
  checksum.update(bytes.first(kChecksumAt));
  checksum.update(bytes.subspan(sizeof header));
  check(checksum.value() == header.checksum, kPlaceOfTokenFile, "expected the checksum ",
        formats::checksum_text(header.checksum), " of ", name, ", got ",
        formats::checksum_text(checksum.value()), ". The file is damaged; write it again.");
  check<ConfigError>(header.tokenizer == checksum_of_tokenizer(tokenizer) &&
                         header.vocabulary == static_cast<uint64_t>(tokenizer.vocabulary()),
                     kPlaceOfTokenFile, "expected ", name, " to be made by the tokenizer '",
                     tokenizer.name(), "' of ", tokenizer.vocabulary(),
                     " ids, got one by another of ", header.vocabulary,
                     " ids. Set data.tokenizer to that one, or write the file again.");
  const auto part = [&]<class T>(uint64_t begin, uint64_t count) {
    return std::span(reinterpret_cast<const T*>(bytes.data() + begin), static_cast<size_t>(count));
  };
  const auto limit = static_cast<uint64_t>(tokenizer.vocabulary());
  const auto check_ids = [&](auto ids) {
    const auto wrong = std::ranges::find_if(ids, [&](auto id) { return uint64_t{id} >= limit; });
    check(wrong == ids.end(), kPlaceOfTokenFile, "expected ids in [0, ", limit, ") in ", name,
          ", got ", wrong == ids.end() ? 0 : uint64_t{*wrong}, ". Write the file again.");
    return ids;
  };
  const auto marks =
      part.template operator()<uint8_t>(header.starts_end(), header.marks != 0 ? header.tokens : 0);
  check(std::ranges::all_of(marks, [](uint8_t mark) { return mark <= 1; }), kPlaceOfTokenFile,
        "expected marks of 0 or 1 in ", name, ". Write the file again.");
  const auto starts = part.template operator()<int64_t>(header.ids_end(), header.documents);
  if (header.id_bytes == 2)
    return {file, check_ids(part.template operator()<uint16_t>(64, header.tokens)), marks, starts};
  const auto ids = check_ids(part.template operator()<uint32_t>(64, header.tokens));
  return {file, std::span(reinterpret_cast<const int32_t*>(ids.data()), ids.size()), marks, starts};
}

}  // namespace moe::data
