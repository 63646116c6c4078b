// W ranks.

#include <algorithm>
#include <cstring>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <moe/base/error.h>
#include <moe/mpi/operation.h>
#include <moe/parallel/arguments.h>
#include <moe/parallel/reduced.h>

namespace moe::parallel {

namespace {

constexpr int kHeaderStage = 0, kExchangeStage = 1, kGatherStage = 2;

std::byte* bytes_at(const Tensor& tensor, int64_t offset = 0) {
  return static_cast<std::byte*>(tensor.data_ptr()) + offset;
}

int64_t bytes_of(const Tensor& tensor) {
  return tensor.numel() * static_cast<int64_t>(tensor.element_size());
}

/// Of one of the rows of a tensor.
int64_t row_bytes(const Tensor& rows) {
  auto out = static_cast<int64_t>(rows.element_size());
  for (int64_t d = 1; d < rows.dim(); ++d) out *= rows.size(d);
  return out;
}

void put(std::byte* to, const std::byte* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

Operation::Operation(std::shared_ptr<MpiGroup> group, Call call)
    : group_(std::move(group)), call_(std::move(call)), out_(ranks()), in_(ranks()) {}

std::string Operation::place(int64_t rank) const {
  return concat("parallel/mpi, rank ", rank, " on ",
                group_->world->members()[group_->members[rank]].host);
}

bool Operation::in_parts() const {
  const bool parted = call_.what == Collective::kAllReduce || call_.what == Collective::kBroadcast;
  return parted && !small(bytes_of(call_.tensor));
}

Operation::Block Operation::part(const Tensor& values, size_t w) const {
  const auto W = static_cast<int64_t>(ranks()), at = static_cast<int64_t>(w);
  const int64_t begin = values.numel() * at / W, end = values.numel() * (at + 1) / W;
  const auto size = static_cast<int64_t>(values.element_size());
  return {bytes_at(values, begin * size), (end - begin) * size};
}

void Operation::plan() {
  const Tensor& tensor = call_.tensor;
  const auto me = static_cast<size_t>(group_->rank);
  int64_t begin = 0;
  for (size_t w = 0; w < ranks(); ++w) {
    switch (call_.what) {
      case Collective::kAllReduce:
        out_[w] = in_parts() ? part(tensor, w) : Block{bytes_at(tensor), bytes_of(tensor)};
        in_[w].bytes = in_parts() ? part(tensor, me).bytes : bytes_of(tensor);
        break;
      case Collective::kBroadcast:
        if (group_->rank == call_.root)
          out_[w] = in_parts() ? part(tensor, w) : Block{bytes_at(tensor), bytes_of(tensor)};
        else if (static_cast<int64_t>(w) == call_.root)
          in_[w].bytes = in_parts() ? part(tensor, me).bytes : bytes_of(tensor);
        break;
      case Collective::kReduceScatter:
      case Collective::kAllToAll:
        out_[w] = {bytes_at(tensor, begin), call_.send[w] * row_bytes(tensor)};
        begin += out_[w].bytes;
        in_[w].bytes = row_bytes(tensor) *
                       (call_.what == Collective::kAllToAll ? call_.receive[w] : call_.send[me]);
        break;
      case Collective::kAllGather:
        out_[w] = {bytes_at(tensor), bytes_of(tensor)};
        in_[w].bytes = call_.receive[w] * row_bytes(tensor);
        break;
      default:
        break;
    }
  }
}

void Operation::write_headers() {
  const size_t room = sizeof(Header) + static_cast<size_t>(group_->world->small_bytes());
  const auto me = static_cast<size_t>(group_->rank);
  sent_headers_.resize(room * ranks());
  received_headers_.resize(room * ranks());
  Header common;
  if (refusal_.empty()) {
    common = header_of(call_, sequence_);
  } else {
    common.sequence = sequence_;
    common.what = code_of(call_);
    common.refused = 1;
  }
  common.group = group_->world->groups;
  const bool counts = refusal_.empty() &&
                      (call_.what == Collective::kAllToAll || call_.what == Collective::kAllGather);
  const auto rows_to = [&](size_t w) {
    return call_.what == Collective::kAllToAll ? call_.send[w] : call_.tensor.size(0);
  };
  for (size_t w = 0; counts && w < ranks(); ++w) {
    common.all_sent += hash_of(group_->rank, static_cast<int64_t>(w), rows_to(w));
    common.all_expected += hash_of(static_cast<int64_t>(w), group_->rank, call_.receive[w]);
  }
  if (refusal_.empty() && call_.what == Collective::kReduceScatter)
    common.all_sent = hash_of(call_.send);
  for (size_t w = 0; w < ranks(); ++w) {
    Header header = common;
    const std::byte* behind = out_[w].data;
    if (counts) {
      header.to_you = rows_to(w);
      header.from_you = call_.receive[w];
    }
    if (!refusal_.empty()) {
      behind = reinterpret_cast<const std::byte*>(refusal_.data());
      header.behind = std::min<int64_t>(static_cast<int64_t>(refusal_.size()), 500);
    } else if (small(out_[w].bytes)) {
      header.behind = out_[w].bytes;
    }
    std::byte* const at = sent_headers_.data() + w * room;
    std::memcpy(at, &header, sizeof header);
    // A rank's own block goes straight to where it belongs.
    if (w == me && refusal_.empty()) continue;
    put(at + sizeof header, behind, header.behind);
    if (w == me) put(received_headers_.data() + w * room + sizeof header, behind, header.behind);
  }
  std::memcpy(received_headers_.data() + me * room, sent_headers_.data() + me * room,
              sizeof(Header));
}

void Operation::begin() {
  sequence_ = group_->started++;
  try {
    check_here();
    plan();
  } catch (const Error& error) {
    refusal_ = error.what();
    std::fill(out_.begin(), out_.end(), Block());
  }
  write_headers();
  const size_t room = received_headers_.size() / ranks();
  for (size_t w = 0; w < ranks(); ++w)
    if (!is_me(w))
      receive(w, received_headers_.data() + w * room, static_cast<int64_t>(room), kHeaderStage);
  for (size_t w = 0; w < ranks(); ++w) {
    if (is_me(w)) continue;
    const std::byte* const at = sent_headers_.data() + w * room;
    Header header;
    std::memcpy(&header, at, sizeof header);
    send(w, at, static_cast<int64_t>(sizeof header) + header.behind, kHeaderStage);
  }
}

void Operation::begin_exchange() {
  const size_t room = received_headers_.size() / ranks();
  const Tensor& tensor = call_.tensor;
  const bool joins = call_.what == Collective::kAllToAll || call_.what == Collective::kAllGather;
  if (joins) {
    auto sizes = tensor.sizes().vec();
    sizes[0] = std::accumulate(call_.receive.begin(), call_.receive.end(), int64_t{0});
    result_ = at::empty(sizes, tensor.options().requires_grad(false));
  }
  int64_t begin = 0;
  for (size_t w = 0; w < ranks(); ++w) {
    Block& block = in_[w];
    if (joins) {
      block.data = bytes_at(result_, begin);
      begin += block.bytes;
    } else if (call_.what == Collective::kBroadcast && block.bytes > 0) {
      block.data =
          in_parts() ? part(tensor, static_cast<size_t>(group_->rank)).data : bytes_at(tensor);
    } else if (call_.reduces() && !is_me(w) && !small(block.bytes)) {
      scratch_.push_back(at::empty({block.bytes}, at::kByte));
      block.data = bytes_at(scratch_.back());
    }
    if (is_me(w)) {
      if (joins) put(block.data, out_[w].data, block.bytes);
      if (call_.reduces()) block.data = out_[w].data;
      continue;
    }
    std::byte* const came = received_headers_.data() + w * room + sizeof(Header);
    if (!small(block.bytes))
      receive(w, block.data, block.bytes, kExchangeStage);
    else if (call_.reduces())
      block.data = came;
    else
      put(block.data, came, block.bytes);
  }
  for (size_t w = 0; w < ranks(); ++w)
    if (!is_me(w) && !small(out_[w].bytes)) send(w, out_[w].data, out_[w].bytes, kExchangeStage);
}

Tensor Operation::reduced_part() const {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> parts;
  const auto options = call_.tensor.options().requires_grad(false);
  const auto size = static_cast<int64_t>(call_.tensor.element_size());
  for (const Block& block : in_)
    parts.push_back(at::from_blob(block.data, {block.bytes / size}, options));
  return reduced(place(group_->rank), parts, call_.reduce);
}

void Operation::finish_exchange() {
  const Tensor& tensor = call_.tensor;
  if (call_.what == Collective::kReduceScatter) {
    auto sizes = tensor.sizes().vec();
    sizes[0] = call_.send[static_cast<size_t>(group_->rank)];
    result_ = reduced_part().view(sizes);
  } else if (call_.what == Collective::kAllReduce) {
    const Tensor sum = reduced_part();
    const auto here = in_parts() ? part(tensor, static_cast<size_t>(group_->rank))
                                 : Block{bytes_at(tensor), bytes_of(tensor)};
    put(here.data, bytes_at(sum), here.bytes);
  }
  scratch_.clear();
  if (call_.has_tensor() && in_parts()) begin_gather();
}

void Operation::begin_gather() {
  const Tensor& tensor = call_.tensor;
  const auto has_all = [&](size_t w) {
    return call_.what == Collective::kBroadcast && static_cast<int64_t>(w) == call_.root;
  };
  const auto me = static_cast<size_t>(group_->rank);
  for (size_t w = 0; w < ranks(); ++w) {
    const Block theirs = part(tensor, w);
    if (!is_me(w) && !has_all(me)) receive(w, theirs.data, theirs.bytes, kGatherStage);
  }
  const Block mine = part(tensor, me);
  for (size_t w = 0; w < ranks(); ++w)
    if (!is_me(w) && !has_all(w)) send(w, mine.data, mine.bytes, kGatherStage);
}

void Operation::finish() {
  const bool in_place =
      call_.what == Collective::kAllReduce || call_.what == Collective::kBroadcast;
  if (in_place && !problem_) {
    result_ = call_.tensor;
    // So that autograd notices values that it kept and that changed.
    if (!result_.is_inference()) result_.unsafeGetTensorImpl()->bump_version();
  }
  call_.tensor = Tensor();
  sent_headers_ = {};
  received_headers_ = {};
}

void Operation::advance() {
  if (phase_ == Phase::kHeaders) {
    if (!settled() || group_->exchanged != sequence_) return;
    ++group_->exchanged;
    const size_t room = received_headers_.size() / ranks();
    headers_.resize(ranks());
    for (size_t w = 0; w < ranks(); ++w)
      std::memcpy(&headers_[w], received_headers_.data() + w * room, sizeof(Header));
    try {
      check_all();
    } catch (const Error&) {
      problem_ = std::current_exception();
    }
    if (!problem_) begin_exchange();
    phase_ = Phase::kExchange;
  }
  if (phase_ == Phase::kExchange) {
    if (!settled() || group_->gathered != sequence_) return;
    ++group_->gathered;
    if (!problem_) finish_exchange();
    phase_ = Phase::kGather;
  }
  if (phase_ == Phase::kGather && settled()) {
    finish();
    phase_ = Phase::kDone;
  }
}

Tensor Operation::result() const {
  if (problem_) std::rethrow_exception(problem_);
  return result_;
}

std::vector<int64_t> Operation::missing() const {
  std::vector<int64_t> out;
  for (size_t i = 0; i < requests_.size(); ++i)
    if (requests_[i] != MPI_REQUEST_NULL && std::ranges::count(out, peers_[i]) == 0)
      out.push_back(peers_[i]);
  std::ranges::sort(out);
  return out;
}

void Operation::send(size_t w, const void* data, int64_t bytes, int stage) {
  MpiWorld& world = *group_->world;
  world.count_sent(bytes);
  for (int64_t begin = 0; begin < bytes; begin += world.message_bytes()) {
    const int64_t count = std::min(world.message_bytes(), bytes - begin);
    requests_.push_back(MPI_REQUEST_NULL);
    peers_.push_back(group_->members[w]);
    check_mpi(
        MPI_Isend(static_cast<const std::byte*>(data) + begin, static_cast<int>(count), MPI_BYTE,
                  static_cast<int>(group_->members[w]),
                  static_cast<int>(3 * group_->number) + stage, world.data(), &requests_.back()),
        "MPI_Isend");
  }
}

void Operation::receive(size_t w, void* data, int64_t bytes, int stage) {
  MpiWorld& world = *group_->world;
  for (int64_t begin = 0; begin < bytes; begin += world.message_bytes()) {
    const int64_t count = std::min(world.message_bytes(), bytes - begin);
    requests_.push_back(MPI_REQUEST_NULL);
    peers_.push_back(group_->members[w]);
    check_mpi(
        MPI_Irecv(static_cast<std::byte*>(data) + begin, static_cast<int>(count), MPI_BYTE,
                  static_cast<int>(group_->members[w]),
                  static_cast<int>(3 * group_->number) + stage, world.data(), &requests_.back()),
        "MPI_Irecv");
  }
}

bool Operation::settled() {
  if (requests_.empty()) return true;
  finished_.resize(requests_.size());
  int count = 0;
  check_mpi(MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                         finished_.data(), MPI_STATUSES_IGNORE),
            "MPI_Testsome");
  // MPI_UNDEFINED: none is left.
  if (count != MPI_UNDEFINED &&
      std::ranges::any_of(requests_, [](MPI_Request r) { return r != MPI_REQUEST_NULL; }))
    return false;
  requests_.clear();
  peers_.clear();
  return true;
}

}  // namespace moe::parallel
