// M queries, R rows of memory, H query heads, G key-value heads, P width of queries and
// keys, V width of values.
#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/ops/attend_rows.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>

namespace moe::ops {

bool can_attend_rows(const Tensor& queries, const Tensor& memory) {
  return cpu::loops_take(queries) && cpu::loops_take(memory);
}

double ScoreOptions::scale_of(int64_t P) const {
  return scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(P));
}

Tensor attend_rows(const Tensor& q_MHP, const Tensor& key_RGP, const Tensor& value_RGV,
                   const std::vector<SeenRows>& seen_M, const ScoreOptions& scores) {
  const int64_t M = q_MHP.size(0), H = q_MHP.size(1), P = q_MHP.size(2), G = key_RGP.size(1),
                V = value_RGV.size(2);
  check(can_attend_rows(q_MHP, key_RGP) && can_attend_rows(q_MHP, value_RGV) &&
            q_MHP.is_contiguous() && key_RGP.is_contiguous() && value_RGV.is_contiguous() &&
            key_RGP.size(0) == value_RGV.size(0) && value_RGV.size(1) == G &&
            key_RGP.size(2) == P && H % G == 0 && static_cast<int64_t>(seen_M.size()) == M,
        "ops/attend_rows", "expected contiguous float32 queries and memory of the same heads, got ",
        q_MHP.sizes(), ", ", key_RGP.sizes(), " and ", value_RGV.sizes(), ". Check the shapes.");
  int64_t most = 0;
  for (const SeenRows& seen : seen_M) {
    check(seen.base >= 0 && seen.size > 0 && seen.base + seen.size <= key_RGP.size(0) &&
              seen.first >= 0 && seen.first < seen.size && seen.count >= 1 &&
              seen.count <= seen.size,
          "ops/attend_rows", "expected 1 to ", seen.size, " rows of a ring inside ",
          key_RGP.size(0), ", got ", seen.count, " from ", seen.first, " of the ring at ",
          seen.base, ". Check the memory's capacity.");
    most = std::max(most, seen.count);
  }
  const auto& loops = cpu::kernels().choice;
  const float *q = q_MHP.const_data_ptr<float>(), *key = key_RGP.const_data_ptr<float>(),
              *value = value_RGV.const_data_ptr<float>();
  Tensor out_MHV = at::empty({M, H, V}, q_MHP.options());
  float* out = out_MHV.mutable_data_ptr<float>();
  const auto scale = static_cast<float>(scores.scale_of(P)),
             softcap = static_cast<float>(scores.softcap);
  Tensor sinks_H;
  if (scores.sinks_H.defined()) sinks_H = scores.sinks_H.detach().to(at::kFloat).contiguous();
  const float* sinks = sinks_H.defined() ? sinks_H.const_data_ptr<float>() : nullptr;
  at::parallel_for(0, M * H, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> weights(static_cast<size_t>(most) + 1);
    std::vector<int64_t> rows(static_cast<size_t>(most));
    for (int64_t i = begin; i < end; ++i) {
      const SeenRows& seen = seen_M[static_cast<size_t>(i / H)];
      const int64_t g = i % H / (H / G);
      for (int64_t c = 0; c < seen.count; ++c) {
        int64_t place = seen.first + c;
        if (place >= seen.size) place -= seen.size;
        rows[static_cast<size_t>(c)] = (seen.base + place) * G + g;
        weights[static_cast<size_t>(c)] =
            loops.dot(P, q + i * P, key + rows[static_cast<size_t>(c)] * P) * scale;
      }
      if (softcap > 0)
        for (int64_t c = 0; c < seen.count; ++c) {
          float& score = weights[static_cast<size_t>(c)];
          score = softcap * std::tanh(score / softcap);
        }
      if (sinks) weights[static_cast<size_t>(seen.count)] = sinks[i % H];
      loops.softmax(seen.count + (sinks ? 1 : 0), weights.data(), weights.data());
      loops.weighted_sum(V, seen.count, value, rows.data(), weights.data(), out + i * V);
    }
  });
  return out_MHV;
}

}  // namespace moe::ops
