// T tokens.
#include <algorithm>

#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/data/row_writer.h>

namespace moe::data {

RowWriter::RowWriter(int64_t tokens, int64_t num_domains)
    : ids_T_(at::empty({tokens}, at::kLong)),
      targets_T_(at::empty({tokens}, at::kLong)),
      domains_T_(at::empty({tokens}, at::kLong)),
      num_domains_(num_domains) {}

void RowWriter::add(const Tokens& tokens, int64_t begin, int64_t count, int64_t domain) {
  check(count > 0 && used_ + count <= ids_T_.size(0), "data/rows", "expected a row of 1 to ",
        ids_T_.size(0) - used_, " tokens, got ", count, ".");
  int64_t* const ids = ids_T_.mutable_data_ptr<int64_t>() + used_;
  int64_t* const targets = targets_T_.mutable_data_ptr<int64_t>() + used_;
  tokens.copy(begin, {ids, static_cast<size_t>(count)});
  tokens.copy(begin + 1, {targets, static_cast<size_t>(count)});
  if (tokens.is_masked())
    for (int64_t i = 0; i < count; ++i)
      if (!tokens.is_trained(begin + 1 + i)) targets[i] = kIgnoredTarget;
  std::fill_n(domains_T_.mutable_data_ptr<int64_t>() + used_, count, domain);
  mark_documents(tokens, begin, count, targets);
  rows_.push_back(count);
  used_ += count;
}

void RowWriter::mark_documents(const Tokens& tokens, int64_t begin, int64_t count,
                               int64_t* targets) {
  const auto starts = tokens.starts();
  int64_t sequence = 0;  // where the row's last sequence begins
  for (auto start = std::ranges::upper_bound(starts, begin);
       start != starts.end() && *start <= begin + count; ++start) {
    const int64_t at = *start - begin;
    targets[at - 1] = kIgnoredTarget;
    if (at == count) break;  // begins behind the row's last input
    sequences_.push_back(at - sequence);
    sequence = at;
  }
  sequences_.push_back(count - sequence);
}

Batch RowWriter::finish(int64_t first_token) {
  check(used_ == ids_T_.size(0), "data/rows", "expected ", ids_T_.size(0), " tokens, got ", used_,
        ". Add all rows.");
  Sequences sequences = Sequences::of_lengths(sequences_);
  if (sequences_.size() > rows_.size()) sequences.packed_rows = Runs::of_lengths(rows_);
  return {.inputs = {.tokens = {.sequences = std::move(sequences),
                                .first_token = first_token,
                                .ids_T = ids_T_,
                                .domains_T = domains_T_,
                                .num_domains = num_domains_}},
          .targets = targets_T_};
}

}  // namespace moe::data
