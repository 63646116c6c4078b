#pragma once

#include <moe/parallel/communicator.h>
#include <moe/train/optimizer.h>

namespace moe::train {

/// The global 2-norm of all gradients, each counted once: those of replicated parameters here,
/// those of experts at their owners (one all-reduce). Gradients must be reduced already. NaN or
/// infinite when any element is. Zeros that `sinks` know are not read, to the same bits.
double gradient_norm(const NamedTensors& parameters, parallel::Communicator& group,
                     const ops::GradientSinks& sinks = {});

/// Scales all gradients by max_norm / norm when `norm` is larger (B18); not the zeros that `sinks`
/// know, which stay known.
void clip_gradients(const NamedTensors& parameters, double norm, double max_norm,
                    const ops::GradientSinks& sinks = {});

}  // namespace moe::train
