#include <algorithm>
#include <exception>

#include <moe/base/error.h>
#include <moe/parallel/meeting.h>

namespace moe::parallel {

namespace {

constexpr std::string_view kThreads = "parallel/threads";

}  // namespace

void World::detect_standstill() {
  const bool all_wait = waiting > 0 && waiting + static_cast<int64_t>(left.size()) == ranks;
  if (!all_wait || !failure.empty()) return;
  failure = concat("expected ranks to call the same collectives in the same order, got all ",
                   waiting, " running ranks waiting for one another in different groups. ",
                   "Make every rank of a group take part in each of its collectives.");
  changed.notify_all();
}

Meeting::Meeting(std::shared_ptr<World> world, std::vector<int64_t> members)
    : world_(std::move(world)),
      members_(std::move(members)),
      offers_(members_.size()),
      present_(members_.size(), false) {}

void Meeting::hold(int64_t rank, Offer offer, const Read& read) {
  std::unique_lock lock(world_->mutex);
  arrive(lock, rank, std::move(offer));
  lock.unlock();

  // All ranks leave even when one throws.
  std::exception_ptr problem;
  try {
    check_same_call();
    read(offers_);
  } catch (...) {
    problem = std::current_exception();
  }

  lock.lock();
  depart(lock);
  if (problem) std::rethrow_exception(problem);
}

void Meeting::arrive(std::unique_lock<std::mutex>& lock, int64_t rank, Offer offer) {
  const std::string_view call = offer.call;
  const auto refuse = [&](const std::string& reason) {
    fail(kThreads, "rank ", members_[rank], " in ", call, ": ", reason);
  };
  if (const std::string reason = obstacle(); !reason.empty()) refuse(reason);
  offers_[rank] = std::move(offer);
  present_[rank] = true;
  const int64_t meeting = opened_;
  if (++arrived_ == size()) {
    world_->waiting -= size() - 1;
    arrived_ = 0;
    ++opened_;
    world_->changed.notify_all();
    return;
  }
  ++world_->waiting;
  world_->detect_standstill();
  world_->changed.wait(lock, [&] { return opened_ != meeting || !obstacle().empty(); });
  if (opened_ != meeting) return;
  // This collective failed: take back the offer.
  const std::string reason = obstacle();
  --world_->waiting;
  --arrived_;
  present_[rank] = false;
  offers_[rank] = {};
  refuse(reason);
}

void Meeting::depart(std::unique_lock<std::mutex>& lock) {
  const int64_t meeting = closed_;
  if (++departed_ == size()) {
    departed_ = 0;
    ++closed_;
    std::fill(offers_.begin(), offers_.end(), Offer{});
    std::fill(present_.begin(), present_.end(), false);
    subgroups_.clear();
    world_->changed.notify_all();
    return;
  }
  world_->changed.wait(lock, [&] { return closed_ != meeting; });
}

std::string Meeting::obstacle() const {
  for (const int64_t gone : world_->left) {
    const auto member = std::find(members_.begin(), members_.end(), gone);
    if (member != members_.end() && !present_[member - members_.begin()])
      return concat("expected every rank of the group to take part, but rank ", gone,
                    " has left. Let all ranks make the same calls.");
  }
  return world_->failure;
}

void Meeting::check_same_call() const {
  const bool same = std::all_of(offers_.begin(), offers_.end(),
                                [&](const Offer& offer) { return offer.call == offers_[0].call; });
  if (same) return;
  std::vector<std::string> calls;
  for (size_t r = 0; r < offers_.size(); ++r)
    calls.push_back(concat("rank ", r, ": ", offers_[r].call));
  fail(kThreads, "expected all ranks to call the same collective, got ", join(calls),
       ". Make the ranks' calls agree.");
}

std::shared_ptr<Meeting> Meeting::subgroup(int64_t color, const std::vector<int64_t>& members) {
  std::vector<int64_t> numbers;
  for (const int64_t r : members) numbers.push_back(members_[r]);
  std::lock_guard lock(world_->mutex);
  auto& made = subgroups_[color];
  if (!made) made = std::make_shared<Meeting>(world_, std::move(numbers));
  return made;
}

}  // namespace moe::parallel
