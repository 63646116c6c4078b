// Safetensors files: what is written is read back, everything else is refused. Tensors of any
// shape; no shape letters.

#include <cstring>
#include <filesystem>
#include <fstream>
#include <tests/support/faulty_files.h>
#include <tests/support/memory_files.h>
#include <tests/support/message_of.h>
#include <tests/support/python.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/formats/safetensors.h>

namespace moe::formats {
namespace {

using test::TemporaryFolder;

const std::vector<at::ScalarType> kAllDtypes = {
    at::kBool,     at::kByte,   at::kChar,   at::kShort,         at::kUInt16,
    at::kInt,      at::kUInt32, at::kLong,   at::kUInt64,        at::kHalf,
    at::kBFloat16, at::kFloat,  at::kDouble, at::kFloat8_e4m3fn, at::kFloat8_e5m2};

/// A tensor of `shape` whose bytes differ from each other and from those of other seeds.
at::Tensor random_tensor(at::IntArrayRef shape, at::ScalarType dtype, uint64_t seed) {
  const at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(dtype));
  auto* bytes = static_cast<uint8_t*>(tensor.mutable_data_ptr());
  const RandomStream random({seed}, Purpose::kTest);
  for (size_t i = 0; i < tensor.nbytes(); ++i)
    bytes[i] = static_cast<uint8_t>(random.bits(i) & (dtype == at::kBool ? 1 : 0xff));
  return tensor;
}

/// Bit for bit: also where a NaN differs from itself.
void expect_same(const at::Tensor& a, const at::Tensor& b) {
  ASSERT_EQ(a.scalar_type(), b.scalar_type());
  ASSERT_EQ(a.sizes(), b.sizes());
  ASSERT_TRUE(a.nbytes() == 0 ||
              std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

TEST(Safetensors, EveryDtypeAndShapeComesBackBitForBit) {
  const TemporaryFolder folder;
  const std::vector<std::vector<int64_t>> shapes = {
      {}, {0}, {3, 0, 2}, {1}, {7}, {4, 5}, {1, 2, 1, 2, 1, 2, 1, 2}};
  NamedTensors tensors;
  for (const auto dtype : kAllDtypes)
    for (size_t i = 0; i < shapes.size(); ++i)
      tensors.emplace_back(concat(safetensors_name(dtype).value(), ".", i),
                           random_tensor(shapes[i], dtype, tensors.size()));
  const std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                       {"küche", "ｗｉｄｅ \"quoted\"\n"}};
  write_safetensors(real_files(), folder / "all.safetensors", tensors, metadata);

  const auto file = SafetensorsFile::open(folder / "all.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ(file.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    EXPECT_EQ(file.info(name).dtype, tensor.scalar_type());
    EXPECT_EQ(file.info(name).end - file.info(name).begin, tensor.nbytes());
    expect_same(file.tensor(name), tensor);
  }
}

TEST(Safetensors, KeepsTheOrderGivenAndAlignsTheData) {
  const TemporaryFolder folder;
  for (size_t padding = 0; padding < 70; ++padding) {
    const NamedTensors tensors = {{"z" + std::string(padding, 'z'), at::ones({3})},
                                  {"a", at::zeros({2})}};
    write_safetensors(real_files(), folder / "f", tensors);
    const std::string bytes = read_file(real_files(), folder / "f", 1 << 20);
    EXPECT_EQ((bytes.size() - 20) % 64, 0);
    const auto file = SafetensorsFile::open(folder / "f");
    EXPECT_EQ(file.names(), (std::vector<std::string>{tensors[0].first, "a"}));
    EXPECT_EQ(file.info("a").begin, 12);
  }
}

TEST(Safetensors, TheSameTensorsGiveTheSameBytes) {
  test::MemoryFiles files;
  const NamedTensors tensors = {{"b", at::arange(5)}, {"a", at::ones({2, 2})}};
  write_safetensors(files, "/1", tensors, {{"k", "v"}, {"j", "w"}});
  write_safetensors(files, "/2", tensors, {{"j", "w"}, {"k", "v"}});
  EXPECT_EQ(read_file(files, "/1", 1 << 20), read_file(files, "/2", 1 << 20));
}

TEST(Safetensors, ViewsAreWrittenAsTheyLook) {
  const TemporaryFolder folder;
  const at::Tensor base = at::arange(12, at::kFloat).reshape({3, 4}).requires_grad_();
  const at::Tensor expanded = at::ones({1, 3}).expand({2, 3});
  write_safetensors(real_files(), folder / "f",
                    {{"t", base.t()}, {"row", base.select(0, 1)}, {"expanded", expanded}});
  const auto file = SafetensorsFile::open(folder / "f");
  EXPECT_TRUE(file.tensor("t").equal(base.t()));
  EXPECT_TRUE(file.tensor("row").equal(base.select(0, 1)));
  EXPECT_TRUE(file.tensor("expanded").equal(expanded));
}

TEST(Safetensors, TensorsOutliveTheFileObjectAndItsName) {
  const TemporaryFolder folder;
  write_safetensors(real_files(), folder / "f", {{"w", at::full({1000}, 3.0)}});
  at::Tensor tensor = SafetensorsFile::open(folder / "f").tensor("w");
  std::filesystem::remove(folder / "f");
  EXPECT_EQ(tensor.sum().item<double>(), 3000.0);
}

TEST(Safetensors, NoTensorsIsAFileToo) {
  const TemporaryFolder folder;
  write_safetensors(real_files(), folder / "f", {}, {{"only", "metadata"}});
  const auto file = SafetensorsFile::open(folder / "f");
  EXPECT_TRUE(file.names().empty());
  EXPECT_EQ(file.metadata().at("only"), "metadata");
}

TEST(Safetensors, UnknownNameSuggestsTheNearest) {
  const TemporaryFolder folder;
  write_safetensors(real_files(), folder / "f", {{"layers.0.weight", at::ones({1})}});
  const auto file = SafetensorsFile::open(folder / "f");
  EXPECT_FALSE(file.contains("layers.0.weigth"));
  EXPECT_ERROR(file.tensor("layers.0.weigth"), "Did you mean 'layers.0.weight'?");
}

TEST(Safetensors, MisalignedTensorsAreCopied) {
  const TemporaryFolder folder;
  const at::Tensor odd = random_tensor({3}, at::kByte, 1),
                   wide = random_tensor({5}, at::kDouble, 2);
  write_safetensors(real_files(), folder / "f", {{"odd", odd}, {"wide", wide}});
  const at::Tensor read = SafetensorsFile::open(folder / "f").tensor("wide");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(read.const_data_ptr()) % 8, 0);
  expect_same(read, wide);
}

TEST(Safetensors, GivesPartsOfTensors) {
  const TemporaryFolder folder;
  const at::Tensor odd = random_tensor({3}, at::kByte, 1),
                   wide = random_tensor({2, 5000}, at::kDouble, 2);
  for (const bool aligned : {true, false}) {
    NamedTensors tensors = {{"wide", wide}, {"odd", odd}};
    if (!aligned) std::swap(tensors[0], tensors[1]);
    write_safetensors(real_files(), folder / "f", tensors);
    const auto file = SafetensorsFile::open(folder / "f");
    EXPECT_EQ(file.gives_view("wide"), aligned);
    for (const auto& [first, count] :
         {std::pair<int64_t, int64_t>{0, 10'000}, {4'999, 2}, {9'999, 1}, {10'000, 0}, {0, 0}}) {
      expect_same(file.part("wide", first, count), wide.view({-1}).narrow(0, first, count));
      file.release("wide", first, count);
      expect_same(file.part("wide", first, count), wide.view({-1}).narrow(0, first, count));
    }
    for (const auto& [first, count] :
         {std::pair<int64_t, int64_t>{0, 10'001}, {10'001, 0}, {-1, 2}, {5, -1}, {INT64_MAX, 2}})
      EXPECT_ERROR(file.part("wide", first, count), "expected a part of the 10000 numbers");
    expect_same(file.tensor("wide"), wide);
  }
}

TEST(Safetensors, ABoolThatIsNeitherIsRefused) {
  const TemporaryFolder folder;
  write_safetensors(real_files(), folder / "f", {{"w", at::ones({3}, at::kBool)}});
  std::fstream(folder / "f", std::ios::binary | std::ios::in | std::ios::out)
          .seekp(-1, std::ios::end)
      << '\2';
  const auto file = SafetensorsFile::open(folder / "f");
  EXPECT_ERROR(file.tensor("w"), "bytes 0 and 1");
}

TEST(Safetensors, RandomDamageThrowsOrLoads) {
  const TemporaryFolder folder;
  write_safetensors(real_files(), folder / "good",
                    {{"a", random_tensor({3, 5}, at::kFloat, 1)},
                     {"flags", random_tensor({9}, at::kBool, 2)},
                     {"none", at::empty({0, 4})},
                     {"b", random_tensor({2, 2, 2}, at::kBFloat16, 3)}},
                    {{"format", "pt"}});
  const std::string good = read_file(real_files(), folder / "good", 1 << 20);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, good.data(), 8);
  header_bytes += 8;
  const std::string alphabet = "{}[]\",:0123456789-.eE\\uFaBdts_ \n\xff\x80";
  size_t refused = 0, loaded = 0;
  for (uint64_t round = 0; round < 4000; ++round) {
    const RandomStream random({11, round}, Purpose::kTest);
    uint64_t draws = 0;
    const auto draw = [&](uint64_t bound) { return random.below(draws++, bound); };
    std::string bytes = good;
    for (uint64_t edits = 1 + draw(3); edits > 0; --edits) {
      const size_t at = draw(header_bytes);
      const char letter = alphabet[draw(alphabet.size())];
      switch (draw(6)) {
        case 0:
          bytes[at] = static_cast<char>(draw(256));
          break;
        case 1:
          bytes[at] = letter;
          break;
        case 2:
          bytes.erase(at, 1 + draw(4));
          break;
        case 3:
          bytes.insert(at, 1, letter);
          break;
        case 4:
          bytes.insert(at, good.substr(draw(header_bytes), draw(40)));
          break;
        case 5:
          bytes.resize(draw(bytes.size() + 1));
          break;
      }
      if (bytes.size() < header_bytes) break;
    }
    // Half of the time the length is put right, so that damage reaches the parser.
    if (bytes.size() >= 8 && draw(2) == 0) {
      const uint64_t data_bytes = good.size() - header_bytes;
      const uint64_t length = bytes.size() - std::min<uint64_t>(bytes.size(), data_bytes + 8);
      std::memcpy(bytes.data(), &length, 8);
    }
    std::ofstream(folder / "bad", std::ios::binary) << bytes;
    try {
      const auto file = SafetensorsFile::open(folder / "bad");
      for (const auto& name : file.names()) {
        const at::Tensor tensor = file.tensor(name);
        ASSERT_EQ(tensor.nbytes(), file.info(name).end - file.info(name).begin);
        if (tensor.nbytes() > 0) file.tensor(name).clone();  // touches every byte
      }
      ++loaded;
    } catch (const Error& error) {
      ASSERT_TRUE(test::contains(error.what(), "[formats/safetensors]")) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000);
  EXPECT_GT(loaded, 20);  // renamed tensors, white space
}

TEST(Safetensors, WriterRefusesWhatTheFormatCannotHold) {
  const TemporaryFolder folder;
  const auto refuses_writing = [&](const NamedTensors& tensors, const std::string& part,
                                   const std::map<std::string, std::string>& metadata = {}) {
    EXPECT_ERROR(write_safetensors(real_files(), folder / "f", tensors, metadata), part);
  };
  const at::Tensor one = at::ones({1});
  refuses_writing({{"w", one}, {"w", one}}, "differ from each other");
  refuses_writing({{"__metadata__", one}}, "__metadata__");
  refuses_writing({{"w", at::Tensor()}}, "undefined");
  refuses_writing({{"w", at::ones({2, 2}).to_sparse()}}, "sparse or meta");
  refuses_writing({{"w", at::empty({2}, at::kMeta)}}, "sparse or meta");
  refuses_writing({{"w", at::ones({1}, at::kComplexFloat)}}, "ComplexFloat");
  refuses_writing({{"w", at::ones({1, 1, 1, 1, 1, 1, 1, 1, 1})}}, "at most 8 dimensions");
  refuses_writing({{"w\xff", one}}, "UTF-8");
  refuses_writing({{"w", one}}, "UTF-8", {{"k", "\xff"}});
  EXPECT_TRUE(real_files().list(folder.path()).empty()) << "something was written";
}

TEST(Safetensors, AFailedWriteKeepsTheOldFile) {
  const TemporaryFolder folder;
  write_safetensors(real_files(), folder / "f", {{"old", at::ones({4})}});
  for (size_t k = 0; k <= 5; ++k) {
    test::FaultyFiles full(real_files(), [&](size_t index, std::string_view call) {
      return index >= k && (call == "write" || call == "sync" || call == "rename") ? ENOSPC : 0;
    });
    EXPECT_ERROR(write_safetensors(full, folder / "f", {{"new", at::zeros({4})}}), "free space");
    EXPECT_EQ(SafetensorsFile::open(folder / "f").names(), (std::vector<std::string>{"old"}));
    EXPECT_EQ(real_files().list(folder.path()).size(), 1);
  }
}

TEST(Safetensors, MissingFilesAndFoldersAreRefused) {
  const TemporaryFolder folder;
  EXPECT_ERROR(SafetensorsFile::open(folder / "none"), "No such file");
  EXPECT_ERROR(SafetensorsFile::open(folder.path()), "Is a directory");
}

TEST(Safetensors, PythonReadsWhatIsWrittenAndBack) {
  if (!test::python_has("safetensors, numpy"))
    GTEST_SKIP() << "python3 has no safetensors and numpy";
  const TemporaryFolder folder;
  const NamedTensors tensors = {
      {"odd", random_tensor({3}, at::kByte, 1)}, {"f32", at::arange(6, at::kFloat).reshape({2, 3})},
      {"scalar", at::full({}, 7, at::kLong)},    {"empty", at::empty({0, 2})},
      {"half", at::full({3}, 0.5, at::kHalf)},   {"flag", at::ones({2}, at::kBool)}};
  write_safetensors(real_files(), folder / "ours", tensors, {{"format", "pt"}});
  std::ofstream(folder / "check.py") << R"(
import sys
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
folder = sys.argv[1]
got = load_file(folder + '/ours')
assert set(got) == {'odd', 'f32', 'scalar', 'empty', 'half', 'flag'}, got.keys()
assert (got['f32'] == np.arange(6, dtype=np.float32).reshape(2, 3)).all()
assert got['scalar'].shape == () and int(got['scalar']) == 7
assert got['empty'].shape == (0, 2)
assert got['half'].dtype == np.float16 and (got['half'] == 0.5).all()
assert got['flag'].dtype == np.bool_ and got['flag'].all()
with safe_open(folder + '/ours', 'np') as file:
    assert file.metadata() == {'format': 'pt'}
save_file(got, folder + '/theirs', metadata={'by': 'python'})
)";
  ASSERT_EQ(test::run_python(folder / "check.py", folder.path()), 0);
  const auto theirs = SafetensorsFile::open(folder / "theirs");
  EXPECT_EQ(theirs.metadata().at("by"), "python");
  for (const auto& [name, tensor] : tensors) expect_same(theirs.tensor(name), tensor);
}

}  // namespace
}  // namespace moe::formats
