// A user-defined router in another program: registered at run time, it is known by name
// like the built-in ones. T tokens, D width, E experts.

#include <cstdio>
#include <iostream>

#include <ATen/ATen.h>

#include <moe/moe.h>

namespace {

/// The largest of a token's first E numbers names its expert.
class FirstNumbersRouter final : public moe::routing::Router {
 public:
  FirstNumbersRouter(const moe::routing::RouterShape& shape, const moe::NoOptions&)
      : Router(shape) {}

  moe::Routing forward(const at::Tensor& x_TD, const moe::LayerContext&) override {
    const at::Tensor experts_T1 = x_TD.narrow(1, 0, shape_.num_experts).argmax(1, true);
    return moe::fixed_choices(experts_T1, at::ones_like(experts_T1, at::kFloat),
                              shape_.num_experts);
  }
};

int run() {
  moe::routing::routers().add<FirstNumbersRouter>("first_numbers",
                                                  "the largest of the first E numbers");
  moe::MoELayer layer(moe::MoELayerOptions{.d_model = 8,
                                           .num_experts = 4,
                                           .top_k = 1,
                                           .router = {.kind = "first_numbers"},
                                           .expert = moe::GatedExpert{.d_ff = 16}});
  const at::Tensor x_TD = at::eye(8).narrow(0, 0, 4);  // token t is largest at number t
  const moe::MoEOutput out = layer->forward(x_TD);
  out.hidden_TD.square().sum().backward();
  std::cout << "experts of four tokens:\n" << out.routing.experts_N << '\n';

  const bool routed = at::equal(out.routing.experts_N, at::arange(4));
  const bool learns =
      layer->named_parameters()["experts.w_in"].grad().abs().sum().item<double>() > 0;
  return routed && learns ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
