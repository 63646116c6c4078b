#pragma once
// T tokens.

#include <vector>

#include <moe/data/batch.h>
#include <moe/data/tokens.h>

namespace moe::data {

/// Lays the rows of a batch of text behind one another. A row is a window of tokens, and each
/// token's target is the one that follows. Documents that stand apart are sequences of their own in
/// a row, and what begins one is no target.
class RowWriter {
 public:
  /// For `tokens` inputs in all, of `num_domains` domains.
  RowWriter(int64_t tokens, int64_t num_domains);

  /// A row of the tokens [begin, begin + count); `tokens` has one more.
  void add(const Tokens& tokens, int64_t begin, int64_t count, int64_t domain);
  /// Call it once, when all inputs are there. `first_token`: global number of the first.
  Batch finish(int64_t first_token);

 private:
  void mark_documents(const Tokens& tokens, int64_t begin, int64_t count, int64_t* targets);

  Tensor ids_T_, targets_T_, domains_T_;
  int64_t num_domains_;
  int64_t used_ = 0;
  std::vector<int64_t> rows_, sequences_;  // lengths
};

}  // namespace moe::data
