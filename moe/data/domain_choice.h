#pragma once
// Which domain a row comes from.

#include <cstdint>
#include <span>
#include <vector>

#include <moe/base/random.h>
#include <moe/data/options.h>

namespace moe::data {

/// Throws ConfigError unless `options` name at least one domain, all by different names, and each
/// is valid.
void check_domains(const DataOptions& options);

/// The share of rows that each domain of `options` gets, together 1; `sizes` is what its training
/// data holds. Throws ConfigError for given weights that add up to nothing.
std::vector<double> domain_weights(const DataOptions& options, std::span<const int64_t> sizes);

/// Draws a domain by weight for a row, and a place in it: functions of the stream and the row's
/// number.
class DomainChoice {
 public:
  explicit DomainChoice(std::span<const double> weights);

  size_t domain(const RandomStream& stream, uint64_t row) const;
  /// Evenly in [0, places).
  static int64_t place(const RandomStream& stream, uint64_t row, int64_t places);
  int64_t count() const { return static_cast<int64_t>(cumulative_.size()); }

 private:
  std::vector<double> cumulative_;
};

}  // namespace moe::data
