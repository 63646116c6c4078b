#pragma once
// E experts.

#include <memory>
#include <string>
#include <vector>

#include <moe/balance/term.h>
#include <moe/flow/output.h>
#include <moe/parallel/communicator.h>

namespace moe::balance {

/// A term with its name and coefficient.
struct WeightedTerm {
  std::string name;
  double coefficient = 0;
  std::shared_ptr<Term> term;
};

/// Load, drops and every term's value over all ranks of `group`, with one all-reduce of all local
/// sums together. The gradient of each value reaches this rank's tokens, its experts and, on the
/// first rank alone, what every rank holds: adding the gradients of replicated parameters over
/// ranks completes them. `inputs.first_rank` is set here.
BalanceReport measure(const std::vector<WeightedTerm>& terms, BalanceInputs inputs,
                      parallel::Communicator& group);

}  // namespace moe::balance
