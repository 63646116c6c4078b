#pragma once

#include <moe/train/optimizers/adamw.h>

namespace moe {

/// Muon (Jordan et al. 2024) for hidden matrices: what has Role::kMatrix, each expert and each of
/// the matrices that stand on one another in a parameter (ParameterInfo::fused) for itself. Of a
/// matrix (R, C):
///
///   m = momentum m + g,  u = g + momentum m (nesterov; else m),
///   p -= lr (scale newton_schulz(u) + decay p)
///
/// scale = "match_adamw": 0.2 sqrt(max(R, C)), so that updates are as large as AdamW's and its
/// learning rate and decay fit (Liu et al. 2025, Moonlight); "original": sqrt(max(1, R / C)), for
/// learning rates of about 0.02. Embeddings, heads, routers' scores, norms and biases are AdamW's.
struct Muon {
  double momentum = 0.95;
  bool nesterov = true;
  int64_t newton_schulz_steps = 5;
  std::string dtype = "float32";
  std::string scale = "match_adamw";
  double adamw_lr_factor = 1;
  AdamW rest = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("momentum", momentum, "decay of the momentum");
    v("nesterov", nesterov, "look ahead by one step of the momentum");
    v("newton_schulz_steps", newton_schulz_steps, "iterations that orthogonalise a matrix");
    v("dtype", dtype,
      "type they run in: float32 or bfloat16; parameters in float64 always take float64");
    v("scale", scale,
      "size of updates of a matrix (R, C): match_adamw (0.2 sqrt(max(R, C))) or original "
      "(sqrt(max(1, R / C)))");
    v("adamw_lr_factor", adamw_lr_factor, "learning rate of what AdamW updates over lr");
    rest.fields(v);
  }
  void validate(const std::string& place) const;
  operator train::OptimizerSpec() const { return spec_of<train::OptimizerSpec>("muon", *this); }
};

}  // namespace moe
