// T tokens, N pairs, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <moe/routing/finish.h>
#include <moe/routing/replay.h>

namespace moe::routing {

namespace {

/// Throws unless `recording` is a routing over `num_experts` experts: recordings come from files
/// and from callers.
void check_recording(const Routing& recording, int64_t num_experts) {
  const auto expect = [](bool ok, const auto&... parts) {
    check(ok, "routing/replay", "expected ", parts...,
          ". Record the routing again with recorded().");
  };
  expect(recording.num_experts == num_experts, "a recording for ", num_experts, " experts, got ",
         recording.num_experts);
  const Tensor &offsets = recording.offsets, &experts_N = recording.experts_N,
               &weights_N = recording.weights_N;
  expect(offsets.dim() == 1 && offsets.size(0) >= 1 && offsets.scalar_type() == at::kLong &&
             experts_N.dim() == 1 && experts_N.scalar_type() == at::kLong &&
             weights_N.sizes() == experts_N.sizes() && at::isFloatingType(weights_N.scalar_type()),
         "int64 offsets (T+1), int64 experts (N) and floating weights (N), got ", offsets.sizes(),
         ", ", experts_N.sizes(), " and ", weights_N.sizes());
  const Tensor steps_T = offsets.diff();
  // Offsets out of [0, N] could make differences wrap around.
  expect(offsets[0].item<int64_t>() == 0 && offsets[-1].item<int64_t>() == experts_N.size(0) &&
             offsets.ge(0).logical_and(offsets.le(experts_N.size(0))).all().item<bool>() &&
             steps_T.ge(0).all().item<bool>(),
         "offsets that rise from 0 to the ", experts_N.size(0), " pairs, got others");
  expect(recording.choices == 0 || steps_T.eq(recording.choices).all().item<bool>(),
         recording.choices, " choices for every token, got other numbers");
  expect(experts_N.ge(0).logical_and(experts_N.le(num_experts)).all().item<bool>(),
         "expert ids in [0, ", num_experts, "], got others");
}

}  // namespace

Replay::Replay(const RouterShape& shape, const ReplayRouter& options)
    : LinearRouter(shape, /*with_bias=*/false) {
  if (!options.path.empty()) set_assignment(read_recording(options.path));
}

void Replay::set_assignment(const Routing& recording) {
  check_recording(recording, shape_.num_experts);
  assignment_ = recorded(recording);
}

void Replay::set_assignment(const Tensor& experts_TK, const Tensor& weights_TK) {
  check(experts_TK.dim() == 2 && experts_TK.sizes() == weights_TK.sizes(), "routing/replay",
        "expected experts (T, K) and weights of the same shape, got ", experts_TK.sizes(), " and ",
        weights_TK.sizes(), ". Give every choice one weight.");
  set_assignment(fixed_choices(experts_TK, weights_TK, shape_.num_experts));
}

Routing Replay::forward(const Tensor& x_TD, const LayerContext& context) {
  check(assignment_.offsets.defined(), "routing/replay",
        "expected a recording to replay, got none. Set the option path, or call set_assignment.");
  const int64_t T = x_TD.size(0), begin = context.tokens.first_token - assignment_.first_token;
  check(begin >= 0 && begin + T <= assignment_.tokens(), "routing/replay",
        "expected tokens of the recording, which are [", assignment_.first_token, ", ",
        assignment_.first_token + assignment_.tokens(), "), got [", context.tokens.first_token,
        ", ", context.tokens.first_token + T, "). Record more, or replay fewer tokens.");

  const Tensor offsets = assignment_.offsets.slice(0, begin, begin + T + 1);
  const int64_t first = offsets[0].item<int64_t>(), last = offsets[-1].item<int64_t>();
  Routing routing;
  routing.logits_TE = logits(x_TD);
  routing.scores_TE = at::softmax(routing.logits_TE, 1);
  routing.num_experts = shape_.num_experts;
  routing.choices = assignment_.choices;
  routing.first_token = context.tokens.first_token;
  routing.weight_on_input = assignment_.weight_on_input;
  routing.offsets = (offsets - first).to(x_TD.device());
  routing.experts_N = assignment_.experts_N.slice(0, first, last).to(x_TD.device());
  routing.weights_N = assignment_.weights_N.slice(0, first, last).to(routing.logits_TE.options());
  return routing;
}

MOE_KIND(routers, replay, Replay, ReplayRouter)

}  // namespace moe::routing
