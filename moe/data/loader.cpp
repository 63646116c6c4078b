// Shapes: B rows, S sequence.

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

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

/// Fills one row with the inputs from `begin` on and their targets; what lies beyond the last
/// target is padding.
void fill_row(const Tokens& tokens, int64_t begin, int64_t sequence, int64_t* input_S,
              int64_t* target_S) {
  const int64_t count = std::clamp<int64_t>(tokens.size() - 1 - begin, 0, sequence);
  const auto length = static_cast<size_t>(count);
  if (count > 0) {
    tokens.copy(begin, {input_S, length});
    tokens.copy(begin + 1, {target_S, length});
  }
  if (tokens.is_masked())
    for (int64_t i = 0; i < count; ++i)
      if (!tokens.is_trained(begin + 1 + i)) target_S[i] = kIgnoredTarget;
  std::fill(input_S + count, input_S + sequence, 0);
  std::fill(target_S + count, target_S + sequence, kIgnoredTarget);
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
  int64_t* input_BS = out.input_BS.data_ptr<int64_t>();
  int64_t* target_BS = out.target_BS.data_ptr<int64_t>();
  int64_t* domain_B = out.domain_B.data_ptr<int64_t>();
  for (int64_t row = rows.begin; row < rows.end;
       ++row, input_BS += sequence, target_BS += sequence) {
    const auto number = static_cast<uint64_t>(micro * options_.batch + row);
    const double u = stream.uniform53(2 * number) * cumulative_.back();
    // upper_bound steps over domains of weight 0, which share the bound of the one before them.
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), u);
    const auto domain =
        std::min<size_t>(static_cast<size_t>(found - cumulative_.begin()), domains.size() - 1);
    const Tokens& tokens = domains[domain].train;
    const auto windows = static_cast<uint64_t>(tokens.size() - sequence);
    const auto begin = static_cast<int64_t>(stream.below(2 * number + 1, windows));
    fill_row(tokens, begin, sequence, input_BS, target_BS);
    *domain_B++ = static_cast<int64_t>(domain);
  }
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
  batches_ = parts(parts(tokens_.size() - 1, sequence), batch);
  if (max_batches >= 0) batches_ = std::min(batches_, max_batches);
}

Batch EvalPass::batch(int64_t index, RowRange rows) const {
  check(index >= 0 && index < batches_, kPlaceOfLoader, "expected a batch in [0, ", batches_,
        "), got ", index, ".");
  check_rows(rows, rows_);
  Batch out = empty_batch(rows.end - rows.begin, sequence_);
  out.first_token = (index * rows_ + rows.begin) * sequence_;
  out.domain_B.fill_(domain_);
  int64_t* input_BS = out.input_BS.data_ptr<int64_t>();
  int64_t* target_BS = out.target_BS.data_ptr<int64_t>();
  for (int64_t row = rows.begin; row < rows.end;
       ++row, input_BS += sequence_, target_BS += sequence_)
    fill_row(tokens_, (index * rows_ + row) * sequence_, sequence_, input_BS, target_BS);
  const int64_t inputs = tokens_.size() - 1;  // the last token is a target only
  if (out.first_token + out.input_BS.numel() > inputs)
    out.valid_BS = at::arange(out.first_token, out.first_token + out.input_BS.numel())
                       .lt(inputs)
                       .view(out.input_BS.sizes());
  return out;
}

}  // namespace moe::data
