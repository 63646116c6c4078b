#include <algorithm>
#include <cmath>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/tanh.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/pointwise.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kNumbersAThread = 4096;

template <class Scalar>
Scalar sigmoid_of(Scalar x) {
  return 1 / (1 + std::exp(-x));
}

struct SiluOf {
  template <class Scalar>
  static Scalar value(Scalar x) {
    return x * sigmoid_of(x);
  }
  template <class Scalar>
  static Scalar slope(Scalar x) {
    const Scalar s = sigmoid_of(x);
    return s * (1 + x * (1 - s));
  }
};

struct SigmoidOf {
  template <class Scalar>
  static Scalar value(Scalar x) {
    return sigmoid_of(x);
  }
  template <class Scalar>
  static Scalar slope(Scalar x) {
    const Scalar s = sigmoid_of(x);
    return s * (1 - s);
  }
};

struct SoftplusOf {
  template <class Scalar>
  static Scalar value(Scalar x) {
    return std::max(x, Scalar{0}) + std::log1p(std::exp(-std::abs(x)));
  }
  template <class Scalar>
  static Scalar slope(Scalar x) {
    return sigmoid_of(x);
  }
};

struct TanhOf {
  template <class Scalar>
  static Scalar value(Scalar x) {
    return std::tanh(x);
  }
  template <class Scalar>
  static Scalar slope(Scalar x) {
    const Scalar t = std::tanh(x);
    return 1 - t * t;
  }
};

template <class Of>
struct Pointwise : torch::autograd::Function<Pointwise<Of>> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x) {
    ctx->save_for_backward({x});
    Tensor y = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "pointwise", [&] {
      const auto* from = x.const_data_ptr<scalar_t>();
      auto* to = y.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, x.numel(), kNumbersAThread, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) to[i] = Of::value(from[i]);
      });
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    check(
        !at::GradMode::is_enabled(), "ops/pointwise",
        "expected a backward pass without create_graph, got one with it. Ask for one derivative.");
    const Tensor x = ctx->get_saved_variables()[0], dy = gradients[0].contiguous();
    Tensor dx = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "pointwise_backward", [&] {
      const auto *from = x.const_data_ptr<scalar_t>(), *given = dy.const_data_ptr<scalar_t>();
      auto* to = dx.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, x.numel(), kNumbersAThread, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) to[i] = given[i] * Of::slope(from[i]);
      });
    });
    return {dx};
  }
};

bool by_own_loops(const Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

}  // namespace

Tensor silu(const Tensor& x) {
  return by_own_loops(x) ? Pointwise<SiluOf>::apply(x.contiguous()) : at::silu(x);
}

Tensor sigmoid(const Tensor& x) {
  return by_own_loops(x) ? Pointwise<SigmoidOf>::apply(x.contiguous()) : at::sigmoid(x);
}

Tensor softplus(const Tensor& x) {
  return by_own_loops(x) ? Pointwise<SoftplusOf>::apply(x.contiguous()) : at::softplus(x);
}

Tensor tanh(const Tensor& x) {
  return by_own_loops(x) ? Pointwise<TanhOf>::apply(x.contiguous()) : at::tanh(x);
}

}  // namespace moe::ops
