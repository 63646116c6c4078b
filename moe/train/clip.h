#pragma once

#include <moe/parallel/layout.h>
#include <moe/parameters/list.h>

namespace moe::train {

/// The global 2-norm of all gradients, each counted once: those of replicated parameters here,
/// those that lie on one rank at their owners (one all-reduce). Gradients must be reduced already.
/// NaN or infinite when any element is; the same bits on every rank.
double gradient_norm(const Parameters& parameters, const parallel::Layout& layout);

/// Scales all gradients by max_norm / norm when `norm` is larger; 0: never.
void clip_gradients(const Parameters& parameters, double norm, double max_norm);

}  // namespace moe::train
