// T tokens, N sequences, H heads, G groups of heads, K key width, V value width.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/recurrence_loops.h>
#include <moe/ops/linear_recurrence.h>

namespace moe::ops {

namespace {

constexpr const char* kPlaceOfRecurrence = "ops/linear_recurrence";

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Head h of the tokens begin .. end, in contiguous tensors.
template <class Scalar>
cpu::RecurrenceHead<Scalar> head_of(const RecurrenceInputs& in, int64_t h, int64_t begin,
                                    int64_t end) {
  cpu::RecurrenceHead<Scalar> out;
  const int64_t H = in.v_THV.size(1), G = in.q_TGK.size(1);
  out.tokens = end - begin;
  out.key_width = in.q_TGK.size(2);
  out.value_width = in.v_THV.size(2);
  out.decays = in.log_decay_THK.size(2);
  out.key_stride = G * out.key_width;
  out.value_stride = H * out.value_width;
  out.decay_stride = H * out.decays;
  out.rate_stride = H;
  const int64_t at_key = begin * out.key_stride + h / (H / G) * out.key_width;
  out.q = in.q_TGK.const_data_ptr<Scalar>() + at_key;
  out.k = in.k_TGK.const_data_ptr<Scalar>() + at_key;
  out.v = in.v_THV.const_data_ptr<Scalar>() + begin * out.value_stride + h * out.value_width;
  out.log_decay =
      in.log_decay_THK.const_data_ptr<Scalar>() + begin * out.decay_stride + h * out.decays;
  if (in.rate_TH.defined()) out.rate = in.rate_TH.const_data_ptr<Scalar>() + begin * H + h;
  return out;
}

template <class Scalar>
void all_forward(const RecurrenceInputs& in, const std::vector<int64_t>& offsets,
                 const Tensor& memory_NHKV, Tensor& o_THV) {
  const int64_t H = in.v_THV.size(1), size = in.q_TGK.size(2) * in.v_THV.size(2);
  const auto N = static_cast<int64_t>(offsets.size()) - 1;
  Scalar* const o = o_THV.mutable_data_ptr<Scalar>();
  Scalar* const memories = memory_NHKV.defined() ? memory_NHKV.mutable_data_ptr<Scalar>() : nullptr;
  at::parallel_for(0, N * H, 1, [&](int64_t first, int64_t last) {
    std::vector<Scalar> own;
    for (int64_t i = first; i < last; ++i) {
      const int64_t n = i / H, h = i % H;
      const auto head = head_of<Scalar>(in, h, offsets[n], offsets[n + 1]);
      if (!memories) own.assign(static_cast<size_t>(size), Scalar{0});
      cpu::recurrence_forward(head, memories ? memories + i * size : own.data(),
                              o + offsets[n] * head.value_stride + h * head.value_width);
    }
  });
}

template <class Scalar>
void all_backward(const RecurrenceInputs& in, const std::vector<int64_t>& offsets,
                  const Tensor& d_o_THV, const RecurrenceInputs& out) {
  const int64_t H = in.v_THV.size(1), G = in.q_TGK.size(1), per_group = H / G;
  const auto N = static_cast<int64_t>(offsets.size()) - 1;
  // The heads of a group add to the same gradients of q and k, one behind another.
  at::parallel_for(0, N * G, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t h = i % G * per_group; h < (i % G + 1) * per_group; ++h) {
        const int64_t begin = offsets[i / G], end = offsets[i / G + 1];
        // Gradients stand as their inputs do.
        const auto head = head_of<Scalar>(in, h, begin, end),
                   to = head_of<Scalar>(out, h, begin, end);
        cpu::recurrence_backward<Scalar>(
            head,
            d_o_THV.const_data_ptr<Scalar>() + begin * head.value_stride + h * head.value_width,
            {const_cast<Scalar*>(to.q), const_cast<Scalar*>(to.k), const_cast<Scalar*>(to.v),
             const_cast<Scalar*>(to.log_decay), const_cast<Scalar*>(to.rate)});
      }
  });
}

struct LinearRecurrence : torch::autograd::Function<LinearRecurrence> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q_TGK, const Tensor& k_TGK,
                        const Tensor& v_THV, const Tensor& log_decay_THK,
                        const std::optional<Tensor>& rate, const std::vector<int64_t>& offsets,
                        const std::optional<Tensor>& memory) {
    const RecurrenceInputs in = {q_TGK, k_TGK, v_THV, log_decay_THK, rate.value_or(Tensor())};
    ctx->save_for_backward({q_TGK, k_TGK, v_THV, log_decay_THK, in.rate_TH});
    ctx->saved_data["offsets"] = offsets;
    Tensor o_THV = at::empty_like(v_THV);
    AT_DISPATCH_FLOATING_TYPES(v_THV.scalar_type(), "linear_recurrence", [&] {
      all_forward<scalar_t>(in, offsets, memory.value_or(Tensor()), o_THV);
    });
    return o_THV;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    check(
        !at::GradMode::is_enabled(), kPlaceOfRecurrence,
        "expected a backward pass without create_graph, got one with it. Ask for one derivative.");
    const auto saved = ctx->get_saved_variables();
    const RecurrenceInputs in = {saved[0], saved[1], saved[2], saved[3], saved[4]};
    RecurrenceInputs out = {at::zeros_like(in.q_TGK), at::zeros_like(in.k_TGK),
                            at::zeros_like(in.v_THV), at::zeros_like(in.log_decay_THK), Tensor()};
    if (in.rate_TH.defined()) out.rate_TH = at::zeros_like(in.rate_TH);
    const Tensor d_o_THV = gradients[0].contiguous();
    AT_DISPATCH_FLOATING_TYPES(in.v_THV.scalar_type(), "linear_recurrence_backward", [&] {
      all_backward<scalar_t>(in, ctx->saved_data["offsets"].toIntVector(), d_o_THV, out);
    });
    return {out.q_TGK, out.k_TGK, out.v_THV, out.log_decay_THK, out.rate_TH, Tensor(), Tensor()};
  }
};

void check_inputs(const RecurrenceInputs& in, const std::vector<int64_t>& offsets,
                  const Tensor& memory_NHKV) {
  const auto& q = in.q_TGK;
  const auto &v = in.v_THV, &g = in.log_decay_THK;
  const bool fits = q.dim() == 3 && q.sizes() == in.k_TGK.sizes() && v.dim() == 3 && g.dim() == 3 &&
                    v.size(0) == q.size(0) && g.size(0) == q.size(0) && q.size(1) > 0 &&
                    v.size(1) % q.size(1) == 0 && g.size(1) == v.size(1) &&
                    (g.size(2) == 1 || g.size(2) == q.size(2)) &&
                    (!in.rate_TH.defined() || in.rate_TH.sizes() == v.sizes().slice(0, 2)) &&
                    !offsets.empty() && offsets.front() == 0 && offsets.back() == q.size(0);
  check(fits, kPlaceOfRecurrence,
        "expected q and k (T, G, K), v (T, H, V) and log decays (T, H, 1 "
        "or K) of the sequences' tokens, got ",
        q.sizes(), ", ", in.k_TGK.sizes(), ", ", v.sizes(), " and ", g.sizes(),
        ". Check the widths.");
  if (!memory_NHKV.defined()) return;
  const std::vector<int64_t> shape = {static_cast<int64_t>(offsets.size()) - 1, v.size(1),
                                      q.size(2), v.size(2)};
  check(memory_NHKV.sizes() == at::IntArrayRef(shape) && memory_NHKV.is_contiguous() &&
            memory_NHKV.scalar_type() == v.scalar_type(),
        kPlaceOfRecurrence, "expected memories ", at::IntArrayRef(shape), " of type ",
        v.scalar_type(), ", got ", memory_NHKV.sizes(), ' ', memory_NHKV.scalar_type(),
        ". Use the state that the model made.");
}

}  // namespace

Tensor linear_recurrence(const RecurrenceInputs& inputs, const std::vector<int64_t>& offsets_N1,
                         const Tensor& memory_NHKV) {
  check_inputs(inputs, offsets_N1, memory_NHKV);
  if (!inputs.v_THV.is_cpu()) return linear_recurrence_in_chunks(inputs, offsets_N1, memory_NHKV);
  std::optional<Tensor> rate, memory;
  if (inputs.rate_TH.defined()) rate = inputs.rate_TH.contiguous();
  if (memory_NHKV.defined()) memory = memory_NHKV;
  return LinearRecurrence::apply(inputs.q_TGK.contiguous(), inputs.k_TGK.contiguous(),
                                 inputs.v_THV.contiguous(), inputs.log_decay_THK.contiguous(), rate,
                                 offsets_N1, memory);
}

}  // namespace moe::ops
