// T tokens, N pairs, E experts, G groups of tokens.
#include <algorithm>

#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/room.h>
#include <moe/ops/room.h>

namespace moe::ops {

namespace {

void check_claims(const Claims& c) {
  constexpr const char* kPlace = "ops/claim_room";
  const auto is_vector = [](const Tensor& x) {
    return x.dim() == 1 && x.scalar_type() == at::kLong;
  };
  check(is_vector(c.offsets_T1) && c.offsets_T1.size(0) >= 1 && is_vector(c.experts_N) &&
            is_vector(c.groups_G1) && is_vector(c.room_G),
        kPlace, "expected int64 offsets (T+1), experts (N), groups (G+1) and room (G), got ",
        c.offsets_T1.sizes(), ", ", c.experts_N.sizes(), ", ", c.groups_G1.sizes(), " and ",
        c.room_G.sizes(), ". Pass them as the routing holds them.");
  const int64_t T = c.offsets_T1.size(0) - 1, G = c.groups_G1.size(0) - 1;
  check(c.num_experts >= 1 && G == c.room_G.size(0), kPlace,
        "expected experts, and a room for each of ", G, " groups, got ", c.num_experts,
        " experts and room for ", c.room_G.size(0), " groups. Give one room to each group.");
  const int64_t* const bounds = c.groups_G1.const_data_ptr<int64_t>();
  check(bounds[0] == 0 && bounds[G] == T && std::is_sorted(bounds, bounds + G + 1), kPlace,
        "expected groups that rise from 0 to T=", T,
        " tokens, got others. Let the groups follow each other.");
  check(!c.urgency_T.defined() ||
            (c.urgency_T.sizes() == at::IntArrayRef{T} && c.urgency_T.scalar_type() == at::kDouble),
        kPlace, "expected urgencies (T=", T, ") in float64, got others. Give one a token.");
  check(!c.scores_TE.defined() ||
            (c.scores_TE.sizes() == at::IntArrayRef{T, c.num_experts} &&
             (c.scores_TE.scalar_type() == at::kFloat || c.scores_TE.scalar_type() == at::kDouble)),
        kPlace, "expected scores (T=", T, ", E=", c.num_experts,
        ") in float32 or float64, got others. Give one for each token and expert.");
}

}  // namespace

Tensor claim_room(const Claims& claims) {
  const auto here = [](const Tensor& x) {
    return x.defined() ? x.detach().to(at::kCPU).contiguous() : x;
  };
  const Claims on_cpu = {.offsets_T1 = here(claims.offsets_T1),
                         .experts_N = here(claims.experts_N),
                         .num_experts = claims.num_experts,
                         .groups_G1 = here(claims.groups_G1),
                         .room_G = here(claims.room_G),
                         .urgency_T = here(claims.urgency_T),
                         .token_by_token = claims.token_by_token,
                         .scores_TE = here(claims.scores_TE)};
  check_claims(on_cpu);
  Tensor got_N = at::empty(on_cpu.experts_N.sizes(), on_cpu.experts_N.options());
  cpu::claim_room(on_cpu, got_N);
  return got_N.to(claims.experts_N.device());
}

}  // namespace moe::ops
