#include <algorithm>
#include <cstring>
#include <map>

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/parallel/gather_named.h>

namespace moe::parallel {

namespace {

/// One integer of the root, on every rank.
int64_t from(int64_t root, int64_t value, Communicator& group) {
  Tensor number = at::zeros({1}, at::kLong).fill_(value);
  group.broadcast(number, root);
  return number.item<int64_t>();
}

std::string from(int64_t root, const std::string& text, Communicator& group) {
  Tensor bytes = at::zeros({from(root, static_cast<int64_t>(text.size()), group)}, at::kByte);
  if (group.rank() == root) std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  group.broadcast(bytes, root);
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())};
}

Tensor from(int64_t root, const Tensor& tensor, Communicator& group) {
  const bool mine = group.rank() == root;
  const auto type = static_cast<at::ScalarType>(
      from(root, mine ? static_cast<int64_t>(tensor.scalar_type()) : 0, group));
  std::vector<int64_t> sizes(static_cast<size_t>(from(root, mine ? tensor.dim() : 0, group)));
  for (size_t i = 0; i < sizes.size(); ++i)
    sizes[i] = from(root, mine ? tensor.size(static_cast<int64_t>(i)) : 0, group);
  Tensor values = mine ? tensor.contiguous().clone() : at::empty(sizes, type);
  group.broadcast(values, root);
  return values;
}

}  // namespace

std::vector<std::pair<std::string, Tensor>> gather_named(
    const std::vector<std::pair<std::string, Tensor>>& mine, Communicator& group) {
  std::map<std::string, Tensor> all;
  for (int64_t root = 0; root < group.size(); ++root) {
    const int64_t count = from(root, static_cast<int64_t>(mine.size()), group);
    for (int64_t i = 0; i < count; ++i) {
      const bool own = group.rank() == root;
      const auto& [name, tensor] =
          own ? mine[static_cast<size_t>(i)] : std::pair<std::string, Tensor>();
      const std::string shared_name = from(root, name, group);
      check(all.emplace(shared_name, from(root, tensor, group)).second, "parallel/gather_named",
            "expected names of one rank each, got '", shared_name,
            "' from two. Give every tensor "
            "the number of its expert.");
    }
  }
  return {all.begin(), all.end()};
}

}  // namespace moe::parallel
