#pragma once
// T tokens of this rank, A tokens in all, E experts.

#include <moe/flow/sequences.h>
#include <moe/parallel/communicator.h>

namespace moe::routing {

using at::Tensor;

/// The tokens that a rule shares out among experts together: those of each row of the call, or all
/// of the call over all ranks.
class TokenGroups {
 public:
  /// values_TE of this rank. With `whole_batch` the ranks of `group` gather theirs, which all of
  /// them must do in each call.
  TokenGroups(const Tensor& values_TE, bool whole_batch, const TokenList& tokens,
              parallel::Communicator& group);

  /// (A, E) float32 on the CPU, contiguous: by rank, each with its tokens in order.
  const Tensor& values() const { return values_AE_; }
  const Runs& runs() const { return runs_; }
  /// What belongs to this rank of something that has a row a token of values().
  Tensor own(const Tensor& rows_A) const { return rows_A.narrow(0, first_, tokens_); }

 private:
  Tensor values_AE_;
  Runs runs_;
  int64_t first_ = 0, tokens_ = 0;
};

}  // namespace moe::routing
