// T tokens.
#include <ATen/TensorOperators.h>

#include <moe/base/error.h>
#include <moe/routing/labels.h>

namespace moe::routing {

Tensor labels_of(const LayerContext& context, int64_t tokens, int64_t known,
                 const std::string& place, const std::string& option) {
  const Tensor& domains_T = context.tokens.domains_T;
  if (!domains_T.defined()) return {};
  const int64_t found = context.tokens.num_domains;
  check<ConfigError>(found <= known, place, "expected ", option, " of at least the ", found,
                     " domains of the data, got ", known, ". Set ", option, " = ", found, '.');
  check(domains_T.dim() == 1 && domains_T.size(0) == tokens && domains_T.scalar_type() == at::kLong,
        place, "expected domains_T to be int64 of shape (T=", tokens, "), got ",
        domains_T.scalar_type(), ' ', domains_T.sizes(), ". Label each token.");
  const bool inside = tokens == 0 || (domains_T.min().item<int64_t>() >= -1 &&
                                      domains_T.max().item<int64_t>() < known);
  check(inside, place, "expected domains in [-1, ", option, "=", known,
        "), got others. Correct domains_T and num_domains.");
  return domains_T;
}

}  // namespace moe::routing
