// R rows, W ranks.

#include <algorithm>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/maximum.h>

#include <moe/base/error.h>
#include <moe/parallel/arguments.h>
#include <moe/parallel/meeting.h>
#include <moe/parallel/threads.h>

#if __has_include(<omp.h>)
#include <omp.h>
#else  // The header belongs to the compiler (Debian's clang comes without), the function to
       // libtorch.
extern "C" void omp_set_num_threads(int threads);
#endif

namespace moe::parallel {

namespace {

using Offers = std::vector<Offer>;

constexpr int64_t kMostRanks = 1024;

std::string place_of(size_t rank) {
  return concat("parallel/threads, rank ", rank);
}

/// Tensors of one dtype whose sizes agree from dimension `first` on.
void check_alike(const Offers& offers, int64_t first) {
  const Tensor& model = offers[0].tensor;
  for (size_t w = 1; w < offers.size(); ++w) {
    const Tensor& tensor = offers[w].tensor;
    const bool alike = tensor.scalar_type() == model.scalar_type() && tensor.dim() == model.dim() &&
                       tensor.sizes().slice(first) == model.sizes().slice(first);
    if (alike) continue;
    fail(place_of(w), "expected ", offers[0].call, " of ",
         first > 0 ? "rows with the trailing sizes and dtype" : "the sizes and dtype",
         " of rank 0, ", model.scalar_type(), ' ', model.sizes(), ", got ", tensor.scalar_type(),
         ' ', tensor.sizes(), ". Give all ranks tensors of one kind.");
  }
}

void check_all_values(const Offers& offers) {
  for (size_t w = 0; w < offers.size(); ++w) check_values(place_of(w), offers[w].tensor);
  check_alike(offers, 0);
}

void check_exchange(const Offers& offers) {
  const auto W = static_cast<int64_t>(offers.size());
  for (int64_t w = 0; w < W; ++w) {
    const std::string place = place_of(w);
    check_rows(place, offers[w].tensor);
    check_counts(place, "send", offers[w].send, W);
    check_counts(place, "receive", offers[w].receive, W);
    check_sum(place, offers[w].send, offers[w].tensor.size(0));
  }
  check_alike(offers, 1);
  for (int64_t w = 0; w < W; ++w)
    for (int64_t from = 0; from < W; ++from)
      if (offers[w].receive[from] != offers[from].send[w])
        fail(place_of(w), "expected to receive ", offers[w].receive[from], " rows from rank ", from,
             ", got ", offers[from].send[w], ". Make the counts to send and to receive agree.");
}

void check_gather(const Offers& offers) {
  const auto W = static_cast<int64_t>(offers.size());
  for (int64_t w = 0; w < W; ++w) {
    const std::string place = place_of(w);
    check_rows(place, offers[w].tensor);
    check_counts(place, "gather", offers[w].receive, W);
  }
  check_alike(offers, 1);
  for (int64_t w = 0; w < W; ++w)
    for (int64_t from = 0; from < W; ++from)
      if (offers[w].receive[from] != offers[from].tensor.size(0))
        fail(place_of(w), "expected ", offers[w].receive[from], " rows from rank ", from, ", got ",
             offers[from].tensor.size(0), ". Make the counts and the rows agree.");
}

void check_same_root(const Offers& offers) {
  const auto W = static_cast<int64_t>(offers.size());
  for (int64_t w = 0; w < W; ++w) {
    const std::string place = place_of(w);
    check_root(place, offers[w].root, W);
    check(offers[w].root == offers[0].root, place, "expected the root of rank 0, ", offers[0].root,
          ", got ", offers[w].root, ". Name the same root on all ranks.");
  }
}

/// The reduction in rank order, so that every rank gets the same bits. Every rank computes all of
/// it: that costs W reads instead of 2, and saves a third meeting.
Tensor reduced(const Offers& offers, Reduce reduce) {
  const auto dtype = offers[0].tensor.scalar_type();
  check(dtype != at::kBool || reduce == Reduce::kMax, "parallel/threads",
        "expected numbers to add, got bool. Convert to an integer type, or reduce by maximum.");
  Tensor total = offers[0].tensor.to(c10::isReducedFloatingType(dtype) ? at::kFloat : dtype,
                                     /*non_blocking=*/false, /*copy=*/true);
  for (size_t w = 1; w < offers.size(); ++w) {
    if (reduce == Reduce::kSum) {
      total.add_(offers[w].tensor);
    } else {
      total = at::maximum(total, offers[w].tensor.to(total.scalar_type()));
    }
  }
  return total.to(dtype);
}

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Meeting> meeting, int64_t rank)
      : meeting_(std::move(meeting)), rank_(rank) {}

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return meeting_->size(); }

  void all_reduce(Tensor& values, Reduce reduce) override {
    const at::NoGradGuard no_grad;
    Tensor result;
    const auto* call = reduce == Reduce::kSum ? "all_reduce (sum)" : "all_reduce (max)";
    meeting_->hold(rank_, {.call = call, .tensor = values}, [&](const Offers& offers) {
      check_all_values(offers);
      result = reduced(offers, reduce);
    });
    values.copy_(result);
  }

  Tensor all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                      const std::vector<int64_t>& receive) override {
    const at::NoGradGuard no_grad;
    Tensor result;
    Offer offer{.call = "all_to_all_v", .tensor = rows, .send = send, .receive = receive};
    meeting_->hold(rank_, std::move(offer), [&](const Offers& offers) {
      check_exchange(offers);
      std::vector<Tensor> parts;
      for (const Offer& from : offers) {
        const auto begin =
            std::accumulate(from.send.begin(), from.send.begin() + rank_, int64_t{0});
        parts.push_back(from.tensor.narrow(0, begin, from.send[rank_]));
      }
      result = at::cat(parts);
    });
    return result;
  }

  Tensor all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    const at::NoGradGuard no_grad;
    Tensor result;
    Offer offer{.call = "all_gather_v", .tensor = rows, .receive = counts};
    meeting_->hold(rank_, std::move(offer), [&](const Offers& offers) {
      check_gather(offers);
      std::vector<Tensor> parts;
      for (const Offer& from : offers) parts.push_back(from.tensor);
      result = at::cat(parts);
    });
    return result;
  }

  void broadcast(Tensor& values, int64_t root) override {
    const at::NoGradGuard no_grad;
    Tensor received;
    meeting_->hold(rank_, {.call = "broadcast", .tensor = values, .root = root},
                   [&](const Offers& offers) {
                     check_same_root(offers);
                     check_all_values(offers);
                     if (rank_ != root) received = offers[root].tensor.clone();
                   });
    if (received.defined()) values.copy_(received);
  }

  void barrier() override {
    meeting_->hold(rank_, {.call = "barrier"}, [](const Offers&) {});
  }

  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override {
    std::shared_ptr<Communicator> result;
    meeting_->hold(rank_, {.call = "split", .color = color, .key = key}, [&](const Offers& offers) {
      std::vector<int64_t> members;
      for (int64_t w = 0; w < size(); ++w)
        if (offers[w].color == color) members.push_back(w);
      std::stable_sort(members.begin(), members.end(),
                       [&](int64_t a, int64_t b) { return offers[a].key < offers[b].key; });
      const auto mine = std::find(members.begin(), members.end(), rank_) - members.begin();
      result = std::make_shared<ThreadCommunicator>(meeting_->subgroup(color, members), mine);
    });
    return result;
  }

 private:
  const std::shared_ptr<Meeting> meeting_;
  const int64_t rank_;
};

}  // namespace

ThreadGroup::ThreadGroup(int64_t ranks) {
  check<ConfigError>(ranks >= 1 && ranks <= kMostRanks, "parallel/threads",
                     "expected ranks in [1, ", kMostRanks, "], got ", ranks,
                     ". Use at most one rank for each core.");
  std::vector<int64_t> members(ranks);
  std::iota(members.begin(), members.end(), 0);
  world_ = std::make_shared<World>(ranks);
  meeting_ = std::make_shared<Meeting>(world_, std::move(members));
}

std::shared_ptr<Communicator> ThreadGroup::communicator(int64_t rank) const {
  check(rank >= 0 && rank < meeting_->size(), "parallel/threads", "expected rank in [0, ",
        meeting_->size(), "), got ", rank, ". Name a rank of this group.");
  return std::make_shared<ThreadCommunicator>(meeting_, rank);
}

void ThreadGroup::leave(int64_t rank) {
  std::lock_guard lock(world_->mutex);
  // The first failure stays the reported cause.
  if (world_->failure.empty()) world_->left.push_back(rank);
  world_->detect_standstill();
  world_->changed.notify_all();
}

void ThreadGroup::fail(int64_t rank, const std::string& reason) {
  std::lock_guard lock(world_->mutex);
  if (world_->failure.empty()) world_->failure = concat("rank ", rank, " failed: ", reason);
  world_->changed.notify_all();
}

void run_ranks(int64_t ranks, const std::function<void(std::shared_ptr<Communicator>)>& function) {
  ThreadGroup group(ranks);
  const int share = static_cast<int>(std::max<int64_t>(1, at::get_num_threads() / ranks));
  std::mutex mutex;
  std::exception_ptr first;

  // Records before it wakes the others, whose errors are only the consequence.
  const auto failed = [&](int64_t rank, std::exception_ptr problem, const char* reason) {
    {
      std::lock_guard lock(mutex);
      if (!first) first = std::move(problem);
    }
    group.fail(rank, reason);
  };
  const auto body = [&](int64_t rank) {
    at::get_num_threads();  // libtorch sets a new thread's count at first use; ours has to come
                            // after
    omp_set_num_threads(share);
    try {
      function(group.communicator(rank));
      group.leave(rank);
    } catch (const std::exception& problem) {
      failed(rank, std::current_exception(), problem.what());
    } catch (...) {
      failed(rank, std::current_exception(), "an exception of unknown type");
    }
  };

  std::vector<std::jthread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    try {
      threads.emplace_back(body, rank);
    } catch (const std::system_error& problem) {
      failed(rank, std::current_exception(), problem.what());
      break;
    }
  }
  threads.clear();  // joins
  if (first) std::rethrow_exception(first);
}

}  // namespace moe::parallel
