#pragma once
// T tokens, N pairs, E experts, K choices per token.

#include <moe/base/files.h>
#include <moe/routing/kinds/replay.h>
#include <moe/routing/linear_router.h>

namespace moe::routing {

/// What replaying needs of a routing: its pairs, without gradient and scores.
Routing recorded(const Routing& routing);
/// A recording in a safetensors file: "offsets" (T+1), "experts" (N) int64, "weights" (N) float,
/// and metadata.
void write_recording(FileSystem& files, const Path& path, const Routing& recording);
/// Throws moe::Error when the file is not such a recording.
Routing read_recording(const Path& path);

/// Gives every token the pairs that a recording holds for its global number.
///
/// The weights are those recorded, so the task loss does not train "weight"; logits and scores are
/// computed from it all the same, for the losses and so that checkpoints fit. Throws when a call
/// asks for tokens outside of the recording.
class Replay final : public LinearRouter {
 public:
  Replay(const RouterShape& shape, const ReplayRouter& options);

  /// Replays `recording` from now on. Throws unless its pairs fit this router's number of experts.
  void set_assignment(const Routing& recording);
  /// The same for tokens 0 .. T-1 with K experts each.
  void set_assignment(const Tensor& experts_TK, const Tensor& weights_TK);

  Routing forward(const Tensor& x_TD, const LayerContext& context) override;

 private:
  Routing assignment_;
};

}  // namespace moe::routing
