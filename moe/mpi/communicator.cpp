// W ranks.

#include <algorithm>
#include <map>

#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/mpi/communicator.h>
#include <moe/mpi/operation.h>

namespace moe::parallel {

namespace {

/// A collective under way. Dropped without wait, it stays with the world until it is done.
class UnderWay final : public Started::Work {
 public:
  UnderWay(std::shared_ptr<MpiWorld> world, std::shared_ptr<Operation> operation)
      : world_(std::move(world)), operation_(std::move(operation)) {}

  Tensor wait() override {
    world_->wait(operation_);
    return operation_->result();
  }

 private:
  const std::shared_ptr<MpiWorld> world_;
  const std::shared_ptr<Operation> operation_;
};

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(std::shared_ptr<MpiGroup> group) : group_(std::move(group)) {
    std::map<int64_t, int64_t> numbers;
    for (const int64_t member : group_->members)
      machines_.push_back(
          numbers.emplace(group_->world->machine_of(member), numbers.size()).first->second);
  }

  int64_t rank() const override { return group_->rank; }
  int64_t size() const override { return group_->size(); }
  int64_t machine(int64_t rank) const override { return machines_.at(static_cast<size_t>(rank)); }

  void all_reduce(Tensor& values, Reduce reduce) override {
    now({.what = Collective::kAllReduce, .reduce = reduce, .tensor = values});
  }

  Tensor reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                          Reduce reduce) override {
    return now({.what = Collective::kReduceScatter,
                .reduce = reduce,
                .tensor = rows,
                .send = counts})
        ->result();
  }

  Tensor all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                      const std::vector<int64_t>& receive) override {
    return now({.what = Collective::kAllToAll, .tensor = rows, .send = send, .receive = receive})
        ->result();
  }

  Tensor all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    return now({.what = Collective::kAllGather, .tensor = rows, .receive = counts})->result();
  }

  void broadcast(Tensor& values, int64_t root) override {
    now({.what = Collective::kBroadcast, .tensor = values, .root = root});
  }

  void barrier() override { now({.what = Collective::kBarrier}); }

  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override {
    const auto done = now({.what = Collective::kSplit, .color = color, .key = key});
    const auto& headers = done->headers();
    auto made = std::make_shared<MpiGroup>();
    made->world = group_->world;
    std::vector<int64_t> ranks;  // of this group
    for (int64_t w = 0; w < size(); ++w) {
      const Header& header = headers[static_cast<size_t>(w)];
      made->number = std::max(made->number, header.group + 1);
      if (header.color == color) ranks.push_back(w);
    }
    std::ranges::stable_sort(ranks, {}, [&](int64_t w) { return headers[w].key; });
    for (size_t r = 0; r < ranks.size(); ++r) {
      made->members.push_back(group_->members[ranks[r]]);
      if (ranks[r] == rank()) made->rank = static_cast<int64_t>(r);
    }
    check(3 * made->number + 2 <= group_->world->tag_limit(), "parallel/mpi", "expected at most ",
          group_->world->tag_limit() / 3, " groups of ranks in a run, got ", made->number,
          ". Keep groups instead of splitting anew.");
    {
      const std::lock_guard lock(group_->world->mutex);
      group_->world->groups = std::max(group_->world->groups, made->number);
    }
    return communicator_of(std::move(made));
  }

  Started start_all_reduce(Tensor values, Reduce reduce) override {
    return later({.what = Collective::kAllReduce, .reduce = reduce, .tensor = std::move(values)});
  }

  Started start_reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                                 Reduce reduce) override {
    return later(
        {.what = Collective::kReduceScatter, .reduce = reduce, .tensor = rows, .send = counts});
  }

  Started start_all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                             const std::vector<int64_t>& receive) override {
    return later({.what = Collective::kAllToAll, .tensor = rows, .send = send, .receive = receive});
  }

  Started start_all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    return later({.what = Collective::kAllGather, .tensor = rows, .receive = counts});
  }

 private:
  std::shared_ptr<Operation> start(Call call) {
    const at::NoGradGuard no_grad;
    auto operation = std::make_shared<Operation>(group_, std::move(call));
    group_->world->start(operation);
    return operation;
  }

  std::shared_ptr<Operation> now(Call call) {
    auto operation = start(std::move(call));
    group_->world->wait(operation);
    operation->result();  // throws what was wrong
    return operation;
  }

  Started later(Call call) {
    call.started = true;
    return Started(std::make_unique<UnderWay>(group_->world, start(std::move(call))));
  }

  const std::shared_ptr<MpiGroup> group_;
  std::vector<int64_t> machines_;
};

}  // namespace

std::shared_ptr<Communicator> communicator_of(std::shared_ptr<MpiGroup> group) {
  return std::make_shared<MpiCommunicator>(std::move(group));
}

}  // namespace moe::parallel
