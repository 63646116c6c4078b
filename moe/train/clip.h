#pragma once

#include <moe/parallel/layout.h>
#include <moe/parameters/list.h>

namespace moe::train {

/// The global 2-norm of all gradients, each counted once: those of replicated parameters here,
/// those that lie on one rank at their owners (one all-reduce). Gradients must be reduced already.
/// NaN or infinite when any element is; the same bits on every rank.
double gradient_norm(const Parameters& parameters, const parallel::Layout& layout);

/// What clipping multiplies gradients by: max_norm / norm when `norm` is larger, else 1. Never
/// clips with max_norm = 0.
double clip_factor(double norm, double max_norm);

/// All gradients times `factor`, in place.
void multiply_gradients(const Parameters& parameters, double factor);

/// All gradients times clip_factor, in place.
void clip_gradients(const Parameters& parameters, double norm, double max_norm);

}  // namespace moe::train
