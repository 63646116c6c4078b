// R rows.

#include <exception>

#include <moe/base/error.h>
#include <moe/parallel/arguments.h>
#include <moe/parallel/communicator.h>

namespace moe::parallel {

namespace {

constexpr std::string_view kLocal = "parallel/local";

/// A collective that was done when it was started.
class Done final : public Started::Work {
 public:
  /// Calls `collective` now; what it throws, wait throws.
  template <class Collective>
  explicit Done(const Collective& collective) {
    try {
      result_ = collective();
    } catch (...) {
      problem_ = std::current_exception();
    }
  }

  Tensor wait() override {
    if (problem_) std::rethrow_exception(problem_);
    return result_;
  }

 private:
  Tensor result_;
  std::exception_ptr problem_;
};

template <class Collective>
Started started(const Collective& collective) {
  return Started(std::make_unique<Done>(collective));
}

/// Refuses what other backends refuse, so that code tried on one rank runs on many.
class LocalCommunicator final : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }

  void all_reduce(Tensor& values, Reduce reduce) override {
    check_values(kLocal, values);
    check_adds(kLocal, values.scalar_type(), reduce == Reduce::kSum);
  }

  Tensor reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                          Reduce reduce) override {
    check_rows(kLocal, rows);
    check_counts(kLocal, "scatter", counts, 1);
    check_sum(kLocal, "scatter", counts, rows.size(0));
    check_adds(kLocal, rows.scalar_type(), reduce == Reduce::kSum);
    return rows.detach().clone();
  }

  Tensor all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                      const std::vector<int64_t>& receive) override {
    check_rows(kLocal, rows);
    check_counts(kLocal, "send", send, 1);
    check_counts(kLocal, "receive", receive, 1);
    check_sum(kLocal, "send", send, rows.size(0));
    check_received(kLocal, receive[0], 0, send[0]);
    return rows.detach().clone();
  }

  Tensor all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    check_rows(kLocal, rows);
    check_counts(kLocal, "gather", counts, 1);
    check_gathered(kLocal, counts[0], 0, rows.size(0));
    return rows.detach().clone();
  }

  void broadcast(Tensor& values, int64_t root) override {
    check_values(kLocal, values);
    check_root(kLocal, root, 1);
  }

  void barrier() override {}

  std::shared_ptr<Communicator> split(int64_t, int64_t) override { return local(); }

  Started start_all_reduce(Tensor values, Reduce reduce) override {
    return started([&] {
      all_reduce(values, reduce);
      return values;
    });
  }

  Started start_reduce_scatter_v(const Tensor& rows, const std::vector<int64_t>& counts,
                                 Reduce reduce) override {
    return started([&] { return reduce_scatter_v(rows, counts, reduce); });
  }

  Started start_all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                             const std::vector<int64_t>& receive) override {
    return started([&] { return all_to_all_v(rows, send, receive); });
  }

  Started start_all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    return started([&] { return all_gather_v(rows, counts); });
  }
};

}  // namespace

std::shared_ptr<Communicator> local() {
  return std::make_shared<LocalCommunicator>();
}

}  // namespace moe::parallel
