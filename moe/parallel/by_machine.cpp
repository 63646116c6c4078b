// W ranks, M machines, S ranks of the group on each, R rows.

#include <algorithm>
#include <deque>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/parallel/arguments.h>
#include <moe/parallel/by_machine.h>

namespace moe::parallel {

namespace {

constexpr std::string_view kByMachine = "parallel/by_machine";

using Counts = std::vector<int64_t>;

/// Where the ranks of a group stand.
struct Places {
  int64_t machines = 0, each = 0;
  Counts rank_MS;  // the rank of place s on machine m, at m S + s

  explicit Places(const Communicator& group) {
    std::vector<Counts> ranks_of;
    for (int64_t w = 0; w < group.size(); ++w) {
      const auto machine = static_cast<size_t>(group.machine(w));
      if (machine >= ranks_of.size()) ranks_of.resize(machine + 1);
      ranks_of[machine].push_back(w);
    }
    machines = static_cast<int64_t>(ranks_of.size());
    each = static_cast<int64_t>(ranks_of.front().size());
    for (const auto& ranks : ranks_of) {
      check<ConfigError>(static_cast<int64_t>(ranks.size()) == each, kByMachine,
                         "expected as many of the ranks that share experts on each machine, got ",
                         each, " on the first and ", ranks.size(),
                         " on another. Set parallel.route = \"direct\", or start as many ranks on "
                         "each.");
      rank_MS.insert(rank_MS.end(), ranks.begin(), ranks.end());
    }
  }

  size_t rank(int64_t machine, int64_t place) const {
    return static_cast<size_t>(rank_MS[static_cast<size_t>(machine * each + place)]);
  }
};

/// Blocks of rows behind one another, in another order: first those of `order[0]`.
Tensor reordered(const Tensor& rows, const Counts& sizes, const std::vector<size_t>& order) {
  if (std::ranges::is_sorted(order)) return rows;
  const auto blocks = rows.split_with_sizes(sizes);
  std::vector<Tensor> out;
  for (const size_t block : order) out.push_back(blocks[block]);
  return at::cat(out);
}

/// What all exchanges of one rank share.
struct Station {
  class Trip;

  Station(std::shared_ptr<Communicator> all, Places where)
      : group(std::move(all)), places(std::move(where)) {
    const auto mine = std::ranges::find(places.rank_MS, group->rank()) - places.rank_MS.begin();
    inside = group->split(mine / places.each, mine % places.each);
    between = group->split(mine % places.each, mine / places.each);
  }

  /// Sends all that is still inside its machine on its way between machines.
  void set_off();

  std::shared_ptr<Communicator> group;
  Places places;
  std::shared_ptr<Communicator> inside, between;
  std::deque<std::shared_ptr<Trip>> within;  // in the order of their start
};

/// One exchange.
class Station::Trip {
 public:
  Trip(Station& station, const Tensor& rows, const Counts& send, Counts receive)
      : receive_(std::move(receive)) {
    const auto [M, S] = std::pair(station.places.machines, station.places.each);
    check_rows(kByMachine, rows);
    check_counts(kByMachine, "send", send, M * S);
    check_counts(kByMachine, "receive", receive_, M * S);
    check_sum(kByMachine, "send", send, rows.size(0));
    // By receiving place, then machine.
    Counts send_S(static_cast<size_t>(S)), counts_SM;
    std::vector<size_t> order;
    for (int64_t s = 0; s < S; ++s)
      for (int64_t m = 0; m < M; ++m) {
        order.push_back(station.places.rank(m, s));
        counts_SM.push_back(send[order.back()]);
        send_S[static_cast<size_t>(s)] += counts_SM.back();
      }
    // What passes through here: from each place of this machine for each machine.
    const Counts ones(static_cast<size_t>(S), 1);
    const Tensor through_SM = station.inside->all_to_all_v(
        at::tensor(counts_SM, at::kLong).view({S, M}).to(rows.device()), ones, ones);
    const Tensor here_SM = through_SM.to(at::kCPU).contiguous();
    through_SM_.assign(here_SM.const_data_ptr<int64_t>(),
                       here_SM.const_data_ptr<int64_t>() + M * S);
    Counts receive_S(static_cast<size_t>(S));
    for (size_t i = 0; i < through_SM_.size(); ++i)
      receive_S[i / static_cast<size_t>(M)] += through_SM_[i];
    inside_ = station.inside->start_all_to_all_v(reordered(rows, send, order).contiguous(), send_S,
                                                 receive_S);
  }

  void set_off(Station& station) {
    const auto [M, S] = std::pair(station.places.machines, station.places.each);
    Counts send_M(static_cast<size_t>(M)), receive_M(static_cast<size_t>(M));
    std::vector<size_t> order;
    for (int64_t m = 0; m < M; ++m)
      for (int64_t s = 0; s < S; ++s) {
        order.push_back(static_cast<size_t>(s * M + m));
        send_M[static_cast<size_t>(m)] += through_SM_[order.back()];
        receive_M[static_cast<size_t>(m)] += receive_[station.places.rank(m, s)];
      }
    between_ = station.between->start_all_to_all_v(
        reordered(inside_.wait(), through_SM_, order).contiguous(), send_M, receive_M);
  }

  /// By sending rank.
  Tensor arrive(const Station& station) {
    const auto& rank_MS = station.places.rank_MS;
    Counts sizes;
    std::vector<size_t> order(rank_MS.size());
    for (size_t i = 0; i < rank_MS.size(); ++i) {
      sizes.push_back(receive_[static_cast<size_t>(rank_MS[i])]);
      order[static_cast<size_t>(rank_MS[i])] = i;
    }
    return reordered(between_.wait(), sizes, order);
  }

 private:
  Counts receive_, through_SM_;
  Started inside_, between_;
};

void Station::set_off() {
  const at::NoGradGuard no_grad;
  while (!within.empty()) {
    const auto trip = within.front();
    within.pop_front();
    trip->set_off(*this);
  }
}

class TripUnderWay final : public Started::Work {
 public:
  TripUnderWay(std::shared_ptr<Station> station, std::shared_ptr<Station::Trip> trip)
      : station_(std::move(station)), trip_(std::move(trip)) {}
  TripUnderWay(const TripUnderWay&) = delete;
  TripUnderWay& operator=(const TripUnderWay&) = delete;
  ~TripUnderWay() override {
    if (waited_) return;
    try {
      station_->set_off();             // the others need this rank's part
    } catch (const std::exception&) {  // told by the next call
    }
  }

  Tensor wait() override {
    waited_ = true;
    station_->set_off();
    const at::NoGradGuard no_grad;
    return trip_->arrive(*station_);
  }

 private:
  const std::shared_ptr<Station> station_;
  const std::shared_ptr<Station::Trip> trip_;
  bool waited_ = false;
};

class ByMachine final : public Communicator {
 public:
  explicit ByMachine(std::shared_ptr<Station> station) : station_(std::move(station)) {}

  int64_t rank() const override { return group().rank(); }
  int64_t size() const override { return group().size(); }
  int64_t machine(int64_t rank) const override { return group().machine(rank); }

  Tensor all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                      const std::vector<int64_t>& receive) override {
    return start_all_to_all_v(rows, send, receive).wait();
  }
  Started start_all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                             const std::vector<int64_t>& receive) override {
    const at::NoGradGuard no_grad;
    auto trip = std::make_shared<Station::Trip>(*station_, rows.detach(), send, receive);
    station_->within.push_back(trip);
    return Started(std::make_unique<TripUnderWay>(station_, std::move(trip)));
  }

  void all_reduce(Tensor& values, Reduce reduce) override { group().all_reduce(values, reduce); }
  Tensor reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                          Reduce reduce) override {
    return group().reduce_scatter_v(rows, counts, reduce);
  }
  Tensor all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    return group().all_gather_v(rows, counts);
  }
  void broadcast(Tensor& values, int64_t root) override { group().broadcast(values, root); }
  void barrier() override { group().barrier(); }
  std::shared_ptr<Communicator> split(int64_t color, int64_t key) override {
    return group().split(color, key);
  }
  Started start_all_reduce(Tensor values, Reduce reduce) override {
    return group().start_all_reduce(std::move(values), reduce);
  }
  Started start_reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                                 Reduce reduce) override {
    return group().start_reduce_scatter_v(rows, counts, reduce);
  }
  Started start_all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    return group().start_all_gather_v(rows, counts);
  }

 private:
  Communicator& group() const { return *station_->group; }

  const std::shared_ptr<Station> station_;
};

}  // namespace

std::shared_ptr<Communicator> by_machine(std::shared_ptr<Communicator> group) {
  check<ConfigError>(group != nullptr, kByMachine,
                     "expected a group, got none. Pass parallel::local() for one rank.");
  Places places(*group);
  if (places.machines == 1 || places.each == 1) return group;
  return std::make_shared<ByMachine>(
      std::make_shared<Station>(std::move(group), std::move(places)));
}

}  // namespace moe::parallel
