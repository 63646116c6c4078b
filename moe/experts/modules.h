#pragma once
// User-defined modules as experts. M rows of one expert, D width, O output width.
//
//   auto net = [](int64_t expert) {
//     const int64_t hidden = 16 * (expert + 1);
//     return torch::nn::Sequential(torch::nn::Linear(64, hidden), torch::nn::ReLU(),
//                                  torch::nn::Linear(hidden, 64));
//   };
//   moe::MoELayer layer(options, moe::experts::modules(net));

#include <torch/nn/pimpl.h>

#include <moe/experts/experts.h>

namespace moe::experts {

/// One expert: any module with a forward from (M, D) to (M, O). Made from a module holder
/// (torch::nn::Linear, Sequential, one's own), a shared pointer to a module, or a module and a
/// function that calls it.
class ModuleExpert {
 public:
  using Forward = std::function<Tensor(const Tensor& x_MD)>;

  ModuleExpert() = default;
  ModuleExpert(std::shared_ptr<torch::nn::Module> module, Forward forward)
      : module_(std::move(module)), forward_(std::move(forward)) {}
  template <class Impl>
  ModuleExpert(const std::shared_ptr<Impl>& module)
      : ModuleExpert(module,
                     [module](const Tensor& x_MD) -> Tensor { return module->forward(x_MD); }) {}
  template <class Impl>
  ModuleExpert(const torch::nn::ModuleHolder<Impl>& module) : ModuleExpert(module.ptr()) {}

  /// Null for an empty expert.
  const std::shared_ptr<torch::nn::Module>& module() const { return module_; }
  Tensor operator()(const Tensor& x_MD) const { return forward_(x_MD); }

 private:
  std::shared_ptr<torch::nn::Module> module_;
  Forward forward_;
};

/// Makes the expert with this number among all experts. Called once for each expert of a rank, so
/// on several ranks each makes its own alone (one without experts makes the first, to know shapes);
/// seed its numbers by the expert to start alike anywhere.
using ModuleFactory = std::function<ModuleExpert(int64_t expert)>;

/// Expert e is any module whose forward takes one tensor (M, D) and returns (M, O); the
/// modules may be of different classes and sizes. Rows are gathered once, and each module sees
/// those of its tokens together.
///
/// Parameters are not stacked: they are "E.…" under their expert's global number ("3.0.weight"), on
/// the rank that holds the expert, and keep the numbers they come with. A module computes in the
/// dtype of its first floating parameter; its rows are cast to it, and its output to the dtype of
/// the source. Modules are switched between training and evaluation as the context says. One
/// without rows is not called and gets no gradient. What a module draws from libtorch's own
/// generator (such as torch::nn::Dropout) is not keyed by token: it depends on ranks, and
/// recomputation would draw anew.
///
/// Not safe for concurrent calls that differ in `training`. Throws moe::Error for an output of
/// another shape, and what the modules throw.
class ModuleExperts final : public Experts {
 public:
  /// Throws ConfigError for an empty module, for one that is given twice, and for copies of other
  /// ranks' experts.
  ModuleExperts(const ExpertsShape& shape, const ModuleFactory& factory);

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override;
  /// 2 x the numbers of an expert's parameters with two or more dimensions, a mean over the experts
  /// of this rank (on a rank without any, those of the first one): right for modules that use each
  /// of them once a row.
  int64_t flops_per_row() const override;
  /// Throws ConfigError unless all modules have the same parameter names and shapes.
  Parameters stacked_parameters() const override;

 private:
  /// (M, O) in the dtype of x_MD.
  Tensor run(size_t local, const Tensor& x_MD, bool training);
  int64_t number(size_t local) const { return shape_.number_of(static_cast<int64_t>(local)); }

  std::vector<ModuleExpert> modules_;
  /// On a rank without experts the first one, to know what the others are like; no part of this
  /// module.
  ModuleExpert example_;
};

/// What MoELayer takes to be made with such experts.
ExpertsMaker modules(ModuleFactory factory);
/// As above, with all E modules made already; a rank keeps those of its experts.
ExpertsMaker modules(std::vector<ModuleExpert> experts);

/// Makes them known as a kind, for configurations; it has no options of its own.
void register_module_experts(const std::string& name, const std::string& help,
                             ModuleFactory factory);

}  // namespace moe::experts
