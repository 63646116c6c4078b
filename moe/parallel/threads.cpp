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

#include <moe/base/error.h>
#include <moe/parallel/arguments.h>
#include <moe/parallel/meeting.h>
#include <moe/parallel/reduced.h>
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
void check_all_alike(const Offers& offers, size_t first) {
  const auto model = TensorKind::of(offers[0].tensor);
  for (size_t w = 1; w < offers.size(); ++w)
    check_alike(place_of(w), offers[0].call, model, TensorKind::of(offers[w].tensor), first);
}

void check_all_values(const Offers& offers) {
  for (size_t w = 0; w < offers.size(); ++w) check_values(place_of(w), offers[w].tensor);
  check_all_alike(offers, 0);
}

void check_exchange(const Offers& offers) {
  const auto W = static_cast<int64_t>(offers.size());
  for (int64_t w = 0; w < W; ++w) {
    const std::string place = place_of(w);
    check_rows(place, offers[w].tensor);
    check_counts(place, "send", offers[w].send, W);
    check_counts(place, "receive", offers[w].receive, W);
    check_sum(place, "send", offers[w].send, offers[w].tensor.size(0));
  }
  check_all_alike(offers, 1);
  for (int64_t w = 0; w < W; ++w)
    for (int64_t from = 0; from < W; ++from)
      check_received(place_of(w), offers[w].receive[from], from, offers[from].send[w]);
}

void check_gather(const Offers& offers) {
  const auto W = static_cast<int64_t>(offers.size());
  for (int64_t w = 0; w < W; ++w) {
    const std::string place = place_of(w);
    check_rows(place, offers[w].tensor);
    check_counts(place, "gather", offers[w].receive, W);
  }
  check_all_alike(offers, 1);
  for (int64_t w = 0; w < W; ++w)
    for (int64_t from = 0; from < W; ++from)
      check_gathered(place_of(w), offers[w].receive[from], from, offers[from].tensor.size(0));
}

void check_scatter(const Offers& offers) {
  const auto W = static_cast<int64_t>(offers.size());
  for (int64_t w = 0; w < W; ++w) {
    const std::string place = place_of(w);
    check_rows(place, offers[w].tensor);
    check_counts(place, "scatter", offers[w].send, W);
    check_sum(place, "scatter", offers[w].send, offers[w].tensor.size(0));
  }
  check_all_alike(offers, 0);
  for (int64_t w = 0; w < W; ++w)
    check_same_counts(place_of(w), offers[0].send, offers[w].send);
}

void check_roots(const Offers& offers) {
  const auto W = static_cast<int64_t>(offers.size());
  for (int64_t w = 0; w < W; ++w) {
    check_root(place_of(w), offers[w].root, W);
    check_same_root(place_of(w), offers[0].root, offers[w].root);
  }
}

std::vector<Tensor> tensors_of(const Offers& offers) {
  std::vector<Tensor> out;
  for (const Offer& offer : offers) out.push_back(offer.tensor);
  return out;
}

int64_t sum_before(const std::vector<int64_t>& counts, int64_t rank) {
  return std::accumulate(counts.begin(), counts.begin() + rank, int64_t{0});
}

/// What a rank makes of all offers.
using Result = std::function<Tensor(const Offers&)>;

/// A collective that a rank has laid down its part of.
class Laid final : public Started::Work {
 public:
  Laid(std::shared_ptr<Meeting> meeting, int64_t rank, Offer offer, Result result)
      : meeting_(std::move(meeting)), rank_(rank), result_(std::move(result)) {
    // A copy: the other ranks read it when they get to it, which may be after this rank's wait.
    const at::NoGradGuard no_grad;
    if (offer.tensor.defined()) offer.tensor = offer.tensor.detach().clone();
    number_ = meeting_->lay(rank_, std::move(offer));
  }
  Laid(const Laid&) = delete;
  Laid& operator=(const Laid&) = delete;
  ~Laid() override {
    if (!waited_) meeting_->drop(number_);
  }

  Tensor wait() override {
    const at::NoGradGuard no_grad;
    waited_ = true;
    Tensor out;
    meeting_->join(rank_, number_, [&](const Offers& offers) { out = result_(offers); });
    return out;
  }

 private:
  const std::shared_ptr<Meeting> meeting_;
  const int64_t rank_;
  const Result result_;
  int64_t number_ = 0;
  bool waited_ = false;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Meeting> meeting, int64_t rank)
      : meeting_(std::move(meeting)), rank_(rank) {}

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return meeting_->size(); }

  void all_reduce(Tensor& values, Reduce reduce) override {
    const char* const call = reduce == Reduce::kSum ? "all_reduce (sum)" : "all_reduce (max)";
    const Tensor result = now({.call = call, .tensor = values}, all_reduced(reduce));
    const at::NoGradGuard no_grad;
    values.copy_(result);
  }

  Tensor reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                          Reduce reduce) override {
    const char* const call =
        reduce == Reduce::kSum ? "reduce_scatter_v (sum)" : "reduce_scatter_v (max)";
    return now({.call = call, .tensor = rows, .send = counts}, scattered(reduce));
  }

  Tensor all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                      const std::vector<int64_t>& receive) override {
    return now({.call = "all_to_all_v", .tensor = rows, .send = send, .receive = receive},
               exchanged());
  }

  Tensor all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    return now({.call = "all_gather_v", .tensor = rows, .receive = counts}, gathered());
  }

  void broadcast(Tensor& values, int64_t root) override {
    const Tensor received =
        now({.call = "broadcast", .tensor = values, .root = root}, [&](const Offers& offers) {
          check_roots(offers);
          check_all_values(offers);
          return rank_ == root ? Tensor() : offers[root].tensor.clone();
        });
    const at::NoGradGuard no_grad;
    if (received.defined()) values.copy_(received);
  }

  void barrier() override {
    now({.call = "barrier"}, [](const Offers&) { return Tensor(); });
  }

  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override {
    std::shared_ptr<Communicator> result;
    const int64_t number = meeting_->lay(rank_, {.call = "split", .color = color, .key = key});
    meeting_->join(rank_, number, [&](const Offers& offers) {
      std::vector<int64_t> members;
      for (int64_t w = 0; w < size(); ++w)
        if (offers[w].color == color) members.push_back(w);
      std::stable_sort(members.begin(), members.end(),
                       [&](int64_t a, int64_t b) { return offers[a].key < offers[b].key; });
      const auto mine = std::find(members.begin(), members.end(), rank_) - members.begin();
      result = std::make_shared<ThreadCommunicator>(meeting_->subgroup(number, color, members),
                                                    mine);
    });
    return result;
  }

  Started start_all_reduce(Tensor values, Reduce reduce) override {
    const char* const call =
        reduce == Reduce::kSum ? "start_all_reduce (sum)" : "start_all_reduce (max)";
    return later({.call = call, .tensor = values},
                 [values, result = all_reduced(reduce)](const Offers& offers) {
                   Tensor in_place = values;
                   return in_place.copy_(result(offers));
                 });
  }

  Started start_reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                                 Reduce reduce) override {
    const char* const call =
        reduce == Reduce::kSum ? "start_reduce_scatter_v (sum)" : "start_reduce_scatter_v (max)";
    return later({.call = call, .tensor = rows, .send = counts}, scattered(reduce));
  }

  Started start_all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                             const std::vector<int64_t>& receive) override {
    return later({.call = "start_all_to_all_v", .tensor = rows, .send = send, .receive = receive},
                 exchanged());
  }

  Started start_all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    return later({.call = "start_all_gather_v", .tensor = rows, .receive = counts}, gathered());
  }

 private:
  Tensor now(Offer offer, const Result& result) {
    const at::NoGradGuard no_grad;
    Tensor out;
    meeting_->hold(rank_, std::move(offer), [&](const Offers& offers) { out = result(offers); });
    return out;
  }

  Started later(Offer offer, Result result) {
    return Started(
        std::make_unique<Laid>(meeting_, rank_, std::move(offer), std::move(result)));
  }

  /// Every rank computes all of it: that costs W reads instead of 2, and saves a third meeting.
  static Result all_reduced(Reduce reduce) {
    return [reduce](const Offers& offers) {
      check_all_values(offers);
      return reduced("parallel/threads", tensors_of(offers), reduce);
    };
  }

  Result scattered(Reduce reduce) const {
    return [reduce, rank = rank_](const Offers& offers) {
      check_scatter(offers);
      const auto& counts = offers[rank].send;
      std::vector<Tensor> parts;
      for (const Tensor& rows : tensors_of(offers))
        parts.push_back(rows.narrow(0, sum_before(counts, rank), counts[rank]));
      return reduced("parallel/threads", parts, reduce);
    };
  }

  Result exchanged() const {
    return [rank = rank_](const Offers& offers) {
      check_exchange(offers);
      std::vector<Tensor> parts;
      for (const Offer& from : offers)
        parts.push_back(from.tensor.narrow(0, sum_before(from.send, rank), from.send[rank]));
      return at::cat(parts);
    };
  }

  static Result gathered() {
    return [](const Offers& offers) {
      check_gather(offers);
      return at::cat(tensors_of(offers));
    };
  }

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
