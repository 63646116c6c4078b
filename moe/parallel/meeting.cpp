#include <algorithm>
#include <exception>

#include <moe/base/error.h>
#include <moe/parallel/arguments.h>
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
    : world_(std::move(world)), members_(std::move(members)), laid_(members_.size(), 0) {}

void Meeting::hold(int64_t rank, Offer offer, const Read& read) {
  const int64_t number = lay(rank, std::move(offer));
  std::unique_lock lock(world_->mutex);
  const auto meeting = round(number);
  await(lock, *meeting, rank);
  lock.unlock();

  // All ranks leave even when one throws.
  std::exception_ptr problem;
  bool same_call = false;
  try {
    check_same_call(*meeting);
    same_call = true;
    read(meeting->offers);
  } catch (...) {
    problem = std::current_exception();
  }

  lock.lock();
  depart(number, *meeting);
  // Offers of different calls nobody reads, and who has only started another may come late.
  if (same_call) world_->changed.wait(lock, [&] { return meeting->departed == size(); });
  if (problem) std::rethrow_exception(problem);
}

int64_t Meeting::lay(int64_t rank, Offer offer) {
  std::lock_guard lock(world_->mutex);
  const int64_t number = laid_[rank]++;
  const auto meeting = round(number);
  meeting->offers[rank].call = offer.call;
  // Nobody can be waited for any more: await tells what stands in the way.
  if (!obstacle(*meeting).empty()) return number;
  meeting->offers[rank] = std::move(offer);
  meeting->present[rank] = true;
  if (++meeting->arrived == size()) {
    world_->waiting -= meeting->blocked;
    meeting->blocked = 0;
    world_->changed.notify_all();
  }
  return number;
}

void Meeting::join(int64_t rank, int64_t number, const Read& read) {
  std::unique_lock lock(world_->mutex);
  const auto meeting = round(number);
  await(lock, *meeting, rank);
  lock.unlock();
  std::exception_ptr problem;
  try {
    check_same_call(*meeting);
    read(meeting->offers);
  } catch (...) {
    problem = std::current_exception();
  }
  lock.lock();
  depart(number, *meeting);
  if (problem) std::rethrow_exception(problem);
}

void Meeting::drop(int64_t number) {
  std::lock_guard lock(world_->mutex);
  depart(number, *round(number));
}

std::shared_ptr<Meeting::Round> Meeting::round(int64_t number) {
  auto& found = rounds_[number];
  if (!found)
    found = std::make_shared<Round>(Round{.offers = std::vector<Offer>(members_.size()),
                                          .present = std::vector<bool>(members_.size(), false)});
  return found;
}

void Meeting::await(std::unique_lock<std::mutex>& lock, Round& round, int64_t rank) {
  const auto complete = [&] { return round.arrived == size(); };
  if (complete()) return;
  std::string reason = obstacle(round);
  if (reason.empty()) {
    ++world_->waiting;
    ++round.blocked;
    world_->detect_standstill();
    world_->changed.wait(lock, [&] { return complete() || !obstacle(round).empty(); });
    if (complete()) return;
    reason = obstacle(round);
    --world_->waiting;
    --round.blocked;
  }
  // This collective failed, now or before this rank came to it: its caller takes the tensor back.
  round.offers[rank].tensor = at::Tensor();
  fail(kThreads, "rank ", members_[rank], " in ", round.offers[rank].call, ": ", reason);
}

void Meeting::depart(int64_t number, Round& round) {
  if (++round.departed < size()) return;
  std::fill(round.offers.begin(), round.offers.end(), Offer{});
  rounds_.erase(number);
  world_->changed.notify_all();
}

std::string Meeting::obstacle(const Round& round) const {
  for (const int64_t gone : world_->left) {
    const auto member = std::find(members_.begin(), members_.end(), gone);
    if (member != members_.end() && !round.present[member - members_.begin()])
      return concat("expected every rank of the group to take part, but rank ", gone,
                    " has left. Let all ranks make the same calls.");
  }
  return world_->failure;
}

void Meeting::check_same_call(const Round& round) const {
  const auto& offers = round.offers;
  const bool same = std::all_of(offers.begin(), offers.end(),
                                [&](const Offer& offer) { return offer.call == offers[0].call; });
  if (same) return;
  std::vector<std::string> calls;
  for (const Offer& offer : offers) calls.emplace_back(offer.call);
  fail_calls(kThreads, calls);
}

std::shared_ptr<Meeting> Meeting::subgroup(int64_t number, int64_t color,
                                           const std::vector<int64_t>& members) {
  std::vector<int64_t> numbers;
  for (const int64_t r : members) numbers.push_back(members_[r]);
  std::lock_guard lock(world_->mutex);
  auto& made = round(number)->subgroups[color];
  if (!made) made = std::make_shared<Meeting>(world_, std::move(numbers));
  return made;
}

}  // namespace moe::parallel
