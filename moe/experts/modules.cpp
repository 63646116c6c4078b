// L experts on this rank, M rows of one expert, N rows of all of them, R rows, D width, O output
// width.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <moe/experts/modules.h>
#include <moe/ops/rows.h>

namespace moe::experts {

namespace {

constexpr std::string_view kModules = "experts/modules";

at::ScalarType type_of(const torch::nn::Module& module, at::ScalarType otherwise) {
  for (const Tensor& parameter : module.parameters())
    if (parameter.is_floating_point()) return parameter.scalar_type();
  return otherwise;
}

bool same_shapes(const Parameters& a, const Parameters& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.name == y.name && x.tensor.sizes() == y.tensor.sizes();
  });
}

}  // namespace

ModuleExperts::ModuleExperts(const ExpertsShape& shape, const ModuleFactory& factory)
    : Experts(shape) {
  check<ConfigError>(
      shape.copies() == 0, kModules,
      "expected each expert on one rank for modules of a user's own, whose gradients "
      "and state nobody adds up over copies, got ",
      shape.copies(), " copies here. Take the replicas out of the placement.");
  for (int64_t local = 0; local < shape.held(); ++local) {
    const int64_t e = shape.number_of(local);
    ModuleExpert expert = factory(e);
    check<ConfigError>(expert.module() != nullptr, kModules, "expected a module for expert ", e,
                       ", got none. Return one from the factory.");
    const auto same = [&](const auto& other) { return other.module() == expert.module(); };
    const auto twin = std::find_if(modules_.begin(), modules_.end(), same);
    check<ConfigError>(twin == modules_.end(), kModules, "expected a module of its own for expert ",
                       e, ", got that of expert ", shape.number_of(twin - modules_.begin()),
                       ". Make or clone one for each expert.");
    add_foreign(std::to_string(e), expert.module(), {.expert = e});
    modules_.push_back(std::move(expert));
  }
  if (modules_.empty()) example_ = factory(0);
  check<ConfigError>(!modules_.empty() || example_.module() != nullptr, kModules,
                     "expected a module for expert 0, got none. Return one from the factory.");
}

Tensor ModuleExperts::run(size_t local, const Tensor& x_MD, bool training) {
  const ModuleExpert& expert = modules_[local];
  torch::nn::Module& module = *expert.module();
  if (module.is_training() != training) module.train(training);
  const Tensor out_MO = expert(x_MD.to(type_of(module, x_MD.scalar_type())));
  check(out_MO.dim() == 2 && out_MO.size(0) == x_MD.size(0) && out_MO.size(1) == shape_.output(),
        kModules, "expected expert ", number(local), " to return (M=", x_MD.size(0),
        ", O=", shape_.output(), "), got ", out_MO.sizes(), ". Change the module ", module.name(),
        '.');
  return out_MO.to(x_MD.scalar_type());
}

Tensor ModuleExperts::forward(const ExpertRows& rows, const LayerContext& context) {
  const Tensor host = rows.offsets_L.to(at::kCPU).contiguous();
  const int64_t* offsets_L = host.const_data_ptr<int64_t>();
  const int64_t N = offsets_L[modules_.size()];
  const Tensor x_ND = rows.index_R.defined()
                          ? ops::gather_rows(rows.source_SD, rows.index_R.slice(0, 0, N))
                          : rows.source_SD.slice(0, 0, N);
  std::vector<Tensor> parts;
  for (size_t l = 0; l < modules_.size(); ++l)
    if (offsets_L[l] < offsets_L[l + 1])
      parts.push_back(run(l, x_ND.slice(0, offsets_L[l], offsets_L[l + 1]), context.training));
  // Rows of no expert. Depend on the source in the graph, so that ranks without rows run the
  // collective backward pass too.
  const Tensor nothing = x_ND.slice(0, 0, 0).sum();
  parts.push_back(nothing.expand({rows.rows() - N, shape_.output()}));
  return at::cat(parts);
}

int64_t ModuleExperts::flops_per_row() const {
  int64_t numbers = 0;
  for (const Tensor& parameter : modules_.empty() ? example_.module()->parameters() : parameters())
    if (parameter.dim() >= 2) numbers += parameter.numel();
  return 2 * numbers / std::max<int64_t>(1, static_cast<int64_t>(modules_.size()));
}

Parameters ModuleExperts::stacked_parameters() const {
  if (modules_.empty()) {
    Parameters none = parameters_of(*example_.module());
    for (auto& [name, tensor, info] : none) {
      tensor = tensor.detach().unsqueeze(0).slice(0, 0, 0);
      info = stacked(info.role);
    }
    return none;
  }
  std::vector<Parameters> of_experts;
  for (const ModuleExpert& expert : modules_) of_experts.push_back(parameters_of(*expert.module()));
  Parameters out = of_experts.front();
  for (size_t l = 1; l < of_experts.size(); ++l)
    check<ConfigError>(same_shapes(of_experts[l], out), kModules,
                       "expected experts of one shape for a term on their weights, got another one "
                       "from expert ",
                       number(l),
                       " on. Take such terms (expert_l2, orthogonality of experts) out.");
  for (size_t i = 0; i < out.size(); ++i) {
    std::vector<Tensor> stack;
    for (const Parameters& mine : of_experts) stack.push_back(mine[i].tensor);
    out[i].tensor = at::stack(stack);
    out[i].info = stacked(out[i].info.role);
  }
  return out;
}

ExpertsMaker modules(ModuleFactory factory) {
  return [factory = std::move(factory)](const ExpertsShape& shape) {
    return std::make_shared<ModuleExperts>(shape, factory);
  };
}

ExpertsMaker modules(std::vector<ModuleExpert> experts) {
  return [experts = std::move(experts)](const ExpertsShape& shape) {
    check<ConfigError>(static_cast<int64_t>(experts.size()) == shape.num_experts, kModules,
                       "expected a module for each of num_experts=", shape.num_experts, ", got ",
                       experts.size(), ". Change one of them.");
    return std::make_shared<ModuleExperts>(
        shape, [&](int64_t expert) { return experts[static_cast<size_t>(expert)]; });
  };
}

void register_module_experts(const std::string& name, const std::string& help,
                             ModuleFactory factory) {
  expert_kinds().add(name, help,
                     kind_made_by<Experts, ExpertsShape, NoOptions>(
                         [make = modules(std::move(factory))](
                             const ExpertsShape& shape, const NoOptions&) { return make(shape); }));
}

}  // namespace moe::experts
