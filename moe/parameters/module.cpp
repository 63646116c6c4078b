#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/parameters/module.h>

namespace moe {

namespace {

const ParameterInfo* find_info(const std::map<std::string, ParameterInfo>& infos,
                               const std::string& name) {
  const auto found = infos.find(name);
  return found == infos.end() ? nullptr : &found->second;
}

}  // namespace

const ParameterInfo* Module::info_of(const std::string& name) const {
  return find_info(infos_, name);
}

const ParameterInfo* Module::child_info(const std::string& name) const {
  return find_info(children_, name);
}

Tensor Module::add_parameter(const std::string& name, at::IntArrayRef sizes, ParameterInfo info) {
  // Bytes of training and FLOPs are small multiples of it, and must fit an int64_t.
  double numbers = 1;
  for (const int64_t size : sizes) numbers *= static_cast<double>(size);
  check<ConfigError>(numbers < 0x1p57, "parameters",
                     "expected a model of fewer than 2^57 parameters, got ", numbers, " in '", name,
                     "' alone. Lower its widths, layers or experts.");
  infos_[name] = std::move(info);
  return register_parameter(name, at::empty(sizes, tensors_));
}

Tensor Module::add_buffer(const std::string& name, at::IntArrayRef sizes, at::ScalarType type,
                          ParameterInfo info) {
  info.role = Role::kState;
  infos_[name] = std::move(info);
  return register_buffer(name, at::empty(sizes, tensors_.dtype(type)));
}

Tensor Module::add_frozen(const std::string& name, at::IntArrayRef sizes, ParameterInfo info) {
  infos_[name] = std::move(info);
  return register_buffer(name, at::empty(sizes, tensors_));
}

void Module::add_foreign(const std::string& name, std::shared_ptr<torch::nn::Module> module,
                         ParameterInfo info) {
  info.keeps_start = true;
  children_[name] = std::move(info);
  register_module(name, std::move(module));
}

}  // namespace moe
