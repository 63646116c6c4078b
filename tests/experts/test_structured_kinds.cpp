// Low-rank, LoRA, mixed-width and top-activation experts, against plain loops. R rows, D width, F
// hidden, H = F or 2F, O output width.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <tests/experts/fixtures.h>
#include <tests/reference/grouped.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <moe/experts/expert_options.h>
#include <moe/parameters/initialise.h>

namespace moe::experts::structured_kinds_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::normal;
using moe::test::experts::held;
using moe::test::experts::ids;
using moe::test::experts::some_rows;

constexpr int64_t kWidth = 5, kHidden = 6, kOut = 4, kExperts = 4;
const ExpertsShape kShape = {
    .d_model = kWidth, .d_ff = kHidden, .d_out = kOut, .num_experts = kExperts};

std::shared_ptr<Experts> make(const ExpertSpec& spec, const ExpertsShape& shape = kShape) {
  auto experts = spec.make(shape);
  moe::test::randomise(*experts, 1);
  return experts;
}

/// The parameters and frozen weights by name; undefined where there is none.
Tensor weight(const Experts& experts, const std::string& name) {
  for (const auto& [own, tensor, info] : tensors_of(experts))
    if (own == name) return tensor.detach();
  return {};
}

Tensor biased(const Tensor& x, const Tensor& b) {
  return b.defined() ? x + b : x;
}

/// act(pre), or act(g) * u, of one row.
Tensor hidden_of(const Tensor& pre_H, bool gated, const std::string& activation) {
  const auto act = ops::parse_activation(activation, "test");
  if (!gated) return ops::activate(pre_H, act);
  const int64_t F = pre_H.size(0) / 2;
  return ops::activate(pre_H.slice(0, 0, F), act) * pre_H.slice(0, F);
}

/// What `formula(e, x_D)` gives for every row of some_rows.
Tensor by_rows(const ExpertRows& rows,
               const std::function<Tensor(int64_t, const Tensor&)>& formula) {
  std::vector<Tensor> out;
  for (int64_t e = 0; e < kExperts; ++e)
    for (int64_t r = rows.offsets_L[e].item<int64_t>(); r < rows.offsets_L[e + 1].item<int64_t>();
         ++r)
      out.push_back(formula(e, rows.source_SD[rows.index_R[r].item<int64_t>()].detach()));
  return at::stack(out);
}

void expect_formula(Experts& experts,
                    const std::function<Tensor(int64_t, const Tensor&)>& formula) {
  const ExpertRows rows = some_rows(normal({6, kWidth}, 2));
  expect_close(experts.forward(rows, {}).slice(0, 0, held(rows)), by_rows(rows, formula), 1e-13);
  const ops::Combination pairs = {ids({6, 5, 4, 3, 2, 1, 0}), normal({7}, 4), ids({0, 2, 4, 6, 7})};
  expect_close(experts.forward_combined(rows, pairs, {}),
               ops::combine_rows(experts.forward(rows, {}), pairs), 1e-13);
}

void expect_right_gradients(Experts& experts) {
  std::vector<Tensor> inputs = {normal({6, kWidth}, 2)};
  for (const Tensor& parameter : experts.parameters()) inputs.push_back(parameter);
  expect_gradients(
      [&](const auto& in) {
        const ExpertRows rows = some_rows(in[0]);
        return experts.forward(rows, {}).slice(0, 0, held(rows));
      },
      inputs);
}

TEST(LowRankExperts, AreExpertsWhoseMatricesAreProducts) {
  for (const bool gated : {true, false})
    for (const bool factor_out : {true, false})
      for (const bool bias : {true, false}) {
        const LowRankExpert options = {
            .d_ff = kHidden, .gated = gated, .rank = 2, .factor_out = factor_out, .bias = bias};
        const auto experts = make(options);
        const auto p = [&](const char* name) { return weight(*experts, name); };
        expect_formula(*experts, [&](int64_t e, const Tensor& x_D) {
          const Tensor w_in = at::matmul(p("u_in")[e], p("v_in")[e]),
                       w_out =
                           factor_out ? at::matmul(p("u_out")[e], p("v_out")[e]) : p("w_out")[e];
          const Tensor pre_H = biased(w_in.mv(x_D), bias ? p("b_in")[e] : Tensor());
          return biased(w_out.mv(hidden_of(pre_H, gated, "silu")), bias ? p("b_out")[e] : Tensor());
        });
        expect_right_gradients(*experts);
      }
}

TEST(LowRankExperts, CountTheirMultiplicationsAndTakeAQuarterByDefault) {
  const ExpertsShape shape = {.d_model = 16, .d_ff = 8, .num_experts = 2};
  EXPECT_EQ(ExpertSpec(LowRankExpert{}).make(shape)->flops_per_row(), 2 * 2 * (16 + 16 + 8 + 16));
  EXPECT_EQ(ExpertSpec(LowRankExpert{.rank = 3, .factor_out = false}).make(shape)->flops_per_row(),
            2 * (3 * (16 + 16) + 8 * 16));
  EXPECT_ERROR(ExpertSpec(LowRankExpert{.rank = 9}).make(shape), "expected rank in [1, 8]");
  EXPECT_ERROR(expert_kinds().at("low_rank").check(moe::test::experts::with("rank", -1), "e"),
               "'e.rank' of at least 0");
}

TEST(LoraExperts, AddAdaptersToOneBase) {
  for (const bool gated : {true, false})
    for (const bool bias : {true, false}) {
      const auto experts =
          make(LoraExpert{.d_ff = kHidden, .gated = gated, .rank = 2, .alpha = 3, .bias = bias});
      const auto p = [&](const char* name) { return weight(*experts, name); };
      expect_formula(*experts, [&](int64_t e, const Tensor& x_D) {
        const auto w = [&](const std::string& side) {
          return p(("base_" + side).c_str()) +
                 1.5 * at::matmul(p(("up_" + side).c_str())[e], p(("down_" + side).c_str())[e]);
        };
        const Tensor pre_H =
            biased(w("in").mv(x_D), bias ? p("base_b_in") + p("b_in")[e] : Tensor());
        return biased(w("out").mv(hidden_of(pre_H, gated, "silu")),
                      bias ? p("base_b_out") + p("b_out")[e] : Tensor());
      });
      expect_right_gradients(*experts);
    }
}

TEST(LoraExperts, StartAsTheirBaseWhichIsNeverTrained) {
  const auto experts = ExpertSpec(LoraExpert{.rank = 2}).make(kShape);
  initialise(*experts, {}, 3);
  for (const auto& item : experts->named_parameters()) {
    EXPECT_FALSE(item.key().starts_with("base_"));
    EXPECT_EQ(item.value().abs().max().item<double>() == 0, item.key().starts_with("up_"))
        << item.key();
  }
  EXPECT_GT(weight(*experts, "base_in").abs().min().item<double>(), 0);
  EXPECT_FALSE(weight(*experts, "base_in").requires_grad());
  const ExpertRows rows = {
      normal({2, kWidth}, 2).to(at::kFloat), {}, ids({0, 1, 1, 2, 2}), ids({0, 1})};
  const Tensor x_RD = rows.source_SD;
  const Tensor pre_RH = at::matmul(x_RD, weight(*experts, "base_in").t());
  const Tensor h_RF =
      ops::activate(pre_RH.slice(1, 0, kHidden), ops::Activation::kSilu) * pre_RH.slice(1, kHidden);
  expect_close(experts->forward(rows, {}), at::matmul(h_RF, weight(*experts, "base_out").t()),
               1e-5);
}

TEST(LoraExperts, GiveARowTheSameBitsWhateverElseTheSourceHolds) {
  const auto experts = make(LoraExpert{.d_ff = kHidden, .rank = 2});
  experts->to(at::kFloat);
  const Tensor source_SD = normal({40, kWidth}, 2).to(at::kFloat);
  const ExpertRows few = {source_SD, ids({7, 3}), ids({0, 1, 1, 2, 2}), ids({7, 3})};
  const ExpertRows alone = {source_SD.index_select(0, ids({7, 3})), {}, few.offsets_L, few.token_R};
  moe::test::expect_identical(experts->forward(few, {}), experts->forward(alone, {}));
}

std::vector<int64_t> widths_of(const Experts& experts) {
  std::vector<int64_t> out;
  for (const auto& [name, tensor, info] : parameters_of(experts))
    if (name == "w_out")
      for (const auto& used : info.used) out.push_back(used.columns);
  return out;
}

TEST(MixedWidthExperts, AreExpertsOfTheirOwnWidths) {
  for (const bool gated : {true, false})
    for (const bool bias : {true, false})
      for (const std::vector<int64_t>& widths :
           {std::vector<int64_t>{3, 1, 7, 7}, {2, 5}, {4}, {}}) {
        const auto experts = make(
            MixedWidthsExpert{.d_ff = kHidden, .gated = gated, .widths = widths, .bias = bias});
        const auto own = widths_of(*experts);
        const auto p = [&](const char* name) { return weight(*experts, name); };
        expect_formula(*experts, [&](int64_t e, const Tensor& x_D) {
          const int64_t F = own[static_cast<size_t>(e)], H = gated ? 2 * F : F;
          const Tensor pre_H = biased(p("w_in")[e].slice(0, 0, H).mv(x_D),
                                      bias ? p("b_in")[e].slice(0, 0, H) : Tensor());
          return biased(p("w_out")[e].slice(1, 0, F).mv(hidden_of(pre_H, gated, "silu")),
                        bias ? p("b_out")[e] : Tensor());
        });
        expect_right_gradients(*experts);
      }
}

TEST(MixedWidthExperts, RiseEvenlyAroundTheMeanAndCountIt) {
  const ExpertsShape shape = {.d_model = 4, .d_ff = 8, .num_experts = 8};
  const auto experts = ExpertSpec(MixedWidthsExpert{}).make(shape);
  EXPECT_EQ(widths_of(*experts), (std::vector<int64_t>{4, 4, 7, 7, 9, 9, 12, 12}));
  EXPECT_EQ(experts->flops_per_row(), 2 * 3 * 4 * 8);
  const auto costs = experts->costs();
  EXPECT_EQ(costs.front(), 0.5);
  EXPECT_EQ(costs.back(), 1.5);
  EXPECT_DOUBLE_EQ(std::accumulate(costs.begin(), costs.end(), 0.0), 8);
  int64_t used = 0;
  for (const Parameter& parameter : parameters_of(*experts)) used += numbers_in_use(parameter);
  EXPECT_EQ(used, 8 * 3 * 4 * 8) << "padding counts nowhere";
  EXPECT_ERROR(ExpertSpec(MixedWidthsExpert{.widths = {1, 2, 3}}).make(shape),
               "a number of widths that divides num_experts");
  EXPECT_ERROR(
      expert_kinds().at("mixed_widths").check(moe::test::experts::with("spread", 1.0), "e"),
      "'e.spread' in [0, 1)");
}

TEST(MixedWidthExperts, PaddingStartsAtZeroAndTheRestByItsOwnWidth) {
  const ExpertsShape shape = {.d_model = 64, .d_ff = 32, .num_experts = 2};
  const auto experts = ExpertSpec(MixedWidthsExpert{.widths = {400, 4}}).make(shape);
  initialise(*experts, {}, 5);
  const Tensor w_in = weight(*experts, "w_in"), w_out = weight(*experts, "w_out");
  EXPECT_TRUE(w_in[1].slice(0, 8).eq(0).all().item<bool>());
  EXPECT_TRUE(w_out[1].slice(1, 4).eq(0).all().item<bool>());
  EXPECT_NEAR(w_out[0].std().item<double>(), 1 / std::sqrt(400.0), 0.005);
  EXPECT_NEAR(w_out[1].slice(1, 0, 4).std().item<double>(), 1 / std::sqrt(4.0), 0.1);
}

TEST(MixedWidthExperts, ComputeTheSameWithGradientsAndWithout) {
  const auto experts =
      make(MixedWidthsExpert{.d_ff = kHidden, .widths = {3, 1, 7, 7}, .bias = true});
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    experts->to(type);
    const ExpertRows rows = some_rows(normal({6, kWidth}, 2).to(type));
    const Tensor learning = experts->forward(rows, {}).slice(0, 0, held(rows)).detach();
    const at::NoGradGuard no_grad;
    moe::test::expect_identical(experts->forward(rows, {}).slice(0, 0, held(rows)), learning);
  }
}

TEST(TopActivationExperts, KeepTheLargestUnitsOfEachRow) {
  for (const bool gated : {true, false})
    for (const double kept : {0.5, 2.0, 1.0}) {
      const auto experts = make(TopActivationsExpert{
          .d_ff = kHidden, .gated = gated, .kept = kept, .activation = "gelu", .bias = true});
      const auto p = [&](const char* name) { return weight(*experts, name); };
      const size_t number = kept > 1 ? 2 : static_cast<size_t>(kept * kHidden);
      expect_formula(*experts, [&](int64_t e, const Tensor& x_D) {
        const Tensor pre_H = p("w_in")[e].mv(x_D) + p("b_in")[e];
        const Tensor h_F = hidden_of(pre_H, gated, "gelu");
        std::vector<int64_t> order(kHidden);
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
          return std::abs(h_F[a].item<double>()) > std::abs(h_F[b].item<double>());
        });
        Tensor kept_F = at::zeros({kHidden}, at::kDouble);
        for (size_t j = 0; j < number; ++j) kept_F[order[j]] = h_F[order[j]];
        return p("w_out")[e].mv(kept_F) + p("b_out")[e];
      });
      expect_right_gradients(*experts);
    }
}

TEST(TopActivationExperts, SendNoGradientToUnitsThatAreLeftOut) {
  const auto experts =
      make(TopActivationsExpert{.d_ff = kHidden, .gated = false, .kept = 2, .activation = "relu"});
  const ExpertRows one = {normal({1, kWidth}, 2), {}, ids({0, 1, 1, 1, 1}), ids({0})};
  experts->forward(one, {}).sum().backward();
  const auto p = experts->named_parameters();
  EXPECT_LE(p["w_in"].grad()[0].abs().sum(1).gt(0).sum().item<int64_t>(), 2);
  EXPECT_LE(p["w_out"].grad()[0].abs().sum(0).gt(0).sum().item<int64_t>(), 2);
  EXPECT_GT(p["w_out"].grad()[0].abs().sum().item<double>(), 0);
}

TEST(TopActivationExperts, RefuseWhatKeepsNothingOrTooMuch) {
  for (const double kept : {0.0, -1.0, 1.5})
    EXPECT_ERROR(
        expert_kinds().at("top_activations").check(moe::test::experts::with("kept", kept), "e"),
        "'e.kept' to be a share in (0, 1] or a whole number from 2 on");
  EXPECT_ERROR(ExpertSpec(TopActivationsExpert{.kept = 7}).make(kShape), "kept of at most d_ff=6");
}

TEST(StructuredKinds, StayFiniteOrNanWhereTheInputIsNan) {
  for (const std::string kind : {"low_rank", "lora", "mixed_widths", "top_activations"}) {
    SCOPED_TRACE(kind);
    auto spec = ExpertSpec{.kind = kind, .d_ff = kHidden};
    if (kind == "lora") spec.options.set("rank", 2);
    const auto experts = make(spec);
    Tensor source_SD = normal({6, kWidth}, 2);
    source_SD[3].fill_(NAN);
    const ExpertRows rows = some_rows(source_SD);
    const Tensor out_RO = experts->forward(rows, {});
    for (int64_t r = 0; r < held(rows); ++r)
      EXPECT_EQ(out_RO[r].isnan().all().item<bool>(), rows.index_R[r].item<int64_t>() == 3) << r;
  }
}

}  // namespace

}  // namespace moe::experts::structured_kinds_test
