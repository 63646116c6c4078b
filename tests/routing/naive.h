#pragma once
// Loops in double that tests compare routers with. T tokens, I inputs, O outputs, E experts.

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <memory>
#include <numeric>
#include <string>
#include <tests/support/routers.h>
#include <utility>
#include <vector>

namespace moe::routing::naive {

using Row = std::vector<double>;
using Ids = std::vector<int64_t>;

inline Table settings_of(std::initializer_list<std::pair<std::string, Value>> entries) {
  Table table;
  for (const auto& [key, value] : entries) table.set(key, value);
  return table;
}

/// A router in float64.
inline std::shared_ptr<Router> make(const std::string& kind, const RouterShape& shape,
                                    const Table& settings = {}) {
  auto router = test::initialised_router(routers().at(kind).make(shape, settings));
  router->to(at::kDouble);
  return router;
}

/// A parameter or buffer by name.
inline Tensor state_of(Router& router, const std::string& name) {
  const auto parameters = router.named_parameters();
  if (const Tensor* parameter = parameters.find(name)) return *parameter;
  return router.named_buffers()[name];
}

/// The rows of a 2-D tensor.
inline std::vector<Row> rows_of(const Tensor& table) {
  const Tensor wide = table.detach().to(at::kDouble).contiguous();
  const auto width = static_cast<size_t>(wide.size(1));
  const double* data = wide.const_data_ptr<double>();
  std::vector<Row> rows;
  for (int64_t t = 0; t < wide.size(0); ++t, data += width) rows.emplace_back(data, data + width);
  return rows;
}

inline double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// x_TI w_OI^T + b_O; b_O may be undefined.
inline std::vector<Row> linear(const std::vector<Row>& x_TI, const Tensor& w_OI,
                               const Tensor& b_O = {}) {
  const auto w = rows_of(w_OI);
  std::vector<Row> out;
  for (const Row& x : x_TI) {
    out.emplace_back();
    for (size_t o = 0; o < w.size(); ++o)
      out.back().push_back(dot(x, w[o]) +
                           (b_O.defined() ? b_O[static_cast<int64_t>(o)].item<double>() : 0));
  }
  return out;
}

/// The logits of a LinearRouter.
inline std::vector<Row> linear_logits(Router& router, const Tensor& x_TD) {
  const bool with_bias = router.named_parameters().contains("bias");
  return linear(rows_of(x_TD), state_of(router, "weight"),
                with_bias ? state_of(router, "bias") : Tensor());
}

inline Row softmax(const Row& row) {
  Row out;
  double total = 0;
  for (const double v : row) total += std::exp(v);
  for (const double v : row) out.push_back(std::exp(v) / total);
  return out;
}

/// Ids by falling value, ties to the lower id.
/// Not inline: GCC 12 warns falsely of reading too much where it sorts a list of known length.
[[gnu::noinline]] inline Ids by_value(const Row& row) {
  Ids ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) {
    return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
  });
  return ids;
}

/// The K best ids.
inline Ids best(const Row& row, size_t k) {
  Ids ids = by_value(row);
  ids.resize(k);
  return ids;
}

/// row[id] for every id.
inline Row at_ids(const Row& row, const Ids& ids) {
  Row out;
  for (const int64_t id : ids) out.push_back(row[static_cast<size_t>(id)]);
  return out;
}

inline Row divided_by_sum(Row row) {
  const double sum = std::accumulate(row.begin(), row.end(), 0.0);
  for (double& v : row) v /= sum;
  return row;
}

inline void expect_row(const Tensor& found, const Row& expected, double tolerance = 1e-12) {
  ASSERT_EQ(found.numel(), static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(found[static_cast<int64_t>(i)].item<double>(), expected[i], tolerance) << i;
}

/// The kept experts of a token and the weights of all its pairs.
inline void expect_pairs(const Routing& routing, int64_t token, const Ids& experts,
                         const Row& weights) {
  SCOPED_TRACE(concat("token ", token));
  EXPECT_EQ(test::experts_by_token(routing)[static_cast<size_t>(token)], experts);
  expect_row(test::weights_of(routing, token), weights);
}

/// How a softmax and a sum over the chosen follow one another.
struct SelectionRule {
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
};

/// All four ways in which a softmax and a sum may follow one another.
inline std::vector<SelectionRule> selection_rules(double scale) {
  std::vector<SelectionRule> out;
  for (const bool renormalise : {true, false})
    for (const char* when : {"before", "after"}) out.push_back({renormalise, when, scale});
  return out;
}

/// The token has the K best of p = softmax(sharpened), the logits as divided by the temperature,
/// with the weights of the rule, and p as scores.
inline void expect_softmax_rule(const Routing& routing, int64_t token, const Row& sharpened,
                                size_t k, const SelectionRule& rule) {
  const Row p = softmax(sharpened);
  const Ids ids = best(p, k);
  Row weights = at_ids(p, ids);
  if (rule.renormalise || rule.softmax == "after") weights = divided_by_sum(weights);
  for (double& w : weights) w *= rule.scale;
  expect_pairs(routing, token, ids, weights);
  expect_row(routing.scores_TE[token], p);
}

}  // namespace moe::routing::naive
