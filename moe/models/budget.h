#pragma once

#include <string>
#include <vector>

#include <moe/models/model.h>

namespace moe::models {

/// Sets how much of its choices each layer of `model` computes in a pass (PassContext::budget).
/// `shares`: none, all of them; one, the same in every layer; or one for each layer, those that do
/// not route with 1. Throws ConfigError, naming `place`, for shares outside (0, 1], for another
/// number of them, and where no layer routes that could save anything.
void set_budget(ForwardContext& context, const std::vector<double>& shares, const Model& model,
                const std::string& place);

}  // namespace moe::models
