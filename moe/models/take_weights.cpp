#include <map>
#include <set>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <moe/base/error.h>
#include <moe/checkpoint/tensors.h>
#include <moe/models/hugging_face.h>
#include <moe/models/load.h>
#include <moe/models/take_weights.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

namespace {

/// The sizes of a tensor over all ranks.
std::vector<int64_t> whole_sizes(const Parameter& tensor) {
  auto out = tensor.tensor.sizes().vec();
  if (!out.empty()) out.front() = whole_rows(tensor);
  return out;
}

void check_same_tensors(const Parameters& ours, const std::map<std::string, Tensor>& theirs,
                        const Path& source) {
  std::vector<std::string> wrong;
  std::set<std::string> known;
  for (const auto& tensor : ours) {
    known.insert(tensor.name);
    const auto found = theirs.find(tensor.name);
    const auto sizes = whole_sizes(tensor);
    if (found == theirs.end())
      wrong.push_back(concat("it has no '", tensor.name, "' ", c10::IntArrayRef(sizes)));
    else if (found->second.sizes() != sizes)
      wrong.push_back(concat("'", tensor.name, "' has the shape ", found->second.sizes(),
                             " instead of ", c10::IntArrayRef(sizes)));
  }
  for (const auto& [name, tensor] : theirs)
    if (!known.contains(name))
      wrong.push_back(concat("it has '", name, "' ", tensor.sizes(), ", which [model] has not"));
  if (!wrong.empty())
    fail("models/take_weights", "expected the tensors of [model] in '", source.string(), "', got ",
         wrong.size(), " that differ. Leave [model] out: then it is that of the weights.",
         indented_list(wrong));
}

/// The rows of `whole` that are the tensor's. A copy where they are some: it lets the others go.
Tensor rows_of(const Tensor& whole, const Parameter& tensor) {
  if (!tensor.info.sharded ||
      (tensor.info.numbers.empty() && whole.sizes() == tensor.tensor.sizes()))
    return whole;
  std::vector<Tensor> parts = {whole.narrow(0, 0, 0)};
  for (const auto& run : runs_of(tensor.info, tensor.tensor.size(0)))
    parts.push_back(whole.narrow(0, run.first, run.count));
  return at::cat(parts);
}

}  // namespace

void take_weights(Model& model, const Path& source, at::ScalarType dtype,
                  const parallel::Layout& layout) {
  const at::NoGradGuard no_grad;
  if (!is_foreign(source)) {
    materialise(model, at::kCPU, dtype);
    return checkpoint::load_tensors(open_checkpoint(source).folder, "model", tensors_of(model),
                                    layout);
  }
  const auto loaded = load_hugging_face(source, dtype);
  std::map<std::string, Tensor> theirs;
  for (const auto& tensor : tensors_of(*loaded.model)) theirs[tensor.name] = tensor.tensor;
  const Parameters ours = tensors_of(model);
  check_same_tensors(ours, theirs, source);
  for (const auto& tensor : ours) {
    const Tensor whole = theirs.at(tensor.name).detach();
    const Tensor part = rows_of(whole, tensor);
    if (tensor.tensor.is_meta())
      set_memory(tensor.tensor, part);
    else
      tensor.tensor.copy_(part);
  }
}

}  // namespace moe::models
