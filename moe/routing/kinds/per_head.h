#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// One router for each head of a token, all on the same experts.
struct PerHeadRouter {
  int64_t heads = 0;
  std::string reads = "slice";
  bool renormalise = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("heads", heads, "routers, each of which chooses top_k / heads experts; 0: top_k, one each");
    v("reads", reads,
      "what a head looks at: its \"slice\" of the token (multi-head MoE), or the whole \"token\" "
      "(product keys, PEER)");
    v("renormalise", renormalise, "divide the weights of a head's choices by their sum");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("per_head", *this); }
};

}  // namespace moe
