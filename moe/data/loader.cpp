// Shapes: B rows, S sequence.

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>

#include <moe/base/error.h>
#include <moe/base/random.h>
#include <moe/data/loader.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfLoader = "data/loader";

void check_rows(RowRange rows, int64_t batch) {
  check(0 <= rows.begin && rows.begin <= rows.end && rows.end <= batch, kPlaceOfLoader,
        "expected rows within [0, ", batch, "), got [", rows.begin, ", ", rows.end, ").");
}

Batch empty_batch(int64_t rows, int64_t sequence) {
  return {.input_BS = at::empty({rows, sequence}, at::kLong),
          .target_BS = at::empty({rows, sequence}, at::kLong),
          .valid_BS = {},
          .domain_B = at::empty({rows}, at::kLong)};
}

/// Fills the rows of a batch one after another.
class RowWriter {
 public:
  /// `with_documents`: rows may hold several that stand apart.
  RowWriter(Batch& batch, bool with_documents) : batch_(batch), sequence_(batch.input_BS.size(1)) {
    if (with_documents) batch.document_BS = at::zeros_like(batch.input_BS);
  }

  /// A row with `count` inputs from `begin` on and their targets; behind these it is padding.
  void add(const Tokens& tokens, int64_t begin, int64_t count) {
    int64_t* input_S = batch_.input_BS.data_ptr<int64_t>() + row_ * sequence_;
    int64_t* target_S = batch_.target_BS.data_ptr<int64_t>() + row_ * sequence_;
    const auto length = static_cast<size_t>(count);
    if (count > 0) {
      tokens.copy(begin, {input_S, length});
      tokens.copy(begin + 1, {target_S, length});
    }
    if (tokens.is_masked())
      for (int64_t i = 0; i < count; ++i)
        if (!tokens.is_trained(begin + 1 + i)) target_S[i] = kIgnoredTarget;
    std::fill(input_S + count, input_S + sequence_, 0);
    std::fill(target_S + count, target_S + sequence_, kIgnoredTarget);
    if (tokens.has_documents()) mark_documents(tokens, begin, count, target_S);
    ++row_;
  }

  /// Call it behind the last row.
  void finish() {
    if (!several_) batch_.document_BS = at::Tensor();
  }

 private:
  /// Numbers the documents of the row; what begins one is not predicted.
  void mark_documents(const Tokens& tokens, int64_t begin, int64_t count, int64_t* target_S) {
    int64_t* document_S = batch_.document_BS.data_ptr<int64_t>() + row_ * sequence_;
    const auto starts = tokens.starts();
    int64_t number = 0;
    for (auto start = std::ranges::upper_bound(starts, begin);
         start != starts.end() && *start <= begin + count; ++start) {
      const int64_t at = *start - begin;
      target_S[at - 1] = kIgnoredTarget;
      if (at == sequence_ || at == count) break;  // begins behind the row's last input
      std::fill(document_S + at, document_S + sequence_, ++number);
    }
    several_ |= number > 0;
  }

  Batch& batch_;
  int64_t sequence_;
  int64_t row_ = 0;
  bool several_ = false;
};

/// Where the row begins that is drawn by its token `at`.
int64_t row_begin(const Tokens& tokens, int64_t at, int64_t sequence) {
  if (!tokens.has_documents()) return at;
  const int64_t document = tokens.document_begin(at);
  return document + (at - document) / sequence * sequence;
}

}  // namespace

RowRange rank_rows(int64_t batch, int64_t rank, int64_t world) {
  check(world >= 1 && rank >= 0 && rank < world && batch >= 0, kPlaceOfLoader,
        "expected a rank in [0, ", world, ") and batch >= 0, got rank ", rank, " and batch ", batch,
        ".");
  return {batch * rank / world, batch * (rank + 1) / world};
}

Loader::Loader(std::shared_ptr<const Corpus> corpus, const LoaderOptions& options)
    : corpus_(std::move(corpus)), options_(options) {
  check<ConfigError>(options.batch >= 1 && options.batch <= (int64_t{1} << 24), kPlaceOfLoader,
                     "expected batch in [1, 16777216], got ", options.batch, ".");
  double sum = 0;
  for (const auto& domain : corpus_->domains()) cumulative_.push_back(sum += domain.weight);
}

Batch Loader::batch(int64_t step, int64_t micro, int64_t accumulation) const {
  return batch(step, micro, accumulation, {0, options_.batch});
}

Batch Loader::batch(int64_t step, int64_t micro, int64_t accumulation, RowRange rows) const {
  check(step >= 0 && micro >= 0 && micro < accumulation, kPlaceOfLoader,
        "expected step >= 0 and micro in [0, ", accumulation, "), got step ", step, " and micro ",
        micro, ".");
  check_rows(rows, options_.batch);
  const int64_t sequence = corpus_->sequence();
  const RandomStream stream({.seed = options_.seed, .step = static_cast<uint64_t>(step)},
                            Purpose::kData);
  const auto& domains = corpus_->domains();
  Batch out = empty_batch(rows.end - rows.begin, sequence);
  out.first_token = ((step * accumulation + micro) * options_.batch + rows.begin) * sequence;
  const bool with_documents =
      std::ranges::any_of(domains, [](const Domain& d) { return d.train.has_documents(); });
  RowWriter writer(out, with_documents);
  int64_t* domain_B = out.domain_B.data_ptr<int64_t>();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const auto number = static_cast<uint64_t>(micro * options_.batch + row);
    const double u = stream.uniform53(2 * number) * cumulative_.back();
    // upper_bound steps over domains of weight 0, which share the bound of the one before them.
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), u);
    const auto domain =
        std::min<size_t>(static_cast<size_t>(found - cumulative_.begin()), domains.size() - 1);
    const Tokens& tokens = domains[domain].train;
    const auto windows = static_cast<uint64_t>(tokens.size() - sequence);
    const auto at = static_cast<int64_t>(stream.below(2 * number + 1, windows));
    writer.add(tokens, row_begin(tokens, at, sequence), sequence);
    *domain_B++ = static_cast<int64_t>(domain);
  }
  writer.finish();
  return out;
}

EvalPass::EvalPass(Tokens tokens, int64_t sequence, int64_t batch, int64_t max_batches,
                   int64_t domain)
    : tokens_(std::move(tokens)), sequence_(sequence), rows_(batch), domain_(domain) {
  check<ConfigError>(sequence >= 1 && batch >= 1, kPlaceOfLoader,
                     "expected sequence >= 1 and batch >= 1, got ", sequence, " and ", batch, ".");
  check<ConfigError>(tokens_.size() >= 2, kPlaceOfLoader,
                     "expected at least 2 tokens to evaluate on, got ", tokens_.size(),
                     ". Give the domain validation data (valid, or path with valid_share > 0).");
  const auto parts = [](int64_t whole, int64_t part) { return (whole - 1) / part + 1; };
  const int64_t inputs = tokens_.size() - 1;  // the last token is a target only
  if (tokens_.has_documents())
    for (int64_t begin = 0; begin < inputs;) {
      int64_t end = std::min(begin + sequence, inputs);
      // Up to the beginning of the document that would be cut, unless it has the row to itself.
      if (const int64_t cut = tokens_.document_begin(end); end < inputs && cut > begin) end = cut;
      packed_.push_back({begin, end - begin});
      begin = end;
    }
  rows_in_all_ = packed_.empty() ? parts(inputs, sequence) : static_cast<int64_t>(packed_.size());
  batches_ = parts(rows_in_all_, batch);
  if (max_batches >= 0) batches_ = std::min(batches_, max_batches);
}

EvalPass::Row EvalPass::row(int64_t index) const {
  if (index >= rows_in_all_) return {0, 0};
  if (!packed_.empty()) return packed_[static_cast<size_t>(index)];
  const int64_t begin = index * sequence_;
  return {begin, std::min(sequence_, tokens_.size() - 1 - begin)};
}

Batch EvalPass::batch(int64_t index, RowRange rows) const {
  check(index >= 0 && index < batches_, kPlaceOfLoader, "expected a batch in [0, ", batches_,
        "), got ", index, ".");
  check_rows(rows, rows_);
  Batch out = empty_batch(rows.end - rows.begin, sequence_);
  out.first_token = (index * rows_ + rows.begin) * sequence_;
  out.domain_B.fill_(domain_);
  RowWriter writer(out, tokens_.has_documents());
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const auto [begin, count] = row(index * rows_ + i);
    writer.add(tokens_, begin, count);
    if (count == sequence_) continue;
    if (!out.valid_BS.defined()) out.valid_BS = at::ones(out.input_BS.sizes(), at::kBool);
    out.valid_BS[i - rows.begin].slice(0, count).fill_(false);
  }
  writer.finish();
  return out;
}

}  // namespace moe::data
