// T tokens, N sequences.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/repeat_interleave.h>

#include <moe/base/error.h>
#include <moe/flow/sequences.h>

namespace moe {

namespace {

Tensor to_tensor(const std::vector<int64_t>& numbers, at::Device device) {
  Tensor out = at::empty({static_cast<int64_t>(numbers.size())}, at::kLong);
  std::copy(numbers.begin(), numbers.end(), out.mutable_data_ptr<int64_t>());
  return out.to(device);
}

at::TensorOptions ids_on(at::Device device) {
  return at::TensorOptions(at::kLong).device(device);
}

}  // namespace

Runs Runs::equal(int64_t count, int64_t length) {
  check(count >= 0 && length >= 0, "flow/sequences",
        "expected a count and a length of at least 0, got ", count, " and ", length,
        ". Correct them.");
  Runs out;
  out.count_ = count;
  out.length_ = length;
  return out;
}

Runs Runs::of_lengths(const std::vector<int64_t>& lengths) {
  const bool same = std::all_of(lengths.begin(), lengths.end(),
                                [&](int64_t length) { return length == lengths.front(); });
  if (same)
    return equal(static_cast<int64_t>(lengths.size()), lengths.empty() ? 0 : lengths.front());
  Runs out;
  out.count_ = static_cast<int64_t>(lengths.size());
  out.offsets_.reserve(lengths.size() + 1);
  out.offsets_.push_back(0);
  for (const int64_t length : lengths) {
    check(length >= 0, "flow/sequences", "expected lengths of at least 0, got ", length,
          ". Correct it.");
    out.offsets_.push_back(out.offsets_.back() + length);
  }
  return out;
}

int64_t Runs::longest() const {
  int64_t out = length_;
  for (size_t i = 1; i < offsets_.size(); ++i) out = std::max(out, offsets_[i] - offsets_[i - 1]);
  return out;
}

Tensor Runs::offsets(at::Device device) const {
  if (offsets_.empty()) return at::arange(count_ + 1, ids_on(device)).mul_(length_);
  return to_tensor(offsets_, device);
}

Tensor Runs::run_T(at::Device device) const {
  const Tensor run_N = at::arange(count_, ids_on(device));
  if (offsets_.empty()) return run_N.unsqueeze(1).expand({count_, length_}).reshape({tokens()});
  return at::repeat_interleave(run_N, offsets(device).diff(), /*dim=*/0, /*output_size=*/tokens());
}

Tensor Runs::place_T(at::Device device) const {
  if (offsets_.empty())
    return at::arange(length_, ids_on(device)).expand({count_, length_}).reshape({tokens()});
  return at::arange(tokens(), ids_on(device)) -
         offsets(device).slice(0, 0, count_).index_select(0, run_T(device));
}

int64_t Sequences::end_position() const {
  int64_t end = 0;
  for (int64_t n = 0; n < count(); ++n)
    if (runs.length(n) > 0) end = std::max(end, first_position_of(n) + runs.length(n));
  return end;
}

Tensor Sequences::position_T(at::Device device) const {
  const Tensor place_T = runs.place_T(device);
  if (first_position.empty()) return place_T;
  return place_T + to_tensor(first_position, device).index_select(0, runs.run_T(device));
}

Runs TokenList::rows(int64_t tokens) const {
  if (sequences.count() == 0) return Runs::equal(1, tokens);
  const Runs& rows = sequences.rows();
  check(rows.tokens() == tokens && sequences.tokens() == tokens, "flow/sequences",
        "expected sequences of ", tokens, " tokens in all, as the call has, got ",
        sequences.tokens(), " tokens in ", rows.count(),
        " rows. Describe exactly the tokens that are passed.");
  return rows;
}

}  // namespace moe
