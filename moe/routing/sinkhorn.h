#pragma once
// T tokens, E experts.

#include <cstdint>
#include <vector>

#include <moe/parallel/communicator.h>

namespace moe::routing {

/// When the iteration ends.
struct SinkhornRule {
  int64_t iterations = 20;
  /// Largest change of a potential at which it is over.
  double tolerance = 1e-3;
};

/// (E,) potentials g of the entropy-regularised transport plan pi_te = exp(l_te + f_t + g_e), whose
/// rows sum to 1/T and whose columns sum to 1/E (Sinkhorn and Knopp 1967; Cuturi 2013). In a row pi
/// orders experts as l_te + g_e does, so f is not needed. One iteration is
///
///   q_t = softmax(l_t + g),  g_e -= ln(E mean_t q_te)
///
/// in which nothing overflows for any finite l; where all of a column vanishes its largest entry
/// stands for it. Tokens whose logits are not finite have no part. Over all ranks of `group`, with
/// one or two small all-reduces an iteration; null: these tokens alone. logits_TE float32,
/// contiguous.
std::vector<float> sinkhorn_potentials(const float* logits_TE, int64_t tokens, int64_t experts,
                                       const SinkhornRule& rule, parallel::Communicator* group);

}  // namespace moe::routing
