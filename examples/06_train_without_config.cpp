// A whole run without a configuration file: plain option structs say what to train, what on and
// how. The run stops half way with a checkpoint and goes on from there, as after a crash. Writes
// text/ and run_from_options/ in the folder it is started in.

#include <cstdio>

#include <corpora/corpora.h>
#include <moe/base/fields.h>
#include <moe/experts/expert_options.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/models/architectures/decoder.h>
#include <moe/train/run.h>

namespace {

/// The four domains that corpora::write("text", …) writes.
std::vector<moe::data::DomainOptions> domains() {
  std::vector<moe::data::DomainOptions> out;
  for (const auto& name : moe::corpora::domain_names())
    out.push_back({.name = name,
                   .train = "text/" + name + "/train.txt",
                   .valid = "text/" + name + "/valid.txt"});
  return out;
}

/// Every field that is left out has its default; docs/kinds.md lists those of the model.
moe::train::RunOptions options() {
  const moe::models::DecoderOptions model = {
      .context_length = 64,
      .d_model = 48,
      .uniform = {.layers = 2,
                  .heads = 4,
                  .qk_norm = true,
                  .moe = {.num_experts = 4,
                          .top_k = 2,
                          .expert = moe::GatedExpert{.d_ff = 64},
                          .balance = {{"switch", 0.01}, {"z_loss", 0.001}},
                          .shared = moe::Dense{.d_ff = 32}}},
  };
  return {
      .model = model,
      .data = {.sequence = 64, .domains = domains(), .weights = "equal"},
      .train = {.steps = 160,
                .batch = 8,
                .eval_every = 40,
                .eval_batches = 4,
                .optimizer = {.lr = 5e-3},
                .schedule = {.kind = "cosine", .warmup = 20}},
  };
}

int run() {
  moe::corpora::write("text", {.bytes_per_domain = 60000});
  // Throws ConfigError for what does not fit together.
  moe::train::Run run(options(), "run_from_options");
  const auto half = run.start({.max_steps = 80});
  std::printf("\nstopped at step %lld\n", static_cast<long long>(half.record.step));
  const auto whole = run.resume();
  std::printf(
      "went on to step %lld: %lld tokens, best validation loss %.3f nats a byte at step %lld\n",
      static_cast<long long>(whole.record.step), static_cast<long long>(whole.record.tokens),
      whole.record.best_loss, static_cast<long long>(whole.record.best_step));
  std::printf("its config.toml has every setting, defaults and those of kinds included\n");
  const bool learnt = whole.record.best_loss < half.record.best_loss;
  return half.record.step == 80 && whole.record.step == 160 && learnt ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
