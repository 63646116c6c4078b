// R rows, D width.
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <moe/flow/exchange_errors.h>

namespace moe {

namespace {

RowError row_error(const double* sums_4) {
  const double dot = sums_4[0], exact = sums_4[1], read = sums_4[2], apart = sums_4[3];
  const double nan = std::numeric_limits<double>::quiet_NaN();
  RowError out{nan, nan};
  if (exact > 0) out.relative = std::sqrt(apart / exact);
  if (exact > 0 && read > 0) out.cosine = dot / std::sqrt(exact * read);
  return out;
}

}  // namespace

void ExchangeErrors::add(const Entry& entry, const Tensor& exact_RD, const Tensor& read_RD) {
  const at::NoGradGuard no_grad;
  const Tensor x = exact_RD.to(at::kDouble).flatten(), y = read_RD.to(at::kDouble).flatten();
  const Tensor apart = x - y;
  const Tensor sums_4 =
      at::stack({at::dot(x, y), at::dot(x, x), at::dot(y, y), at::dot(apart, apart)});
  Tensor& so_far_4 = sums_[entry];
  so_far_4 = so_far_4.defined() ? so_far_4 + sums_4 : sums_4;
}

Tensor ExchangeErrors::sums() const {
  std::vector<Tensor> all;
  for (const auto& [entry, sums_4] : sums_) all.push_back(sums_4);
  return all.empty() ? at::zeros({0, 4}, at::kDouble) : at::stack(all);
}

std::map<int64_t, ExchangeError> ExchangeErrors::by_layer(const Tensor& sums_n4) const {
  const Tensor here = sums_n4.to(at::kCPU).contiguous();
  const double* row = here.const_data_ptr<double>();
  const double none[4] = {};
  std::map<int64_t, ExchangeError> out;
  for (const auto& [entry, unused] : sums_) {
    auto& error =
        out.try_emplace(entry.layer, ExchangeError{row_error(none), row_error(none)}).first->second;
    (entry.is_backward ? error.backward : error.forward) = row_error(row);
    row += 4;
  }
  return out;
}

}  // namespace moe
