// R rows.

#include <moe/parallel/arguments.h>
#include <moe/parallel/communicator.h>

namespace moe::parallel {

namespace {

constexpr std::string_view kLocal = "parallel/local";

/// Refuses what other backends refuse, so that code tried on one rank runs on many.
class LocalCommunicator final : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }

  void all_reduce(Tensor& values, Reduce) override { check_values(kLocal, values); }

  Tensor all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                      const std::vector<int64_t>& receive) override {
    check_rows(kLocal, rows);
    check_counts(kLocal, "send", send, 1);
    check_counts(kLocal, "receive", receive, 1);
    check_sum(kLocal, send, rows.size(0));
    check_sum(kLocal, receive, rows.size(0));
    return rows.detach().clone();
  }

  Tensor all_gather_v(const Tensor& rows, const std::vector<int64_t>& counts) override {
    check_rows(kLocal, rows);
    check_counts(kLocal, "gather", counts, 1);
    check_sum(kLocal, counts, rows.size(0));
    return rows.detach().clone();
  }

  void broadcast(Tensor& values, int64_t root) override {
    check_values(kLocal, values);
    check_root(kLocal, root, 1);
  }

  void barrier() override {}

  std::shared_ptr<Communicator> split(int64_t, int64_t) override { return local(); }
};

}  // namespace

std::shared_ptr<Communicator> local() {
  return std::make_shared<LocalCommunicator>();
}

}  // namespace moe::parallel
