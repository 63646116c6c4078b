#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <moe/balance/measure.h>
#include <moe/balance/probabilities.h>

namespace moe::balance {

namespace {

/// `sums` of a term of this micro-batch, with what earlier ones of the step gave. The gradient is
/// that of sums of the step which all were like this micro-batch: a loss of sums over tokens then
/// has the size of one of this micro-batch, however many came before.
Tensor over_step(const Tensor& sums, const Tensor& tokens, const SumsSoFar& so_far, size_t term) {
  if (term >= so_far.terms.size() || !so_far.terms[term].defined()) return sums;
  const Tensor earlier = so_far.terms[term].to(sums.options());
  const Tensor all_tokens = tokens + so_far.tokens.to(tokens.options());
  const Tensor share = all_tokens / tokens.clamp_min(1);
  return (sums + earlier).detach() + (sums - sums.detach()) * share;
}

}  // namespace

BalanceReport measure(const std::vector<WeightedTerm>& terms, BalanceInputs inputs,
                      parallel::Communicator& group) {
  inputs.first_rank = group.rank() == 0;
  const Routing& routing = inputs.routing;
  const int64_t E = routing.num_experts;
  const Tensor dropped = inputs.dropped.defined() ? inputs.dropped : routing.dropped();
  std::vector<Tensor> parts = {routing.counts_E().to(at::kDouble),
                               dropped.to(at::kDouble).reshape({1}), tokens_of(routing)};
  for (const auto& [name, coefficient, term] : terms)
    parts.push_back(term->sums(inputs).to(at::kDouble));
  if (routing.record_R.defined()) parts.push_back(routing.record_R);
  if (inputs.rows_X2.defined()) parts.push_back(inputs.rows_X2.to(parts.front().options()));
  const Tensor mine = at::cat(parts);

  Tensor all = mine;
  if (group.size() > 1) {
    Tensor total = mine.detach().clone();
    group.all_reduce(total);
    // The value is global, the gradient local.
    all = mine + (total - mine.detach());
  }

  BalanceReport report;
  report.load_E = all.slice(0, 0, E).detach();
  report.dropped = all.select(0, E).detach();
  report.tokens = all.select(0, E + 1).detach();
  int64_t begin = E + 2;
  for (size_t i = 0; i < terms.size(); ++i) {
    const int64_t length = parts[i + 3].size(0);
    const Tensor sums = all.slice(0, begin, begin + length);
    const bool adds = terms[i].term->over_step();
    const Tensor value = terms[i].term->value(
        adds ? over_step(sums, report.tokens, inputs.context.sums_so_far, i) : sums,
        inputs.context);
    report.terms.push_back(
        {terms[i].name, terms[i].coefficient, value, adds ? sums.detach() : Tensor()});
    begin += length;
  }
  if (routing.record_R.defined()) {
    const int64_t length = routing.record_R.size(0);
    report.record_R = all.slice(0, begin, begin + length).detach();
    begin += length;
  }
  if (inputs.rows_X2.defined()) report.rows_X2 = all.slice(0, begin).detach();
  return report;
}

}  // namespace moe::balance
