#pragma once
// What stands between the two products: bias, activation, gate, mask and their gradients, written
// once over Simd. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/simd/rows.h>

namespace moe::ops::cpu {

namespace {

/// exp(x) to 1 unit in the last place or so: 2^n e^r with n = round(x / ln 2); the powers of two
/// and |r| <= ln 2 / 2 in a polynomial of degree 6 (the coefficients of Cephes' expf). Clamped
/// where float32 ends.
template <class Simd, class V = typename Simd::V>
V exponential(V x) {
  x = Simd::larger(Simd::all(-87.0f), Simd::smaller(Simd::all(88.0f), x));
  const V n = Simd::nearest(Simd::multiply(x, Simd::all(1.44269504088896341f)));
  V r = Simd::fma(n, Simd::all(-0.693359375f), x);
  r = Simd::fma(n, Simd::all(2.12194440e-4f), r);
  V p = Simd::all(1.9875691500e-4f);
  p = Simd::fma(p, r, Simd::all(1.3981999507e-3f));
  p = Simd::fma(p, r, Simd::all(8.3334519073e-3f));
  p = Simd::fma(p, r, Simd::all(4.1665795894e-2f));
  p = Simd::fma(p, r, Simd::all(1.6666665459e-1f));
  p = Simd::fma(p, r, Simd::all(5.0000001201e-1f));
  p = Simd::add(Simd::fma(Simd::multiply(r, r), p, r), Simd::all(1));
  return Simd::multiply(p, Simd::power_of_two(n));
}

/// 1 / (1 + e^-x).
template <class Simd, class V = typename Simd::V>
V logistic(V x) {
  return Simd::divide(Simd::all(1),
                      Simd::add(Simd::all(1), exponential<Simd>(Simd::subtract(Simd::zero(), x))));
}

/// The normal distribution's Phi(x) = (1 + erf(x / sqrt 2)) / 2 and e^(-x^2 / 2), which its density
/// needs too. Abramowitz and Stegun 7.1.26: at most 1.5e-7 off.
template <class Simd, class V = typename Simd::V>
V normal_integral(V x, V& bell) {
  const V z = Simd::multiply(Simd::absolute(x), Simd::all(0.70710678118654752f));
  bell = exponential<Simd>(Simd::multiply(Simd::multiply(x, x), Simd::all(-0.5f)));
  const V t = Simd::divide(Simd::all(1), Simd::fma(z, Simd::all(0.3275911f), Simd::all(1)));
  V p = Simd::all(1.061405429f);
  p = Simd::fma(p, t, Simd::all(-1.453152027f));
  p = Simd::fma(p, t, Simd::all(1.421413741f));
  p = Simd::fma(p, t, Simd::all(-0.284496736f));
  p = Simd::fma(p, t, Simd::all(0.254829592f));
  const V erf = Simd::subtract(Simd::all(1), Simd::multiply(Simd::multiply(p, t), bell));
  return Simd::fma(Simd::with_sign(erf, x), Simd::all(0.5f), Simd::all(0.5f));
}

/// act(x) and act'(x).
template <class Simd>
struct Activated {
  typename Simd::V value, slope;
};

/// A NaN stays one.
template <class Simd, Activation activation, class V = typename Simd::V>
Activated<Simd> activate(V x) {
  const V one = Simd::all(1);
  if constexpr (activation == Activation::kRelu) {
    // larger() gives its second argument for a NaN.
    return {Simd::larger(Simd::zero(), x), Simd::where_positive(x, one)};
  } else if constexpr (activation == Activation::kReluSquared) {
    const V positive = Simd::larger(Simd::zero(), x);
    return {Simd::multiply(positive, positive), Simd::add(positive, positive)};
  } else if constexpr (activation == Activation::kSilu) {
    // s + x s (1 - s)
    const V s = logistic<Simd>(x), value = Simd::multiply(x, s);
    return {value, Simd::fma(value, Simd::subtract(one, s), s)};
  } else if constexpr (activation == Activation::kGelu) {
    V bell;
    const V integral = normal_integral<Simd>(x, bell);
    const V density = Simd::multiply(bell, Simd::all(0.39894228040143268f));
    return {Simd::multiply(x, integral), Simd::fma(x, density, integral)};
  } else {
    // x (1 + tanh u) / 2 = x logistic(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    const V square = Simd::multiply(x, x), scale = Simd::all(1.5957691216057308f);
    const V u2 =
        Simd::multiply(Simd::multiply(scale, x), Simd::fma(square, Simd::all(0.044715f), one));
    const V s = logistic<Simd>(u2), value = Simd::multiply(x, s);
    const V du2 = Simd::multiply(scale, Simd::fma(square, Simd::all(3 * 0.044715f), one));
    return {value, Simd::fma(Simd::multiply(value, Simd::subtract(one, s)), du2, s)};
  }
}

/// The first n values; past the caches where asked for and where a whole register fits.
template <class Simd, class T>
void store_some(T* p, int64_t n, typename Simd::V x, bool streaming) {
  constexpr uintptr_t kBytes = Simd::kWidth * sizeof(T);
  if (streaming && n >= Simd::kWidth && reinterpret_cast<uintptr_t>(p) % kBytes == 0)
    Simd::store_streaming(p, x);
  else
    Simd::store_first(p, n, x);
}

template <class Simd, class T, Activation activation>
void forward_row(const ForwardRow<T>& row) {
  using V = typename Simd::V;
  constexpr int W = Simd::kWidth;
  const auto pre = [&row](const float* sum, const T* bias, T* saved, int64_t i, int64_t left) {
    V x = Simd::load_first(sum + i, left);
    if (bias) x = Simd::add(x, Simd::load_first(bias + i, left));
    if (saved) store_some<Simd>(saved + i, left, x, row.stream_pre);
    // The backward pass sees what was saved, so the forward pass does too.
    return Simd::rounded(x, bias);
  };
  for (int64_t i = 0; i < row.n; i += W) {
    const int64_t left = row.n - i;
    V hidden =
        activate<Simd, activation>(pre(row.gate, row.bias_gate, row.pre_gate, i, left)).value;
    if (row.up) hidden = Simd::multiply(hidden, pre(row.up, row.bias_up, row.pre_up, i, left));
    if (row.keep) hidden = Simd::multiply(hidden, Simd::load_first(row.keep + i, left));
    if (row.hidden) Simd::store_first(row.hidden + i, left, hidden);
  }
}

template <class Simd, class T, Activation activation>
void backward_row(const BackwardRow<T>& row) {
  using V = typename Simd::V;
  constexpr int W = Simd::kWidth, kColumns = W * Simd::kColumnVectors;
  const V weight = Simd::all(row.weight);
  V dot = Simd::zero();
  for (int64_t i = 0; i < row.n; i += W) {
    const int64_t left = row.n - i;
    const auto act = activate<Simd, activation>(Simd::load_first(row.pre_gate + i, left));
    const V unweighted = Simd::load_first(row.dhidden + i, left);
    V hidden = act.value, dhidden = Simd::multiply(weight, unweighted);
    if (row.keep) {
      const V keep = Simd::load_first(row.keep + i, left);
      hidden = Simd::multiply(hidden, keep);
      dhidden = Simd::multiply(dhidden, keep);
    }
    V dgate = Simd::multiply(dhidden, act.slope);
    if (row.pre_up) {
      const V up = Simd::load_first(row.pre_up + i, left);
      Simd::store_first(row.dpre_up + i, left, Simd::multiply(dhidden, act.value));
      hidden = Simd::multiply(hidden, up);
      dgate = Simd::multiply(dgate, up);
    }
    Simd::store_first(row.dpre_gate + i, left, dgate);
    Simd::store_first(row.hidden + i, left, Simd::multiply(weight, hidden));
    if (!row.dots) continue;
    dot = Simd::fma(hidden, unweighted, dot);
    if ((i + W) % kColumns != 0 && left > W) continue;
    row.dots[i / kColumns] = sum_of_lanes<Simd>(dot);
    dot = Simd::zero();
  }
}

/// Calls function.operator()<activation>().
template <class Function>
void with_activation(Activation activation, const Function& function) {
  switch (activation) {
    case Activation::kRelu:
      return function.template operator()<Activation::kRelu>();
    case Activation::kReluSquared:
      return function.template operator()<Activation::kReluSquared>();
    case Activation::kGelu:
      return function.template operator()<Activation::kGelu>();
    case Activation::kGeluTanh:
      return function.template operator()<Activation::kGeluTanh>();
    case Activation::kSilu:
      return function.template operator()<Activation::kSilu>();
  }
}

template <class Simd, class T>
void forward(Activation activation, const ForwardRow<T>& row) {
  with_activation(activation, [&]<Activation act>() { forward_row<Simd, T, act>(row); });
}

template <class Simd, class T>
void backward(Activation activation, const BackwardRow<T>& row) {
  with_activation(activation, [&]<Activation act>() { backward_row<Simd, T, act>(row); });
}

template <class Simd, class T, StoreMode mode>
void store(int64_t n, const float* sum, const T* bias, T* out) {
  for (int64_t i = 0; i < n; i += Simd::kWidth) {
    auto x = Simd::load_first(sum + i, n - i);
    if (bias) x = Simd::add(x, Simd::load_first(bias + i, n - i));
    store_some<Simd>(out + i, n - i, x, mode == StoreMode::kStreaming);
  }
}

}  // namespace

}  // namespace moe::ops::cpu
