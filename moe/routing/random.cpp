// T tokens, C columns.
#include <ATen/ops/empty.h>

#include <moe/ops/random_fill.h>
#include <moe/routing/random.h>

namespace moe::routing {

namespace {

uint64_t first_number(const Tensor& values_TC, const LayerContext& context) {
  return static_cast<uint64_t>(context.tokens.first_token * values_TC.size(1));
}

}  // namespace

Tensor normal_like(const Tensor& values_TC, const LayerContext& context) {
  Tensor drawn_TC = at::empty(values_TC.sizes(), values_TC.options());
  ops::fill_normal_(drawn_TC, RandomStream(context.random, Purpose::kRouting), 1,
                    first_number(values_TC, context));
  return drawn_TC;
}

Tensor uniform_like(const Tensor& values_TC, const LayerContext& context) {
  Tensor drawn_TC = at::empty(values_TC.sizes(), values_TC.options());
  ops::fill_uniform_(drawn_TC, RandomStream(context.random, Purpose::kRouting), 0, 1,
                     first_number(values_TC, context));
  return drawn_TC;
}

}  // namespace moe::routing
