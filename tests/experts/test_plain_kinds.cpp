// Basic, advanced and clamped experts, against plain loops. R rows, D width, F hidden, O output
// width.
#include <algorithm>
#include <cmath>
#include <tests/experts/fixtures.h>
#include <tests/reference/grouped.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <moe/experts/experts.h>
#include <moe/parameters/initialise.h>

namespace moe::experts::plain_kinds_test {

namespace {

using moe::test::expect_close;
using moe::test::normal;
using moe::test::experts::held;
using moe::test::experts::some_rows;
using moe::test::experts::with;
using moe::test::reference::affine;
using moe::test::reference::Row;
using moe::test::reference::row_of;

const ExpertsShape kShape = {.d_model = 5, .d_ff = 3, .d_out = 4, .num_experts = 4};

std::shared_ptr<Experts> make(const std::string& kind, const Table& settings) {
  auto experts = expert_kinds().at(kind).make(kShape, settings);
  moe::test::randomise(*experts, 1);
  return experts;
}

Table settings_of(const std::string& activation, bool bias) {
  Table settings = with("activation", activation);
  settings.set("bias", bias);
  return settings;
}

/// Runs `check(experts, parameter by name, activation)` for every activation, with biases and
/// without.
template <class Check>
void for_each(const std::string& kind, const Check& check) {
  for (const std::string act : {"relu", "gelu", "gelu_tanh", "silu"})
    for (const bool bias : {false, true}) {
      SCOPED_TRACE(concat(kind, ' ', act, bias ? " bias" : ""));
      const auto experts = make(kind, settings_of(act, bias));
      const auto parameters = experts->named_parameters();
      check(
          *experts,
          [&](const char* name) {
            const Tensor* found = parameters.find(name);
            return found ? *found : Tensor();
          },
          ops::parse_activation(act, "test"));
    }
}

void expect_rows(Experts& experts, const std::function<Row(int64_t e, const Row& x_D)>& expected) {
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  expect_close(experts.forward(rows, {}).slice(0, 0, held(rows)),
               moe::test::reference::rows(
                   rows.source_SD, rows.index_R, rows.offsets_L, 4,
                   [&](int64_t e, const Row& x_D, int64_t) { return expected(e, x_D); })
                   .slice(0, 0, held(rows)),
               1e-13);
}

TEST(BasicExperts, EqualALoopOfLinearMapsAndActivations) {
  for_each("basic", [](Experts& experts, const auto& p, ops::Activation act) {
    expect_rows(experts, [&](int64_t e, const Row& x_D) {
      Row out_O = affine(p("w_out"), p("b_out"), e, x_D);
      for (double& value : out_O) value = moe::test::reference::activation(value, act);
      return out_O;
    });
  });
}

TEST(AdvancedExperts, EqualALoopOfNormalisedNets) {
  for_each("advanced", [](Experts& experts, const auto& p, ops::Activation act) {
    expect_rows(experts, [&](int64_t e, const Row& x_D) {
      Row h_F = affine(p("w_in"), p("b_in"), e, x_D);
      const auto F = static_cast<double>(h_F.size());
      double mean = 0, variance = 0;
      for (const double h : h_F) mean += h / F;
      for (const double h : h_F) variance += (h - mean) * (h - mean) / F;
      const Row scale_F = row_of(p("scale"), e), shift_F = row_of(p("b_norm"), e);
      for (size_t f = 0; f < h_F.size(); ++f)
        h_F[f] = moe::test::reference::activation(
            (h_F[f] - mean) / std::sqrt(variance + 1e-5) * scale_F[f] + shift_F[f], act);
      return affine(p("w_out"), p("b_out"), e, h_F);
    });
  });
}

TEST(AdvancedExperts, DropAFewHiddenUnitsUnlessTold) {
  LayerContext context;
  context.training = true;
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  const auto differs = [&](const Table& settings) {
    const auto experts = make("advanced", settings);
    return !experts->forward(rows, context)
                .slice(0, 0, held(rows))
                .equal(experts->forward(rows, {}).slice(0, 0, held(rows)));
  };
  EXPECT_TRUE(differs(with("dropout", 0.5)));
  EXPECT_FALSE(differs(with("dropout", 0.0)));
  EXPECT_TRUE(expert_kinds().at("advanced").resolve({}).find("dropout")->as<double>());
  EXPECT_EQ(*expert_kinds().at("advanced").resolve({}).find("dropout")->as<double>(), 0.1);
}

TEST(AdvancedExperts, TheNormStartsAsTheIdentity) {
  const auto experts = expert_kinds().at("advanced").make(kShape, {});
  initialise(*experts, {}, 1);
  const auto p = experts->named_parameters();
  EXPECT_TRUE(p["scale"].eq(1).all().item<bool>());
  EXPECT_TRUE(p["b_norm"].eq(0).all().item<bool>());
  EXPECT_TRUE(p["b_in"].eq(0).all().item<bool>());
  EXPECT_GT(p["w_in"].abs().min().item<double>(), 0);
}

TEST(AdvancedExperts, StayFiniteWhenAllHiddenUnitsAreEqual) {
  const auto experts = make("advanced", {});
  {
    const at::NoGradGuard no_grad;
    for (auto& item : experts->named_parameters())
      if (item.key() == "w_in" || item.key() == "b_in") item.value().zero_();
  }
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  const Tensor out_RO = experts->forward(rows, {}).slice(0, 0, held(rows));
  out_RO.sum().backward();
  EXPECT_TRUE(out_RO.isfinite().all().item<bool>());
  for (const auto& item : experts->named_parameters())
    EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << item.key();
}

TEST(ClampedExperts, EqualALoopOfBoundedGates) {
  for (const bool bias : {true, false})
    for (const double limit : {0.4, 7.0}) {
      Table settings = with("limit", limit);
      settings.set("alpha", 1.3);
      settings.set("bias", bias);
      const auto experts = make("clamped", settings);
      const auto p = experts->named_parameters();
      EXPECT_EQ(p.contains("b_in"), bias);
      const Tensor b_in = bias ? p["b_in"] : Tensor(), b_out = bias ? p["b_out"] : Tensor();
      bool cut = false;
      expect_rows(*experts, [&](int64_t e, const Row& x_D) {
        const Row pre_H = affine(p["w_in"], b_in, e, x_D);
        Row h_F;
        for (size_t f = 0; f < 3; ++f) {
          const double g = std::min(pre_H[f], limit);
          const double u = std::clamp(pre_H[f + 3], -limit, limit);
          cut = cut || g < pre_H[f] || u != pre_H[f + 3];
          h_F.push_back(g / (1 + std::exp(-1.3 * g)) * (u + 1));
        }
        return affine(p["w_out"], b_out, e, h_F);
      });
      EXPECT_EQ(cut, limit < 1);
    }
}

TEST(ClampedExperts, GradientsEqualCentralDifferences) {
  Table settings = with("limit", 0.4);
  const auto experts = make("clamped", settings);
  std::vector<Tensor> inputs = {normal({6, 5}, 2)};
  for (const Tensor& parameter : experts->parameters()) inputs.push_back(parameter);
  moe::test::expect_gradients(
      [&](const auto& in) {
        const ExpertRows rows = some_rows(in[0]);
        return experts->forward(rows, {}).slice(0, 0, held(rows));
      },
      inputs);
  EXPECT_ERROR(expert_kinds().at("clamped").check(with("limit", 0.0), "e"), "'e.limit' above 0");
  EXPECT_ERROR(expert_kinds().at("clamped").check(with("dropout", 1.0), "e"), "'e.dropout'");
}

TEST(PlainKinds, CountTheirMultiplications) {
  EXPECT_EQ(make("basic", {})->flops_per_row(), 2 * 5 * 4);
  EXPECT_EQ(make("advanced", {})->flops_per_row(), 2 * (5 * 3 + 3 * 4));
}

TEST(PlainKinds, NameTheirKeysInMessages) {
  const auto message = moe::test::message_of(
      [] { expert_kinds().at("advanced").check(with("norm_epsilon", 0.0), "model.moe.expert"); });
  EXPECT_PRED2(moe::test::contains, message, "'model.moe.expert.norm_epsilon' above 0, got 0");
  EXPECT_ERROR(expert_kinds().at("ffn").check(with("dropout", 1.0), "model.moe.expert"),
               "'model.moe.expert.dropout' in [0, 1), got 1");
  EXPECT_ERROR(expert_kinds().at("basic").check(with("norm_epsilon", 0.1), "e"), "norm_epsilon");
}

}  // namespace

}  // namespace moe::experts::plain_kinds_test
