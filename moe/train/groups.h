#pragma once

#include <string>
#include <vector>

#include <moe/parameters/list.h>
#include <moe/train/options.h>

namespace moe::train {

/// The last group that fits a parameter's name: what counts for it. Null when none does.
const ParameterGroup* group_of(const std::vector<ParameterGroup>& groups, const std::string& name);

/// Stops training the parameters that the groups freeze: from here on they need no gradient, and
/// optimizers pass them over. Returns how many numbers (not tensors) are left to train.
///
/// Throws ConfigError for a pattern that fits no parameter, with names that are near it, and when
/// no parameter is left.
int64_t freeze(const Parameters& parameters, const std::vector<ParameterGroup>& groups);

/// The groups that fit a parameter: those of a model that make sense for another with fewer parts,
/// such as its dense twin.
std::vector<ParameterGroup> fitting(const std::vector<ParameterGroup>& groups,
                                    const Parameters& parameters);

}  // namespace moe::train
