#pragma once
// Parity cases: a model of another program and the numbers that program gives (tests/golden,
// ../shared/parity). B batch, S sequence, V vocabulary, T = B·S positions, K choices.

#include <algorithm>
#include <map>
#include <string>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/formats/safetensors.h>
#include <moe/models/forward_pass.h>
#include <moe/models/hugging_face.h>

namespace moe::test {

using at::Tensor;

inline double largest(const Tensor& tensor) {
  return tensor.numel() == 0 ? 0 : tensor.to(at::kDouble).abs().max().item<double>();
}

/// What `moe forward CASE/model --routing`, with --grads where asked for, gives of a case.
inline std::map<std::string, Tensor> run_case(const Path& folder, bool gradients = true) {
  const auto loaded = models::load_hugging_face(folder / "model");
  const auto rows = models::parse_token_rows(
      read_file(real_files(), folder / "tokens.json", 1 << 20), "tokens.json",
      loaded.model->traits().vocabulary, loaded.model->traits().decoder_start >= 0);
  std::map<std::string, Tensor> out;
  for (auto& [name, tensor] : models::forward_pass(*loaded.model, rows,
                                                   {.routing = true,
                                                   .gradients = gradients,
                                                   .names = loaded.names.get(),
                                                   .any_length = true}))
    EXPECT_TRUE(out.emplace(name, tensor).second) << name;
  return out;
}

/// Experts of each token in rising order, and the weights with them.
inline std::pair<Tensor, Tensor> sorted_choices(const Tensor& experts_TK,
                                                const Tensor& weights_TK) {
  const auto [experts, order] = experts_TK.sort(1);
  return {experts, weights_TK.gather(1, order)};
}

/// The tolerances of ../shared/parity/README.md.
inline void expect_parity(const Path& folder) {
  SCOPED_TRACE(folder.string());
  const auto file = formats::SafetensorsFile::open(folder / "expected.safetensors");
  std::map<std::string, Tensor> expected;
  for (const auto& name : file.names()) expected[name] = file.tensor(name);
  double largest_gradient = 0;
  for (const auto& [name, tensor] : expected)
    if (name.starts_with("grad.")) largest_gradient = std::max(largest_gradient, largest(tensor));
  // Quantised checkpoints come without gradients, and then without a loss.
  const bool gradients = expected.contains("loss");
  ASSERT_EQ(largest_gradient > 0, gradients);
  auto got = run_case(folder, gradients);
  EXPECT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    if (!name.ends_with(".experts")) continue;
    const std::string weights = name.substr(0, name.size() - 7) + "weights";
    ASSERT_TRUE(got.contains(name) && got.contains(weights)) << name;
    std::tie(got[name], got[weights]) = sorted_choices(got[name], got[weights]);
    std::tie(expected[name], expected[weights]) = sorted_choices(tensor, expected[weights]);
  }
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(got.contains(name)) << name;
    const Tensor& mine = got[name];
    ASSERT_EQ(mine.sizes(), tensor.sizes()) << name;
    if (name.ends_with(".experts")) {
      EXPECT_TRUE(at::equal(mine, tensor.to(at::kLong))) << name;
      continue;
    }
    const bool gradient = name.starts_with("grad."), head = name == "logits" || name == "loss";
    const double allowed = (gradient ? 1e-4
                            : head   ? 2e-5
                                     : 5e-5) *
                               largest(tensor) +
                           (gradient ? 1e-6 * largest_gradient : 0);
    EXPECT_LE(largest(mine.to(at::kDouble) - tensor.to(at::kDouble)), allowed) << name;
    EXPECT_TRUE(mine.isfinite().all().item<bool>()) << name;
  }
}

}  // namespace moe::test
