#include <algorithm>

#include <moe/base/error.h>
#include <moe/base/random.h>
#include <moe/data/loader.h>
#include <moe/data/row_writer.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfLoader = "data/loader";

std::vector<double> weights_of(const Corpus& corpus) {
  std::vector<double> out;
  for (const auto& domain : corpus.domains()) out.push_back(domain.weight);
  return out;
}

/// Where the row begins that is drawn by its token `at`.
int64_t begin_of_row(const Tokens& tokens, int64_t at, int64_t sequence) {
  if (!tokens.has_documents()) return at;
  const int64_t document = tokens.document_begin(at);
  return document + (at - document) / sequence * sequence;
}

}  // namespace

Loader::Loader(std::shared_ptr<const Corpus> corpus, const LoaderOptions& options)
    : corpus_(std::move(corpus)), options_(options), choice_(weights_of(*corpus_)) {
  check_batch_rows(options.batch);
}

Batch Loader::batch(int64_t step, int64_t micro, int64_t accumulation, RowRange rows) const {
  check_place(step, micro, accumulation);
  check_rows(rows, options_.batch);
  const int64_t sequence = corpus_->sequence();
  const int64_t first_token =
      first_token_of_row({step, micro, accumulation, options_.batch, sequence}, rows.begin);
  const RandomStream stream({.seed = options_.seed, .step = static_cast<uint64_t>(step)},
                            Purpose::kData);
  RowWriter writer((rows.end - rows.begin) * sequence, choice_.count());
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const auto number = static_cast<uint64_t>(micro * options_.batch + row);
    const size_t domain = choice_.domain(stream, number);
    const Tokens& tokens = corpus_->domains()[domain].train;
    const int64_t at = DomainChoice::place(stream, number, tokens.size() - sequence);
    writer.add(tokens, begin_of_row(tokens, at, sequence), sequence, static_cast<int64_t>(domain));
  }
  return writer.finish(first_token);
}

EvalPass::EvalPass(Tokens tokens, int64_t sequence, int64_t batch, int64_t max_batches,
                   int64_t domain, int64_t num_domains)
    : tokens_(std::move(tokens)),
      sequence_(sequence),
      rows_(batch),
      domain_(domain),
      num_domains_(num_domains) {
  check_batch_rows(batch);
  check<ConfigError>(sequence >= 1, kPlaceOfLoader, "expected sequence >= 1, got ", sequence,
                     ". Correct it.");
  check<ConfigError>(tokens_.size() >= 2, kPlaceOfLoader,
                     "expected at least 2 tokens to evaluate on, got ", tokens_.size(),
                     ". Give the domain validation data (valid, or path with valid_share > 0).");
  const int64_t inputs = tokens_.size() - 1;  // the last token is a target only
  if (tokens_.has_documents())
    for (int64_t begin = 0; begin < inputs;) {
      packed_.push_back(begin);
      const int64_t end = begin + std::min(sequence, inputs - begin);
      // Up to the beginning of the document that would be cut, unless it has the row to itself.
      const int64_t cut = tokens_.document_begin(end);
      begin = end < inputs && cut > begin ? cut : end;
    }
  rows_in_all_ =
      packed_.empty() ? (inputs - 1) / sequence + 1 : static_cast<int64_t>(packed_.size());
  batches_ = (rows_in_all_ - 1) / batch + 1;
  if (max_batches >= 0) batches_ = std::min(batches_, max_batches);
}

int64_t EvalPass::row_begin(int64_t index) const {
  if (index >= rows_in_all_) return tokens_.size() - 1;
  return packed_.empty() ? index * sequence_ : packed_[static_cast<size_t>(index)];
}

Batch EvalPass::batch(int64_t index, RowRange rows) const {
  check(index >= 0 && index < batches_, kPlaceOfLoader, "expected a batch in [0, ", batches_,
        "), got ", index, ". Ask for one that there is.");
  check_rows(rows, rows_);
  const int64_t begin = std::min(index * rows_ + rows.begin, rows_in_all_);
  const int64_t end = std::min(index * rows_ + rows.end, rows_in_all_);
  RowWriter writer(row_begin(end) - row_begin(begin), num_domains_);
  for (int64_t row = begin; row < end; ++row)
    writer.add(tokens_, row_begin(row), row_begin(row + 1) - row_begin(row), domain_);
  return writer.finish(row_begin(begin));
}

}  // namespace moe::data
