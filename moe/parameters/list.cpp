#include <unordered_set>

#include <moe/parameters/list.h>
#include <moe/parameters/module.h>

namespace moe {

namespace {

/// Collects parameters, or buffers, on a walk through a tree of modules.
class Walk {
 public:
  explicit Walk(bool buffers) : buffers_(buffers) {}

  /// `inherited`: what holds the module says of all its parameters; of it a plain module takes
  /// everything, and one of ours the part alone.
  void visit(const torch::nn::Module& module, const std::string& prefix, ParameterInfo inherited) {
    const auto* const ours = dynamic_cast<const Module*>(&module);
    if (ours && ours->part()) inherited.part = *ours->part();
    const auto items = buffers_ ? module.named_buffers(/*recurse=*/false)
                                : module.named_parameters(/*recurse=*/false);
    for (const auto& item : items) {
      if (!item.value().defined() || !seen_.insert(item.value().unsafeGetTensorImpl()).second)
        continue;
      const auto* const said = ours ? ours->info_of(item.key()) : nullptr;
      ParameterInfo info = said ? *said : plain(item.value(), inherited);
      info.part = inherited.part;
      found_.push_back({prefix + item.key(), item.value(), std::move(info)});
    }
    for (const auto& child : module.named_children()) {
      const auto* const said = ours ? ours->child_info(child.key()) : nullptr;
      ParameterInfo below = said ? *said : inherited;
      below.part = inherited.part;
      visit(*child.value(), prefix + child.key() + '.', std::move(below));
    }
  }

  Parameters take() { return std::move(found_); }

 private:
  ParameterInfo plain(const Tensor& tensor, const ParameterInfo& inherited) const {
    ParameterInfo out = inherited;
    out.role = buffers_ ? Role::kState : tensor.dim() >= 2 ? Role::kMatrix : Role::kBias;
    out.keeps_start = true;
    return out;
  }

  bool buffers_;
  std::unordered_set<const c10::TensorImpl*> seen_;
  Parameters found_;
};

Parameters collect(const torch::nn::Module& module, bool buffers) {
  Walk walk(buffers);
  walk.visit(module, "", {});
  return walk.take();
}

}  // namespace

Parameters parameters_of(const torch::nn::Module& module) {
  return collect(module, /*buffers=*/false);
}

Parameters tensors_of(const torch::nn::Module& module) {
  Parameters out = collect(module, /*buffers=*/false);
  for (auto& buffer : collect(module, /*buffers=*/true)) out.push_back(std::move(buffer));
  return out;
}

int64_t whole_rows(const Parameter& parameter) {
  return parameter.info.sharded ? parameter.info.whole : parameter.tensor.size(0);
}

int64_t own_rows(const Parameter& parameter) {
  return parameter.tensor.size(0) - parameter.info.copies;
}

std::optional<int64_t> row_of(const Parameter& parameter, int64_t expert) {
  const int64_t rows = parameter.tensor.size(0);
  for (const auto& run : runs_of(parameter.info, rows))
    if (expert >= run.first && expert < run.first + run.count) return run.row + expert - run.first;
  return std::nullopt;
}

std::vector<ExpertRun> runs_of(const ParameterInfo& info, int64_t rows) {
  if (info.numbers.empty()) {
    if (rows == 0) return {};
    return {{info.first_expert, 0, rows}};
  }
  std::vector<ExpertRun> out;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t number = info.number_of(row);
    if (out.empty() || out.back().first + out.back().count != number)
      out.push_back({number, row, 1});
    else
      ++out.back().count;
  }
  return out;
}

int64_t numbers_in_use(const Parameter& parameter) {
  if (parameter.info.used.empty()) return parameter.tensor.numel();
  int64_t out = 0;
  for (const auto& [rows, columns] : parameter.info.used) out += rows * columns;
  return out;
}

}  // namespace moe
