#pragma once

#include <string>
#include <vector>

namespace moe::study {

/// How a kind is compared, where its defaults are not the way to use it.
struct Recommended {
  std::string kind;
  /// In the words of `--set`, over what the study trains.
  std::vector<std::string> settings = {};
  /// Why so, and whose; goes onto the page.
  std::string note = {};
  bool reference = false;
  /// Why it is not trained; "" where it is.
  std::string left_out = {};
};

/// Of routers; kinds that are not there are tried with their defaults.
const std::vector<Recommended>& recommended_routers();
/// Of balance terms, from a skewed start: their coefficients.
const std::vector<Recommended>& recommended_terms();
/// Routers that balance by themselves, from a skewed start.
const std::vector<Recommended>& recommended_balancing_routers();

/// The one for `kind`, or null.
const Recommended* find_recommended(const std::vector<Recommended>& all, const std::string& kind);

}  // namespace moe::study
