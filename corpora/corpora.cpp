#define XXH_INLINE_ALL
#include <cmath>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <unordered_set>
#include <xxhash.h>

#include <corpora/corpora.h>
#include <corpora/domains.h>
#include <moe/base/error.h>
#include <moe/base/files.h>

namespace moe::corpora {

namespace {

constexpr const char* kPlace = "corpora";
constexpr const char* kChecksumFile = "CHECKSUMS";

struct Domain {
  const char* name;
  std::string (*document)(Draw&);
};
constexpr Domain kDomains[] = {{"english", english_story},
                               {"turkish", turkish_story},
                               {"arithmetic", arithmetic_exercise},
                               {"programs", program_with_output}};

uint64_t text_hash(std::string_view text) {
  return XXH3_64bits(text.data(), text.size());
}

std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

constexpr uint64_t kMostBytes = uint64_t{1} << 30;

void write_whole(const Path& path, std::string_view text) {
  write_file_atomically(real_files(), path, [&](OutputFile& out) { out.write(bytes_of(text)); });
}

std::string read_whole(const Path& path) {
  return read_file(real_files(), path, kMostBytes);
}

}  // namespace

void Options::validate(const std::string& place) const {
  check<ConfigError>(bytes_per_domain >= 1000 && bytes_per_domain <= 100'000'000, place,
                     "expected bytes_per_domain in [1000, 100000000], got ", bytes_per_domain,
                     ". Correct it.");
  check<ConfigError>(validation_share > 0 && validation_share < 1, place,
                     "expected validation_share in (0, 1), got ", validation_share,
                     ". Correct it.");
}

std::vector<std::string> domain_names() {
  std::vector<std::string> out;
  for (const auto& domain : kDomains) out.emplace_back(domain.name);
  return out;
}

std::string make_domain(std::string_view domain, Split split, const Options& options) {
  options.validate(kPlace);
  const bool held_out = split == Split::kValidation;
  const double share = held_out ? options.validation_share : 1 - options.validation_share;
  const auto bytes =
      static_cast<size_t>(std::llround(share * static_cast<double>(options.bytes_per_domain)));
  for (uint32_t number = 0; number < std::size(kDomains); ++number) {
    if (kDomains[number].name != domain) continue;
    std::string out;
    std::unordered_set<uint64_t> seen;
    // A split that has run out of new documents ends early rather than repeating itself.
    int in_vain = 0;
    for (uint64_t index = 0; out.size() < bytes && in_vain < 1000; ++index) {
      const RandomKey key{static_cast<uint64_t>(options.seed), index, number};
      Draw draw(RandomStream(key, Purpose::kData, held_out), held_out);
      const std::string document = kDomains[number].document(draw);
      if (!seen.insert(text_hash(document)).second) {
        ++in_vain;
        continue;
      }
      in_vain = 0;
      out += document + "\n\n";
    }
    return out;
  }
  fail<ConfigError>(kPlace, "expected one of the domains ", join(domain_names()), ", got '", domain,
                    "'.", did_you_mean(domain, domain_names()));
}

void write(const std::string& dir, const Options& options) {
  std::string checksums;
  for (const auto& domain : domain_names()) {
    const auto folder = Path(dir) / domain;
    make_folders(real_files(), folder);
    for (const auto& [split, file] :
         {std::pair{Split::kTrain, "train.txt"}, {Split::kValidation, "valid.txt"}}) {
      const std::string text = make_domain(domain, split, options);
      write_whole(folder / file, text);
      checksums += concat(hex(text_hash(text)), "  ", domain, '/', file, '\n');
    }
  }
  // The checksums come last: where they stand, everything they name was written.
  write_whole(Path(dir) / kChecksumFile, checksums);
}

void verify(const std::string& dir) {
  std::istringstream lines(read_whole(Path(dir) / kChecksumFile));
  int files = 0;
  for (std::string line; std::getline(lines, line); ++files) {
    check(line.size() > 18 && line.substr(16, 2) == "  ", kPlace,
          "expected \"checksum  path\" in line ", files + 1, " of ", dir, '/', kChecksumFile,
          ", got \"", line, "\". Write the corpus anew with `moe data synth`.");
    const std::string path = line.substr(18);
    const std::string found = hex(text_hash(read_whole(Path(dir) / path)));
    check(found == line.substr(0, 16), kPlace, "expected the checksum ", line.substr(0, 16),
          " for ", dir, '/', path, ", got ", found,
          ". Write the corpus anew with `moe data synth`.");
  }
  check(files > 0, kPlace, "expected checksums in ", dir, '/', kChecksumFile,
        ", got an empty file. Write the corpus anew with `moe data synth`.");
}

}  // namespace moe::corpora
