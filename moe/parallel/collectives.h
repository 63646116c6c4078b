#pragma once
// Collectives that gradients flow through. R rows, D width.

#include <memory>
#include <vector>

#include <moe/flow/exchange_errors.h>
#include <moe/parallel/communicator.h>
#include <moe/parallel/row_format.h>

namespace moe::parallel {

/// Who sends how many rows to whom, and how.
struct RowRoute {
  /// As in Communicator::all_to_all_v.
  std::vector<int64_t> send, receive;
  std::shared_ptr<Communicator> group;
  /// Rows travel in it, those that stay on their rank are rounded as if they did, so that results
  /// do not depend on who holds what. Gradients pass through the rounding as if it were not there
  /// (straight-through), and travel back in the same format.
  RowFormat format = RowFormat::kFull;
  /// Where the rounding is counted, in the pass and in the one back; null: nowhere.
  std::shared_ptr<ExchangeErrors> errors = {};
  ExchangeErrors::Entry entry = {};
};

class Journey;

/// Rows on their way: started, and not waited for yet.
class RowsUnderWay {
 public:
  RowsUnderWay(Tensor ticket, std::shared_ptr<Journey> journey);
  /// The rows that arrive here, by sending rank. Once. Differentiable twice.
  Tensor wait();

 private:
  Tensor ticket_;  // carries the graph
  std::shared_ptr<Journey> journey_;
};

/// Sends rows on their way; they travel while the rank does other work. All ranks start and wait,
/// also those without rows, so that no rank waits for one that has nothing to do; the rows of all
/// ranks must need a gradient, or those of none.
///
/// The backward pass does the same the other way round: where the rows were waited for, their
/// gradients set out, and where the rows had set out, the gradients are waited for. Between the two
/// autograd runs what was recorded between `wait` of these rows and the start of others: steps
/// run backwards in the order in which they were recorded, on all ranks.
RowsUnderWay start_rows(const Tensor& rows_RD, const RowRoute& route);

/// start_rows(…).wait(): the rows of `rows_RD` to the ranks they belong to.
Tensor all_to_all_rows(const Tensor& rows_RD, const std::vector<int64_t>& send,
                       const std::vector<int64_t>& receive,
                       const std::shared_ptr<Communicator>& group);

}  // namespace moe::parallel
