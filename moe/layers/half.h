#pragma once
// T tokens, D width.

#include <string>

#include <moe/layers/norm.h>

namespace moe::layers {

/// How a mixer or a feed-forward f meets the stream of a block: where its norms stand, and how much
/// either of the two weighs. With r = stream(x) its half of the block is
///
///   sum(r, output(f(input(r))))
///
/// See BlockSpec for what that is at each position.
class Half {
 public:
  Half() = default;
  /// Without norms.
  Half(double scale, double residual) : scale_(scale), residual_(residual) {}
  /// `norm` for every position but "output", `output_norm` for "output" and "both".
  Half(const std::string& position, double scale, double residual, Norm norm, Norm output_norm);

  static bool has_norm(const std::string& position) { return position != "output"; }
  static bool has_output_norm(const std::string& position) {
    return position == "output" || position == "both";
  }

  Tensor stream(const Tensor& x_TD) { return place_ == Place::kStream ? norm_(x_TD) : x_TD; }
  Tensor input(const Tensor& r_TD) { return place_ == Place::kInput ? norm_(r_TD) : r_TD; }
  Tensor output(const Tensor& y_TD) { return output_norm_ ? output_norm_(y_TD) : y_TD; }
  /// residual * r + scale * y.
  Tensor sum(const Tensor& r_TD, const Tensor& y_TD);

 private:
  /// What the norm is of.
  enum class Place { kNowhere, kStream, kInput, kSum };

  Place place_ = Place::kNowhere;
  double scale_ = 1, residual_ = 1;
  Norm norm_{nullptr}, output_norm_{nullptr};
};

}  // namespace moe::layers
