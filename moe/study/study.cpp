#include <algorithm>

#include <moe/models/architectures/decoder.h>
#include <moe/study/study.h>

namespace moe::study {

const std::vector<Study>& studies() {
  static const std::vector<Study> all = {
      {.name = "routers",
       .title = "Routers",
       .help = "every router at its recommended balance, on the same text and for the same steps",
       .groups =
           {{"causal", "Next character",
             "A decoder predicts each character from those before it. Rows differ in the "
             "router and its balance rule alone."},
            {"bidirectional", "Hidden characters",
             "Rules that look at a whole sequence cannot serve a decoder: a character's "
             "experts would depend on later ones. They are compared in the same model without "
             "the causal mask, which fills in hidden characters; losses of the two groups "
             "are losses of different tasks."}},
       .log_every = 10,
       .variants = router_variants},
      {.name = "balance",
       .title = "Balance rules",
       .help = "how fast each balance rule evens out a start in which two experts get everything",
       .groups = {{"skewed start", "From a skewed start",
                   "Router biases of two experts begin so much higher that they take nearly every "
                   "token. Even is a busiest expert of at most twice the mean load, in every layer "
                   "and every logged step from then on."}},
       .log_every = 5,
       .variants = balance_variants},
      {.name = "experts",
       .title = "Experts",
       .help = "every kind of expert at equal FLOPs a token and at its own",
       .groups = {{"equal FLOPs", "At equal FLOPs",
                   "Each kind is as wide as makes its forward pass cost a token what it costs with "
                   "the baseline's experts."},
                  {"own width", "At the same width",
                   "Each kind has as many hidden units as the baseline's experts; FLOPs and "
                   "parameters are its own."}},
       .log_every = 10,
       .variants = expert_variants},
  };
  return all;
}

const Study& study_named(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& study : studies()) names.push_back(study.name);
  check_one_of("study", "NAME", name, names);
  return *std::ranges::find(studies(), name, &Study::name);
}

train::RunOptions small_run(const std::vector<data::DomainOptions>& domains) {
  models::DecoderOptions model;
  model.d_model = 64;
  model.context_length = 128;
  model.uniform.layers = 2;
  model.uniform.heads = 4;
  model.uniform.qk_norm = true;
  model.uniform.moe.expert.d_ff = 128;
  train::RunOptions run;
  run.model = model;
  run.data.sequence = 128;
  run.data.weights = "equal";
  run.data.domains = domains;
  run.train.steps = 400;
  run.train.batch = 16;
  run.train.eval_every = 40;
  run.train.eval_batches = 4;
  run.train.optimizer.lr = 4e-3;
  run.train.schedule = {.kind = "linear", .warmup = 40, .final_share = 0.02};
  return run;
}

}  // namespace moe::study
