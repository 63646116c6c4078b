#pragma once
// The demo's corpus: text the program writes itself, fixed by a seed on every machine, in four
// domains that differ enough for experts to divide among them. Documents are separated by a blank
// line. Training and validation are split by content, so no validation document occurs in training
// (see domain_names.h for what is held out).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moe::corpora {

struct Options {
  int64_t seed = 1;
  int64_t bytes_per_domain = 1500000;  // training and validation together
  double validation_share = 0.05;

  template <class Visitor>
  void fields(Visitor& v) {
    v("seed", seed, "seed of the generated text");
    v("bytes_per_domain", bytes_per_domain, "bytes of text of one domain, validation included");
    v("validation_share", validation_share, "share of the bytes that goes to validation");
  }
  void validate(const std::string& place) const;
};

enum class Split { kTrain, kValidation };

/// "english", "turkish", "arithmetic", "programs".
std::vector<std::string> domain_names();

/// The text of one domain and split: about its share of bytes_per_domain, whole documents, no
/// document twice. Throws ConfigError for an unknown domain or impossible options.
std::string make_domain(std::string_view domain, Split split, const Options& options);

/// Writes DIR/<domain>/train.txt, DIR/<domain>/valid.txt and DIR/CHECKSUMS ("xxh3-64-in-hex  path"
/// lines).
void write(const std::string& dir, const Options& options);

/// Throws Error naming the first file of DIR/CHECKSUMS that is missing or whose content differs.
void verify(const std::string& dir);

}  // namespace moe::corpora
