// T new tokens of M sequences, D width, V vocabulary.
#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/generation/running_batch.h>
#include <moe/models/budget.h>

namespace moe::generation {

namespace {

constexpr const char* kPlaceOfBatch = "generation/batch";

}  // namespace

RunningBatch::RunningBatch(std::shared_ptr<models::Model> model, int64_t capacity,
                           int64_t switch_length, const std::vector<double>& budget)
    : model_(std::move(model)), switch_length_(switch_length) {
  const models::ModelTraits traits = model_->traits();
  check(traits.causal && traits.vocabulary > 0, kPlaceOfBatch,
        "expected a causal model of text, got one that reads ",
        traits.vocabulary > 0 ? "whole texts at once. Train with model.causal = true."
                              : "images. Load a language model.");
  capacity_ = capacity > 0 ? std::min(capacity, traits.context_length) : traits.context_length;
  state_ = model_->new_state(capacity_, model_->dtype());
  models::set_budget(context_, budget, *model_, kPlaceOfBatch);
}

int64_t RunningBatch::add(std::vector<int64_t> prompt, const SequenceOptions& options) {
  const auto length = static_cast<int64_t>(prompt.size());
  check(length > 0, kPlaceOfBatch, "expected a prompt of at least one token, got none.");
  check(length <= capacity_, kPlaceOfBatch, "expected a prompt of at most ",
        capacity_ == model_->traits().context_length ? "context_length=" : "capacity=", capacity_,
        " tokens, got ", length, ". Shorten the prompt.");
  const int64_t vocabulary = model_->traits().vocabulary;
  for (const int64_t id : prompt)
    check(id >= 0 && id < vocabulary, kPlaceOfBatch,
          "expected token ids in [0, vocabulary=", vocabulary, "), got ", id,
          ". Use the tokenizer the model was trained with.");
  options.sampling.validate(kPlaceOfBatch);
  check<ConfigError>(options.max_tokens >= 0 && options.vocabulary >= 0, kPlaceOfBatch,
                     "expected max_tokens >= 0 and vocabulary >= 0, got ", options.max_tokens,
                     " and ", options.vocabulary, ".");
  Running joining = {next_number_, options, std::move(prompt), 0};
  if (const int64_t start = model_->traits().decoder_start; start >= 0)
    joining.read = std::exchange(joining.tokens, {start});
  const auto begun = static_cast<int64_t>(joining.tokens.size());
  const int64_t room = begun + std::min(options.max_tokens, capacity_ - begun);
  joining.room = static_cast<size_t>(room);
  if (room > begun) {
    state_.join();
    running_.push_back(std::move(joining));
  }
  return next_number_++;
}

void RunningBatch::forget_switched() {
  for (size_t n = 0; n < running_.size() && switch_length_ > 0; ++n) {
    const int64_t seen = state_.lengths()[n];
    if (seen == 0 || seen > switch_length_ ||
        static_cast<int64_t>(running_[n].tokens.size()) <= switch_length_)
      continue;
    state_.leave(static_cast<int64_t>(n));
    state_.join();  // an empty slot behind the others, which takes the place of the old one
    std::vector<int64_t> order;
    for (size_t i = 0; i < running_.size(); ++i)
      order.push_back(static_cast<int64_t>(i < n ? i : i == n ? running_.size() - 1 : i - 1));
    state_.keep(order);
  }
}

Tensor RunningBatch::read() {
  // Not inference mode: its tensors could not be used with gradients by whoever shares the model.
  const at::NoGradGuard no_grad;
  forget_switched();
  std::vector<int64_t> ids, fresh, last;
  for (size_t n = 0; n < running_.size(); ++n) {
    const auto& tokens = running_[n].tokens;
    ids.insert(ids.end(), tokens.begin() + state_.lengths()[n], tokens.end());
    fresh.push_back(static_cast<int64_t>(tokens.size()) - state_.lengths()[n]);
    last.push_back(static_cast<int64_t>(ids.size()) - 1);
  }
  const auto ids_of = [&](const std::vector<int64_t>& numbers) {
    return at::tensor(numbers, at::kLong).to(model_->device());
  };
  TokenList tokens = {.sequences = state_.sequences(fresh)};
  // Routers that draw numbers for tokens: of one sequence those that a whole reading would draw.
  if (running_.size() == 1) tokens.first_token = state_.lengths().front();
  tokens.ids_T = ids_of(ids);
  ModelInputs inputs;
  if (model_->traits().decoder_start >= 0)
    inputs = {.tokens = to_encode(), .decoder = std::move(tokens)};
  else
    inputs.tokens = std::move(tokens);
  models::ForwardContext context = context_;
  context.state = &state_;
  const Tensor hidden_TD = model_->forward(inputs, context).hidden_TD;
  return model_->head(hidden_TD.index_select(0, ids_of(last)));
}

TokenList RunningBatch::to_encode() const {
  std::vector<int64_t> ids, lengths;
  for (size_t n = 0; n < running_.size(); ++n) {
    const auto& prompt = running_[n].read;
    const bool fresh = state_.lengths()[n] == 0;
    lengths.push_back(fresh ? static_cast<int64_t>(prompt.size()) : 0);
    if (fresh) ids.insert(ids.end(), prompt.begin(), prompt.end());
  }
  return {.sequences = Sequences::of_lengths(lengths),
          .ids_T = at::tensor(ids, at::kLong).to(model_->device())};
}

std::vector<DrawnToken> RunningBatch::step() {
  if (running_.empty()) return {};
  const Tensor logits_MV = read();
  const int64_t all = logits_MV.size(1);
  std::vector<DrawnToken> out;
  for (size_t n = 0; n < running_.size(); ++n) {
    auto& [number, options, tokens, room, read] = running_[n];
    const int64_t vocabulary = options.vocabulary > 0 ? std::min(options.vocabulary, all) : all;
    const Tensor logits_V = logits_MV[static_cast<int64_t>(n)].narrow(0, 0, vocabulary);
    const auto position = static_cast<int64_t>(tokens.size());
    tokens.push_back(sample(logits_V, tokens, options.sampling, position));
    out.push_back({number, tokens.back(), tokens.size() == room});
  }
  for (const DrawnToken& drawn : out)
    if (drawn.last) remove(drawn.sequence);
  return out;
}

size_t RunningBatch::slot_of(int64_t sequence) const {
  const auto found = std::ranges::find(running_, sequence, &Running::number);
  check(found != running_.end(), kPlaceOfBatch, "expected a running sequence, got number ",
        sequence, ". It has left, or was never added.");
  return static_cast<size_t>(found - running_.begin());
}

void RunningBatch::remove(int64_t sequence) {
  const size_t slot = slot_of(sequence);
  state_.leave(static_cast<int64_t>(slot));
  running_.erase(running_.begin() + static_cast<int64_t>(slot));
}

bool RunningBatch::runs(int64_t sequence) const {
  return std::ranges::find(running_, sequence, &Running::number) != running_.end();
}

const std::vector<int64_t>& RunningBatch::tokens(int64_t sequence) const {
  return running_[slot_of(sequence)].tokens;
}

}  // namespace moe::generation
