#pragma once
// The start of a training run: weights of a model that is there already. No shape letters.

#include <moe/base/files.h>
#include <moe/models/model.h>
#include <moe/parallel/layout.h>

namespace moe::models {

/// Fills every parameter and buffer of `model`, which needs no memory yet, as `dtype` on the CPU,
/// from what `load` reads: a run, a checkpoint or a Hugging Face directory. Each rank of `layout`
/// takes its own experts. Of a directory, what the file holds as it is wanted stays a view of it
/// until training writes to it; the files must not be changed in place meanwhile.
///
/// Throws moe::Error listing what `model` has and the source has not, the other way round, and of
/// another shape.
void take_weights(Model& model, const Path& source, at::ScalarType dtype,
                  const parallel::Layout& layout = {});

}  // namespace moe::models
