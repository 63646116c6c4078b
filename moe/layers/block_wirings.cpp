// How the parts of a block meet. T tokens, D width.
#include <ATen/TensorOperators.h>

#include <moe/layers/block.h>
#include <moe/layers/dropout.h>

namespace moe::layers {

namespace {

// The dropouts of a block.
constexpr uint32_t kOfMixer = 1, kOfFeedForward = 2, kOfDense = 3, kOfSecondMixer = 4,
                   kOfSecondDense = 5, kOfCross = 6;
/// Random numbers inside the second mixer are those of another layer.
constexpr uint32_t kSecondLayer = uint32_t{1} << 31;

LayerState* state_of(BlockState* state, std::unique_ptr<LayerState> BlockState::*part) {
  return state ? (state->*part).get() : nullptr;
}

}  // namespace

Tensor BlockImpl::sequential(const Tensor& x_TD, const Call& call, Report& report) {
  const Tensor r_TD = mixer_half_.stream(x_TD);
  const Tensor h_TD = mixer_half_.sum(r_TD, mixed(r_TD, call));
  const Tensor s_TD = feed_forward_half_.stream(h_TD);
  return feed_forward_half_.sum(s_TD, fed(s_TD, call, report));
}

Tensor BlockImpl::parallel(const Tensor& x_TD, const Call& call, Report& report) {
  const Tensor n_TD = norm_(x_TD);
  const Tensor h_TD = mixer_half_.sum(x_TD, mixed(n_TD, call));
  return feed_forward_half_.sum(h_TD, fed(n_TD, call, report));
}

Tensor BlockImpl::dense_beside(const Tensor& x_TD, const Call& call, Report& report) {
  const Tensor h_TD = x_TD + mixed(x_TD, call);
  return h_TD + through_dense(dense_norm_(h_TD), call) + fed(x_TD, call, report);
}

Tensor BlockImpl::shortcut(const Tensor& x_TD, const Call& call, Report& report) {
  const Tensor a_TD = x_TD + mixed(x_TD, call);
  const Tensor n_TD = norm_(a_TD);
  const Tensor late_TD = fed(n_TD, call, report);
  const Tensor b_TD = a_TD + through_dense(n_TD, call);
  const Tensor c_TD = b_TD + mixed_again(b_TD, call);
  return c_TD + through_second_dense(dense_norm_(c_TD), call) + late_TD;
}

Tensor BlockImpl::crossing(const Tensor& x_TD, const Call& call, Report& report) {
  const Tensor r_TD = mixer_half_.stream(x_TD);
  const Tensor h_TD = mixer_half_.sum(r_TD, mixed(r_TD, call));
  const Tensor y_TD = cross_->forward(cross_half_.input(h_TD), call.context,
                                      state_of(call.state, &BlockState::cross));
  const Tensor c_TD = h_TD + dropout(y_TD, spec_.dropout, call.context, kOfCross);
  return feed_forward_half_.sum(c_TD, fed(c_TD, call, report));
}

Tensor BlockImpl::mixed(const Tensor& r_TD, const Call& call) {
  const Tensor y_TD = mixer_->forward(mixer_half_.input(r_TD), call.context,
                                      state_of(call.state, &BlockState::mixer));
  return dropout(mixer_half_.output(y_TD), spec_.dropout, call.context, kOfMixer);
}

Tensor BlockImpl::mixed_again(const Tensor& r_TD, const Call& call) {
  LayerContext context = call.context;
  context.random.layer |= kSecondLayer;
  const Tensor y_TD = second_mixer_->forward(second_half_.input(r_TD), context,
                                             state_of(call.state, &BlockState::second_mixer));
  return dropout(y_TD, spec_.dropout, call.context, kOfSecondMixer);
}

Tensor BlockImpl::fed(const Tensor& r_TD, const Call& call, Report& report) {
  const Stage stage = [this, call](const Tensor& r, Report& mine) {
    const Tensor n_TD = feed_forward_half_.input(r);
    // A view, so that gradients of router and experts are summed before the residual's is added:
    // the same order with and without recomputation.
    FeedForwardOutput out = feed_forward_->forward_tokens(
        n_TD.view(n_TD.sizes()), call.context, state_of(call.state, &BlockState::feed_forward));
    if (routes()) mine = LayerReport{layer_, std::move(out.balance), std::move(out.routing)};
    return dropout(feed_forward_half_.output(out.hidden_TD), spec_.dropout, call.context,
                   kOfFeedForward);
  };
  return call.again_in_moe ? again(stage, r_TD, report) : stage(r_TD, report);
}

Tensor BlockImpl::through_dense(const Tensor& n_TD, const Call& call) {
  const FeedForwardOutput out =
      dense_->forward_tokens(n_TD, call.context, state_of(call.state, &BlockState::dense));
  return dropout(out.hidden_TD, spec_.dropout, call.context, kOfDense);
}

Tensor BlockImpl::through_second_dense(const Tensor& n_TD, const Call& call) {
  const FeedForwardOutput out = second_dense_->forward_tokens(
      n_TD, call.context, state_of(call.state, &BlockState::second_dense));
  return dropout(out.hidden_TD, spec_.dropout, call.context, kOfSecondDense);
}

}  // namespace moe::layers
