#pragma once
// A group that passes every call on, for tests that watch or change some. R rows, W ranks.

#include <memory>
#include <utility>
#include <vector>

#include <moe/parallel/communicator.h>

namespace moe::test {

class ForwardingGroup : public parallel::Communicator {
 public:
  explicit ForwardingGroup(std::shared_ptr<parallel::Communicator> group)
      : group_(std::move(group)) {}

  int64_t rank() const override { return group_->rank(); }
  int64_t size() const override { return group_->size(); }
  int64_t machine(int64_t rank) const override { return group_->machine(rank); }
  void all_reduce(at::Tensor& values, parallel::Reduce reduce) override {
    group_->all_reduce(values, reduce);
  }
  at::Tensor reduce_scatter_v(const at::Tensor& rows, const std::vector<int64_t>& counts,
                              parallel::Reduce reduce) override {
    return group_->reduce_scatter_v(rows, counts, reduce);
  }
  at::Tensor all_to_all_v(const at::Tensor& rows, const std::vector<int64_t>& send,
                          const std::vector<int64_t>& receive) override {
    return group_->all_to_all_v(rows, send, receive);
  }
  at::Tensor all_gather_v(const at::Tensor& rows, const std::vector<int64_t>& counts) override {
    return group_->all_gather_v(rows, counts);
  }
  void broadcast(at::Tensor& values, int64_t root) override { group_->broadcast(values, root); }
  void barrier() override { group_->barrier(); }
  std::shared_ptr<parallel::Communicator> split(int64_t color, int64_t key) override {
    return group_->split(color, key);
  }
  parallel::Started start_all_reduce(at::Tensor values, parallel::Reduce reduce) override {
    return group_->start_all_reduce(std::move(values), reduce);
  }
  parallel::Started start_reduce_scatter_v(const at::Tensor& rows,
                                           const std::vector<int64_t>& counts,
                                           parallel::Reduce reduce) override {
    return group_->start_reduce_scatter_v(rows, counts, reduce);
  }
  parallel::Started start_all_to_all_v(const at::Tensor& rows, const std::vector<int64_t>& send,
                                       const std::vector<int64_t>& receive) override {
    return group_->start_all_to_all_v(rows, send, receive);
  }
  parallel::Started start_all_gather_v(const at::Tensor& rows,
                                       const std::vector<int64_t>& counts) override {
    return group_->start_all_gather_v(rows, counts);
  }

 private:
  std::shared_ptr<parallel::Communicator> group_;
};

}  // namespace moe::test
