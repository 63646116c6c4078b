#include <array>

#include <moe/base/error.h>
#include <moe/models/expert_names.h>

namespace moe::models {

namespace {

/// Gate, up and down.
using ThreeNames = std::array<const char*, 3>;
constexpr ThreeNames kNamed = {"gate_proj", "up_proj", "down_proj"}, kNumbered = {"w1", "w3", "w2"};

/// Where transformers 5 keeps a block that older names call block_sparse_moe.
std::string newer_name(std::string theirs) {
  constexpr std::string_view kOlder = "block_sparse_moe.";
  if (const size_t at = theirs.find(kOlder); at != theirs.npos)
    theirs.replace(at, kOlder.size(), "mlp.");
  return theirs;
}

NameMap one_tensor_an_expert(const std::string& theirs, const std::string& ours,
                             const ThreeNames& names) {
  const auto name = [&](size_t matrix) {
    return concat(theirs, "experts.{e}.", names[matrix], ".weight");
  };
  return {stacked(name(0), ours + "experts.w_in", kGate),
          stacked(name(1), ours + "experts.w_in", kUp), stacked(name(2), ours + "experts.w_out")};
}

NameMap stacks_of_experts(const std::string& theirs, const std::string& ours) {
  return {same(theirs + "experts.gate_up_proj", ours + "experts.w_in"),
          same(theirs + "experts.down_proj", ours + "experts.w_out")};
}

void add_experts(NameMap& map, const std::string& theirs, const std::string& ours,
                 const ThreeNames& names) {
  const std::string newer = newer_name(theirs);
  map.add(one_tensor_an_expert(theirs, ours, names));
  if (newer != theirs) map.otherwise(one_tensor_an_expert(newer, ours, names));
  for (const auto& place : newer == theirs ? std::vector{theirs} : std::vector{theirs, newer})
    map.otherwise(stacks_of_experts(place, ours));
}

void add_dense_as(NameMap& map, const std::string& theirs, const std::string& ours,
                  const ThreeNames& names) {
  for (const bool bias : {false, true}) {
    const std::string kind = bias ? ".bias" : ".weight", letter = bias ? "b" : "w";
    map.add(part(theirs + names[0] + kind, ours + letter + "_in", kGate));
    map.add(part(theirs + names[1] + kind, ours + letter + "_in", kUp));
    map.add(same(theirs + names[2] + kind, ours + letter + "_out"));
  }
}

}  // namespace

void add_gate(NameMap& map, const std::string& theirs, const std::string& ours) {
  map.add(same(theirs + "gate.weight", ours + "router.weight"));
  if (const std::string newer = newer_name(theirs); newer != theirs)
    map.otherwise({same(newer + "gate.weight", ours + "router.weight")});
}

void add_named_experts(NameMap& map, const std::string& theirs, const std::string& ours) {
  add_experts(map, theirs, ours, kNamed);
}

void add_stacked_experts(NameMap& map, const std::string& theirs, const std::string& ours) {
  map.add(stacks_of_experts(theirs, ours));
  map.otherwise(one_tensor_an_expert(theirs, ours, kNamed));
}

void add_numbered_experts(NameMap& map, const std::string& theirs, const std::string& ours) {
  add_experts(map, theirs, ours, kNumbered);
}

void add_dense(NameMap& map, const std::string& theirs, const std::string& ours) {
  add_dense_as(map, theirs, ours, kNamed);
}

void add_numbered_dense(NameMap& map, const std::string& theirs, const std::string& ours) {
  add_dense_as(map, theirs, ours, kNumbered);
}

}  // namespace moe::models
