#pragma once

#include <moe/base/registry.h>
#include <moe/data/options.h>
#include <moe/objectives/objective.h>
#include <moe/parallel/options.h>

namespace moe::train {

/// What to do otherwise for some parameters.
struct ParameterGroup {
  std::string match;
  std::vector<int64_t> experts = {};
  double lr_factor = 1;
  double weight_decay = -1;
  bool frozen = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("match", match,
      "pattern of whole names of parameters, or of modules, for all they hold: * is any text, ? "
      "one letter (\"layers.*.moe.router\"); also names of the directory that the model comes "
      "from");
    v("experts", experts,
      "the experts, by number, that the rule is for; none: all of what `match` fits");
    v("lr_factor", lr_factor, "learning rate over what it would be otherwise");
    v("weight_decay", weight_decay, "of these parameters, whatever they are; -1: as otherwise");
    v("frozen", frozen,
      "leave them as they are: no gradient, no decay, and no change of state that moves by itself "
      "(selection biases, running usage, revival); they are still saved");
  }
  void validate(const std::string& place) const;
};

class Optimizer;
struct OptimizerShape;
using OptimizerRegistry = Registry<Optimizer, OptimizerShape>;

/// The built-in kinds of optimizers.def and those added at run time.
OptimizerRegistry& optimizers();

using OptimizerSpec = KindSpec<optimizers, "adamw">;

/// The kind of optimizer, whose own options are further keys, and what all kinds share.
struct OptimizerOptions {
  OptimizerSpec rule = {};
  double lr = 1e-3;
  double weight_decay = 0.1;
  bool decay_idle_experts = true;
  double expert_lr_factor = 1;
  double router_lr_factor = 1;
  int64_t router_warmup = 0;
  double clip = 1;
  std::vector<ParameterGroup> groups = {};

  template <class Visitor>
  void fields(Visitor& v) {
    OptimizerSpec::Fields::kind(v, rule.kind);
    v("lr", lr, "peak learning rate");
    v("weight_decay", weight_decay, "of matrices; norms, biases and embeddings do not decay");
    v("decay_idle_experts", decay_idle_experts,
      "whether experts that no token reached in a step decay in it; false: they wait");
    v("expert_lr_factor", expert_lr_factor, "learning rate of experts over that of the rest");
    v("router_lr_factor", router_lr_factor, "learning rate of routers over that of the rest");
    v("router_warmup", router_warmup, "steps over which the routers' own rate rises from 0");
    v("clip", clip, "largest global gradient norm; 0: no clipping");
    v("groups", groups, "rules for parameters by name; the last that fits a parameter counts");
    v.rest(rule.options);
  }
  void find_unknown(UnknownKeys& unknown) const { rule.find_unknown(unknown); }
  void validate(const std::string& place) const;
};

/// Learning rate over steps, as a share of the peak.
struct ScheduleOptions {
  std::string kind = "cosine";
  int64_t warmup = 100;
  double final_share = 0.1;
  double decay_share = 0.3;
  int64_t steps = 0;
  bool keep = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("kind", kind, "constant, linear, cosine, or wsd (warm-up, stable, decay)");
    v("warmup", warmup, "steps of linear warm-up");
    v("final_share", final_share, "learning rate of the last step over the peak");
    v("decay_share", decay_share, "wsd: share of all steps that decay, the last ones");
    v("steps", steps, "steps of the schedule, behind which its last rate stays; 0: train.steps");
    v("keep", keep,
      "resumed with other train.steps, follow the schedule the run had, then its last rate");
  }
  void validate(const std::string& place) const;
};

/// When to warn about experts.
struct MonitorOptions {
  int64_t unused_steps = 100;
  double overload = 5;
  bool revive = false;
  int64_t every = 100;

  template <class Visitor>
  void fields(Visitor& v) {
    v("unused_steps", unused_steps, "warn when an expert got no token for so many steps; 0: never");
    v("overload", overload, "warn when an expert takes more than so many times the mean; 0: never");
    v("revive", revive, "start a dead expert again from the busiest one of its layer, with noise");
    v("every", every,
      "steps between two warnings of a kind; each says how many there were, and the worst");
  }
  void validate(const std::string& place) const;
};

/// What goes to DIR/tensorboard beside DIR/metrics.jsonl.
struct TensorBoardOptions {
  bool enabled = true;
  int64_t sample_tokens = 64;
  std::string sample_prompt = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("enabled", enabled, "write event files for TensorBoard");
    v("sample_tokens", sample_tokens,
      "length of the text that the model writes after each evaluation; 0: none");
    v("sample_prompt", sample_prompt, "what it goes on from; empty: a newline");
  }
  void validate(const std::string& place) const;
};

/// Two passes over every batch that must agree, for what is random in training: experts drawn at
/// random (THOR, Zuo et al. 2021), dropout (R-Drop, Liang et al. 2021).
struct ConsistencyOptions {
  double coefficient = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("coefficient", coefficient,
      "factor of the symmetric KL divergence of the two passes' predictions, a mean over targets; "
      "the "
      "loss is the mean of both passes' then (THOR: 5); 0: one pass");
  }
  void validate(const std::string& place) const;
};

struct TrainOptions {
  objectives::ObjectiveSpec objective = {};
  std::string init = {};
  int64_t steps = 1000;
  int64_t batch = 32;
  int64_t accumulation = 1;
  std::string dtype = "float32";
  std::string recompute = "none";
  int64_t seed = 1;
  int64_t threads = 0;
  int64_t log_every = 10;
  int64_t eval_every = 100;
  int64_t eval_batches = 20;
  int64_t checkpoint_every = 500;
  int64_t keep = 2;
  bool keep_best = false;
  int64_t early_stop = 0;
  std::string on_nan = "skip";
  int64_t max_bad_steps = 10;
  OptimizerOptions optimizer = {};
  ScheduleOptions schedule = {};
  ConsistencyOptions consistency = {};
  MonitorOptions monitor = {};
  TensorBoardOptions tensorboard = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("objective", objective, "what to train for");
    v("init", init,
      "start from the weights of this model: a Hugging Face directory, a run or a checkpoint "
      "(relative paths start at the working directory, as those of data do). "
      "Without [model] it is that model's, and without data.tokenizer its tokenizer.json is taken");
    v("steps", steps, "optimizer steps");
    v("batch", batch, "rows of a micro-batch, over all ranks");
    v("accumulation", accumulation, "micro-batches a step");
    v("dtype", dtype,
      "float32, bfloat16 (products in bfloat16; weights, routers and norms in float32) or float64");
    v("recompute", recompute,
      "what to compute again in the backward pass instead of keeping it, to save memory: none, moe "
      "(the MoE layers) or blocks (attention too); the numbers stay the same");
    v("seed", seed, "of parameters, data order and dropout");
    v("threads", threads, "0: the cores the process may use");
    v("log_every", log_every, "steps between lines of metrics.jsonl");
    v("eval_every", eval_every, "steps between evaluations; 0: only at the end");
    v("eval_batches", eval_batches,
      "batches a domain an evaluation, at most; -1: all validation data");
    v("checkpoint_every", checkpoint_every, "steps between checkpoints; 0: only at the end");
    v("keep", keep, "newest checkpoints kept, beside the one that a rollback goes back to");
    v("keep_best", keep_best, "also write and keep a checkpoint at each better validation loss");
    v("early_stop", early_stop, "stop after so many evaluations without a better loss; 0: never");
    v("on_nan", on_nan,
      "what to do when loss or gradient is not finite: skip the step, rollback to the last "
      "checkpoint that checkpoint_every asked for (skip before the first), or stop");
    v("max_bad_steps", max_bad_steps,
      "give up at so many such steps in a row; 0 and 1: at the first");
    v("optimizer", optimizer, "how gradients change parameters");
    v("schedule", schedule, "learning rate over steps");
    v("consistency", consistency, "two passes that must agree, for what is random in training");
    v("monitor", monitor, "warnings about experts");
    v("tensorboard", tensorboard, "event files");
  }
  void validate(const std::string& place) const;
};

/// A whole run, as a TOML file describes it.
struct RunOptions {
  models::ModelSpec model = {};
  data::DataOptions data = {};
  TrainOptions train = {};
  parallel::ParallelOptions parallel = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("model", model, "what to train");
    v("data", data, "what on");
    v("train", train, "how");
    v("parallel", parallel, "how ranks work together, where there are several");
  }
  void validate(const std::string& place) const;
};

}  // namespace moe::train
