#pragma once
// What every family of decoders must do beside giving another program's numbers. T tokens, V
// vocabulary.

#include <algorithm>
#include <string>
#include <tests/support/temporary_folder.h>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/models/decoder_family.h>
#include <moe/models/generation_state.h>
#include <moe/models/load.h>
#include <moe/models/save.h>

#include "tests/models/parity.h"

namespace moe::test {

using Ids = std::vector<int64_t>;

/// The tokens of a case's rows without their padding, and one row of `longest` tokens made of them.
inline std::vector<Ids> rows_of_case(const Path& folder, int64_t vocabulary, int64_t longest) {
  const auto rows = models::parse_token_rows(
      read_file(real_files(), folder / "tokens.json", 1 << 20), "tokens.json", vocabulary);
  std::vector<Ids> out;
  Ids all;
  for (int64_t b = 0; b < rows.ids_BS.size(0); ++b) {
    const Tensor ids_T = rows.ids_BS[b].masked_select(rows.valid_BS[b]).contiguous();
    const auto* ids = ids_T.const_data_ptr<int64_t>();
    out.emplace_back(ids, ids + ids_T.numel());
    all.insert(all.end(), out.back().begin(), out.back().end());
  }
  Ids row;
  for (size_t i = 0; static_cast<int64_t>(row.size()) < longest; ++i)
    row.push_back(all[i * (1 + i / all.size()) % all.size()]);
  out.push_back(std::move(row));
  return out;
}

/// The logits of the case alone, within the tolerance of ../shared/parity/README.md.
inline void expect_logits(const Path& folder) {
  SCOPED_TRACE(folder.string());
  const at::NoGradGuard no_grad;
  const auto loaded = models::load_hugging_face(folder / "model");
  const auto rows =
      models::parse_token_rows(read_file(real_files(), folder / "tokens.json", 1 << 20),
                               "tokens.json", loaded.model->traits().vocabulary);
  const Tensor expected =
      formats::SafetensorsFile::open(folder / "expected.safetensors").tensor("logits");
  const auto got = models::forward_pass(*loaded.model, rows, {.any_length = true});
  const auto found = std::ranges::find(got, "logits", [](const auto& one) { return one.first; });
  ASSERT_NE(found, got.end());
  ASSERT_EQ(found->second.sizes(), expected.sizes());
  EXPECT_LE(largest(found->second - expected), 2e-5 * largest(expected));
}

/// (T, V): logits of the tokens `ids` from the sequences `sequences` on; behind `state` unless it
/// is null.
inline Tensor logits_of(models::Model& model, const Ids& ids, const Sequences& sequences,
                        models::GenerationState* state) {
  ModelInputs inputs;
  inputs.tokens.sequences = sequences;
  inputs.tokens.ids_T = at::tensor(ids, at::kLong);
  models::ForwardContext context;
  context.state = state;
  return model.head(model.forward(inputs, context).hidden_TD);
}

/// Logits of each row behind one state of all rows. Each row first brings `prompt(row)` of its
/// tokens, then `step` in each call.
template <class Prompt>
std::vector<Tensor> logits_in_steps(models::Model& model, const std::vector<Ids>& rows,
                                    const Prompt& prompt, int64_t step) {
  int64_t longest = 0;
  for (const Ids& row : rows) longest = std::max(longest, static_cast<int64_t>(row.size()));
  models::GenerationState state = model.new_state(longest, model.dtype());
  state.join(static_cast<int64_t>(rows.size()));
  std::vector<std::vector<Tensor>> parts(rows.size());
  for (bool first = true, more = true; more; first = false) {
    Ids ids, fresh;
    for (size_t n = 0; n < rows.size(); ++n) {
      const auto length = static_cast<int64_t>(rows[n].size()), seen = state.lengths()[n];
      fresh.push_back(std::min(length - seen, first ? prompt(static_cast<int64_t>(n)) : step));
      ids.insert(ids.end(), rows[n].begin() + seen, rows[n].begin() + seen + fresh[n]);
    }
    more = !ids.empty();
    if (!more) break;
    const Tensor logits_TV = logits_of(model, ids, state.sequences(fresh), &state);
    int64_t begin = 0;
    for (size_t n = 0; n < rows.size(); ++n) {
      parts[n].push_back(logits_TV.slice(0, begin, begin + fresh[n]));
      begin += fresh[n];
    }
  }
  std::vector<Tensor> out;
  for (const auto& of_row : parts) out.push_back(at::cat(of_row));
  return out;
}

/// Decoding the case's rows, and a longer one of `longest` tokens, from a state gives the logits of
/// full passes: token by token, in pieces, and behind prompts of unequal lengths, all rows in one
/// batch. In float64, and the case's own rows in float32 as well.
inline void expect_decoding_matches(const Path& folder, int64_t longest = 40) {
  SCOPED_TRACE(folder.string());
  const at::NoGradGuard no_grad;
  for (const auto& [type, tolerance] :
       {std::pair{at::kDouble, 1e-9}, std::pair{at::kFloat, 1e-4}}) {
    const auto loaded = models::load_hugging_face(folder / "model", type);
    auto rows = rows_of_case(folder, loaded.model->traits().vocabulary, longest);
    if (type == at::kFloat) rows.pop_back();  // its choices of experts may be ties
    std::vector<Tensor> whole;
    for (const Ids& row : rows)
      whole.push_back(logits_of(*loaded.model, row,
                                Sequences::equal(1, static_cast<int64_t>(row.size())), nullptr));
    const auto compare = [&](const char* how, const std::vector<Tensor>& got) {
      for (size_t n = 0; n < rows.size(); ++n) {
        ASSERT_EQ(got[n].sizes(), whole[n].sizes()) << how;
        EXPECT_LE(largest(got[n] - whole[n]), tolerance * largest(whole[n]))
            << how << ", row " << n << ", " << type;
      }
    };
    compare("token by token", logits_in_steps(
                                  *loaded.model, rows, [](int64_t) { return 1; }, 1));
    compare("in threes", logits_in_steps(
                             *loaded.model, rows, [](int64_t) { return 3; }, 3));
    compare("behind prompts", logits_in_steps(
                                  *loaded.model, rows, [](int64_t n) { return 2 + 7 * n; }, 1));
    compare("in long pieces", logits_in_steps(
                                  *loaded.model, rows, [](int64_t n) { return 1 + n; }, 18));
  }
}

/// Bit for bit: parameters and buffers by name.
inline void expect_same_model(const models::Model& was, const models::Model& is) {
  for (const bool buffers : {false, true}) {
    const auto left = buffers ? was.named_buffers() : was.named_parameters(),
               right = buffers ? is.named_buffers() : is.named_parameters();
    ASSERT_EQ(left.size(), right.size());
    for (const auto& item : left) {
      const Tensor* other = right.find(item.key());
      ASSERT_TRUE(other) << item.key();
      EXPECT_EQ(item.value().scalar_type(), other->scalar_type()) << item.key();
      EXPECT_TRUE(at::equal(item.value(), *other)) << item.key();
    }
  }
}

/// The case's model comes back bit for bit: written as a directory of its family, and by way of a
/// checkpoint of ours, whose config.json the family writes anew.
inline void expect_round_trip(const Path& folder) {
  SCOPED_TRACE(folder.string());
  const TemporaryFolder copies;
  const Path source = folder / "model";
  const auto type = models::stored_type(source);
  const auto was = models::load(source, type);
  models::save_hugging_face(was, copies / "copy");
  expect_same_model(*was.model, *models::load(copies / "copy", type).model);

  models::save_native(was, copies / "native");
  models::save_hugging_face(models::load(copies / "native", type), copies / "back", was.family);
  expect_same_model(*was.model, *models::load(copies / "back", type).model);
  const auto before = models::read_hugging_face(source),
             after = models::read_hugging_face(copies / "back");
  EXPECT_EQ(before.family, after.family);
  if (before.spec.architecture != "decoder") return;
  for (const auto& [key, one, other] :
       models::differences(models::options_of<models::DecoderOptions>(before.spec),
                           models::options_of<models::DecoderOptions>(after.spec)))
    ADD_FAILURE() << key << " = " << one << " became " << other;
}

}  // namespace moe::test
