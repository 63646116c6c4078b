#include <ATen/TensorOperators.h>

#include <moe/layers/half.h>

namespace moe::layers {

Half::Half(const std::string& position, double scale, double residual, Norm norm, Norm output_norm)
    : place_(position == "post"       ? Place::kSum
             : position == "residual" ? Place::kStream
             : position == "output"   ? Place::kNowhere
                                      : Place::kInput),
      scale_(scale),
      residual_(residual),
      norm_(std::move(norm)),
      output_norm_(std::move(output_norm)) {}

Tensor Half::sum(const Tensor& r_TD, const Tensor& y_TD) {
  const Tensor kept_TD = residual_ == 1 ? r_TD : r_TD * residual_;
  const Tensor sum_TD = kept_TD + (scale_ == 1 ? y_TD : y_TD * scale_);
  return place_ == Place::kSum ? norm_(sum_TD) : sum_TD;
}

}  // namespace moe::layers
