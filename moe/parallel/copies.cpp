// W ranks.
#include <functional>
#include <unordered_set>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/parallel/copies.h>
#include <moe/parallel/gradients.h>

namespace moe::parallel {

namespace {

/// One expert of one stack that travels from a rank to another.
struct Leg {
  const Parameter* stack = nullptr;
  int64_t expert = 0, from = 0, to = 0;

  int64_t numbers() const {
    const auto& tensor = stack->tensor;
    int64_t out = 1;
    for (int64_t d = 1; d < tensor.dim(); ++d) out *= tensor.size(d);
    return out;
  }
  int64_t row_on(int64_t rank) const { return stack->info.placement->row_of(expert, rank); }
};

/// Stacks with copies, in parts of one type whose experts travel as one message.
std::vector<std::vector<Leg>> parts_of(const Parameters& parameters, bool to_owners) {
  std::vector<std::vector<Leg>> out;
  std::unordered_set<const c10::TensorImpl*> seen;
  int64_t bytes = 0;
  for (const auto& parameter : parameters) {
    const auto& placement = parameter.info.placement;
    if (!placement || !placement->has_copies() || !parameter.tensor.requires_grad()) continue;
    if (!seen.insert(parameter.tensor.unsafeGetTensorImpl()).second) continue;
    if (out.empty() || bytes > kBucketBytes ||
        out.back().front().stack->tensor.scalar_type() != parameter.tensor.scalar_type()) {
      out.emplace_back();
      bytes = 0;
    }
    for (int64_t expert = 0; expert < placement->experts(); ++expert) {
      const auto& ranks = placement->ranks_of(expert);
      for (size_t copy = 1; copy < ranks.size(); ++copy) {
        const int64_t owner = ranks.front(), other = ranks[copy];
        out.back().push_back(
            {&parameter, expert, to_owners ? other : owner, to_owners ? owner : other});
        bytes +=
            out.back().back().numbers() * static_cast<int64_t>(parameter.tensor.element_size());
      }
    }
  }
  return out;
}

/// Sends what `packed` makes of each leg from here, (numbers + extra,), and hands what comes to
/// `take`, in the order of the sending ranks.
void travel(const std::vector<Leg>& legs, int64_t extra, Communicator& group,
            const std::function<Tensor(const Leg&)>& packed,
            const std::function<void(const Leg&, const Tensor&)>& take) {
  const auto W = static_cast<size_t>(group.size());
  std::vector<std::vector<Tensor>> parts_W(W);
  std::vector<int64_t> send_W(W, 0), receive_W(W, 0);
  for (const Leg& leg : legs) {
    const int64_t numbers = leg.numbers() + extra;
    if (leg.from == group.rank()) {
      parts_W[static_cast<size_t>(leg.to)].push_back(packed(leg));
      send_W[static_cast<size_t>(leg.to)] += numbers;
    }
    if (leg.to == group.rank()) receive_W[static_cast<size_t>(leg.from)] += numbers;
  }
  std::vector<Tensor> mine = {
      at::empty({0}, legs.front().stack->tensor.options().requires_grad(false))};
  for (auto& parts : parts_W) mine.insert(mine.end(), parts.begin(), parts.end());
  const Tensor all = group.all_to_all_v(at::cat(mine), send_W, receive_W);
  int64_t begin = 0;
  for (int64_t from = 0; from < group.size(); ++from)
    for (const Leg& leg : legs) {
      if (leg.from != from || leg.to != group.rank()) continue;
      const int64_t numbers = leg.numbers() + extra;
      take(leg, all.narrow(0, begin, numbers));
      begin += numbers;
    }
}

}  // namespace

void collect_gradients_of_copies(const Parameters& parameters, Communicator& sharers) {
  const at::NoGradGuard no_grad;
  if (sharers.size() == 1) return;
  for (const auto& legs : parts_of(parameters, /*to_owners=*/true)) {
    // Behind each gradient whether there is one.
    const auto packed = [&](const Leg& leg) {
      const Tensor& gradient = leg.stack->tensor.grad();
      Tensor out = at::zeros({leg.numbers() + 1}, leg.stack->tensor.options().requires_grad(false));
      if (!gradient.defined()) return out;
      const Tensor row = gradient.select(0, leg.row_on(leg.from));
      out.slice(0, 0, -1).copy_(row.reshape({-1}));
      out.slice(0, -1).fill_(1);
      row.zero_();
      return out;
    };
    travel(legs, 1, sharers, packed, [&](const Leg& leg, const Tensor& values) {
      if (values[-1].item<double>() == 0) return;
      Tensor tensor = leg.stack->tensor;
      if (!tensor.grad().defined()) tensor.mutable_grad() = at::zeros_like(tensor);
      const Tensor row = tensor.grad().select(0, leg.row_on(leg.to));
      row.add_(values.slice(0, 0, -1).view(row.sizes()));
    });
  }
}

void renew_copies(const Parameters& parameters, Communicator& sharers) {
  const at::NoGradGuard no_grad;
  if (sharers.size() == 1) return;
  for (const auto& legs : parts_of(parameters, /*to_owners=*/false))
    travel(
        legs, 0, sharers,
        [](const Leg& leg) {
          return leg.stack->tensor.detach().select(0, leg.row_on(leg.from)).reshape({-1});
        },
        [](const Leg& leg, const Tensor& values) {
          const Tensor row = leg.stack->tensor.detach().select(0, leg.row_on(leg.to));
          row.copy_(values.view(row.sizes()));
        });
}

}  // namespace moe::parallel
