#pragma once

#include <cstdint>

#include <moe/models/model.h>

namespace moe::generation {

/// The length beyond which a model computes all of a text otherwise: the original length of
/// rotary positions of the scaling "longrope" (Ding et al. 2024), whose frequencies are divided by
/// one list of factors up to it and by another beyond. What was remembered of a text that grows
/// beyond it is of no more use. 0: none.
int64_t switch_length(const models::ModelSpec& spec);

}  // namespace moe::generation
