#pragma once
// Token ids in a file that is mapped, so that a large corpus is encoded once and not at every
// start.

#include <memory>

#include <moe/base/files.h>
#include <moe/data/tokenizer.h>
#include <moe/data/tokens.h>

namespace moe::data {

/// Writes `tokens`, made by `tokenizer`, so that `path` holds its old content or all of the new.
///
/// Layout, little-endian: a header of 64 bytes
///
///   0 "MOETOKEN"  8 u32 version, 1     12 u32 bytes of an id, 2 or 4   16 u64 ids of the tokenizer
///   24 u64 tokens 32 u64 documents     40 u64 1 with marks, else 0    48 u64 the tokenizer's
///   checksum      56 u64 the checksum of all bytes but these 8
///
/// then the ids, filled up to a multiple of 8 bytes with zeros; documents times u64, the first
/// token of each (none: one stream); and with marks a byte a token, 1 where it may be a target.
/// Checksums are XXH3, the tokenizer's that of its tokenizer_json or else of its name.
void write_token_file(FileSystem& files, const Path& path, const Tokens& tokens,
                      const Tokenizer& tokenizer);

/// The tokens of such a file; ids stay mapped while the result lives. Reads every byte once. Throws
/// Error naming what is wrong for a file that is another kind's, cut short, damaged, or that holds
/// ids, documents or marks out of range, and ConfigError for one that another tokenizer made.
Tokens read_token_file(const std::shared_ptr<const MappedFile>& file, const Tokenizer& tokenizer);

}  // namespace moe::data
