#pragma once

#include <string>
#include <vector>

#include <moe/routing/router.h>

namespace moe {

/// Hash routing (Roller et al. 2021): experts looked up by token id.
struct HashRouter {
  std::string table = "random";
  int64_t seed = 0;
  bool per_layer = true;
  std::vector<int64_t> counts = {};
  std::string counts_file = "";
  std::string without_ids = "number";

  template <class Visitor>
  void fields(Visitor& v) {
    v("table", table,
      "\"random\": K experts drawn for every token id; \"modulo\": (id + j) mod E; \"balanced\": "
      "frequent ids first, each to the experts with the least load so far");
    v("seed", seed, "of the random table");
    v("per_layer", per_layer, "every layer draws a random table of its own");
    v("counts", counts, "how often each token id occurs, for the balanced table");
    v("counts_file", counts_file,
      "the same as int64 tensor \"counts\" of a safetensors file; instead of counts; read once, "
      "when a model starts, and not needed by its checkpoints");
    v("without_ids", without_ids,
      "what a call without token ids does: hash the token's global \"number\" instead, or "
      "\"refuse\"; the balanced table always refuses");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("hash", *this); }
};

}  // namespace moe
