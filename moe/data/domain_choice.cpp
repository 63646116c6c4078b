#include <algorithm>
#include <set>
#include <string>

#include <moe/base/error.h>
#include <moe/data/domain_choice.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfDomains = "data/domains";

}  // namespace

void check_domains(const DataOptions& options) {
  check<ConfigError>(!options.domains.empty(), kPlaceOfDomains,
                     "expected at least one domain, got none. Add an entry to data.domains.");
  std::set<std::string> names;
  for (const auto& domain : options.domains) {
    domain.validate("data.domains");
    check<ConfigError>(names.insert(domain.name).second, kPlaceOfDomains,
                       "expected different names of the domains, got '", domain.name,
                       "' twice. Rename one.");
    check<ConfigError>(domain.weight == 0 || options.weights == "given", kPlaceOfDomains,
                       "expected data.weights = \"given\" beside the weight ", domain.weight,
                       " of the domain '", domain.name, "', got data.weights = \"", options.weights,
                       "\". Set it, or leave the weight out.");
  }
}

std::vector<double> domain_weights(const DataOptions& options, std::span<const int64_t> sizes) {
  std::vector<double> out;
  double sum = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    out.push_back(options.weights == "size"    ? static_cast<double>(sizes[i])
                  : options.weights == "equal" ? 1.0
                                               : options.domains[i].weight);
    sum += out.back();
  }
  check<ConfigError>(sum > 0, kPlaceOfDomains,
                     "expected a positive weight for some domain with data.weights = \"given\", "
                     "got none. Set weight.");
  for (double& weight : out) weight /= sum;
  return out;
}

DomainChoice::DomainChoice(std::span<const double> weights) {
  double sum = 0;
  for (const double weight : weights) cumulative_.push_back(sum += weight);
}

size_t DomainChoice::domain(const RandomStream& stream, uint64_t row) const {
  const double u = stream.uniform53(2 * row) * cumulative_.back();
  // upper_bound steps over domains of weight 0, which share the bound of the one before them.
  const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), u);
  return std::min(static_cast<size_t>(found - cumulative_.begin()), cumulative_.size() - 1);
}

int64_t DomainChoice::place(const RandomStream& stream, uint64_t row, int64_t places) {
  return static_cast<int64_t>(stream.below(2 * row + 1, static_cast<uint64_t>(places)));
}

}  // namespace moe::data
