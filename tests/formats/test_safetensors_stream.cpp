#include <cerrno>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/formats/safetensors.h>
#include <moe/formats/safetensors_stream.h>

#include "tests/support/faulty_files.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::formats {
namespace {

/// Everything in `folder`, by name.
std::vector<std::string> names_in(const Path& folder) {
  return real_files().list(folder);
}

TEST(SafetensorsStream, EqualsTheFileWrittenAtOnce) {
  const test::TemporaryFolder folder;
  const at::Tensor a = at::arange(12, at::kInt).view({6, 2}), b = at::rand({5}, at::kDouble);
  {
    SafetensorsStream stream(real_files(), folder / "stream.safetensors");
    stream.append("a", a.slice(0, 0, 1));
    stream.append("dropped", b);
    stream.append("b", b.slice(0, 0, 2));
    stream.append("a", a.slice(0, 1, 6));
    stream.append("b", b.slice(0, 2, 2));
    stream.append("b", b.slice(0, 2, 5));
    EXPECT_EQ(stream.rows("a"), 6);
    EXPECT_EQ(stream.rows("c"), 0);
    stream.drop("dropped");
    stream.append("c", at::zeros({0}, at::kBool));
    stream.reshape("a", {3, 4});
    stream.finish({{"key", "value"}});
  }
  write_safetensors(real_files(), folder / "once.safetensors",
                    {{"a", a.view({3, 4})}, {"b", b}, {"c", at::zeros({0}, at::kBool)}},
                    {{"key", "value"}});
  EXPECT_EQ(read_file(real_files(), folder / "stream.safetensors", 1 << 20),
            read_file(real_files(), folder / "once.safetensors", 1 << 20));
  EXPECT_EQ(names_in(folder.path()),
            (std::vector<std::string>{"once.safetensors", "stream.safetensors"}));
}

TEST(SafetensorsStream, RefusesPiecesThatDoNotFit) {
  const test::TemporaryFolder folder;
  SafetensorsStream stream(real_files(), folder / "x.safetensors");
  stream.append("a", at::zeros({2, 3}));
  EXPECT_ERROR(stream.append("a", at::zeros({2, 4})), "rows like the first one's");
  EXPECT_ERROR(stream.append("a", at::zeros({2, 3}, at::kDouble)), "to be Float");
  EXPECT_ERROR(stream.append("s", at::scalar_tensor(1)), "1 to 8 dimensions");
  EXPECT_ERROR(stream.append("z", at::zeros({1}, at::kComplexFloat)), "dtype of the format");
  EXPECT_ERROR(stream.append("__metadata__", at::zeros({1})), "__metadata__");
  EXPECT_ERROR(stream.reshape("a", {5}), "6 elements");
  EXPECT_ERROR(stream.drop("b"), "'b'");
}

TEST(SafetensorsStream, LeavesTheOldFileWhenTheDiskIsFull) {
  for (size_t failing = 0;; ++failing) {
    const test::TemporaryFolder folder;
    write_safetensors(real_files(), folder / "x.safetensors", {{"old", at::zeros({1})}});
    test::FaultyFiles files(real_files(), [&](size_t i, std::string_view call) {
      return i == failing && (call == "write" || call == "create" || call == "close") ? ENOSPC : 0;
    });
    const std::string message = test::message_of([&] {
      SafetensorsStream stream(files, folder / "x.safetensors");
      stream.append("new", at::ones({3}));
      stream.append("new", at::ones({3}));
      stream.finish();
    });
    const auto now = SafetensorsFile::open(folder / "x.safetensors");
    EXPECT_EQ(now.contains("old"), !message.empty()) << failing << message;
    EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"x.safetensors"})) << failing;
    if (!message.empty()) {
      EXPECT_PRED2(test::contains, message, "full");
    }
    if (failing > files.calls()) break;
  }
}

}  // namespace
}  // namespace moe::formats
