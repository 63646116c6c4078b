// T tokens, D width, F hidden units, E experts, K choices, V vocabulary, B batch, S sequence.
#include "tools/moe/bench_work.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/layers/moe_layer.h>
#include <moe/models/counts.h>
#include <moe/models/load.h>
#include <moe/models/tensors.h>
#include <moe/ops/cpu/peak.h>
#include <moe/ops/random_fill.h>
#include <moe/train/step.h>

namespace moe::tools {

namespace {

void check_sizes(std::initializer_list<std::pair<const char*, int64_t>> sizes) {
  for (const auto& [name, size] : sizes)
    check<ConfigError>(size >= 1 && size <= (int64_t{1} << 31), "bench", "expected ", name,
                       " in [1, 2147483648], got ", size, ". Correct it.");
}

void check_layer(const LayerBench& o) {
  check_one_of("bench", "--mode", o.mode, {"forward", "train"});
  check_one_of("bench", "--expert", o.expert, {"gated", "ffn"});
  check_sizes({{"--tokens", o.tokens},
               {"--d-model", o.d_model},
               {"--d-ff", o.d_ff},
               {"--experts", o.experts},
               {"--top-k", o.top_k}});
  check<ConfigError>(o.top_k <= o.experts, "bench", "expected --top-k in [1, --experts=", o.experts,
                     "], got ", o.top_k, ". Lower it or add experts.");
}

/// `function` timed on x: forward alone without gradients, or forward and backward.
template <class Function>
std::function<void()> passes(bool training, Function function, at::Tensor x_TD, at::Tensor grad_TD,
                             std::vector<at::Tensor> parameters) {
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

/// What layer and dense work share: `module`'s output on random tokens.
template <class Module, class Function>
Work work_on_tokens(const LayerBench& o, Module module, Function function,
                    int64_t flops_per_token) {
  const auto dtype = parse_dtype(o.dtype);
  const at::Device device = parse_device(o.device);
  module->to(device, dtype);
  const bool training = o.mode == "train";
  const auto tokens = [&](uint32_t part) {
    at::Tensor x_TD = at::empty({o.tokens, o.d_model});
    ops::fill_normal_(
        x_TD, RandomStream(RandomKey{static_cast<uint64_t>(o.seed)}, Purpose::kTest, part), 1.0);
    return x_TD.to(device, dtype);
  };
  Work work;
  work.device = device;
  work.once = passes(training, function, tokens(0), tokens(1), module->parameters());
  for (const auto& parameter : module->parameters()) work.parameters += parameter.numel();
  work.flops = (training ? 3 : 1) * o.tokens * flops_per_token;
  work.bytes = (training ? 2 : 1) * (work.parameters + 2 * o.tokens * o.d_model) *
               static_cast<int64_t>(c10::elementSize(dtype));
  if (device.is_cpu()) work.peak_gflops = ops::cpu::measured_peak(dtype);
  work.shapes = {{"tokens", o.tokens}, {"d_model", o.d_model}, {"mode", o.mode}};
  return work;
}

}  // namespace

Work layer_work(const LayerBench& o) {
  check_layer(o);
  MoELayer layer(MoELayerOptions{.d_model = o.d_model,
                                 .num_experts = o.experts,
                                 .top_k = o.top_k,
                                 .router = {.kind = o.router},
                                 .expert = {.kind = o.expert, .d_ff = o.d_ff},
                                 .seed = o.seed});
  RoutingContext context;
  context.training = o.mode == "train";
  context.random.seed = static_cast<uint64_t>(o.seed);
  Work work = work_on_tokens(
      o, layer,
      [layer, context](const at::Tensor& x_TD) mutable {
        return layer->forward(x_TD, context).hidden_TD;
      },
      layer->flops_per_token());
  work.shapes.update({{"d_ff", o.d_ff},
                      {"experts", o.experts},
                      {"top_k", o.top_k},
                      {"expert", o.expert},
                      {"router", o.router}});
  return work;
}

Work dense_work(const LayerBench& o) {
  check_layer(o);
  experts::FeedForwardOptions options;
  if (o.expert == "gated") options = experts::GatedOptions();
  layers::FeedForward block(o.expert, o.d_model, o.top_k * o.d_ff, options);
  layers::initialise(*block, {}, static_cast<uint64_t>(o.seed));
  const RoutingContext context;
  Work work = work_on_tokens(
      o, block,
      [block, context](const at::Tensor& x_TD) mutable { return block->forward(x_TD, context); },
      block->flops_per_row());
  work.shapes.update({{"d_ff", o.top_k * o.d_ff}, {"expert", o.expert}});
  return work;
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
  models::ModelOptions options;
  options.vocabulary = o.vocabulary;
  options.context_length = o.sequence;
  options.d_model = o.d_model;
  options.layers = o.layers;
  options.heads = o.heads;
  options.moe.num_experts = o.experts;
  options.moe.top_k = o.top_k;
  options.moe.expert.d_ff = o.d_ff;
  options.validate("model");
  if (o.dense) options = models::dense_twin(options);
  const auto dtype = parse_dtype(o.dtype);
  const at::Device device = parse_device(o.device);
  const auto seed = static_cast<uint64_t>(o.seed);
  const auto model = models::families().at("decoder").make({.seed = seed}, write_fields(options));
  model->to(device, dtype == at::kDouble ? at::kDouble : at::kFloat);

  const auto parameters = models::named_parameters(*model);
  const train::OptimizerOptions rules;
  const auto optimizer = std::make_shared<train::AdamW>(parameters, rules);
  data::Batch batch;
  const at::Tensor ids = at::empty({o.batch, o.sequence + 1}, at::kLong);
  const RandomStream stream(RandomKey{seed}, Purpose::kTest);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(
        stream.below(static_cast<uint64_t>(i), static_cast<uint64_t>(o.vocabulary)));
  batch.input_BS = ids.narrow(1, 0, o.sequence).contiguous().to(device);
  batch.target_BS = ids.narrow(1, 1, o.sequence).contiguous().to(device);

  const auto counts = models::count(options);
  Work work;
  work.device = device;
  work.parameters = counts.total;
  work.flops = 3 * o.batch * o.sequence * counts.flops_per_token;
  work.bytes = counts.total * 4 * (dtype == at::kDouble ? 8 : 4);
  work.once = [=, step = int64_t{0}]() mutable {
    optimizer->zero_gradients();
    const auto group = parallel::local();
    const auto result = train::forward_backward(
        {*model, *group, seed, dtype == at::kBFloat16 ? dtype : at::ScalarType::Undefined}, {batch},
        step, parameters);
    train::clip_gradients(parameters, result.gradient_norm, rules.clip);
    optimizer->step(rules.lr, step++);
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
