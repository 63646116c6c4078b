#pragma once
// What moe/ops/cpu/expert_mlp.h must compute, forward and backward, in float64 with plain loops.
// R rows, E experts, D in, F hidden, H = F or 2F, O out.

#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include <moe/ops/cpu/expert_mlp.h>

namespace moe::test::reference {

using ops::Activation;
using ops::cpu::BFloat16;

/// A sum and how large its terms were: rounding errors are in proportion to these, not to what is
/// left after they cancel.
struct Sum {
  double value = 0, magnitude = 0;

  void add(double x, double size) {
    value += x;
    magnitude += std::fabs(size);
  }
};
using Values = std::vector<Sum>;

inline double to_double(float x) {
  return x;
}
inline double to_double(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

/// x as it is stored in a T.
template <class T>
T stored(double x);
template <>
inline float stored<float>(double x) {
  return static_cast<float>(x);
}
/// To the nearest, ties to even (of the float32 next to x: double rounding is within the bound).
template <>
inline BFloat16 stored<BFloat16>(double x) {
  const auto narrow = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof bits);
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
template <class T>
double round_trip(double x) {
  return to_double(stored<T>(x));
}

/// The number in row r and column c of a matrix.
inline double number_at(const ops::Matrix& matrix, int64_t r, int64_t c) {
  const char* const row = matrix.row(r);
  return matrix.format == ops::NumberFormat::kFloat32
             ? to_double(reinterpret_cast<const float*>(row)[c])
             : to_double(reinterpret_cast<const BFloat16*>(row)[c]);
}

/// act(x) and its slope.
struct Slope {
  double value, slope;
};
inline Slope activated(double x, Activation kind) {
  switch (kind) {
    case Activation::kRelu:
      return {x > 0 ? x : 0, x > 0 ? 1.0 : 0.0};
    case Activation::kReluSquared:
      return {x > 0 ? x * x : 0, x > 0 ? 2 * x : 0};
    case Activation::kSilu: {
      const double s = 1 / (1 + std::exp(-x));
      return {x * s, s + x * s * (1 - s)};
    }
    case Activation::kGelu: {
      const double integral = (1 + std::erf(x / std::numbers::sqrt2)) / 2;
      return {x * integral, integral + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi)};
    }
    case Activation::kGeluTanh: {
      const double scale = std::sqrt(2 / std::numbers::pi);
      const double t = std::tanh(scale * (x + 0.044715 * x * x * x));
      return {x * (1 + t) / 2,
              (1 + t) / 2 + x / 2 * (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x)};
    }
  }
  return {0, 0};
}

/// Everything of one grouped MLP.
struct MlpResult {
  Values pre_RH, out_RO, drow_RD, dw_in, db_in, dw_out, db_out, dweight_R;
};

/// The pre-activations, hidden units and their gradients pass through T, as the kernels store them.
template <class T>
MlpResult expert_mlp(const ops::cpu::Experts& experts, const ops::cpu::MlpWeights<T>& w,
                     ops::cpu::RowsOf<T> x, const T* keep_RF,
                     const ops::cpu::OutputGradients<T>& dout) {
  const int64_t D = w.D, F = w.F, O = w.O, H = w.H(), E = experts.count;
  const int64_t R = experts.offsets_E[E];
  const auto values = [](int64_t n) { return Values(static_cast<size_t>(n)); };
  MlpResult out{values(R * H), values(R * O),     values(R * D), values(E * H * D),
                values(E * H), values(E * O * F), values(E * O), values(R)};
  const auto at = [](Values& sums, int64_t i) -> Sum& { return sums[static_cast<size_t>(i)]; };
  // sum += a b, of which a has its own magnitude.
  const auto add = [](Sum& sum, const Sum& a, double b) { sum.add(a.value * b, a.magnitude * b); };
  const auto exact = [](double a) { return Sum{a, std::fabs(a)}; };
  for (int64_t e = 0; e < E; ++e)
    for (int64_t r = experts.begin(e); r < experts.begin(e) + experts.rows(e); ++r) {
      const T* const row_D = x.row(r);
      const double weight = dout.weight_R ? dout.weight_R[r] : 1;
      const auto dout_at = [&](int64_t o) { return to_double(dout.rows.row(r)[o]); };
      for (int64_t h = 0; h < H; ++h) {
        Sum& pre = at(out.pre_RH, r * H + h);
        if (w.b_in) pre = exact(to_double(w.b_in[e * H + h]));
        for (int64_t d = 0; d < D; ++d)
          add(pre, exact(to_double(row_D[d])), number_at(w.w_in_E[e], h, d));
        pre.value = round_trip<T>(pre.value);
      }
      Values hidden_F = values(F), weighted_F = values(F), dpre_H = values(H);
      for (int64_t f = 0; f < F; ++f) {
        const Sum gate = at(out.pre_RH, r * H + f);
        const Slope act = activated(gate.value, w.activation);
        const Sum up = w.gated ? at(out.pre_RH, r * H + F + f) : exact(1);
        const double keep = keep_RF ? to_double(keep_RF[r * F + f]) : 1;
        // |act(x)| is at most |x|, but for the square.
        const double act_magnitude = w.activation == Activation::kReluSquared
                                         ? gate.magnitude * gate.magnitude
                                         : gate.magnitude;
        const double unrounded = act.value * up.value * keep;
        at(hidden_F, f) = {round_trip<T>(unrounded), act_magnitude * up.magnitude * keep};
        // Backward the hidden units are stored with their weight.
        at(weighted_F, f) = {round_trip<T>(weight * unrounded),
                             act_magnitude * up.magnitude * keep * std::fabs(weight)};
        Sum dhidden;
        for (int64_t o = 0; o < O; ++o)
          add(dhidden, exact(weight * dout_at(o)), number_at(w.w_out_E[e], o, f));
        // A slope is at most 1.13 and changes by at most 0.8 times the pre-activation's error.
        at(dpre_H, f) = {round_trip<T>(dhidden.value * keep * up.value * act.slope),
                         dhidden.magnitude * keep * up.magnitude * (1 + gate.magnitude)};
        if (w.gated)
          at(dpre_H, F + f) = {round_trip<T>(dhidden.value * keep * act.value),
                               dhidden.magnitude * keep * act_magnitude};
      }
      for (int64_t o = 0; o < O; ++o) {
        Sum& sum = at(out.out_RO, r * O + o);
        if (w.b_out) sum = exact(to_double(w.b_out[e * O + o]));
        const double gradient = weight * dout_at(o);
        for (int64_t f = 0; f < F; ++f) {
          add(sum, at(hidden_F, f), number_at(w.w_out_E[e], o, f));
          add(at(out.dw_out, (e * O + o) * F + f), at(weighted_F, f), dout_at(o));
        }
        add(at(out.db_out, e * O + o), exact(1), gradient);
        add(at(out.dweight_R, r), sum, dout_at(o));
      }
      for (int64_t h = 0; h < H; ++h) {
        add(at(out.db_in, e * H + h), at(dpre_H, h), 1);
        for (int64_t d = 0; d < D; ++d) {
          add(at(out.drow_RD, r * D + d), at(dpre_H, h), number_at(w.w_in_E[e], h, d));
          add(at(out.dw_in, (e * H + h) * D + d), at(dpre_H, h), to_double(row_D[d]));
        }
      }
    }
  return out;
}

}  // namespace moe::test::reference
