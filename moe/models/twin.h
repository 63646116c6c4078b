#pragma once

#include <moe/models/architectures/decoder.h>

namespace moe::models {

/// The dense decoder of equal active FLOPs, but for the router's product: every block that routes
/// becomes a dense one of its experts' form, activation and biases, as wide as what works for a
/// token there (for K experts of F hidden units, K F and the shared block's). Experts without a
/// gate, of whatever kind, become blocks of two matrices. For fair comparison. Throws ConfigError
/// for dropout inside experts, which would train the two differently.
DecoderOptions dense_twin(const DecoderOptions& options);

}  // namespace moe::models
