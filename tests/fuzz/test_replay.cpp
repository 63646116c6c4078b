// Runs every seed and everything that fuzzing ever found through its target.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include <moe/base/files.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

namespace {

/// The number of inputs that were run.
size_t replay(const char* folder, const char* name, void (*target)(Bytes)) {
  const Path path = Path(MOE_SOURCE_DIR) / "tests/fuzz" / folder / name;
  if (!std::filesystem::is_directory(path)) return 0;
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string content(std::istreambuf_iterator<char>(file), {});
    EXPECT_NO_THROW(target(bytes_of(content))) << entry.path();
    ++count;
  }
  return count;
}

}  // namespace

#define X(name)                                        \
  TEST(Replay, name) {                                 \
    EXPECT_GT(replay("seeds", #name, &fuzz::name), 0); \
    replay("found", #name, &fuzz::name);               \
  }
#include "tests/fuzz/targets.def"
#undef X

}  // namespace moe::fuzz
