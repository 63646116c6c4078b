// N rows, O outputs, M sums.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <moe/objectives/kinds/regression.h>
#include <moe/ops/sums.h>

namespace moe {

void Regression::validate(const std::string& place) const {
  check_one_of("config", concat("'", place, ".error'"), error, {"squared", "absolute", "huber"});
  check<ConfigError>(huber_delta > 0 && std::isfinite(huber_delta), "config", "expected '", place,
                     ".huber_delta' above 0, got ", huber_delta, ". Correct it.");
}

namespace objectives {

namespace {

/// Sums: loss, numbers, squared errors, absolute errors, targets, squared targets.
class RegressionObjective final : public Objective {
 public:
  RegressionObjective(const ObjectiveShape& shape, const Regression& options) : options_(options) {
    check<ConfigError>(shape.model.outputs > 0, "config",
                       "expected a model with outputs for objective = \"regression\", got none. "
                       "Set train.objective to what the model answers.");
    check<ConfigError>(shape.data.vocabulary == 0 || shape.data.classes > 0, "config",
                       "expected data whose targets are numbers for objective = \"regression\", "
                       "got text. Set train.objective = \"next_token\".");
  }

  int64_t targets(const data::Batch& batch) const override { return batch.targets.numel(); }

  ObjectiveResult forward(models::Model& model, const models::ModelOutput& output,
                          const data::Batch& batch, at::ScalarType compute) const override {
    const Tensor out_NO = model.head(output.hidden_TD, compute);
    const auto type = at::promoteTypes(out_NO.scalar_type(), at::kFloat);
    const Tensor target_NO =
        (batch.targets.dim() == 1 ? batch.targets.unsqueeze(1) : batch.targets).to(type);
    check(out_NO.sizes() == target_NO.sizes(), "objectives/regression", "expected targets ",
          out_NO.sizes(), ", the shape of the model's output, got ", batch.targets.sizes(),
          ". Give the model as many outputs as there are numbers.");
    const Tensor error_NO = out_NO.to(type) - target_NO;
    const Tensor loss = ops::sum_of_all(losses(error_NO));
    const at::NoGradGuard no_grad;
    const Tensor wide_NO = error_NO.detach().to(at::kDouble), wanted_NO = target_NO.to(at::kDouble);
    const auto sum = [](const Tensor& numbers) { return ops::sum_of_all(numbers).item<double>(); };
    return {loss, at::tensor({loss.item<double>(), static_cast<double>(wanted_NO.numel()),
                              sum(wide_NO.square()), sum(wide_NO.abs()), sum(wanted_NO),
                              sum(wanted_NO.square())},
                             at::kDouble)};
  }

  std::vector<Metric> metrics(const Tensor& sums_M) const override {
    auto out = Objective::metrics(sums_M);
    const auto sum = [&](int64_t i) { return sums_M[i].item<double>(); };
    const double count = sum(1), spread = sum(5) - sum(4) * sum(4) / count;
    out.emplace_back("mean_squared_error", sum(2) / count);
    out.emplace_back("mean_absolute_error", sum(3) / count);
    out.emplace_back("r2", spread > 0 ? 1 - sum(2) / spread : std::nan(""));
    return out;
  }

 private:
  Tensor losses(const Tensor& error_NO) const {
    if (options_.error == "squared") return error_NO.square();
    const Tensor size_NO = error_NO.abs();
    if (options_.error == "absolute") return size_NO;
    const double delta = options_.huber_delta;
    return at::where(size_NO.le(delta), error_NO.square() * 0.5, (size_NO - delta / 2) * delta);
  }

  Regression options_;
};

}  // namespace

MOE_KIND(objectives, regression, RegressionObjective, Regression)

}  // namespace objectives

}  // namespace moe
