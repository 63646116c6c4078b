// An idx file, plain or compressed.

#include <algorithm>

#include <moe/formats/idx.h>

#include "tests/fuzz/targets.h"
#include "tests/support/gzip.h"

namespace moe::fuzz {

namespace {

/// The array in `file`, or none.
bool read(std::string_view file, formats::IdxArray& out) {
  return accepts([&] { out = formats::read_idx(bytes_of(file), "x.idx", nullptr); });
}

}  // namespace

void idx(Bytes input) {
  formats::IdxArray array, packed;
  const bool ok = read(text_of(input), array);
  if (ok) {
    size_t values = 1;
    for (const int64_t size : array.shape) values *= static_cast<size_t>(size);
    require(array.values.size() == values, "a shape of ", values, " values has ",
            array.values.size());
  }
  // With a checksum that is right, so that mutation reaches what stands behind it.
  const std::string file = test::gzip_of(text_of(input));
  if (!read(file, packed)) return;
  require(ok, "the compressed file is read, the plain one is not");
  require(packed.shape == array.shape && std::ranges::equal(packed.values, array.values),
          "the compressed file holds something else");
}

}  // namespace moe::fuzz
