#pragma once
// Loads, parameters and calls for the tests of the grouped products. S source rows, R rows, E
// experts, D in, F hidden, H = F or 2F, O out.

#include <tests/reference/grouped.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <vector>

#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/ops/grouped.h>

namespace moe::ops::grouped_test {

using moe::test::normal;
using moe::test::reference::Mlp;

constexpr int64_t kSources = 6, kIn = 5, kHidden = 3, kOut = 4, kExperts = 4;

/// Rows of experts: which source rows, and where each expert's begin.
struct Rows {
  const char* name;
  Tensor index_R, offsets_E;
  int64_t rows() const { return index_R.defined() ? index_R.size(0) : kSources; }
  int64_t held() const { return offsets_E[-1].item<int64_t>(); }
};

inline Tensor ids(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

inline std::vector<Rows> loads() {
  return {
      {"index, empty expert, tail", ids({5, 0, 0, 3, 2, 5, 1, 4, 4}), ids({0, 3, 3, 6, 7})},
      {"identity, tail", {}, ids({0, 1, 3, 4, 5})},
      {"identity", {}, ids({0, 2, 2, 5, 6})},
      {"one expert takes all", ids({1, 2, 3, 4}), ids({0, 0, 0, 4, 4})},
      {"one row", ids({2}), ids({0, 0, 1, 1, 1})},
      {"no row of an expert", ids({2, 3}), ids({0, 0, 0, 0, 0})},
      {"no row", ids({}), ids({0, 0, 0, 0, 0})},
  };
}

/// Parameters, optional ones undefined.
struct Parameters {
  Mlp mlp;
  Parameters(bool gated, bool bias, Activation act) {
    const int64_t H = gated ? 2 * kHidden : kHidden;
    mlp = {normal({kExperts, H, kIn}, 1) * 0.5,
           bias ? normal({kExperts, H}, 2) : Tensor(),
           normal({kExperts, kOut, kHidden}, 3) * 0.5,
           bias ? normal({kExperts, kOut}, 4) : Tensor(),
           act,
           gated};
  }
};

inline MlpParameters parameters_of(const Mlp& mlp, bool recompute = false) {
  return {mlp.w_in, mlp.b_in, mlp.w_out, mlp.b_out, mlp.act, mlp.gated, recompute};
}

inline Tensor run(const Mlp& mlp, const Tensor& source_SD, const Rows& rows, const Tensor& keep_RF,
                  bool recompute = false) {
  return grouped_mlp(source_SD, rows.index_R, rows.offsets_E, parameters_of(mlp, recompute),
                     keep_RF);
}

inline Tensor keep_mask(int64_t rows) {
  return normal({rows, kHidden}, 5).gt(-0.5).to(at::kDouble) * 1.25;
}

/// Calls `test(mlp, rows, keep)` for every activation, form, bias, mask and load.
template <class Test>
void for_all(const Test& test) {
  for (const auto& name : {"relu", "relu_squared", "gelu", "gelu_tanh", "silu"})
    for (const bool gated : {false, true})
      for (const bool bias : {false, true})
        for (const bool masked : {false, true})
          for (const Rows& rows : loads()) {
            SCOPED_TRACE(concat(name, gated ? ", gated" : "", bias ? ", bias" : "",
                                masked ? ", keep" : "", ", ", rows.name));
            const Parameters parameters(gated, bias, parse_activation(name, "test"));
            test(parameters.mlp, rows, masked ? keep_mask(rows.rows()) : Tensor());
          }
}

}  // namespace moe::ops::grouped_test
