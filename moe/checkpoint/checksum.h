#pragma once
// The checksums of moe/formats under their name here.

#include <moe/formats/checksum.h>

namespace moe::checkpoint {

using formats::Checksum;
using formats::checksum_of;
using formats::checksum_text;
using formats::parse_checksum;

}  // namespace moe::checkpoint
