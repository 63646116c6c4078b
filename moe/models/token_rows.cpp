// B batch, S sequence.
#include <algorithm>

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <moe/base/error.h>
#include <moe/formats/strict_json.h>
#include <moe/models/token_rows.h>

namespace moe::models {

namespace {

using nlohmann::json;

constexpr const char* kPlaceOfRows = "models/token_rows";
constexpr const char* kIds = "input_ids";
constexpr const char* kMask = "attention_mask";
constexpr const char* kDecoderIds = "decoder_input_ids";

/// Refuses fields by name; those that another kind of model reads with the reason.
void check_fields(const json& document, std::string_view source, bool decoder) {
  const std::vector<std::string> known = decoder
                                             ? std::vector<std::string>{kIds, kMask, kDecoderIds}
                                             : std::vector<std::string>{kIds, kMask};
  std::vector<std::string> unknown;
  for (const auto& [key, value] : document.items()) {
    if (std::ranges::count(known, key) > 0) continue;
    check(key != kDecoderIds && key != "inputs", kPlaceOfRows, "expected only ",
          join(known, " and "), " in ", source, " for ",
          decoder ? "an encoder-decoder" : "a decoder-only language model", ", got '", key,
          "', which ", decoder ? "vision models read." : "encoder-decoders and vision models read.",
          " Remove it.");
    unknown.push_back(formats::in_quotes(key) + did_you_mean(key, known));
  }
  if (!unknown.empty())
    fail(kPlaceOfRows, "expected the fields ", join(known, " and "), " in ", source, ", got ",
         unknown.size(), " unknown. Remove or correct them:", indented_list(unknown));
}

/// An integer in [0, bound); `what` completes "expected … in [0, bound)".
int64_t read_integer(const json& value, int64_t bound, const char* what, const auto& place) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
  const int64_t number = fits ? value.get<int64_t>() : -1;
  if (!fits || number < 0 || number >= bound)
    fail(kPlaceOfRows, "expected ", what, " in [0, ", bound, ") at ", place(), ", got ",
         formats::in_quotes(value.dump()), ". Correct the file.");
  return number;
}

/// The rows of numbers in `rows`, all of one length.
Tensor read_table(const json& rows, const char* field, std::string_view source, int64_t bound,
                  const char* what) {
  check(rows.is_array() && !rows.empty(), kPlaceOfRows, "expected a list of rows in '", field,
        "' of ", source, ", got ", rows.is_array() ? "an empty list" : rows.type_name(),
        ". Give at least one row of integers.");
  size_t length = 0;
  for (size_t b = 0; b < rows.size(); ++b) {
    const auto place = [&] { return concat(field, '[', b, "] of ", source); };
    if (!rows[b].is_array() || rows[b].empty())
      fail(kPlaceOfRows, "expected a list of integers at ", place(), ", got ",
           rows[b].is_array() ? "an empty list" : rows[b].type_name(),
           ". Give every row at least one token.");
    if (b == 0) length = rows[b].size();
    if (rows[b].size() != length)
      fail(kPlaceOfRows, "expected ", length, " numbers at ", place(),
           ", as in the row before, got ", rows[b].size(),
           ". Pad rows at one end and mark the padding in attention_mask.");
  }
  const auto B = static_cast<int64_t>(rows.size()), S = static_cast<int64_t>(length);
  Tensor table_BS = at::empty({B, S}, at::kLong);
  auto* out = table_BS.mutable_data_ptr<int64_t>();
  for (size_t b = 0; b < rows.size(); ++b)
    for (size_t s = 0; s < length; ++s)
      *out++ = read_integer(rows[b][s], bound, what,
                            [&] { return concat(field, '[', b, "][", s, "] of ", source); });
  return table_BS;
}

void check_padding(const Tensor& mask_BS, std::string_view source) {
  const int64_t B = mask_BS.size(0), S = mask_BS.size(1);
  const auto* row = mask_BS.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < B; ++b, row += S) {
    bool ended = false;
    for (int64_t s = 1; s < S; ++s) {
      ended |= row[s] < row[s - 1];
      if (ended && row[s] != 0)
        fail(kPlaceOfRows,
             "expected ones without a gap in every row of attention_mask, got a 1 behind a 0 at ",
             "attention_mask[", b, "][", s, "] of ", source,
             ". Move the padding to the ends of the rows.");
    }
  }
}

}  // namespace

TokenRows parse_token_rows(std::string_view text, std::string_view source, int64_t vocabulary,
                           bool decoder) {
  const json document = formats::parse_strict_json(text, kPlaceOfRows, source, {.depth = 3});
  check_fields(document, source, decoder);
  const auto ids = [&](const char* field) {
    check(document.contains(field), kPlaceOfRows, "expected the field ", field, " in ", source,
          ", found none. Add {\"", field, "\": [[…]…]}.");
    return read_table(document[field], field, source, vocabulary, "a token id");
  };
  TokenRows out;
  out.ids_BS = ids(kIds);
  if (decoder) {
    out.decoder_BS = ids(kDecoderIds);
    check(out.decoder_BS.size(0) == out.ids_BS.size(0), kPlaceOfRows,
          "expected as many rows in decoder_input_ids as in input_ids of ", source, ", ",
          out.ids_BS.size(0), ", got ", out.decoder_BS.size(0), ". Give one for each.");
  }
  if (!document.contains(kMask)) {
    out.valid_BS = at::ones(out.ids_BS.sizes(), at::kBool);
    return out;
  }
  const Tensor mask_BS = read_table(document[kMask], kMask, source, 2, "0 or 1");
  check(mask_BS.sizes() == out.ids_BS.sizes(), kPlaceOfRows, "expected attention_mask of shape ",
        out.ids_BS.sizes(), " in ", source, ", that of input_ids, got ", mask_BS.sizes(),
        ". Give one number for each token.");
  check_padding(mask_BS, source);
  out.valid_BS = mask_BS.to(at::kBool);
  return out;
}

}  // namespace moe::models
