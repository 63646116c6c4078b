#include <algorithm>

#include <moe/study/recommended.h>

namespace moe::study {

namespace {

const std::string kNoLoss = "model.moe.balance=[]";
const std::string kOne = "model.moe.top_k=1";
/// Kinds of text that routers with labels can tell apart: those of the demo; data may have fewer.
const std::string kDomains = "4";

/// `term` at `coefficient` beside the z-loss of ST-MoE.
std::string losses(const std::string& terms) {
  return "model.moe.balance=[" + terms + "]";
}

std::string term(const std::string& kind, const std::string& coefficient) {
  return "{kind=\"" + kind + "\", coefficient=" + coefficient + "}";
}

const std::string kSwitchAndZ = losses(term("switch", "0.01") + ", " + term("z_loss", "0.001"));

std::string router(const std::string& kind, const std::string& options = "") {
  return "model.moe.router={kind=\"" + kind + "\"" + (options.empty() ? "" : ", " + options) + "}";
}

}  // namespace

const std::vector<Recommended>& recommended_routers() {
  static const std::vector<Recommended> all = {
      {.kind = "topk",
       .settings = {router("topk"), kSwitchAndZ},
       .note = "switch 0.01, z_loss 0.001 (OLMoE)"},
      {.kind = "switch",
       .settings = {router("switch", "jitter=0.01"), kOne, kSwitchAndZ},
       .note = "one expert a token, jitter 0.01, switch 0.01 (Fedus 2021)"},
      {.kind = "gshard",
       .settings = {router("gshard"), kSwitchAndZ},
       .note = "second expert at random, switch 0.01 (Lepikhin 2020)"},
      {.kind = "noisy_topk",
       .settings = {router("noisy_topk"),
                    losses(term("importance", "0.1") + ", " + term("load", "0.1"))},
       .note = "importance 0.1, load 0.1 (Shazeer 2017)"},
      {.kind = "vmoe",
       .settings = {router("vmoe"),
                    losses(term("importance", "0.005") + ", " + term("load", "0.005"))},
       .note = "importance 0.005, load 0.005 (Riquelme 2021)"},
      {.kind = "hash", .settings = {router("hash"), kNoLoss}, .note = "nothing to balance"},
      {.kind = "expert_choice",
       .settings = {router("expert_choice"), kNoLoss},
       .note = "even by construction (Zhou 2022)"},
      {.kind = "dense",
       .settings = {router("dense"), kNoLoss},
       .note = "all experts work for every token"},
      {.kind = "sigmoid",
       .settings = {router("sigmoid", "bias_rate=0.001"), losses(term("sequence", "0.0001"))},
       .note = "bias_rate 0.001, sequence 0.0001 (DeepSeek-V3)"},
      {.kind = "base",
       .settings = {router("base"), kOne, kNoLoss},
       .note = "one expert a token, even by assignment in training (Lewis 2021)"},
      {.kind = "sinkhorn",
       .settings = {router("sinkhorn"), kNoLoss},
       .note = "even by Sinkhorn's scaling in training (Clark 2022)"},
      {.kind = "relu",
       .settings = {router("relu"), losses(term("relu_l1", "1"))},
       .note = "relu_l1 (Wang 2024); a token says how many experts, top_k on average"},
      {.kind = "thor",
       .settings = {router("thor"), kNoLoss, "train.consistency.coefficient=5"},
       .note = "experts at random, two passes a step, consistency 5 (Zuo 2021)"},
      {.kind = "policy_gradient",
       .settings = {router("policy_gradient"), kSwitchAndZ},
       .note = "experts drawn, REINFORCE; switch 0.01, z_loss 0.001"},
      {.kind = "dynmoe",
       .settings = {router("dynmoe"), losses(term("gate_diversity", "0.01"))},
       .note = "gate_diversity 0.01 (Guo 2024); experts come and go, a token says how many"},
      {.kind = "quantile",
       .settings = {router("quantile"), kNoLoss},
       .note = "bias from the quantile of scores (Su 2026)"},
      {.kind = "token_rounding",
       .settings = {router("token_rounding", "tile=16"), kSwitchAndZ},
       .note = "loads in whole tiles of 16 in training (Guo 2025); switch 0.01, z_loss 0.001"},
      {.kind = "top_p",
       .settings = {router("top_p"),
                    losses(term("switch", "0.01") + ", " + term("token_entropy", "0.0001"))},
       .note = "switch 0.01, token_entropy 0.0001 (Huang 2024); a token says how many experts"},
      {.kind = "threshold",
       .settings = {router("threshold"), kSwitchAndZ},
       .note = "switch 0.01, z_loss 0.001; a token says how many experts"},
      {.kind = "task_adaptive",
       .settings = {router("task_adaptive", "tasks=" + kDomains), kSwitchAndZ},
       .note = "a task for each kind of text, of which it is told; switch 0.01, z_loss 0.001"},
      {.kind = "domain_aware",
       .settings = {router("domain_aware", "domains=" + kDomains),
                    losses(term("switch", "0.01") + ", " + term("z_loss", "0.001") + ", " +
                           term("domain_classifier", "0.01"))},
       .note = "learns to tell the kinds of text apart in training; switch 0.01, z_loss 0.001, "
               "domain_classifier 0.01"},
      {.kind = "cross_modal",
       .settings = {router("cross_modal", "modalities=" + kDomains), kSwitchAndZ},
       .note =
           "a projection for each kind of text, of which it is told; switch 0.01, z_loss 0.001"},
      {.kind = "forced_balance",
       .settings = {router("forced_balance"), kNoLoss},
       .note = "tokens dealt round robin: what choosing is worth",
       .reference = true},
      {.kind = "forced_skew",
       .settings = {router("forced_skew"), kNoLoss},
       .note = "experts drawn from a Zipf distribution: what an uneven load costs",
       .reference = true},
      {.kind = "replay",
       .left_out = "plays back a recording, for tests: it has no rule of its own"},
  };
  return all;
}

const std::vector<Recommended>& recommended_terms() {
  // Squares of shares are small, and so is the present's part in running means.
  static const std::vector<Recommended> all = {
      {.kind = "squared_deviation", .settings = {"coefficient=1"}},
      {.kind = "load", .settings = {"coefficient=0.1"}},
      {.kind = "usage_variance", .settings = {"coefficient=10", "decay=0.9"}},
  };
  return all;
}

const std::vector<Recommended>& recommended_balancing_routers() {
  static const std::vector<Recommended> all = {
      {.kind = "sigmoid",
       .settings = {router("sigmoid", "bias=true, bias_rate=0.005"), kNoLoss},
       .note = "loss-free bias, bias_rate 0.005"},
      {.kind = "base", .note = "balanced assignment"},
      {.kind = "sinkhorn", .note = "Sinkhorn's scaling"},
      {.kind = "quantile", .note = "bias from the quantile of scores"},
  };
  return all;
}

const Recommended* find_recommended(const std::vector<Recommended>& all, const std::string& kind) {
  const auto found = std::ranges::find(all, kind, &Recommended::kind);
  return found == all.end() ? nullptr : &*found;
}

}  // namespace moe::study
