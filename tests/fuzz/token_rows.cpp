// The JSON of `moe forward --tokens`.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <nlohmann/json.hpp>

#include <moe/models/token_rows.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

namespace {

nlohmann::json rows_of(const at::Tensor& table_BS) {
  const at::Tensor numbers = table_BS.to(at::kLong).contiguous();
  const auto* number = numbers.const_data_ptr<int64_t>();
  auto out = nlohmann::json::array();
  for (int64_t b = 0; b < numbers.size(0); ++b, number += numbers.size(1))
    out.push_back(std::vector<int64_t>(number, number + numbers.size(1)));
  return out;
}

}  // namespace

void token_rows(Bytes input) {
  constexpr int64_t kVocabulary = 1000;
  models::TokenRows rows, pairs;
  const auto read_pairs = [&] {
    pairs = models::parse_token_rows(text_of(input), "'x.json'", kVocabulary, /*decoder=*/true);
  };
  if (accepts(read_pairs))
    require(pairs.decoder_BS.dim() == 2 && pairs.decoder_BS.numel() > 0 &&
                pairs.decoder_BS.size(0) == pairs.ids_BS.size(0) &&
                pairs.decoder_BS.min().item<int64_t>() >= 0 &&
                pairs.decoder_BS.max().item<int64_t>() < kVocabulary,
            "rows of the decoder that do not fit");
  if (!accepts([&] { rows = models::parse_token_rows(text_of(input), "'x.json'", kVocabulary); }))
    return;
  require(rows.ids_BS.dim() == 2 && rows.ids_BS.numel() > 0 &&
              rows.valid_BS.sizes() == rows.ids_BS.sizes(),
          "wrong shapes");
  require(rows.ids_BS.scalar_type() == at::kLong && rows.valid_BS.scalar_type() == at::kBool,
          "wrong types");
  const nlohmann::json document = {{"input_ids", rows_of(rows.ids_BS)},
                                   {"attention_mask", rows_of(rows.valid_BS)}};
  for (const auto& row : document["input_ids"])
    for (const auto& id : row) require(id >= 0 && id < kVocabulary, "an id out of range: ", id);
  for (const auto& row : document["attention_mask"])
    require(std::is_sorted(row.begin(), row.end()) || std::is_sorted(row.rbegin(), row.rend()),
            "padding on both sides or in the middle");
  const auto again = models::parse_token_rows(document.dump(), "written", kVocabulary);
  require(at::equal(again.ids_BS, rows.ids_BS) && at::equal(again.valid_BS, rows.valid_BS),
          "rows changed when written");
}

}  // namespace moe::fuzz
