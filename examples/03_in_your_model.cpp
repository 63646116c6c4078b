// A MoE layer in a user-defined model: a plain torch::nn module, libtorch's Adam and a training
// loop written here. The layer asks for one line: add its balance loss. It trains and evaluates as
// train() and eval() say, and moves its selection bias by itself. The same model with one expert is
// its dense twin of equal cost a token. T tokens, D width, E experts, K choices, C classes.

#include <cstdio>

#include <ATen/ATen.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/adam.h>

#include <moe/moe.h>

namespace {

using at::Tensor;

/// Points of a square and which of four colours the field they lie on has: a board of 8 x 8 fields
/// coloured at random, so that every region is a small problem of its own.
struct Board {
  Tensor colour_88 = at::randint(4, {8, 8}, at::kLong);

  /// Points (T, 2) in [-1, 1) and their colours (T).
  std::pair<Tensor, Tensor> draw(int64_t points) const {
    const Tensor x_T2 = 2 * at::rand({points, 2}) - 1;
    const Tensor field_T2 = ((x_T2 + 1) * 4).floor().clamp(0, 7).to(at::kLong);
    return {x_T2, colour_88.index({field_T2.select(1, 0), field_T2.select(1, 1)})};
  }
};

/// embed -> MoE block with a residual path -> head.
struct NetImpl : torch::nn::Module {
  static constexpr int64_t kWidth = 16;

  /// Every token pays for 32 hidden units: 2 experts of 16, or one of 32.
  explicit NetImpl(int64_t experts)
      : embed(register_module("embed", torch::nn::Linear(2, kWidth))),
        block(register_module("block",
                              moe::MoELayer(moe::MoELayerOptions{
                                  .d_model = kWidth,
                                  .num_experts = experts,
                                  .top_k = experts > 1 ? 2 : 1,
                                  // Balanced by a bias that moves after each step, without a loss.
                                  .router = moe::SigmoidRouter{.bias_rate = 1e-3},
                                  .expert = moe::GatedExpert{.d_ff = experts > 1 ? 16 : 32},
                                  .balance = {{"z_loss", 1e-3}}}))),
        head(register_module("head", torch::nn::Linear(kWidth, 4))) {}

  /// Logits (T, C), and what the layer reports beside its output.
  std::pair<Tensor, moe::MoEOutput> forward(const Tensor& x_T2) {
    const Tensor hidden_TD = embed(x_T2);
    moe::MoEOutput out = block(hidden_TD);
    return {head(hidden_TD + out.hidden_TD), out};
  }

  torch::nn::Linear embed;
  moe::MoELayer block;
  torch::nn::Linear head;
};
TORCH_MODULE(Net);

/// Trains a model of `experts` experts; the share of new points whose colour it knows.
double train(const Board& board, int64_t experts) {
  Net net(experts);
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(1e-2));
  moe::MoEOutput out;
  for (int step = 0; step < 600; ++step) {
    const auto [x_T2, colour_T] = board.draw(512);
    Tensor logits_TC;
    std::tie(logits_TC, out) = net(x_T2);
    optimizer.zero_grad();
    (at::cross_entropy_loss(logits_TC, colour_T) + out.balance.loss()).backward();
    optimizer.step();
  }
  net->eval();
  const auto [x_T2, colour_T] = board.draw(8192);
  const Tensor logits_TC = net(x_T2).first;
  const double known = logits_TC.argmax(1).eq(colour_T).to(at::kDouble).mean().item<double>();

  int64_t parameters = 0;
  for (const Tensor& parameter : net->parameters()) parameters += parameter.numel();
  std::printf("%2lld experts: %5lld parameters, %4lld FLOPs a token in the block, %.1f %% right\n",
              static_cast<long long>(experts), static_cast<long long>(parameters),
              static_cast<long long>(net->block->flops_per_token()), 100 * known);
  std::printf("   load in the last step:");
  for (int64_t e = 0; e < experts; ++e) std::printf(" %.0f", out.balance.load_E[e].item<double>());
  std::printf("\n");
  return known;
}

}  // namespace

int main() {
  try {
    at::manual_seed(1);
    const Board board;
    std::printf("colours of an 8 x 8 board; guessing one gets about 25 %%\n");
    const double dense = train(board, 1), mixture = train(board, 16);
    if (mixture > dense + 0.05) return 0;
    std::fprintf(stderr, "error: the mixture was not ahead of its dense twin\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
  }
  return 1;
}
