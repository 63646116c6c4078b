// S sequence, V vocabulary.
#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/generation/continuation.h>

namespace moe::generation {

Continuation::Continuation(std::shared_ptr<models::LanguageModel> model,
                           std::vector<int64_t> prompt, const ContinuationOptions& options)
    : model_(std::move(model)), options_(options), tokens_(std::move(prompt)) {
  constexpr const char* kPlace = "generation/continuation";
  const int64_t context = model_->options().context_length;
  const auto length = static_cast<int64_t>(tokens_.size());
  check(model_->options().causal, kPlace,
        "expected a causal model, got one whose positions see what comes after them. Train with "
        "model.causal = true.");
  check(length > 0, kPlace, "expected a prompt of at least one token, got none.");
  check(length <= context, kPlace, "expected a prompt of at most context_length=", context,
        " tokens, got ", length, ". Shorten the prompt.");
  options_.sampling.validate(kPlace);
  check<ConfigError>(options_.max_tokens >= 0 && options_.vocabulary >= 0, kPlace,
                     "expected max_tokens >= 0 and vocabulary >= 0, got ", options_.max_tokens,
                     " and ", options_.vocabulary, ".");
  capacity_ = length + std::min(options_.max_tokens, context - length);
  const auto parameters = model_->parameters();
  state_ = model_->new_state(1, capacity_,
                             parameters.empty() ? at::kFloat : parameters.front().scalar_type());
}

Tensor Continuation::read() {
  // Not inference mode: its tensors could not be used with gradients by whoever shares the model.
  const at::NoGradGuard no_grad;
  const int64_t seen = state_.length();
  const auto fresh = static_cast<int64_t>(tokens_.size()) - seen;
  Tensor ids_BS = at::empty({1, fresh}, at::kLong);
  std::copy(tokens_.begin() + seen, tokens_.end(), ids_BS.mutable_data_ptr<int64_t>());
  models::ForwardContext context;
  context.first_token = seen;
  context.state = &state_;
  const auto parameters = model_->parameters();
  if (!parameters.empty()) ids_BS = ids_BS.to(parameters.front().device());
  const Tensor logits_V = model_->forward(ids_BS, context).logits_BSV.select(0, 0).select(0, -1);
  const int64_t all = logits_V.size(0);
  return logits_V.narrow(0, 0, options_.vocabulary > 0 ? std::min(options_.vocabulary, all) : all);
}

std::optional<int64_t> Continuation::next() {
  const auto position = static_cast<int64_t>(tokens_.size());
  if (position >= capacity_) return std::nullopt;
  const Tensor logits_V = read();
  tokens_.push_back(sample(logits_V, tokens_, options_.sampling, position));
  return tokens_.back();
}

}  // namespace moe::generation
