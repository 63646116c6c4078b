// What is wrong with a collective: with one rank's arguments, and with those of all together. W
// ranks.

#include <algorithm>

#include <moe/base/error.h>
#include <moe/mpi/operation.h>
#include <moe/parallel/arguments.h>

namespace moe::parallel {

void Operation::check_here() const {
  const std::string here = place(group_->rank);
  const auto W = static_cast<int64_t>(ranks());
  const Tensor& tensor = call_.tensor;
  if (!call_.has_tensor()) return;
  if (call_.what == Collective::kAllReduce || call_.what == Collective::kBroadcast)
    check_values(here, tensor);
  else
    check_rows(here, tensor);
  check(tensor.is_cpu(), here, "expected a tensor on the processor, got one on ", tensor.device(),
        ": this backend hands MPI no device buffers. Move it to the CPU.");
  check(tensor.dim() <= Header::kMostDimensions, here, "expected at most ", Header::kMostDimensions,
        " dimensions, got ", tensor.dim(), ". Flatten some.");
  switch (call_.what) {
    case Collective::kAllToAll:
      check_counts(here, "send", call_.send, W);
      check_counts(here, "receive", call_.receive, W);
      check_sum(here, "send", call_.send, tensor.size(0));
      break;
    case Collective::kAllGather:
      check_counts(here, "gather", call_.receive, W);
      break;
    case Collective::kReduceScatter:
      check_counts(here, "scatter", call_.send, W);
      check_sum(here, "scatter", call_.send, tensor.size(0));
      break;
    case Collective::kBroadcast:
      check_root(here, call_.root, W);
      break;
    default:
      break;
  }
  if (call_.reduces()) check_adds(here, tensor.scalar_type(), call_.reduce == Reduce::kSum);
}

void Operation::check_counts_agree() const {
  uint64_t sent = 0, expected = 0;
  const auto me = static_cast<size_t>(group_->rank);
  const bool gather = call_.what == Collective::kAllGather;
  const auto compare = [&](int64_t to, int64_t wanted, int64_t from, int64_t came) {
    (gather ? check_gathered : check_received)(place(to), wanted, from, came);
  };
  for (size_t w = 0; w < ranks(); ++w) {
    const auto r = static_cast<int64_t>(w);
    compare(group_->rank, call_.receive[w], r, headers_[w].to_you);
    const int64_t to_them = gather ? call_.tensor.size(0) : call_.send[w];
    compare(r, headers_[w].from_you, static_cast<int64_t>(me), to_them);
    sent += headers_[w].all_sent;
    expected += headers_[w].all_expected;
  }
  check(sent == expected, place(group_->rank), "expected ", name(),
        " with counts that agree, got some of two other ranks that do not. Make the counts to send "
        "and to receive agree.");
}

void Operation::check_all() const {
  const bool same = std::ranges::all_of(headers_, [&](const Header& header) {
    return header.what == headers_[0].what && header.sequence == headers_[0].sequence;
  });
  if (!same) {
    std::vector<std::string> calls;
    for (const Header& header : headers_) calls.push_back(name_of(header.what));
    fail_calls(place(group_->rank), calls);
  }
  const size_t room = received_headers_.size() / ranks();
  for (size_t w = 0; w < ranks(); ++w) {
    if (headers_[w].refused == 0) continue;
    const auto* text =
        reinterpret_cast<const char*>(received_headers_.data()) + w * room + sizeof(Header);
    throw Error(std::string_view(text, static_cast<size_t>(headers_[w].behind)));
  }
  if (!call_.has_tensor()) return;
  const bool whole = call_.reduces() || call_.what == Collective::kBroadcast;
  for (size_t w = 1; w < ranks(); ++w)
    check_alike(place(static_cast<int64_t>(w)), name(), kind_of(headers_[0]), kind_of(headers_[w]),
                whole ? 0 : 1);
  for (size_t w = 1; w < ranks(); ++w) {
    const std::string there = place(static_cast<int64_t>(w));
    check_same_root(there, headers_[0].root, headers_[w].root);
    check(call_.what != Collective::kReduceScatter || headers_[w].all_sent == headers_[0].all_sent,
          there, "expected the counts of rank 0, got others. Give the same counts on all ranks.");
  }
  if (call_.what == Collective::kAllToAll || call_.what == Collective::kAllGather)
    check_counts_agree();
}

}  // namespace moe::parallel
