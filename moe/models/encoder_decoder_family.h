#pragma once
// What families of encoder-decoders have in common.

#include <string>
#include <vector>

#include <moe/config/differences.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/architectures/encoder_decoder.h>
#include <moe/models/family.h>

namespace moe::models {

/// What `was` and `is` compute differently, in evaluation: how they start, dropout, balance and the
/// capacity of training are passed over; equivalent spellings are equal.
std::vector<config::Difference> differences(const EncoderDecoderOptions& was,
                                            const EncoderDecoderOptions& is);

/// Keys that describe the files or how to generate, and change nothing of what is computed here.
void ignore_generation_keys(const HfConfig& c);

/// The first block whose feed-forward is of this kind ("dense", "moe"), the encoder's first; null:
/// none.
const layers::BlockSpec* first_with(const EncoderDecoderOptions& options,
                                    const std::string& feed_forward);
/// Numbers from 0 of the blocks that route.
std::vector<int64_t> routing_of(const std::vector<layers::BlockSpec>& blocks);

/// Of the first term of this kind; 0: none.
double coefficient_of(const std::vector<BalanceSpec>& balance, const std::string& kind);

/// The rules of the one table of ids, under `table` and its further names, and of the head.
void add_ends(NameMap& map, const EncoderDecoderOptions& options, const std::string& table,
              const std::vector<std::string>& also);

}  // namespace moe::models
