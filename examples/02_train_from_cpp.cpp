// A whole run from C++: write text, train on it, load what came out, let it write, and see who
// routed where. Stop it and start it again: it goes on from its newest checkpoint.
//
//   02_train_from_cpp [CONFIG.toml]     in the folder where data/ and run/ may stand

#include <cstdio>
#include <iostream>

#include <corpora/corpora.h>  // generated text; stands beside the library
#include <moe/moe.h>

namespace {

int run(const std::string& config) {
  moe::corpora::write("data", {.bytes_per_domain = 100000});

  auto run = moe::train::Run::from_toml(config, {"train.steps=150"}, "run");
  const auto summary = run.resume_or_start();  // progress, logs, checkpoints

  const auto model = moe::models::load(run.folder());
  const auto text = moe::generate(model, "Once", {.max_tokens = 64, .temperature = 0.8, .seed = 1});
  std::cout << "Once" << text.text << "\n\n";

  const moe::data::Corpus corpus(run.options().data);
  const auto counts = moe::analyze::count_routing(*model.model, corpus);
  for (const auto& layer : moe::analyze::specialisation(counts).layers)
    std::printf("layer %lld: specialisation %.3f of 1, %.3f by chance\n",
                static_cast<long long>(layer.layer), layer.normalised, layer.percentile_99);

  std::printf("validation loss %.3f nats a byte after %lld steps\n", summary.final_loss,
              static_cast<long long>(summary.record.step));
  // Every byte equally likely would be 5.5; single letters by their frequency about 3.
  return summary.final_loss < 2.5 && text.tokens.size() == 64 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "examples/02_train_from_cpp.toml");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
