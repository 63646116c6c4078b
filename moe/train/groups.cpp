// E experts of a tensor on all ranks.
#include <algorithm>
#include <set>
#include <sstream>

#include <ATen/ops/zeros.h>

#include <moe/base/glob.h>
#include <moe/train/groups.h>

namespace moe::train {

namespace {

constexpr const char* kPlaceOfGroups = "train/groups";

bool has_rows_of_experts(const Parameter& tensor) {
  return tensor.info.per_expert && tensor.tensor.dim() > 0;
}

bool has_experts(const Parameter& tensor) {
  return has_rows_of_experts(tensor) || tensor.info.expert.has_value();
}

bool fits(const ParameterGroup& group, const Parameter& tensor) {
  return fits_name(group, tensor.name) && (group.experts.empty() || has_experts(tensor));
}

bool fits_any(const ParameterGroup& group, const Parameters& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& tensor) { return fits(group, tensor); });
}

bool is_state(const Parameter& tensor) {
  return tensor.info.role == Role::kState;
}

bool name_experts(const std::vector<ParameterGroup>& groups) {
  return std::any_of(groups.begin(), groups.end(),
                     [](const auto& group) { return !group.experts.empty(); });
}

std::vector<std::string> components_of(const std::string& name) {
  std::vector<std::string> out;
  std::istringstream text(name);
  for (std::string component; std::getline(text, component, '.');) out.push_back(component);
  return out;
}

bool is_number(const std::string& component) {
  return component.find_first_not_of("0123456789") == std::string::npos;
}

/// Whether a component of a pattern fits that of a name, or would but for a slip of a finger.
bool is_near(const std::string& pattern, const std::string& component) {
  return glob_match(pattern, component) || !did_you_mean(pattern, {component}).empty();
}

/// Whether a group fits a tensor that `is_one`, on any rank: experts that are modules lie on one.
template <class IsOne>
bool fits_somewhere(const ParameterGroup& group, const Parameters& tensors,
                    parallel::Communicator& ranks, const IsOne& is_one) {
  const bool here = std::any_of(tensors.begin(), tensors.end(), [&](const auto& tensor) {
    return fits_name(group, tensor.name) && is_one(tensor);
  });
  Tensor found = at::zeros({1}, at::kLong).fill_(here ? 1 : 0);
  ranks.all_reduce(found);
  return found.item<int64_t>() > 0;
}

void check_pattern(const ParameterGroup& group, const Parameters& tensors,
                   parallel::Communicator& ranks) {
  constexpr size_t kNamesShown = 8;
  const bool known = fits_somewhere(group, tensors, ranks, [](const auto&) { return true; });
  const bool moves =
      fits_somewhere(group, tensors, ranks, [](const auto& tensor) { return !is_state(tensor); });
  if (!known)
    fail<ConfigError>(kPlaceOfGroups,
                      "expected a pattern of parameter names in "
                      "train.optimizer.groups, got '",
                      group.match, "', which fits none. Correct it; near it are:",
                      indented_list(patterns_near(group.match, names_of(tensors)), kNamesShown));
  check<ConfigError>(moves || (group.lr_factor == 1 && group.weight_decay == -1), kPlaceOfGroups,
                     "expected parameters for the rates of the group '", group.match,
                     "', got state, which moves by rules of its own. Set frozen alone for it.");
}

/// How many ranks have each of the experts that a group names.
Tensor ranks_with(const ParameterGroup& group, const Parameters& tensors,
                  parallel::Communicator& ranks) {
  Tensor found = at::zeros({static_cast<int64_t>(group.experts.size())}, at::kLong);
  int64_t* counts = found.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < group.experts.size(); ++i)
    counts[i] = std::any_of(tensors.begin(), tensors.end(), [&](const auto& tensor) {
      return fits_name(group, tensor.name) &&
             (tensor.info.expert ? *tensor.info.expert == group.experts[i]
                                 : has_rows_of_experts(tensor));
    });
  ranks.all_reduce(found);
  return found;
}

/// Every expert that a group names must be in every stack that it fits, or be a module somewhere.
void check_experts(const ParameterGroup& group, const Parameters& tensors,
                   parallel::Communicator& ranks) {
  if (group.experts.empty()) return;
  const Tensor found = ranks_with(group, tensors, ranks);
  for (const auto& tensor : tensors) {
    if (!has_rows_of_experts(tensor) || !fits_name(group, tensor.name)) continue;
    const int64_t E = whole_rows(tensor);
    for (const int64_t expert : group.experts)
      check<ConfigError>(expert < E, kPlaceOfGroups, "expected experts of the group '", group.match,
                         "' in [0, ", E, "), as '", tensor.name, "' has, got ", expert,
                         ". Correct train.optimizer.groups.");
  }
  check<ConfigError>(found.gt(0).any().item<bool>(), kPlaceOfGroups,
                     "expected something that has experts for the group '", group.match,
                     "', which names some, got none. Leave out experts, or correct match.");
  for (size_t i = 0; i < group.experts.size(); ++i)
    check<ConfigError>(found[static_cast<int64_t>(i)].item<int64_t>() > 0, kPlaceOfGroups,
                       "expected experts that are there in the group '", group.match, "', got ",
                       group.experts[i], ". Correct train.optimizer.groups.");
}

/// Whether every expert is frozen, on whatever rank; of a tensor without experts whether it is.
bool is_frozen_whole(const std::vector<ParameterGroup>& groups, const Parameter& tensor) {
  const auto frozen = [&](std::optional<int64_t> expert) {
    const auto* group = group_of(groups, tensor.name, expert);
    return group && group->frozen;
  };
  if (!has_rows_of_experts(tensor) || !name_experts(groups)) return frozen(tensor.info.expert);
  const int64_t E = whole_rows(tensor);
  for (int64_t expert = 0; expert < E; ++expert)
    if (!frozen(expert)) return false;
  return E > 0;
}

/// Numbers of a parameter that are trained.
int64_t trained_numbers(const std::vector<ParameterGroup>& groups, const Parameter& parameter) {
  if (!parameter.tensor.requires_grad()) return 0;
  int64_t out = 0;
  for (const auto& [rows, group] : grouped_rows(groups, parameter))
    if (!group || !group->frozen) out += rows.of(parameter.tensor).numel();
  return out;
}

}  // namespace

bool fits_name(const ParameterGroup& group, const std::string& name) {
  return glob_match(group.match, name) || glob_match(concat(group.match, ".*"), name);
}

std::vector<std::string> names_of(const Parameters& tensors) {
  std::vector<std::string> out;
  for (const auto& tensor : tensors) out.push_back(tensor.name);
  return out;
}

std::vector<std::string> patterns_near(const std::string& pattern,
                                       const std::vector<std::string>& names) {
  std::vector<std::string> wanted = components_of(pattern);
  std::erase_if(wanted, [](const std::string& component) {
    return component.find_first_not_of("*?0123456789") == std::string::npos;
  });
  int64_t most = 0;
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const auto& name : names) {
    auto components = components_of(name);
    const int64_t shared = std::ranges::count_if(wanted, [&](const std::string& one) {
      return std::ranges::any_of(components,
                                 [&](const auto& other) { return is_near(one, other); });
    });
    std::ranges::replace_if(components, is_number, "*");
    auto found = join(components, ".");
    if (shared < most) continue;
    if (shared > most) {
      most = shared;
      out.clear();
      seen.clear();
    }
    if (seen.insert(found).second) out.push_back(std::move(found));
  }
  return out;
}

const ParameterGroup* group_of(const std::vector<ParameterGroup>& groups, const std::string& name,
                               std::optional<int64_t> expert) {
  const auto last = std::find_if(groups.rbegin(), groups.rend(), [&](const auto& group) {
    const bool for_it =
        group.experts.empty() || (expert && std::ranges::count(group.experts, *expert) > 0);
    return for_it && fits_name(group, name);
  });
  return last == groups.rend() ? nullptr : &*last;
}

std::vector<GroupedRows> grouped_rows(const std::vector<ParameterGroup>& groups,
                                      const Parameter& tensor) {
  const auto& info = tensor.info;
  if (!has_rows_of_experts(tensor) || !name_experts(groups))
    return {{Rows(), group_of(groups, tensor.name, info.expert)}};
  const int64_t L = tensor.tensor.size(0);
  std::vector<GroupedRows> out;
  for (int64_t row = 0; row < L; ++row) {
    const auto* const group = group_of(groups, tensor.name, info.number_of(row));
    if (out.empty() || out.back().group != group)
      out.push_back({Rows{row, 1}, group});
    else
      ++out.back().rows.count;
  }
  if (out.size() == 1) out.front().rows = Rows();
  return out;
}

int64_t freeze(const Parameters& tensors, const std::vector<ParameterGroup>& groups,
               parallel::Communicator& group) {
  for (const auto& one : groups) {
    check_pattern(one, tensors, group);
    check_experts(one, tensors, group);
  }
  int64_t numbers = 0, parameters = 0;
  for (const auto& tensor : tensors) {
    if (is_state(tensor)) continue;
    ++parameters;
    if (is_frozen_whole(groups, tensor)) tensor.tensor.set_requires_grad(false);
    numbers += trained_numbers(groups, tensor);
  }
  Tensor left = at::zeros({1}, at::kLong).fill_(numbers);
  group.all_reduce(left);
  check<ConfigError>(left.item<int64_t>() > 0, kPlaceOfGroups, "expected parameters to train, got ",
                     parameters, " that are all frozen. Freeze fewer in train.optimizer.groups.");
  return numbers;
}

std::vector<ParameterGroup> fitting(const std::vector<ParameterGroup>& groups,
                                    const Parameters& parameters) {
  std::vector<ParameterGroup> out;
  std::copy_if(groups.begin(), groups.end(), std::back_inserter(out),
               [&](const auto& group) { return fits_any(group, parameters); });
  return out;
}

}  // namespace moe::train
