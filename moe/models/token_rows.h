#pragma once
// B batch, S sequence.

#include <cstdint>
#include <string_view>

#include <ATen/core/Tensor.h>

namespace moe::models {

using at::Tensor;

/// Token ids from a file.
struct TokenRows {
  Tensor ids_BS;    // int64
  Tensor valid_BS;  // bool, false for padding; all true when the file has no mask
  /// (B, S') int64 of encoder-decoders, no padding among them; undefined for other models.
  Tensor decoder_BS = {};
};

/// Reads {"input_ids": [[…]…], "attention_mask": [[…]…]?}, and with `decoder` beside them
/// "decoder_input_ids": [[…]…], as many rows; an untrusted file: B >= 1 rows
/// of the same length S >= 1, ids in [0, vocabulary), and a mask of the same shape whose rows hold
/// ones without a gap: padding stands at the right or left end, and positions count from 0 at the
/// first one. `source` names the document in messages. Throws moe::Error that tells the place of
/// what is wrong, such as "input_ids[1][3]", and names unknown fields.
TokenRows parse_token_rows(std::string_view json, std::string_view source, int64_t vocabulary,
                           bool decoder = false);

}  // namespace moe::models
