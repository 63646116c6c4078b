// Frequencies of rotary positions as transformers 5.24 computes them, in float64. R rows, W numbers
// of a head that turn.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/base/fields.h>
#include <moe/layers/rope.h>

namespace moe::layers::rope_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;

constexpr int64_t P = 16;

/// What one position turns by, and the length of what is turned.
struct Turn {
  Tensor frequency;
  double amplitude = 0;
};

Turn turn_of(const ops::RopeTable& table, int64_t row) {
  const Tensor cos = table.cos[row], sin = table.sin[row];
  const Tensor amplitude = (cos.square() + sin.square()).sqrt();
  EXPECT_LE((amplitude - amplitude[0]).abs().max().item<double>(), 1e-12);
  return {sin.atan2(cos), amplitude[0].item<double>()};
}

/// Of position 1 in a sequence of `length`.
Turn turn_of(const Rope& rope, int64_t length = 2, int64_t width = P) {
  rope.validate("rope");
  return turn_of(rope_table(rope, Sequences::equal(1, length), width, at::kDouble), 1);
}

void expect_turn(const Turn& turn, const std::vector<double>& frequency, double amplitude = 1) {
  ASSERT_EQ(turn.frequency.size(0), static_cast<int64_t>(frequency.size()));
  expect_close(turn.frequency / at::tensor(frequency, at::kDouble).clamp_min(1e-9),
               (at::tensor(frequency, at::kDouble) > 0).to(at::kDouble), 1e-8);
  EXPECT_NEAR(turn.amplitude, amplitude, 1e-12);
}

const std::vector<double> kPlain = {1.0,  0.31622776601683794,   0.1,   0.031622776601683791,
                                    0.01, 0.0031622776601683794, 0.001, 0.00031622776601683794};

Rope longrope() {
  Rope out;
  out.scaling = "longrope";
  out.factor = 4;
  out.original_length = 32;
  out.short_factors = {1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7};
  out.long_factors = {2, 2.5, 3, 3.5, 4, 4.5, 5, 6};
  return out;
}

Rope dynamic() {
  Rope out;
  out.scaling = "dynamic";
  out.factor = 3;
  out.original_length = 16;
  return out;
}

TEST(ScaledRope, LinearDividesEveryFrequency) {
  Rope rope;
  expect_turn(turn_of(rope), kPlain);
  rope.scaling = "linear";
  rope.factor = 4;
  expect_turn(turn_of(rope), {0.25, 0.0790569415, 0.025, 0.00790569415, 0.0025, 0.000790569415,
                              0.00025, 7.90569415e-05});
  rope.share = 0.5;
  expect_turn(turn_of(rope), {0.25, 0.025, 0.0025, 0.00025});
}

TEST(ScaledRope, DynamicGrowsWithTheSequence) {
  expect_turn(turn_of(dynamic(), 10), kPlain);
  expect_turn(turn_of(dynamic(), 16), kPlain);
  expect_turn(turn_of(dynamic(), 40), {1.0, 0.24787567, 0.0614423479, 0.0152300632, 0.00377516211,
                                       0.000935770839, 0.000231954824, 5.74959575e-05});
  Rope fixed = dynamic();
  fixed.alpha = 6;
  Rope same;
  same.theta = 10000 * std::pow(6, 16.0 / 14);
  expect_close(turn_of(fixed, 3).frequency, turn_of(same, 3).frequency, 1e-15);
}

TEST(ScaledRope, YarnDividesWhatTurnsSlowly) {
  Rope rope;
  rope.scaling = "yarn";
  rope.factor = 4;
  rope.theta = 50;
  rope.original_length = 256;
  Rope given = rope;
  given.beta_fast = 8;
  given.beta_slow = 2;
  expect_turn(turn_of(given),
              {1.0, 0.613237564, 0.376060309, 0.230614308, 0.114904852, 0.054203055, 0.0232675445,
               0.00815344704},
              1.138629436111989);
  Rope untruncated = rope;
  untruncated.truncate = false;
  expect_turn(turn_of(untruncated),
              {1.0, 0.580400702, 0.316127944, 0.169457393, 0.088952105, 0.0453713447, 0.0221954697,
               0.0101598295},
              1.138629436111989);
  Rope deepseek;
  deepseek.scaling = "yarn";
  deepseek.factor = 40;
  deepseek.original_length = 4096;
  deepseek.mscale = 1.2;
  deepseek.mscale_all_dim = 0.7;
  expect_turn(
      turn_of(deepseek),
      {1.0, 0.316227766, 0.1, 0.0239147248, 0.005125, 0.000849862121, 2.5e-05, 7.90569415e-06},
      1.1465910125110204);
  EXPECT_NEAR(yarn_score_scale(deepseek), std::pow(0.07 * std::log(40.0) + 1, 2), 1e-15);
  EXPECT_EQ(yarn_score_scale(rope), 1);
  Rope own;
  own.scaling = "yarn";
  own.factor = 4;
  own.original_length = 32;
  own.attention_factor = 1.7;
  expect_turn(
      turn_of(own),
      {1.0, 0.197642354, 0.025, 0.00790569415, 0.0025, 0.000790569415, 0.00025, 7.90569415e-05},
      1.7);
}

TEST(ScaledRope, Llama3LooksAtWavelengths) {
  Rope rope;
  rope.scaling = "llama3";
  rope.theta = 500;
  rope.factor = 8;
  rope.original_length = 256;
  expect_turn(turn_of(rope), {1.0, 0.459863298, 0.211474253, 0.0961796496, 0.0163135782,
                              0.00257071399, 0.00118217701, 0.000543639819});
}

TEST(ScaledRope, LongropeTakesTheListOfTheLength) {
  const std::vector<double> brief = {1.0,           0.287479787,   0.0833333333, 0.0243252128,
                                     0.00714285714, 0.00210818511, 0.000625,     0.000186016333};
  const std::vector<double> far = {0.5,    0.126491106,    0.0333333333, 0.00903507903,
                                   0.0025, 0.000702728369, 0.0002,       5.27046277e-05};
  constexpr double kAmplitude = 1.1832159566199232;
  expect_turn(turn_of(longrope(), 20), brief, kAmplitude);
  expect_turn(turn_of(longrope(), 32), brief, kAmplitude);
  expect_turn(turn_of(longrope(), 33), far, kAmplitude);
  Rope named = longrope();
  named.short_mscale = 1.1;
  named.long_mscale = 1.25;
  expect_turn(turn_of(named, 20), brief, 1.1);
  expect_turn(turn_of(named, 50), far, 1.25);
}

TEST(ScaledRope, ProportionalCountsByTheWholeHead) {
  Rope rope;
  rope.scaling = "proportional";
  rope.factor = 2;
  rope.share = 0.25;
  expect_turn(turn_of(rope), {0.5, 0.158113883, 0, 0, 0, 0, 0, 0});
}

TEST(ScaledRope, EachSequenceHasTheFrequenciesOfItsOwnLength) {
  Rope named = longrope();
  named.short_mscale = 1.1;
  named.long_mscale = 1.25;
  for (const Rope& rope : {dynamic(), named}) {
    SCOPED_TRACE(rope.scaling);
    const auto both = rope_table(rope, Sequences::of_lengths({10, 40, 0, 3}), P, at::kDouble);
    ASSERT_EQ(both.cos.size(0), 53);
    int64_t begin = 0;
    for (const int64_t length : {10, 40, 3}) {
      const auto alone = rope_table(rope, Sequences::equal(1, length), P, at::kDouble);
      expect_identical(both.cos.slice(0, begin, begin + length), alone.cos);
      expect_identical(both.sin.slice(0, begin, begin + length), alone.sin);
      begin += length;
    }
    // One more token of a sequence that has seen 39, and the first two of another.
    Sequences later = Sequences::of_lengths({1, 2});
    later.first_position = {39, 0};
    const auto more = rope_table(rope, later, P, at::kDouble);
    expect_identical(more.cos[0],
                     rope_table(rope, Sequences::equal(1, 40), P, at::kDouble).cos[39]);
    expect_identical(more.cos.slice(0, 1, 3),
                     rope_table(rope, Sequences::equal(1, 2), P, at::kDouble).cos);
  }
}

std::string refusal(const std::function<void(Rope&)>& change) {
  Rope rope = longrope();
  change(rope);
  return moe::test::message_of([&] { rope.validate("rope"); });
}

TEST(ScaledRope, RefusesWhatDoesNotFit) {
  EXPECT_EQ(refusal([](Rope&) {}), "");
  EXPECT_NE(refusal([](Rope& r) { r.scaling = "su"; }).find("rope.scaling"), std::string::npos);
  EXPECT_NE(refusal([](Rope& r) { r.factor = 0; }).find("'rope.factor' above 0"),
            std::string::npos);
  EXPECT_NE(refusal([](Rope& r) { r.original_length = 0; }).find("'rope.original_length'"),
            std::string::npos);
  EXPECT_NE(refusal([](Rope& r) { r.long_factors.pop_back(); }).find("of one length, got 8 and 7"),
            std::string::npos);
  EXPECT_NE(refusal([](Rope& r) { r.scaling = "yarn"; }).find("'rope.short_factors'"),
            std::string::npos);
  EXPECT_ERROR(turn_of(longrope(), 2, 12), "expected 6 factors of longrope");
  EXPECT_ERROR(turn_of(Rope(), 2, 7), "expected an even number of a head's 7 numbers to turn");
}

}  // namespace

}  // namespace moe::layers::rope_test
