#pragma once
// What families of decoders have in common.

#include <vector>

#include <moe/config/differences.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/family.h>

namespace moe::models {

/// `count` equal blocks. Throws moe::Error for more than a model may have.
std::vector<layers::BlockSpec> repeat(int64_t count, const layers::BlockSpec& block);

/// What `was` and `is` compute differently, in evaluation: how they start, dropout, balance and
/// limits on experts in training are passed over; equivalent spellings are equal.
std::vector<config::Difference> differences(const DecoderOptions& was, const DecoderOptions& is);

}  // namespace moe::models
