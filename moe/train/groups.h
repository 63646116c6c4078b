#pragma once
// Rules for parameters and state by name: who they are for, and what freezing leaves to train.

#include <optional>
#include <string>
#include <vector>

#include <moe/parallel/communicator.h>
#include <moe/parameters/list.h>
#include <moe/train/optimizer.h>

namespace moe::train {

/// Whether the pattern of a group fits a name, or that of a module that holds it.
bool fits_name(const ParameterGroup& group, const std::string& name);

std::vector<std::string> names_of(const Parameters& tensors);
/// Those of `names` that share most with a pattern that fits none, with '*' for their numbers, each
/// once.
std::vector<std::string> patterns_near(const std::string& pattern,
                                       const std::vector<std::string>& names);

/// The last group that is for a parameter, or for one expert of it: what counts for it. Null when
/// none is. A group fits a name by its pattern, or by that of a module that holds it; one that
/// names experts is for those alone.
const ParameterGroup* group_of(const std::vector<ParameterGroup>& groups, const std::string& name,
                               std::optional<int64_t> expert = {});

/// Rows of a tensor for which one group counts, or none does.
struct GroupedRows {
  Rows rows;
  const ParameterGroup* group = nullptr;
};

/// The tensor's rows by what counts for them: one entry for all of it, unless groups tell its
/// experts apart.
std::vector<GroupedRows> grouped_rows(const std::vector<ParameterGroup>& groups,
                                      const Parameter& tensor);

/// Stops training the parameters that the groups freeze whole, with all their experts on all ranks:
/// from here on they need no gradient, and optimizers pass them over. The rest of what is frozen is
/// FrozenState's business (frozen.h). `tensors` are those of a model, buffers included; all ranks
/// call it. Returns how many numbers (not tensors) of this rank are left to train.
///
/// Throws ConfigError for a pattern that fits nothing, with names that are near it; for experts of
/// what has none, and those that are not there; for rates of state, which has none; and when
/// nothing is left to train.
int64_t freeze(const Parameters& tensors, const std::vector<ParameterGroup>& groups,
               parallel::Communicator& group = *parallel::local());

/// The groups that fit a parameter: those of a model that make sense for another with fewer parts,
/// such as its dense twin.
std::vector<ParameterGroup> fitting(const std::vector<ParameterGroup>& groups,
                                    const Parameters& parameters);

}  // namespace moe::train
