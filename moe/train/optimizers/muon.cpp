// R rows (outputs), C columns (inputs).
#include <algorithm>
#include <cmath>
#include <map>

#include <ATen/TensorOperators.h>

#include <moe/ops/newton_schulz.h>
#include <moe/train/adamw_rule.h>
#include <moe/train/optimizer.h>
#include <moe/train/optimizers/muon.h>

namespace moe {

void Muon::validate(const std::string& place) const {
  rest.validate(place);
  check<ConfigError>(momentum >= 0 && momentum < 1, "config", "expected '", place,
                     ".momentum' in [0, 1), got ", momentum, ". Correct it.");
  check<ConfigError>(newton_schulz_steps >= 1 && newton_schulz_steps <= 100, "config", "expected '",
                     place, ".newton_schulz_steps' in [1, 100], got ", newton_schulz_steps,
                     ". Correct it.");
  check<ConfigError>(adamw_lr_factor >= 0 && std::isfinite(adamw_lr_factor), "config", "expected '",
                     place, ".adamw_lr_factor' to be finite and at least 0, got ", adamw_lr_factor,
                     ". Correct it.");
  check_one_of("config", concat("'", place, ".dtype'"), dtype, {"float32", "bfloat16"});
  check_one_of("config", concat("'", place, ".scale'"), scale, {"match_adamw", "original"});
}

namespace train {

namespace {

/// Dimensions that are no part of a matrix: the number of the expert.
int64_t leading(const ParameterInfo& info) {
  return info.per_expert ? 1 : 0;
}

bool is_hidden_matrix(const Parameter& parameter) {
  return parameter.info.role == Role::kMatrix &&
         parameter.tensor.dim() >= 2 + leading(parameter.info);
}

/// What lies in no matrix, and matrices on one another: of an expert each.
bool apart_by_rows(const Parameter& parameter) {
  return !is_hidden_matrix(parameter) || parameter.info.per_expert;
}

/// The matrices (…, R, C) that `tensor`, which has the shape of the parameter, consists of, as
/// views.
std::vector<Tensor> matrices_of(const Tensor& tensor, const ParameterInfo& info) {
  // A convolution (outputs, inputs, height, width) of a user-defined module is a matrix of all its
  // inputs.
  const int64_t inputs = leading(info) + 1;
  const Tensor matrices = tensor.dim() > inputs + 1 ? tensor.flatten(inputs) : tensor;
  if (info.fused.empty()) return {matrices};
  return matrices.split_with_sizes(info.fused, -2);
}

class MuonOptimizer final : public Optimizer {
 public:
  MuonOptimizer(const OptimizerShape& shape, const Muon& options)
      : Optimizer(shape, apart_by_rows),
        options_(options),
        rest_(parameters(), split(), options.rest, shares()) {}

  Parameters state() const override {
    Parameters out;
    for (const auto& [index, momentum] : momentum_) {
      out.push_back(shares().entry(parameters()[index].name + ".momentum", index, momentum));
    }
    rest_.add_state(out);
    return out;
  }
  std::vector<Tensor> moments(size_t index) const override {
    const auto found = momentum_.find(index);
    return found == momentum_.end() ? rest_.moments(index) : std::vector<Tensor>{found->second};
  }

 protected:
  bool multiplies_gradients() const override { return true; }
  void update(const std::vector<Change>& changes) override {
    for (const auto& change : changes) {
      const auto found = momentum_.find(change.index);
      if (found == momentum_.end())
        rest_.add(change.index, change.lr * options_.adamw_lr_factor, change.weight_decay,
                  change.rows);
      else
        move(change, found->second);
    }
    rest_.finish(gradient_factor());
  }

 private:
  /// Takes the hidden matrices; returns the numbers of the others.
  std::vector<size_t> split() {
    std::vector<size_t> others;
    for (size_t i = 0; i < parameters().size(); ++i) {
      if (is_hidden_matrix(parameters()[i]))
        momentum_.emplace(i, shares().zeros(i));
      else
        others.push_back(i);
    }
    return others;
  }

  double scale_of(const Tensor& matrix) const {
    const auto R = static_cast<double>(matrix.size(-2)), C = static_cast<double>(matrix.size(-1));
    return options_.scale == "match_adamw" ? 0.2 * std::sqrt(std::max(R, C))
                                           : std::sqrt(std::max(1.0, R / C));
  }

  void move(const Change& change, const Tensor& all_momentum) const {
    if (change.rows.count == 0) return;
    const auto& [name, tensor, info] = parameters()[change.index];
    const Tensor gradient = change.rows.of(tensor.grad()),
                 momentum = shares().part(all_momentum, change.index, change.rows);
    momentum.mul_(options_.momentum).add_(gradient, gradient_factor());
    const Tensor direction = options_.nesterov
                                 ? (momentum * options_.momentum).add_(gradient, gradient_factor())
                                 : momentum;
    const Tensor values = change.rows.of(tensor.detach());
    if (change.weight_decay > 0) values.mul_(1 - change.lr * change.weight_decay);
    const auto compute = options_.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
    const auto to = matrices_of(values, info), from = matrices_of(direction, info);
    for (size_t i = 0; i < to.size(); ++i)
      to[i].add_(ops::newton_schulz(from[i], options_.newton_schulz_steps, compute),
                 -change.lr * scale_of(from[i]));
  }

  Muon options_;
  std::map<size_t, Tensor> momentum_;
  AdamWRule rest_;
};

}  // namespace

MOE_KIND(optimizers, muon, MuonOptimizer, Muon)

}  // namespace train

}  // namespace moe
