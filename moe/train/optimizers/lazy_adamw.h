#pragma once

#include <moe/train/optimizers/adamw.h>

namespace moe {

/// AdamW, but experts that no token reached in a step stay as they are in it, parameters and
/// moments, and cost no memory traffic: moments do not fade and weights neither move on nor decay
/// until the expert has tokens again. What `adamw` does to such an expert is what it does to a zero
/// gradient. Bias correction counts the updates of a parameter, for the experts in it together. The
/// rule of TensorFlow's LazyAdam, with experts in the place of rows of an embedding.
struct LazyAdamW : AdamW {
  operator train::OptimizerSpec() const {
    return spec_of<train::OptimizerSpec>("lazy_adamw", *this);
  }
};

}  // namespace moe
