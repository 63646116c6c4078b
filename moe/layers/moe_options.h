#pragma once

#include <string>
#include <vector>

#include <moe/base/fields.h>
#include <moe/capacity/options.h>
#include <moe/layers/init.h>

namespace moe::layers {

using capacity::CapacityOptions;

/// A router by name; other keys are that kind's own options.
struct RouterSpec {
  std::string kind = "topk";
  Table options = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("kind", kind,
      "a registered router (`moe inspect --list router`); further keys are its options");
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const;
  void validate(const std::string& place) const;
};

/// A kind of expert by name.
struct ExpertSpec {
  std::string kind = "gated";
  int64_t d_ff = 0;
  Table options = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("kind", kind,
      "a registered expert (`moe inspect --list expert`); further keys are its options");
    v("d_ff", d_ff,
      "hidden units of one expert; 0: the default of the layer (4 d_model) or model (2 d_model)");
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const;
  void validate(const std::string& place) const;
};

/// A balance term by name.
struct BalanceSpec {
  std::string kind = "switch";
  double coefficient = 0.01;
  Table options = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("kind", kind,
      "a registered balance term (`moe inspect --list balance`); further keys are its options");
    v("coefficient", coefficient, "factor of the term in the loss");
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const;
  void validate(const std::string& place) const;
};

/// An expert that takes every token, beside the routed ones (DeepSeek-MoE, Qwen).
struct SharedSpec {
  int64_t d_ff = 0;
  bool gate = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("d_ff", d_ff, "hidden units of the shared expert; 0: none");
    v("gate", gate, "multiply its output by sigmoid(w_gate x) (Qwen)");
  }
};

/// One MoE layer.
struct MoELayerOptions {
  int64_t d_model = 0;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  RouterSpec router = {};
  ExpertSpec expert = {};
  std::vector<BalanceSpec> balance = {};
  SharedSpec shared = {};
  CapacityOptions capacity = {};
  std::string dispatcher = "local";
  double expert_dropout = 0;
  InitOptions init = {};
  int64_t seed = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("d_model", d_model, "width of the tokens");
    v("num_experts", num_experts, "experts in the layer, E");
    v("top_k", top_k, "experts a token chooses, K");
    v("router", router, "who goes where");
    v("expert", expert, "what an expert computes");
    v("balance", balance, "losses on the routing");
    v("shared", shared, "an expert that takes every token");
    v("capacity", capacity, "how many tokens an expert takes");
    v("dispatcher", dispatcher,
      "a registered dispatcher: local, or all_to_all to shard the experts over ranks");
    v("expert_dropout", expert_dropout,
      "in training, chance that an expert sits out a whole step: its tokens pass it by and the "
      "weights of the others grow by 1 / (1 - chance); never all experts");
    v("init", init, "how parameters start");
    v("seed", seed, "of the parameters");
  }
};

}  // namespace moe::layers
