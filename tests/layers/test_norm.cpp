// Norms against loops. T tokens, D width.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/norm.h>

namespace moe::layers::norm_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t T = 5, D = 7;
constexpr double kEpsilon = 1e-3;

Norm make(const std::string& kind) {
  Norm norm(kind, D, kEpsilon, at::TensorOptions(at::kDouble));
  moe::test::randomise(*norm, 1);
  return norm;
}

Tensor by_loops(const std::string& kind, const Norm& norm, const Tensor& x_TD) {
  const auto parameters = norm->named_parameters();
  const Tensor* const scale_D = parameters.find("scale");
  const Tensor* const bias_D = parameters.find("bias");
  Tensor out_TD = at::empty({T, D}, at::kDouble);
  for (int64_t t = 0; t < T; ++t) {
    double mean = 0, squares = 0;
    if (kind.starts_with("layernorm"))
      for (int64_t d = 0; d < D; ++d) mean += x_TD[t][d].item<double>() / D;
    for (int64_t d = 0; d < D; ++d) squares += std::pow(x_TD[t][d].item<double>() - mean, 2) / D;
    for (int64_t d = 0; d < D; ++d) {
      double y = (x_TD[t][d].item<double>() - mean) / std::sqrt(squares + kEpsilon);
      if (scale_D) y *= (*scale_D)[d].item<double>() + (kind == "rmsnorm_offset" ? 1 : 0);
      if (bias_D) y += (*bias_D)[d].item<double>();
      out_TD[t][d] = y;
    }
  }
  return out_TD;
}

TEST(Norm, EveryKindEqualsItsLoopsAndItsGradientsCentralDifferences) {
  const Tensor x_TD = normal({T, D}, 2);
  for (const auto& kind : norm_kinds()) {
    SCOPED_TRACE(kind);
    auto norm = make(kind);
    expect_close(norm(x_TD), by_loops(kind, norm, x_TD), 1e-13);
    std::vector<Tensor> inputs = {x_TD.clone()};
    for (const Tensor& parameter : norm->parameters()) inputs.push_back(parameter);
    expect_gradients([&](const auto& in) { return norm(in[0]); }, inputs);
    expect_close(norm(x_TD.to(at::kFloat)), by_loops(kind, norm, x_TD), 1e-5);
    EXPECT_EQ(norm(x_TD.to(at::kBFloat16)).scalar_type(), at::kFloat);
    EXPECT_EQ(norm(at::zeros({0, D})).sizes(), (std::vector<int64_t>{0, D}));
  }
}

TEST(Norm, StartsAsTheNormWithoutParameters) {
  const Tensor x_TD = normal({T, D}, 2);
  for (const auto& kind : norm_kinds()) {
    Norm norm(kind, D, kEpsilon, at::TensorOptions(at::kDouble));
    initialise(*norm, {}, 1);
    Norm plain(kind.starts_with("layernorm") ? "layernorm" : "rmsnorm_plain", D, kEpsilon,
               at::TensorOptions(at::kDouble));
    initialise(*plain, {}, 1);
    expect_identical(norm(x_TD).detach(), plain(x_TD).detach(), kind);
  }
}

TEST(Norm, HasTheParametersOfItsKind) {
  const auto names = [](const std::string& kind) { return make(kind)->named_parameters().keys(); };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names("rmsnorm"), Names{"scale"});
  EXPECT_EQ(names("rmsnorm_offset"), Names{"scale"});
  EXPECT_EQ(names("rmsnorm_plain"), Names{});
  EXPECT_EQ(names("layernorm"), (Names{"scale", "bias"}));
  EXPECT_EQ(names("layernorm_scale"), Names{"scale"});
  EXPECT_ERROR(Norm("rmsnorn", D, kEpsilon), "Did you mean 'rmsnorm'?");
}

}  // namespace

}  // namespace moe::layers::norm_test
