#include <algorithm>

#include <moe/base/glob.h>
#include <moe/train/groups.h>

namespace moe::train {

namespace {

bool fits(const ParameterGroup& group, const Parameters& parameters) {
  return std::any_of(parameters.begin(), parameters.end(), [&](const auto& parameter) {
    return glob_match(group.match, parameter.name);
  });
}

/// Names that share a component with the pattern, or all when none does.
std::vector<std::string> near(const std::string& pattern, const Parameters& parameters) {
  std::vector<std::string> components;
  std::istringstream text(pattern);
  for (std::string component; std::getline(text, component, '.');)
    if (component.find_first_not_of("*?0123456789") != std::string::npos)
      components.push_back(component);
  std::vector<std::pair<int64_t, std::string>> scored;
  for (const auto& [name, tensor, info] : parameters) {
    int64_t shared = 0;
    const std::string dotted = concat('.', name, '.');
    for (const auto& component : components)
      shared += glob_match(concat("*.", component, ".*"), dotted);
    scored.emplace_back(-shared, name);
  }
  std::stable_sort(scored.begin(), scored.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> out;
  for (const auto& [score, name] : scored)
    if (score == scored.front().first) out.push_back(name);
  return out;
}

}  // namespace

const ParameterGroup* group_of(const std::vector<ParameterGroup>& groups, const std::string& name) {
  const auto last = std::find_if(groups.rbegin(), groups.rend(),
                                 [&](const auto& group) { return glob_match(group.match, name); });
  return last == groups.rend() ? nullptr : &*last;
}

int64_t freeze(const Parameters& parameters, const std::vector<ParameterGroup>& groups) {
  constexpr size_t kNamesShown = 8;
  for (const auto& group : groups) {
    if (fits(group, parameters)) continue;
    fail<ConfigError>("train/groups",
                      "expected a pattern of parameter names in "
                      "train.optimizer.groups, got '",
                      group.match, "', which fits none. Correct it; near it are:",
                      indented_list(near(group.match, parameters), kNamesShown));
  }
  int64_t numbers = 0;
  for (const auto& [name, tensor, info] : parameters) {
    const auto* group = group_of(groups, name);
    if (group && group->frozen) tensor.set_requires_grad(false);
    if (tensor.requires_grad()) numbers += tensor.numel();
  }
  check<ConfigError>(numbers > 0, "train/groups", "expected parameters to train, got ",
                     parameters.size(),
                     " that are all frozen. Freeze fewer in train.optimizer.groups.");
  return numbers;
}

std::vector<ParameterGroup> fitting(const std::vector<ParameterGroup>& groups,
                                    const Parameters& parameters) {
  std::vector<ParameterGroup> out;
  std::copy_if(groups.begin(), groups.end(), std::back_inserter(out),
               [&](const auto& group) { return fits(group, parameters); });
  return out;
}

}  // namespace moe::train
