#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Token rounding (SonicMoE, Guo et al. 2025): softmax top-k whose loads are rounded to whole tiles
/// in training.
struct TokenRoundingRouter {
  int64_t tile = 16;
  std::string rounding = "nearest";
  std::string group = "sequence";
  bool renormalise = true;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("tile", tile, "rows that a product takes at once (SonicMoE: 128)");
    v("rounding", rounding,
      "of an expert's tokens to a multiple of the tile: \"nearest\", \"up\" or \"down\"");
    v("group", group,
      "whose tokens are counted: those of each \"sequence\", or of the whole \"batch\" over the "
      "ranks");
    v("renormalise", renormalise, "divide the weights of a token's best K by their sum");
    routing::bias_field(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("token_rounding", *this); }
};

}  // namespace moe
