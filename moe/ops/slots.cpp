// T tokens, N pairs, E experts, G groups of tokens.
#include <algorithm>

#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/slots.h>
#include <moe/ops/slots.h>

namespace moe::ops {

namespace {

void check_requests(const SlotRequests& c) {
  constexpr const char* kPlace = "ops/assign_slots";
  const auto is_vector = [](const Tensor& x) {
    return x.dim() == 1 && x.scalar_type() == at::kLong;
  };
  check(is_vector(c.offsets_T1) && c.offsets_T1.size(0) >= 1 && is_vector(c.experts_N) &&
            is_vector(c.groups_G1) && is_vector(c.slots_G),
        kPlace, "expected int64 offsets (T+1), experts (N), groups (G+1) and slots (G), got ",
        c.offsets_T1.sizes(), ", ", c.experts_N.sizes(), ", ", c.groups_G1.sizes(), " and ",
        c.slots_G.sizes(), ". Pass them as the routing holds them.");
  const int64_t T = c.offsets_T1.size(0) - 1, G = c.groups_G1.size(0) - 1;
  check(c.num_experts >= 1 && G == c.slots_G.size(0), kPlace,
        "expected experts, and a room for each of ", G, " groups, got ", c.num_experts,
        " experts and room for ", c.slots_G.size(0),
        " groups. Give one number of slots to each group.");
  const int64_t* const bounds = c.groups_G1.const_data_ptr<int64_t>();
  check(bounds[0] == 0 && bounds[G] == T && std::is_sorted(bounds, bounds + G + 1), kPlace,
        "expected groups that rise from 0 to T=", T,
        " tokens, got others. Let the groups follow each other.");
  check(!c.taken_GE.defined() || (c.taken_GE.sizes() == at::IntArrayRef{G, c.num_experts} &&
                                  c.taken_GE.scalar_type() == at::kLong),
        kPlace, "expected slots taken before (G=", G, ", E=", c.num_experts,
        ") in int64, got others. Give one number for each group and expert.");
  check(!c.priority_T.defined() || (c.priority_T.sizes() == at::IntArrayRef{T} &&
                                    c.priority_T.scalar_type() == at::kDouble),
        kPlace, "expected urgencies (T=", T, ") in float64, got others. Give one a token.");
  check(!c.scores_TE.defined() ||
            (c.scores_TE.sizes() == at::IntArrayRef{T, c.num_experts} &&
             (c.scores_TE.scalar_type() == at::kFloat || c.scores_TE.scalar_type() == at::kDouble)),
        kPlace, "expected scores (T=", T, ", E=", c.num_experts,
        ") in float32 or float64, got others. Give one for each token and expert.");
}

}  // namespace

Tensor assign_slots(const SlotRequests& requests) {
  const auto here = [](const Tensor& x) {
    return x.defined() ? x.detach().to(at::kCPU).contiguous() : x;
  };
  const SlotRequests on_cpu = {.offsets_T1 = here(requests.offsets_T1),
                               .experts_N = here(requests.experts_N),
                               .num_experts = requests.num_experts,
                               .groups_G1 = here(requests.groups_G1),
                               .slots_G = here(requests.slots_G),
                               .taken_GE = here(requests.taken_GE),
                               .priority_T = here(requests.priority_T),
                               .token_by_token = requests.token_by_token,
                               .scores_TE = here(requests.scores_TE)};
  check_requests(on_cpu);
  Tensor slot_N = at::empty(on_cpu.experts_N.sizes(), on_cpu.experts_N.options());
  cpu::assign_slots(on_cpu, slot_N);
  return slot_N.to(requests.experts_N.device());
}

}  // namespace moe::ops
