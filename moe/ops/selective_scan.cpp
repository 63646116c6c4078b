// T tokens, N sequences, I channels, S numbers of state a channel, B blocks of channels.
#include <algorithm>
#include <cmath>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/selective_scan.h>

namespace moe::ops {

namespace {

constexpr const char* kPlaceOfScan = "ops/selective_scan";
/// Channels that one thread takes together: what they add to shared gradients is summed block by
/// block, whatever the number of threads.
constexpr int64_t kChannels = 32;

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class Scalar>
struct ScanPointers {
  const Scalar *x, *dt, *a, *b, *c;

  explicit ScanPointers(const ScanInputs& in)
      : x(in.x_TI.const_data_ptr<Scalar>()),
        dt(in.dt_TI.const_data_ptr<Scalar>()),
        a(in.a_IS.const_data_ptr<Scalar>()),
        b(in.b_TS.const_data_ptr<Scalar>()),
        c(in.c_TS.const_data_ptr<Scalar>()) {}
};

/// Calls each(block, first channel, last channel) on all threads.
template <class Each>
void for_channel_blocks(int64_t channels, const Each& each) {
  at::parallel_for(0, (channels + kChannels - 1) / kChannels, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      each(block, block * kChannels, std::min(channels, (block + 1) * kChannels));
  });
}

template <class Scalar>
void scan_forward(const ScanInputs& in, const std::vector<int64_t>& offsets,
                  const Tensor& state_NIS, Tensor& y_TI) {
  const int64_t I = in.a_IS.size(0), S = in.a_IS.size(1);
  const ScanPointers<Scalar> p(in);
  Scalar* const y = y_TI.mutable_data_ptr<Scalar>();
  Scalar* const states = state_NIS.defined() ? state_NIS.mutable_data_ptr<Scalar>() : nullptr;
  for_channel_blocks(I, [&](int64_t, int64_t first, int64_t last) {
    std::vector<Scalar> own(static_cast<size_t>((last - first) * S));
    for (size_t n = 0; n + 1 < offsets.size(); ++n) {
      std::fill(own.begin(), own.end(), Scalar{0});
      Scalar* const state =
          states ? states + (static_cast<int64_t>(n) * I + first) * S : own.data();
      for (int64_t t = offsets[n]; t < offsets[n + 1]; ++t)
        for (int64_t i = first; i < last; ++i) {
          const Scalar dt = p.dt[t * I + i], step = dt * p.x[t * I + i];
          Scalar *s = state + (i - first) * S, sum = 0;
          for (int64_t j = 0; j < S; ++j) {
            s[j] = std::exp(dt * p.a[i * S + j]) * s[j] + step * p.b[t * S + j];
            sum += s[j] * p.c[t * S + j];
          }
          y[t * I + i] = sum;
        }
    }
  });
}

/// Gradients of x, dt and a, and each block's part of those of b and c, which start at zero.
template <class Scalar>
void scan_backward(const ScanInputs& in, const std::vector<int64_t>& offsets, const Tensor& dy_TI,
                   const ScanInputs& out, const Tensor& db_BTS, const Tensor& dc_BTS) {
  const int64_t T = in.x_TI.size(0), I = in.a_IS.size(0), S = in.a_IS.size(1);
  const ScanPointers<Scalar> p(in);
  const Scalar* const dy = dy_TI.const_data_ptr<Scalar>();
  Scalar *const dx = out.x_TI.mutable_data_ptr<Scalar>(),
                *const ddt = out.dt_TI.mutable_data_ptr<Scalar>(),
                *const da = out.a_IS.mutable_data_ptr<Scalar>();
  for_channel_blocks(I, [&](int64_t block, int64_t first, int64_t last) {
    Scalar* const db = db_BTS.mutable_data_ptr<Scalar>() + block * T * S;
    Scalar* const dc = dc_BTS.mutable_data_ptr<Scalar>() + block * T * S;
    std::vector<Scalar> states, ds(static_cast<size_t>(S));
    for (size_t n = 0; n + 1 < offsets.size(); ++n) {
      const int64_t begin = offsets[n], length = offsets[n + 1] - begin;
      for (int64_t i = first; i < last; ++i) {
        // states[0] is the one before the first token.
        states.assign(static_cast<size_t>((length + 1) * S), Scalar{0});
        for (int64_t l = 0; l < length; ++l) {
          const int64_t t = begin + l;
          const Scalar dt = p.dt[t * I + i], step = dt * p.x[t * I + i];
          const Scalar* was = states.data() + l * S;
          Scalar* is = states.data() + (l + 1) * S;
          for (int64_t j = 0; j < S; ++j)
            is[j] = std::exp(dt * p.a[i * S + j]) * was[j] + step * p.b[t * S + j];
        }
        std::fill(ds.begin(), ds.end(), Scalar{0});
        for (int64_t l = length - 1; l >= 0; --l) {
          const int64_t t = begin + l;
          const Scalar dt = p.dt[t * I + i], x = p.x[t * I + i], given = dy[t * I + i];
          const Scalar *was = states.data() + l * S, *is = states.data() + (l + 1) * S;
          Scalar of_dt = 0, of_x = 0;
          for (int64_t j = 0; j < S; ++j) {
            const Scalar a = p.a[i * S + j], b = p.b[t * S + j], factor = std::exp(dt * a);
            dc[t * S + j] += given * is[j];
            ds[j] += given * p.c[t * S + j];
            const Scalar of_factor = ds[j] * was[j] * factor;
            of_dt += of_factor * a + ds[j] * x * b;
            of_x += ds[j] * dt * b;
            db[t * S + j] += ds[j] * dt * x;
            da[i * S + j] += of_factor * dt;
            ds[j] *= factor;
          }
          ddt[t * I + i] = of_dt;
          dx[t * I + i] = of_x;
        }
      }
    }
  });
}

struct SelectiveScan : torch::autograd::Function<SelectiveScan> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_TI, const Tensor& dt_TI,
                        const Tensor& a_IS, const Tensor& b_TS, const Tensor& c_TS,
                        const std::vector<int64_t>& offsets, const std::optional<Tensor>& state) {
    ctx->save_for_backward({x_TI, dt_TI, a_IS, b_TS, c_TS});
    ctx->saved_data["offsets"] = offsets;
    Tensor y_TI = at::empty_like(x_TI);
    AT_DISPATCH_FLOATING_TYPES(x_TI.scalar_type(), "selective_scan", [&] {
      scan_forward<scalar_t>({x_TI, dt_TI, a_IS, b_TS, c_TS}, offsets, state.value_or(Tensor()),
                             y_TI);
    });
    return y_TI;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    check(
        !at::GradMode::is_enabled(), kPlaceOfScan,
        "expected a backward pass without create_graph, got one with it. Ask for one derivative.");
    const auto saved = ctx->get_saved_variables();
    const ScanInputs in = {saved[0], saved[1], saved[2], saved[3], saved[4]};
    const ScanInputs out = {at::zeros_like(in.x_TI), at::zeros_like(in.dt_TI),
                            at::zeros_like(in.a_IS), Tensor(), Tensor()};
    const int64_t I = in.a_IS.size(0), blocks = (I + kChannels - 1) / kChannels;
    const std::vector<int64_t> shape = {blocks, in.b_TS.size(0), in.b_TS.size(1)};
    const Tensor db_BTS = at::zeros(shape, in.b_TS.options()),
                 dc_BTS = at::zeros(shape, in.c_TS.options());
    const Tensor dy_TI = gradients[0].contiguous();
    AT_DISPATCH_FLOATING_TYPES(in.x_TI.scalar_type(), "selective_scan_backward", [&] {
      scan_backward<scalar_t>(in, ctx->saved_data["offsets"].toIntVector(), dy_TI, out, db_BTS,
                              dc_BTS);
    });
    return {out.x_TI, out.dt_TI, out.a_IS, db_BTS.sum(0), dc_BTS.sum(0), Tensor(), Tensor()};
  }
};

void check_scan(const ScanInputs& in, const std::vector<int64_t>& offsets,
                const Tensor& state_NIS) {
  const Tensor &x = in.x_TI, &a = in.a_IS;
  const bool fits = x.dim() == 2 && a.dim() == 2 && x.sizes() == in.dt_TI.sizes() &&
                    a.size(0) == x.size(1) && in.b_TS.sizes() == in.c_TS.sizes() &&
                    in.b_TS.dim() == 2 && in.b_TS.size(0) == x.size(0) &&
                    in.b_TS.size(1) == a.size(1) && !offsets.empty() && offsets.front() == 0 &&
                    offsets.back() == x.size(0);
  check(fits, kPlaceOfScan,
        "expected x and dt (T, I), a (I, S), b and c (T, S) of the sequences' "
        "tokens, got ",
        x.sizes(), ", ", in.dt_TI.sizes(), ", ", a.sizes(), ", ", in.b_TS.sizes(), " and ",
        in.c_TS.sizes(), ". Check the widths.");
  if (!state_NIS.defined()) return;
  const std::vector<int64_t> shape = {static_cast<int64_t>(offsets.size()) - 1, a.size(0),
                                      a.size(1)};
  check(state_NIS.sizes() == at::IntArrayRef(shape) && state_NIS.is_contiguous() &&
            state_NIS.scalar_type() == x.scalar_type(),
        kPlaceOfScan, "expected states ", at::IntArrayRef(shape), " of type ", x.scalar_type(),
        ", got ", state_NIS.sizes(), ' ', state_NIS.scalar_type(),
        ". Use the state that the model made.");
}

/// One chunk (C, …) of one sequence behind state_IS, which moves on.
Tensor scan_chunk(const ScanInputs& in, Tensor& state_IS) {
  const int64_t C = in.x_TI.size(0);
  // What the tokens up to each multiply the state by, and what they add to it.
  Tensor factor_CIS = (in.dt_TI.unsqueeze(2) * in.a_IS).exp();
  Tensor added_CIS = (in.dt_TI * in.x_TI).unsqueeze(2) * in.b_TS.unsqueeze(1);
  for (int64_t distance = 1; distance < C; distance *= 2) {
    const auto early = [&](const Tensor& x) { return x.slice(0, 0, distance); };
    const auto late = [&](const Tensor& x) { return x.slice(0, distance); };
    const auto before = [&](const Tensor& x) { return x.slice(0, 0, C - distance); };
    added_CIS =
        at::cat({early(added_CIS), late(added_CIS) + late(factor_CIS) * before(added_CIS)}, 0);
    factor_CIS = at::cat({early(factor_CIS), late(factor_CIS) * before(factor_CIS)}, 0);
  }
  const Tensor states_CIS = added_CIS + factor_CIS * state_IS;
  state_IS = states_CIS[C - 1];
  return (states_CIS * in.c_TS.unsqueeze(1)).sum(2);
}

}  // namespace

Tensor selective_scan(const ScanInputs& inputs, const std::vector<int64_t>& offsets_N1,
                      const Tensor& state_NIS) {
  check_scan(inputs, offsets_N1, state_NIS);
  if (!inputs.x_TI.is_cpu()) return selective_scan_in_chunks(inputs, offsets_N1, state_NIS);
  std::optional<Tensor> state;
  if (state_NIS.defined()) state = state_NIS;
  return SelectiveScan::apply(inputs.x_TI.contiguous(), inputs.dt_TI.contiguous(),
                              inputs.a_IS.contiguous(), inputs.b_TS.contiguous(),
                              inputs.c_TS.contiguous(), offsets_N1, state);
}

Tensor selective_scan_in_chunks(const ScanInputs& inputs, const std::vector<int64_t>& offsets_N1,
                                const Tensor& state_NIS, int64_t chunk) {
  std::vector<Tensor> parts = {inputs.x_TI.slice(0, 0, 0)};
  for (size_t n = 0; n + 1 < offsets_N1.size(); ++n) {
    const auto slot = static_cast<int64_t>(n);
    Tensor state_IS = state_NIS.defined() ? state_NIS[slot].clone() : at::zeros_like(inputs.a_IS);
    for (int64_t begin = offsets_N1[n]; begin < offsets_N1[n + 1]; begin += chunk) {
      const auto part = [&](const Tensor& x) {
        return x.slice(0, begin, std::min(begin + chunk, offsets_N1[n + 1]));
      };
      parts.push_back(scan_chunk({part(inputs.x_TI), part(inputs.dt_TI), inputs.a_IS,
                                  part(inputs.b_TS), part(inputs.c_TS)},
                                 state_IS));
    }
    if (state_NIS.defined()) state_NIS[slot].copy_(state_IS);
  }
  return at::cat(parts, 0);
}

}  // namespace moe::ops
