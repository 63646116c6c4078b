#pragma once
// M sequences of a step, V vocabulary.

#include <memory>
#include <vector>

#include <moe/generation/sampler.h>
#include <moe/models/model.h>

namespace moe::generation {

/// How a sequence goes on.
struct SequenceOptions {
  SamplerOptions sampling = {};
  /// Tokens to draw, at most.
  int64_t max_tokens = 256;
  /// Draw ids below this only; 0: all that the model has.
  int64_t vocabulary = 0;
};

/// A token that a step drew.
struct DrawnToken {
  /// Of which sequence: the number that `add` gave.
  int64_t sequence = 0;
  int64_t token = 0;
  /// The sequence has no room for another, and has left.
  bool last = false;
};

/// Sequences that one model writes on together, one token each a step. They join and leave between
/// steps, at lengths of their own; each gets the tokens that it would get alone. Owns what the
/// model remembers of them: the model is only read, and may serve several batches, also from
/// several threads (one thread each).
///
/// Of an encoder-decoder the encoder reads the prompt, once, and what is written starts from the
/// model's decoder_start alone.
class RunningBatch {
 public:
  /// `capacity`: tokens of one sequence, its prompt included, at most (of an encoder-decoder those
  /// of either text); 0: the model's context length. A sequence that grows beyond `switch_length`
  /// tokens (switch_length.h; 0: never) is read again from its start, once. `budget`: the share of
  /// its choices that each layer computes, as models/budget.h reads it. Throws moe::Error for a
  /// model that is not causal, and ConfigError for a budget that does not fit.
  explicit RunningBatch(std::shared_ptr<models::Model> model, int64_t capacity = 0,
                        int64_t switch_length = 0, const std::vector<double>& budget = {});

  /// Lets a sequence join; its number. One without room for a token does not run. Throws moe::Error
  /// for an empty prompt, one longer than the capacity, and ids that the model does not have.
  int64_t add(std::vector<int64_t> prompt, const SequenceOptions& options = {});

  /// Reads what is new of every sequence in one call of the model, and draws a token for each, in
  /// the order in which they joined. After an exception the batch is of no more use.
  std::vector<DrawnToken> step();

  /// Lets a running sequence go.
  void remove(int64_t sequence);

  /// Sequences that run.
  int64_t size() const { return static_cast<int64_t>(running_.size()); }
  bool runs(int64_t sequence) const;
  /// Prompt and tokens drawn of a running sequence; of an encoder-decoder decoder_start and the
  /// tokens drawn.
  const std::vector<int64_t>& tokens(int64_t sequence) const;
  /// Memory of what the model remembers.
  int64_t bytes() const { return state_.bytes(); }

 private:
  struct Running {
    int64_t number;
    SequenceOptions options;
    std::vector<int64_t> tokens;
    size_t room;                     // tokens in all, at most
    std::vector<int64_t> read = {};  // what the encoder reads first, where there is one
  };

  /// (M, V) logits of the position behind each sequence's tokens.
  Tensor read();
  /// What the encoder has not read yet, a sequence a slot.
  TokenList to_encode() const;
  /// What the model remembers of a sequence that has grown beyond switch_length_ is of no more use.
  void forget_switched();
  size_t slot_of(int64_t sequence) const;

  std::shared_ptr<models::Model> model_;
  int64_t capacity_, switch_length_, next_number_ = 0;
  models::GenerationState state_;
  /// What every pass is told, but for the state.
  models::ForwardContext context_;
  std::vector<Running> running_;  // slot by slot
};

}  // namespace moe::generation
