// T tokens, D width, F hidden units, E experts, K choices, V vocabulary, B batch, S sequence.
#include "tools/moe/bench_work.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/experts/experts.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/counts.h>
#include <moe/models/twin.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/random_fill.h>
#include <moe/parameters/list.h>
#include <moe/train/clip.h>
#include <moe/train/optimizer.h>
#include <moe/train/step.h>

#include "tools/moe/bench_routing.h"

namespace moe::tools {

namespace {

void check_sizes(std::initializer_list<std::pair<const char*, int64_t>> sizes) {
  for (const auto& [name, size] : sizes)
    check<ConfigError>(size >= 1 && size <= (int64_t{1} << 31), "bench", "expected ", name,
                       " in [1, 2147483648], got ", size, ". Correct it.");
}

void check_layer(const LayerBench& o) {
  check_one_of("bench", "--mode", o.mode, {"forward", "train"});
  check_one_of("bench", "--expert", o.expert, experts::expert_kinds().names());
  check_one_of("bench", "--routing", o.routing, routings());
  check_sizes({{"--tokens", o.tokens},
               {"--d-model", o.d_model},
               {"--d-ff", o.d_ff},
               {"--experts", o.experts},
               {"--top-k", o.top_k}});
  check<ConfigError>(o.top_k <= o.experts, "bench", "expected --top-k in [1, --experts=", o.experts,
                     "], got ", o.top_k, ". Lower it or add experts.");
  check<ConfigError>(o.routing == "learned" || o.router == "topk", "bench",
                     "expected --router topk with --routing ", o.routing, ", got '", o.router,
                     "'. Tokens are steered for that router alone.");
}

/// `function` timed on x: forward alone without gradients, or forward and backward.
template <class Function>
std::function<void()> passes(bool training, Function function, at::Tensor x_TD, at::Tensor grad_TD,
                             const std::vector<at::Tensor>& parameters) {
  if (!training)
    return [=]() mutable {
      at::NoGradGuard no_grad;
      function(x_TD);
    };
  x_TD.requires_grad_();
  return [=]() mutable {
    for (auto& parameter : parameters) parameter.mutable_grad().reset();
    x_TD.mutable_grad().reset();
    function(x_TD).backward(grad_TD);
  };
}

/// T tokens of a standard normal, or gradients of them.
at::Tensor normal_tokens(const LayerBench& o, uint32_t part) {
  at::Tensor x_TD = at::empty({o.tokens, o.d_model});
  ops::fill_normal_(
      x_TD, RandomStream(RandomKey{static_cast<uint64_t>(o.seed)}, Purpose::kTest, part), 1.0);
  return x_TD;
}

/// The set that runs products of experts with so many rows.
std::string kernels_for(const std::string& dtype, int64_t rows) {
  const auto type =
      dtype == "bfloat16" ? ops::cpu::ProductType::kBFloat16 : ops::cpu::ProductType::kFloat32;
  return ops::cpu::name_of(ops::cpu::instruction_set(type, rows));
}

/// What layer and dense work share: `function` of `module` on the tokens.
template <class Module, class Function>
Work work_on_tokens(const LayerBench& o, Module module, Function function, const at::Tensor& x_TD,
                    int64_t flops_per_token) {
  const auto dtype = parse_dtype(o.dtype);
  const at::Device device = parse_device(o.device);
  module->to(device, dtype);
  const bool training = o.mode == "train";
  Work work;
  work.device = device;
  work.once = passes(training, function, x_TD.to(device, dtype),
                     normal_tokens(o, 1).to(device, dtype), module->parameters());
  for (const auto& parameter : module->parameters()) work.parameters += parameter.numel();
  work.flops = (training ? 3 : 1) * o.tokens * flops_per_token;
  work.bytes = (training ? 2 : 1) * (work.parameters + 2 * o.tokens * o.d_model) *
               static_cast<int64_t>(c10::elementSize(dtype));
  if (device.is_cpu()) {
    work.peak_gflops = ops::cpu::measured_peak(dtype);
    work.kernels = kernels_for(o.dtype, o.tokens);
  }
  work.shapes = {{"tokens", o.tokens}, {"d_model", o.d_model}, {"mode", o.mode}};
  return work;
}

/// Of `parameters` weights that every pass must read.
void add_bound(const LayerBench& o, int64_t parameters, Work& work) {
  if (!work.device.is_cpu()) return;
  const auto dtype = parse_dtype(o.dtype);
  const auto bytes = parameters * static_cast<int64_t>(c10::elementSize(dtype));
  work.bound = bound_of(work.flops, bytes, o.mode == "train", dtype, limits_of_this_machine());
}

/// One choice divided by its own sum would weigh 1 and train no router: Switch keeps its weight.
RouterSpec router_spec(const LayerBench& o) {
  RouterSpec out{.kind = o.router};
  if (o.router == "topk" && o.top_k == 1) out.options.set("renormalise", Value(false));
  return out;
}

/// Numbers of one expert, on average; what all share is a part of each.
int64_t expert_parameters(const LayerBench& o) {
  const auto experts =
      ExpertSpec{.kind = o.expert, .d_ff = o.d_ff}.make({.d_model = o.d_model,
                                                         .d_ff = o.d_ff,
                                                         .num_experts = o.experts,
                                                         .tensors = at::TensorOptions(at::kMeta)});
  int64_t all = 0;
  for (const Parameter& parameter : tensors_of(*experts))
    if (parameter.info.role != Role::kState) all += numbers_in_use(parameter);
  return all / o.experts;
}

}  // namespace

Work layer_work(const LayerBench& o) {
  check_layer(o);
  MoELayer layer(MoELayerOptions{.d_model = o.d_model,
                                 .num_experts = o.experts,
                                 .top_k = o.top_k,
                                 .router = router_spec(o),
                                 .expert = {.kind = o.expert, .d_ff = o.d_ff},
                                 .seed = o.seed});
  LayerContext context;
  context.training = o.mode == "train";
  context.random.seed = static_cast<uint64_t>(o.seed);
  at::Tensor x_TD = normal_tokens(o, 0);
  if (o.routing != "learned")
    steer_(x_TD, wanted_experts(o.routing, o.tokens, layer->router().shape(), o.seed),
           layer->router().named_parameters()["weight"]);
  Work work = work_on_tokens(
      o, layer,
      [layer, context](const at::Tensor& rows_TD) mutable {
        return layer->forward_tokens(rows_TD, context).hidden_TD;
      },
      x_TD, layer->flops_per_token());
  const Spread spread = [&] {
    const at::NoGradGuard no_grad;
    const auto type = parse_dtype(o.dtype);
    return spread_of(layer->forward_tokens(x_TD.to(work.device, type), context).routing);
  }();
  add_bound(o, spread.experts_used * expert_parameters(o), work);
  if (work.device.is_cpu())
    work.kernels =
        kernels_for(o.dtype, o.tokens * o.top_k / std::max<int64_t>(1, spread.experts_used));
  work.shapes.update({{"d_ff", o.d_ff},
                      {"experts", o.experts},
                      {"top_k", o.top_k},
                      {"expert", o.expert},
                      {"router", o.router},
                      {"routing", o.routing},
                      {"experts_used", spread.experts_used},
                      {"busiest_share", spread.busiest}});
  return work;
}

Work dense_work(const LayerBench& o) {
  check_layer(o);
  check_one_of("bench", "--expert", o.expert, {"gated", "ffn"});
  const layers::FeedForwardSpec spec = Dense{.d_ff = o.top_k * o.d_ff, .form = o.expert};
  const auto block = spec.make(layers::FeedForwardShape{.d_model = o.d_model});
  initialise(*block, {}, static_cast<uint64_t>(o.seed));
  Work work = work_on_tokens(
      o, block,
      [block](const at::Tensor& x_TD) { return block->forward_tokens(x_TD, {}).hidden_TD; },
      normal_tokens(o, 0), block->flops_per_token());
  add_bound(o, o.top_k * expert_parameters(o), work);
  work.shapes.update({{"d_ff", o.top_k * o.d_ff}, {"expert", o.expert}});
  return work;
}

int64_t layer_bytes(const LayerBench& o) {
  const int64_t parameters = o.experts * (expert_parameters(o) + o.d_model);
  const auto size = static_cast<int64_t>(c10::elementSize(parse_dtype(o.dtype)));
  const bool training = o.mode == "train";
  const int64_t hidden =
      o.tokens * o.top_k * (3 * o.d_ff + 2 * o.d_model) + 8 * o.tokens * o.experts;
  // Made in float32, then cast one parameter after another: the largest is 2/3 of all.
  const int64_t making = parameters * (size == 4 ? 4 : 4 + size);
  const int64_t running = (training ? 2 : 1) * parameters * size;
  return std::max(making, running) + (training ? 2 : 1) * hidden * 4;
}

Work model_work(const ModelBench& o) {
  check_sizes({{"--vocabulary", o.vocabulary},
               {"--d-model", o.d_model},
               {"--layers", o.layers},
               {"--heads", o.heads},
               {"--experts", o.experts},
               {"--top-k", o.top_k},
               {"--d-ff", o.d_ff},
               {"--sequence", o.sequence},
               {"--batch", o.batch}});
  models::DecoderOptions options;
  options.vocabulary = o.vocabulary;
  options.context_length = o.sequence;
  options.d_model = o.d_model;
  options.uniform.layers = o.layers;
  options.uniform.heads = o.heads;
  options.uniform.moe.num_experts = o.experts;
  options.uniform.moe.top_k = o.top_k;
  options.uniform.moe.expert.d_ff = o.d_ff;
  options.validate("model");
  if (o.dense) options = models::dense_twin(options);
  const auto dtype = parse_dtype(o.dtype);
  const at::Device device = parse_device(o.device);
  const auto seed = static_cast<uint64_t>(o.seed);
  const auto model = models::make_model(options, seed, {}, device,
                                        dtype == at::kDouble ? at::kDouble : at::kFloat);

  const train::OptimizerOptions rules;
  const auto optimizer = train::make_optimizer(parameters_of(*model), rules);
  const auto objective = objectives::ObjectiveSpec().make(objectives::ObjectiveShape{
      .model = model->traits(), .data = {.vocabulary = o.vocabulary, .sequence = o.sequence}});
  const at::Tensor ids = at::empty({o.batch, o.sequence + 1}, at::kLong);
  const RandomStream stream(RandomKey{seed}, Purpose::kTest);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(
        stream.below(static_cast<uint64_t>(i), static_cast<uint64_t>(o.vocabulary)));
  data::Batch batch;
  batch.inputs.tokens.sequences = Sequences::equal(o.batch, o.sequence);
  batch.inputs.tokens.ids_T = ids.narrow(1, 0, o.sequence).flatten().to(device);
  batch.targets = ids.narrow(1, 1, o.sequence).flatten().to(device);

  const auto counts = models::count(*model);
  Work work;
  work.device = device;
  work.parameters = counts.total;
  work.flops = 3 * o.batch * o.sequence * counts.flops_per_token;
  work.bytes = counts.total * 4 * (dtype == at::kDouble ? 8 : 4);
  if (device.is_cpu())
    work.kernels = kernels_for(o.dtype, o.batch * o.sequence * o.top_k / o.experts);
  work.once = [=, step = int64_t{0}]() mutable {
    optimizer->zero_gradients();
    const auto group = parallel::local();
    const auto result = train::forward_backward(
        {.model = *model,
         .objective = *objective,
         .layout = group,
         .seed = seed,
         .compute = dtype == at::kBFloat16 ? dtype : at::ScalarType::Undefined},
        {batch}, step, optimizer->parameters());
    optimizer->step(rules.lr, step++, {}, train::clip_factor(result.gradient_norm, rules.clip));
  };
  work.shapes = {{"vocabulary", o.vocabulary},
                 {"d_model", o.d_model},
                 {"layers", o.layers},
                 {"heads", o.heads},
                 {"experts", o.experts},
                 {"top_k", o.top_k},
                 {"d_ff", o.d_ff},
                 {"sequence", o.sequence},
                 {"batch", o.batch},
                 {"dense", o.dense},
                 {"mode", "train"}};
  return work;
}

}  // namespace moe::tools
