#define XXH_INLINE_ALL
#include <cmath>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <unordered_set>
#include <xxhash.h>

#include <moe/base/error.h>
#include <moe/base/files.h>
#include <moe/data/synth/synth.h>
#include <moe/data/synth/synth_domains.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfSynth = "data/synth";
constexpr const char* kChecksumFile = "CHECKSUMS";

struct SynthDomain {
  const char* name;
  std::string (*document)(Draw&);
};
constexpr SynthDomain kSynthDomains[] = {{"english", english_story},
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

void SynthOptions::validate(const std::string& place) const {
  check<ConfigError>(bytes_per_domain >= 1000 && bytes_per_domain <= 100'000'000, place,
                     "expected bytes_per_domain in [1000, 100000000], got ", bytes_per_domain,
                     ". Correct it.");
  check<ConfigError>(validation_share > 0 && validation_share < 1, place,
                     "expected validation_share in (0, 1), got ", validation_share,
                     ". Correct it.");
}

std::vector<std::string> synth_domains() {
  std::vector<std::string> out;
  for (const auto& domain : kSynthDomains) out.emplace_back(domain.name);
  return out;
}

std::string make_domain(std::string_view domain, SynthSplit split, const SynthOptions& options) {
  options.validate(kPlaceOfSynth);
  const bool held_out = split == SynthSplit::kValidation;
  const double share = held_out ? options.validation_share : 1 - options.validation_share;
  const auto bytes =
      static_cast<size_t>(std::llround(share * static_cast<double>(options.bytes_per_domain)));
  for (uint32_t number = 0; number < std::size(kSynthDomains); ++number) {
    if (kSynthDomains[number].name != domain) continue;
    std::string out;
    std::unordered_set<uint64_t> seen;
    // A split that has run out of new documents ends early rather than repeating itself.
    int in_vain = 0;
    for (uint64_t index = 0; out.size() < bytes && in_vain < 1000; ++index) {
      const RandomKey key{static_cast<uint64_t>(options.seed), index, number};
      Draw draw(RandomStream(key, Purpose::kData, held_out), held_out);
      const std::string document = kSynthDomains[number].document(draw);
      if (!seen.insert(text_hash(document)).second) {
        ++in_vain;
        continue;
      }
      in_vain = 0;
      out += document + "\n\n";
    }
    return out;
  }
  fail<ConfigError>(kPlaceOfSynth, "expected one of the domains ", join(synth_domains()), ", got '",
                    domain, "'.", did_you_mean(domain, synth_domains()));
}

void write_synth(const std::string& dir, const SynthOptions& options) {
  std::string checksums;
  for (const auto& domain : synth_domains()) {
    const auto folder = Path(dir) / domain;
    make_folders(real_files(), folder);
    for (const auto& [split, file] :
         {std::pair{SynthSplit::kTrain, "train.txt"}, {SynthSplit::kValidation, "valid.txt"}}) {
      const std::string text = make_domain(domain, split, options);
      write_whole(folder / file, text);
      checksums += concat(hex(text_hash(text)), "  ", domain, '/', file, '\n');
    }
  }
  // The checksums come last: where they stand, everything they name was written.
  write_whole(Path(dir) / kChecksumFile, checksums);
}

void verify_synth(const std::string& dir) {
  std::istringstream lines(read_whole(Path(dir) / kChecksumFile));
  int files = 0;
  for (std::string line; std::getline(lines, line); ++files) {
    check(line.size() > 18 && line.substr(16, 2) == "  ", kPlaceOfSynth,
          "expected \"checksum  path\" in line ", files + 1, " of ", dir, '/', kChecksumFile,
          ", got \"", line, "\". Write the corpus anew with `moe data synth`.");
    const std::string path = line.substr(18);
    const std::string found = hex(text_hash(read_whole(Path(dir) / path)));
    check(found == line.substr(0, 16), kPlaceOfSynth, "expected the checksum ", line.substr(0, 16),
          " for ", dir, '/', path, ", got ", found,
          ". Write the corpus anew with `moe data synth`.");
  }
  check(files > 0, kPlaceOfSynth, "expected checksums in ", dir, '/', kChecksumFile,
        ", got an empty file. Write the corpus anew with `moe data synth`.");
}

}  // namespace moe::data
