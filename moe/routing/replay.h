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
/// computed from it all the same, for the losses. Throws when a call asks for tokens outside of the
/// recording.
///
/// The recording is the buffers "offsets" (T+1), "experts" (N), "numbers" (3: the first token, the
/// choices, whether weights are on the input) int64 and "weights" (N) float64, all without rows
/// until a file is read when the model starts, set_assignment is called or a checkpoint loaded. So
/// a checkpoint needs no other file.
class Replay final : public LinearRouter {
 public:
  Replay(const RouterShape& shape, const ReplayRouter& options);

  /// Replays `recording` from now on. Throws unless its pairs fit this router's number of experts,
  /// and for a router that has no memory yet.
  void set_assignment(const Routing& recording);
  /// The same for tokens 0 .. T-1 with K experts each.
  void set_assignment(const Tensor& experts_TK, const Tensor& weights_TK);

  bool takes_top_k() const override { return false; }
  Routing forward(const Tensor& x_TD, const LayerContext& context) override;

 private:
  /// Of the buffers, which a file or a program may have filled with anything. Throws where they are
  /// no recording for this router.
  Routing assignment() const;

  Tensor offsets_, experts_N_, weights_N_, numbers_;
};

}  // namespace moe::routing
