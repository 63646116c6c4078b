#pragma once

#include <moe/experts/experts.h>
#include <moe/layers/feed_forward.h>

namespace moe {

/// Soft MoE (Puigcerver et al. 2023): every slot of every expert takes a weighted mean of all
/// tokens of a sequence, and every token a weighted mean of all slots' outputs. Nothing is dropped,
/// everything is differentiable; a token sees the whole sequence, so only models that are not
/// causal can have it.
struct SoftMoE {
  int64_t num_experts = 8;
  int64_t slots = 1;
  ExpertSpec expert = {.kind = "ffn"};

  template <class Visitor>
  void fields(Visitor& v) {
    v("num_experts", num_experts, "experts in the layer, E");
    v("slots", slots, "slots of one expert, P; about as many slots in all as tokens is usual");
    v("expert", expert, "what an expert computes");
  }
  void validate(const std::string& place) const;
  /// Fills in the defaults of the expert.
  void resolve() { expert.resolve(); }

  operator layers::FeedForwardSpec() const {
    return spec_of<layers::FeedForwardSpec>("soft_moe", *this);
  }
};

}  // namespace moe
