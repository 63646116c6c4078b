// T tokens, N pairs, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
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

/// A recording as the router's buffers hold it.
struct RecordingBuffers {
  Tensor offsets, experts_N, weights_N, numbers;
};

RecordingBuffers buffers_of(const Routing& recording, int64_t num_experts) {
  check_recording(recording, num_experts);
  RecordingBuffers out;
  out.offsets = recording.offsets;
  out.experts_N = recording.experts_N;
  out.weights_N = recording.weights_N;
  out.numbers = at::tensor(
      {recording.first_token, recording.choices, static_cast<int64_t>(recording.weight_on_input)},
      at::kLong);
  return out;
}

/// Fills a buffer that may have had another length.
void refill(const Tensor& buffer, const Tensor& values) {
  buffer.resize_(values.sizes()).copy_(values.detach());
}

/// Whole numbers, which a module that was converted to another type may hold as that.
Tensor whole_numbers(const Tensor& buffer) {
  const auto type = buffer.scalar_type();
  const bool exact = type == at::kLong || type == at::kDouble;
  const double most = type == at::kFloat ? 0x1p24 : 0x1p8;
  check(exact || buffer.numel() == 0 || buffer.max().item<double>() < most, "routing/replay",
        "expected a recording whose numbers ", type,
        " can hold, got larger ones. Convert parameters only.");
  return buffer.to(at::kLong);
}

}  // namespace

Replay::Replay(const RouterShape& shape, const ReplayRouter& options)
    : LinearRouter(shape, /*with_bias=*/false) {
  const auto start_with = [path = options.path,
                           E = shape.num_experts](Tensor RecordingBuffers::*part) {
    return [path, E, part](const Tensor& buffer, const RandomStream&) {
      if (!path.empty()) refill(buffer, buffers_of(read_recording(path), E).*part);
    };
  };
  const auto add = [&](const char* name, at::ScalarType type, Tensor RecordingBuffers::*part) {
    return add_buffer(name, {0}, type, {.start = start_with(part)});
  };
  offsets_ = add("offsets", at::kLong, &RecordingBuffers::offsets);
  experts_N_ = add("experts", at::kLong, &RecordingBuffers::experts_N);
  weights_N_ = add("weights", at::kDouble, &RecordingBuffers::weights_N);
  numbers_ = add("numbers", at::kLong, &RecordingBuffers::numbers);
}

void Replay::set_assignment(const Routing& recording) {
  check(
      !offsets_.is_meta(), "routing/replay",
      "expected a router with memory to give a recording, got one without. Materialise it first.");
  const at::NoGradGuard no_grad;
  const RecordingBuffers given = buffers_of(recording, shape_.num_experts);
  refill(offsets_, given.offsets);
  refill(experts_N_, given.experts_N);
  refill(weights_N_, given.weights_N);
  refill(numbers_, given.numbers);
}

Routing Replay::assignment() const {
  check(offsets_.numel() > 0, "routing/replay",
        "expected a recording to replay, got none. Set the option path, or call set_assignment.");
  check(numbers_.dim() == 1 && numbers_.size(0) == 3, "routing/replay",
        "expected 3 numbers beside a recording, got shape ", numbers_.sizes(),
        ". The checkpoint is damaged: use another.");
  const Tensor numbers = whole_numbers(numbers_).to(at::kCPU);
  Routing out;
  out.num_experts = shape_.num_experts;
  out.offsets = whole_numbers(offsets_);
  out.experts_N = whole_numbers(experts_N_);
  out.weights_N = weights_N_;
  out.first_token = numbers[0].item<int64_t>();
  out.choices = numbers[1].item<int64_t>();
  out.weight_on_input = numbers[2].item<int64_t>() != 0;
  check_recording(out, shape_.num_experts);
  return out;
}

void Replay::set_assignment(const Tensor& experts_TK, const Tensor& weights_TK) {
  check(experts_TK.dim() == 2 && experts_TK.sizes() == weights_TK.sizes(), "routing/replay",
        "expected experts (T, K) and weights of the same shape, got ", experts_TK.sizes(), " and ",
        weights_TK.sizes(), ". Give every choice one weight.");
  set_assignment(fixed_choices(experts_TK, weights_TK, shape_.num_experts));
}

Routing Replay::forward(const Tensor& x_TD, const LayerContext& context) {
  const Routing recording = assignment();
  const int64_t T = x_TD.size(0), begin = context.tokens.first_token - recording.first_token;
  check(begin >= 0 && begin + T <= recording.tokens(), "routing/replay",
        "expected tokens of the recording, which are [", recording.first_token, ", ",
        recording.first_token + recording.tokens(), "), got [", context.tokens.first_token, ", ",
        context.tokens.first_token + T, "). Record more, or replay fewer tokens.");

  const Tensor offsets = recording.offsets.slice(0, begin, begin + T + 1);
  const int64_t first = offsets[0].item<int64_t>(), last = offsets[-1].item<int64_t>();
  Routing routing;
  routing.logits_TE = logits(x_TD);
  routing.scores_TE = at::softmax(routing.logits_TE, 1);
  routing.num_experts = shape_.num_experts;
  routing.choices = recording.choices;
  routing.first_token = context.tokens.first_token;
  routing.weight_on_input = recording.weight_on_input;
  routing.offsets = (offsets - first).to(x_TD.device());
  routing.experts_N = recording.experts_N.slice(0, first, last).to(x_TD.device());
  routing.weights_N = recording.weights_N.slice(0, first, last).to(routing.logits_TE.options());
  return routing;
}

MOE_KIND(routers, replay, Replay, ReplayRouter)

}  // namespace moe::routing
