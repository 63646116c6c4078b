// Loads a checkpoint and reads who routed where in a text: under each character the expert it
// chose first, a line a layer; then how sure the router was, and what experts like best.
//
//   07_read_the_routing [RUN] [TEXT]     RUN: a run or a checkpoint, such as 06 leaves in
//   run_from_options/
//
// T tokens, E experts, K choices.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>

#include <ATen/ATen.h>

#include <moe/models/load.h>

namespace {

using at::Tensor;

/// Printable ASCII as it is; a dot for the rest, so that columns stay columns.
std::string shown(const std::string& piece) {
  std::string out;
  for (const char c : piece) out += c >= ' ' && c <= '~' ? c : '.';
  return out;
}

/// The expert that each token chose first. Routings are token-major: token t has the pairs
/// offsets[t] .. offsets[t + 1], in its order of choice. Some rules leave a token without an expert
/// or drop a pair (expert id E): then -1.
std::vector<int64_t> first_choices(const moe::Routing& routing) {
  std::vector<int64_t> out;
  for (int64_t t = 0; t < routing.tokens(); ++t) {
    const auto begin = routing.offsets[t].item<int64_t>();
    const bool none = begin == routing.offsets[t + 1].item<int64_t>();
    const int64_t expert = none ? -1 : routing.experts_N[begin].item<int64_t>();
    out.push_back(expert == routing.num_experts ? -1 : expert);
  }
  return out;
}

/// The pieces of text that each expert was chosen first for, the most frequent ones.
void print_likings(const std::vector<int64_t>& first_T, int64_t experts,
                   const std::vector<std::string>& pieces) {
  for (int64_t e = 0; e < experts; ++e) {
    std::map<std::string, int> count;
    for (size_t t = 0; t < pieces.size(); ++t)
      if (first_T[t] == e) ++count[pieces[t]];
    std::vector<std::pair<std::string, int>> order(count.begin(), count.end());
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    std::printf("  expert %lld:", static_cast<long long>(e));
    for (size_t i = 0; i < std::min<size_t>(8, order.size()); ++i)
      std::printf(" '%s' x%d", order[i].first.c_str(), order[i].second);
    std::printf("\n");
  }
}

int run(const std::string& folder, const std::string& text) {
  const auto loaded = moe::models::load(folder);
  std::printf("%s, step %lld\n\n", loaded.folder.c_str(), static_cast<long long>(loaded.step));
  const std::vector<int64_t> ids = loaded.tokenizer->encode(text);
  std::vector<std::string> pieces;
  for (const int64_t& id : ids) pieces.push_back(shown(loaded.tokenizer->decode({&id, 1})));

  const at::NoGradGuard no_grad;
  moe::ModelInputs inputs;  // one sequence
  inputs.tokens.ids_T = at::tensor(ids, at::kLong);
  const auto out = loaded.model->forward(inputs, {});

  size_t digits = 1;  // a column holds a piece of text and the number of an expert
  for (const auto& layer : out.layers)
    digits = std::max(digits, std::to_string(layer.routing.num_experts - 1).size());
  const auto print_cell = [&](size_t t, const std::string& cell) {
    std::printf("%-*s", static_cast<int>(std::max(digits, pieces[t].size())), cell.c_str());
  };
  std::printf("text     ");
  for (size_t t = 0; t < pieces.size(); ++t) print_cell(t, pieces[t]);
  std::printf("\n");
  for (const auto& [layer, balance, routing] : out.layers) {
    const auto first_T = first_choices(routing);
    std::printf("layer %lld  ", static_cast<long long>(layer));
    for (size_t t = 0; t < pieces.size(); ++t)
      print_cell(t, first_T[t] < 0 ? "-" : std::to_string(first_T[t]));
    std::printf("\n");
  }
  bool sound = !out.layers.empty();
  for (const auto& [layer, balance, routing] : out.layers) {
    std::printf("\nlayer %lld", static_cast<long long>(layer));
    if (routing.scores_TE.defined()) {  // some routers have no scores
      const Tensor p_TE = routing.scores_TE / routing.scores_TE.sum(1, true);
      const double nats = -(p_TE * p_TE.clamp_min(1e-20).log()).sum(1).mean().item<double>();
      std::printf(": a token hesitates between %.1f of %lld experts", std::exp(nats),
                  static_cast<long long>(routing.num_experts));
    }
    std::printf("\n");
    print_likings(first_choices(routing), routing.num_experts, pieces);
    sound &= balance.load_E.sum().item<double>() + balance.dropped.item<double>() ==
             static_cast<double>(routing.pairs());
  }
  return sound ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "run_from_options",
               argc > 2 ? argv[2] : "Once upon a time, 12 + 30 = 42. Bir sabah");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
