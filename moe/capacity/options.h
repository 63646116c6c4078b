#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace moe::capacity {

/// How much of a group of tokens an expert takes, and what becomes of the rest.
struct CapacityOptions {
  double factor = 0;
  double eval_factor = 0;
  int64_t limit = 0;
  double eval_fraction = 0;
  bool count_k = true;
  std::string rounding = "ceil";
  int64_t minimum = 1;
  int64_t group_tokens = 0;
  bool whole_call = false;
  std::string order = "choice";
  std::string overflow = "drop";
  bool renormalise = false;
  bool allow_future = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("factor", factor,
      "in training an expert takes C = factor * K * T / E pairs of a group of T tokens, 1 being "
      "room for an even load; 0: all of them (dropless)");
    v("eval_factor", eval_factor,
      "the same in evaluation, where what a token gets then depends on its group, and where T is "
      "the context length of a causal model; 0: dropless");
    v("limit", limit,
      "C itself, in training and evaluation, whatever the size of the group; instead of factors");
    v("eval_fraction", eval_fraction,
      "in evaluation C = eval_fraction * T instead (NLLB-MoE); 0: by eval_factor or limit");
    v("count_k", count_k, "false: C = factor * T / E, which leaves out the K choices of a token");
    v("rounding", rounding, "of C: \"ceil\", \"floor\" or \"nearest\"");
    v("minimum", minimum, "least C by a factor");
    v("group_tokens", group_tokens,
      "a group is this many consecutive tokens of the data, which the tokens of every rank and "
      "micro-batch must be a multiple of; 0: a group is a sequence, or a row of packed documents");
    v("whole_call", whole_call,
      "a group is all tokens of a call, so that sequences read together depend on each other "
      "(NLLB-MoE); on one rank");
    v("order", order,
      "who takes room first: first choices of all tokens, then second ones, each in order of "
      "tokens (\"choice\", GShard), of falling largest weight (\"priority\", V-MoE), of falling "
      "largest score (\"score\", NLLB-MoE) or at "
      "\"random\", which causal models use in training alone; or \"token\" by token, the one order "
      "in which no token depends on later ones");
    v("overflow", overflow,
      "a pair whose expert is full is left out (\"drop\"), or goes to the token's \"next_best\" "
      "expert by score that has room, and is left out when none has");
    v("renormalise", renormalise,
      "scale the weights that a token keeps to the sum that the router gave it; not with a "
      "router's weight_on = \"input\"");
    v("allow_future", allow_future,
      "evaluate causal models with an order in which a token's experts depend on later tokens");
  }
  /// Throws ConfigError for values that mean nothing.
  void validate(const std::string& place) const;

  /// Whether experts take less than all.
  bool limits(bool training) const {
    return limit > 0 || (training ? factor : std::max(eval_factor, eval_fraction)) > 0;
  }
  /// Experts that work for a token in training, at most, when the router gives it `choices`: a
  /// factor below 1 lets fewer through. Rounding, `minimum` and `limit` are left out of account, as
  /// they depend on the size of groups.
  double active_experts(double choices) const;
};

}  // namespace moe::capacity
