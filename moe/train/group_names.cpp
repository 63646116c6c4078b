#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <moe/base/glob.h>
#include <moe/models/hugging_face.h>
#include <moe/train/group_names.h>
#include <moe/train/groups.h>

namespace moe::train {

namespace {

/// The tensors of theirs that one of our parameters is made of: those that a pattern fits, and the
/// others, by expert (-1: all of the parameter).
struct Filling {
  std::set<int64_t> fitted;
  std::map<int64_t, std::vector<std::string>> missing;
};

using Fillings = std::map<size_t, Filling>;

Fillings fillings_of(const ParameterGroup& group, const models::TensorMap& map,
                     const Parameters& ours) {
  Fillings out;
  for (const auto& tensor : map.tensors())
    for (const auto& piece : tensor.pieces) {
      Filling& filling = out[piece.parameter];
      const int64_t expert = piece.expert.value_or(-1);
      if (fits_name(group, tensor.name))
        filling.fitted.insert(expert);
      else
        filling.missing[expert].push_back(tensor.name);
    }
  for (size_t p = 0; p < ours.size(); ++p)
    if (map.tied_to(group.match) == p) {
      out[p] = Filling();
      out[p].fitted.insert(-1);
    }
  std::erase_if(out, [](const auto& entry) { return entry.second.fitted.empty(); });
  return out;
}

/// The group for one parameter, of which it fits the tensors `filling`.
std::optional<ParameterGroup> group_for(const ParameterGroup& group, const std::string& name,
                                        const Filling& filling) {
  constexpr size_t kNamesShown = 8;
  ParameterGroup out = group;
  out.match = name;
  const bool by_expert = !filling.fitted.contains(-1);
  std::vector<std::string> missing;
  std::vector<int64_t> experts;
  for (const int64_t expert : filling.fitted) {
    const bool wanted =
        !by_expert || group.experts.empty() || std::ranges::count(group.experts, expert) > 0;
    if (!wanted) continue;
    experts.push_back(expert);
    if (const auto lacks = filling.missing.find(expert); lacks != filling.missing.end())
      missing.insert(missing.end(), lacks->second.begin(), lacks->second.end());
  }
  if (!missing.empty())
    fail<ConfigError>("train/groups", "expected the pattern '", group.match,
                      "' to fit all that is one parameter here ('", name,
                      "'), or nothing of it, found tensors that it does not fit. Write a pattern "
                      "for these too, such as that of the module.",
                      indented_list(missing, kNamesShown));
  if (experts.empty()) return std::nullopt;
  const bool all = filling.missing.empty() && group.experts.empty();
  if (by_expert && !all) out.experts = std::move(experts);
  return out;
}

[[noreturn]] void refuse_unknown(const std::string& pattern, const Parameters& ours,
                                 const models::TensorMap& map, const std::string& family) {
  constexpr size_t kNamesShown = 16;
  auto names = names_of(ours);
  for (const auto& tensor : map.tensors()) names.push_back(tensor.name);
  fail<ConfigError>("train/groups",
                    "expected a pattern of parameter names in train.optimizer.groups, ours or "
                    "those of checkpoints of the family ",
                    family, ", got '", pattern, "', which fits none. Correct it; near it are:",
                    indented_list(patterns_near(pattern, names), kNamesShown));
}

}  // namespace

std::vector<ParameterGroup> in_our_names(const std::vector<ParameterGroup>& groups,
                                         const Parameters& tensors, const models::ModelSpec& spec,
                                         const std::string& family) {
  const auto fits_one_of = [](const Parameters& all) {
    return [&all](const ParameterGroup& group) {
      return std::ranges::any_of(all,
                                 [&](const auto& tensor) { return fits_name(group, tensor.name); });
    };
  };
  if (family.empty() || std::ranges::all_of(groups, fits_one_of(tensors))) return groups;
  // Unfilled, and with all experts on this rank.
  const auto model = models::make_model(spec);
  const Parameters ours = tensors_of(*model);
  const auto is_ours = fits_one_of(ours);
  const auto map = models::tensor_map(family, spec, *model);
  std::vector<ParameterGroup> out;
  for (const auto& group : groups) {
    const auto fillings = is_ours(group) ? Fillings() : fillings_of(group, map, ours);
    if (is_ours(group)) out.push_back(group);
    if (fillings.empty() && !is_ours(group)) refuse_unknown(group.match, ours, map, family);
    for (const auto& [p, filling] : fillings)
      if (auto one = group_for(group, ours[p].name, filling)) out.push_back(std::move(*one));
  }
  return out;
}

}  // namespace moe::train
