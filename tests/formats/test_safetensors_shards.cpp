// Folders of safetensors files with an index. Tensors of any shape; no shape letters.
#include <fstream>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/formats/safetensors_shards.h>

namespace moe::formats {
namespace {

using test::TemporaryFolder;

std::vector<TensorSource> sources(int count) {
  std::vector<TensorSource> out;
  for (int i = 0; i < count; ++i)
    out.push_back({concat("t", i), at::kFloat, {2, 3}, [i] {
                     return at::arange(i, i + 6, at::kFloat).view({2, 3});
                   }});
  return out;
}

void write_text(const Path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string opening(const Path& folder) {
  return test::message_of([&] { SafetensorsShards::open(folder); });
}

TEST(SafetensorsShards, OneFileWhereItFits) {
  const TemporaryFolder folder;
  write_shards(real_files(), folder.path(), sources(4));
  EXPECT_EQ(real_files().list(folder.path()), std::vector<std::string>{"model.safetensors"});
  const auto shards = SafetensorsShards::open(folder.path());
  EXPECT_EQ(shards.names(), (std::vector<std::string>{"t0", "t1", "t2", "t3"}));
  EXPECT_EQ(shards.bytes(), 4u * 24);
  EXPECT_TRUE(at::equal(shards.tensor("t2"), at::arange(2, 8, at::kFloat).view({2, 3})));
}

TEST(SafetensorsShards, SplitsBySizeAndReadsBackByIndex) {
  const TemporaryFolder folder;
  write_shards(real_files(), folder.path(), sources(5), 50);
  EXPECT_EQ(real_files().list(folder.path()),
            (std::vector<std::string>{
                "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  const auto index = read_file(real_files(), folder / "model.safetensors.index.json", 1 << 20);
  EXPECT_TRUE(test::contains(index, "\"total_parameters\": 30")) << index;
  EXPECT_TRUE(test::contains(index, "\"total_size\": 120")) << index;
  const auto shards = SafetensorsShards::open(folder.path());
  EXPECT_EQ(shards.names().size(), 5u);
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(
        at::equal(shards.tensor(concat("t", i)), at::arange(i, i + 6, at::kFloat).view({2, 3})));
  EXPECT_ERROR(shards.tensor("t9"), "expected a tensor 't9', got none among 5. Did you mean");
}

TEST(SafetensorsShards, TensorsThatDoNotFitGetAShardOfTheirOwn) {
  const TemporaryFolder folder;
  write_shards(real_files(), folder.path(), sources(3), 1);
  EXPECT_EQ(real_files().list(folder.path()).size(), 4u);
  EXPECT_EQ(SafetensorsShards::open(folder.path()).names().size(), 3u);
}

TEST(SafetensorsShards, AreWritableInMemoryOnly) {
  const TemporaryFolder folder;
  write_shards(real_files(), folder.path(), sources(1));
  const auto shards = SafetensorsShards::open(folder.path(), Mapping::kCopyOnWrite);
  at::Tensor mine = shards.tensor("t0");
  mine.fill_(7);
  EXPECT_EQ(mine.sum().item<double>(), 42);
  EXPECT_TRUE(at::equal(SafetensorsShards::open(folder.path()).tensor("t0"), sources(1)[0].make()));
}

TEST(SafetensorsShards, ReleasedTensorsAreReadAgain) {
  const TemporaryFolder folder;
  const auto big = at::arange(1 << 16, at::kFloat);
  write_safetensors(real_files(), folder / kSingleShard, {{"big", big}});
  const auto shards = SafetensorsShards::open(folder.path(), Mapping::kCopyOnWrite);
  const at::Tensor view = shards.tensor("big");
  EXPECT_TRUE(at::equal(view, big));
  shards.release("big");
  EXPECT_TRUE(at::equal(view, big));
}

TEST(SafetensorsShards, RefusesFoldersWithoutWeights) {
  const TemporaryFolder folder;
  EXPECT_TRUE(test::contains(opening(folder.path()),
                             "expected model.safetensors or model.safetensors.index.json"));
}

TEST(SafetensorsShards, RefusesAnIndexThatLies) {
  const TemporaryFolder folder;
  write_shards(real_files(), folder.path(), sources(4), 50);
  const auto with_map = [&](const std::string& map) {
    write_text(folder / kShardIndex, "{\"weight_map\": " + map + "}");
    return opening(folder.path());
  };
  const std::string one = "model-00001-of-00002.safetensors",
                    two = "model-00002-of-00002.safetensors";
  const auto entry = [](const std::string& name, const std::string& file) {
    return "\"" + name + "\": \"" + file + "\"";
  };
  EXPECT_EQ(with_map("{" + entry("t0", one) + "," + entry("t1", one) + "," + entry("t2", two) +
                     "," + entry("t3", two) + "}"),
            "");
  const auto message =
      with_map("{" + entry("t0", one) + "," + entry("t1", two) + "," + entry("t9", two) + "}");
  for (const char* line :
       {"got 4 that differ", "\n  't1' is in 'model-00001", "\n  't9' is in no shard",
        "\n  't2' is in 'model-00002-of-00002.safetensors'; the index names it not"})
    EXPECT_TRUE(test::contains(message, line)) << message;
  EXPECT_TRUE(test::contains(with_map("{}"), "found an empty one"));
  EXPECT_TRUE(test::contains(with_map("3"), "found number"));
  EXPECT_TRUE(test::contains(with_map("{\"t0\": 3}"), "got '3'"));
  for (const char* file : {"../x.safetensors", "/etc/passwd", "", ".."})
    EXPECT_TRUE(test::contains(with_map("{" + entry("t0", file) + "}"),
                               "expected the name of a file beside the index"));
  const auto gone = with_map("{" + entry("t0", "gone.safetensors") + "," + entry("t1", one) + "," +
                             entry("t2", "lost.safetensors") + "}");
  EXPECT_TRUE(test::contains(gone, "found 2 missing. Fetch them too.")) << gone;
  for (const char* file : {"gone.safetensors", "lost.safetensors"})
    EXPECT_TRUE(test::contains(gone, concat("\n  ", (folder / file).string()))) << gone;
}

TEST(SafetensorsShards, AnIndexOfHundredMegabytesOnOneLineIsRefusedUnread) {
  const TemporaryFolder folder;
  const Path index = folder / kShardIndex;
  std::ofstream(index) << "{\"weight_map\": {\"a\": \"";
  std::filesystem::resize_file(index, 100'000'000);
  const auto message = opening(folder.path());
  EXPECT_TRUE(test::contains(message, "expected at most")) << message;
  EXPECT_TRUE(test::contains(message, index.string())) << message;
  // Within the size, but of more values than any index has.
  std::string many = "{\"weight_map\": {}, \"x\": [0";
  for (int i = 0; i < (1 << 21); ++i) many += ",0";
  EXPECT_ERROR(parse_shard_index(many + "]}", "'x'"), "values in 'x', got more");
}

TEST(SafetensorsShards, RefusesATensorInTwoShards) {
  const TemporaryFolder folder;
  write_safetensors(real_files(), folder / "a.safetensors", {{"t", at::arange(2)}});
  write_safetensors(real_files(), folder / "b.safetensors",
                    {{"t", at::arange(2)}, {"u", at::arange(2)}});
  write_text(folder / kShardIndex,
             R"({"weight_map": {"t": "a.safetensors", "u": "b.safetensors"}})");
  EXPECT_TRUE(test::contains(opening(folder.path()), "got 't' in two"));
}

TEST(SafetensorsShards, RefusesSourcesThatMakeSomethingElse) {
  const TemporaryFolder folder;
  auto wrong = sources(1);
  wrong[0].shape = {3, 2};
  EXPECT_ERROR(write_shards(real_files(), folder.path(), wrong),
               "expected tensor 't0' to be made as Float [3, 2]");
  EXPECT_EQ(real_files().list(folder.path()).size(), 0u) << "nothing is left behind";
}

}  // namespace
}  // namespace moe::formats
