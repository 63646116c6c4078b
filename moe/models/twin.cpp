// D width.
#include <cmath>

#include <moe/layers/feed_forwards/dense.h>
#include <moe/models/family.h>
#include <moe/models/twin.h>
#include <moe/parameters/list.h>

namespace moe::models {

namespace {

/// The dense block of the same FLOPs as `mixture`, but for its router.
Dense twin_of(const layers::FeedForward& mixture, int64_t d_model, const ExpertSpec& expert) {
  Dense out = {.form = "ffn"};
  auto settings = expert;
  settings.resolve();
  int64_t flops = mixture.flops_per_token();
  for (const auto& [name, tensor, info] : parameters_of(mixture)) {
    if (info.part == Part::kRouter && tensor.dim() >= 2) flops -= 2 * tensor.numel();
    if (info.part != Part::kExperts) continue;
    if (info.fused.size() == 2) out.form = "gated";
    if (info.role == Role::kBias) out.bias = true;
  }
  const Value* const gated = settings.options.find("gated");
  if (gated && gated->as<bool>() && *gated->as<bool>()) out.form = "gated";
  const int64_t matrices = out.form == "gated" ? 3 : 2;
  out.d_ff = std::llround(static_cast<double>(flops) / static_cast<double>(2 * d_model * matrices));
  const Value *dropout = settings.options.find("dropout"),
              *activation = settings.options.find("activation");
  check<ConfigError>(!dropout || !dropout->as<double>() || *dropout->as<double>() == 0, "models",
                     "expected experts without dropout for a dense twin, got ",
                     dropout ? dropout->text() : "", ". Use model.dropout, which both have.");
  if (activation && activation->as<std::string>()) out.activation = *activation->as<std::string>();
  out.resolve();
  return out;
}

}  // namespace

DecoderOptions dense_twin(const DecoderOptions& options) {
  const auto blocks = make_model(options)->blocks();
  DecoderOptions twin = options;
  twin.blocks = options.block_specs();
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (!blocks[i]->routes()) continue;
    const auto mixture = kind_options<layers::MoELayerOptions>(twin.blocks[i].feed_forward);
    twin.blocks[i].feed_forward =
        twin_of(blocks[i]->feed_forward(), options.d_model, mixture.expert);
  }
  return twin;
}

}  // namespace moe::models
