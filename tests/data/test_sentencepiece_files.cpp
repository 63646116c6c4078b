// SentencePiece tokenizers as files that other programs read.

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/tokenizers/read_tokenizer.h>
#include <moe/data/tokenizers/sentencepiece_tokenizer.h>

#include "tests/support/python.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_sentencepiece.h"

namespace moe::data {
namespace {

using nlohmann::json;
using Kind = SentencePieceModel::Kind;

/// The tokenizer that a run keeps, written as files into `folder` and read again.
std::shared_ptr<const Tokenizer> written_and_read(const Tokenizer& tokenizer,
                                                  const std::filesystem::path& folder) {
  const auto kept = parse_tokenizer(tokenizer.tokenizer_json(), "kept");
  std::filesystem::create_directories(folder);
  for (const auto& [name, content] : kept->published_files())
    std::ofstream(folder / name, std::ios::binary) << content;
  const auto model =
      folder /
      (std::filesystem::exists(folder / "spiece.model") ? "spiece.model" : "tokenizer.model");
  return read_tokenizer(model);
}

TEST(SentencePieceFiles, AreTheModelAndWhatReadsIt) {
  const test::TemporaryFolder folder;
  for (const auto kind : {Kind::kBpe, Kind::kUnigram}) {
    const std::string bytes = test::tiny_sentencepiece(kind, true);
    const auto tokenizer = read_sentencepiece(bytes, "s", {});
    const auto files = tokenizer->published_files();
    const std::string name = kind == Kind::kBpe ? "tokenizer.model" : "spiece.model";
    ASSERT_EQ(files.size(), 2u);
    EXPECT_EQ(files.at(name), bytes);
    const json settings = json::parse(files.at("tokenizer_config.json"));
    EXPECT_EQ(settings["tokenizer_class"], kind == Kind::kBpe ? "LlamaTokenizer" : "T5Tokenizer");
    EXPECT_EQ(settings["add_bos_token"], kind == Kind::kBpe);
    EXPECT_EQ(settings["add_eos_token"], kind == Kind::kUnigram);
    const auto again = written_and_read(*tokenizer, folder / name / "files");
    for (const char* text : {"the cat", " the  cat.", "日本 é", "", "</s>"})
      EXPECT_EQ(again->encode_framed(text), tokenizer->encode_framed(text)) << text;
  }
}

TEST(SentencePieceFiles, KeepWhatTheSettingsSay) {
  const test::TemporaryFolder folder;
  TokenizerSettings settings;
  settings.tokenizer_class = "GemmaTokenizer";
  settings.adds_begin = false;
  settings.adds_end = true;
  AddedToken added;
  added.id = 600;
  added.text = "<turn>";
  added.special = true;
  settings.added.push_back(added);
  const auto tokenizer =
      read_sentencepiece(test::tiny_sentencepiece(Kind::kBpe, true), "s", settings);
  const auto again = written_and_read(*tokenizer, folder.path());
  EXPECT_EQ(again->vocabulary(), 601);
  EXPECT_EQ(again->encode_framed("the<turn>cat"), tokenizer->encode_framed("the<turn>cat"));
  EXPECT_EQ(again->encode_framed("a").back(), 2);
  EXPECT_EQ(again->encode_framed("a").size(), again->encode("a").size() + 1);
}

constexpr const char* kReadByTransformers = R"(
import json, sys
from transformers import AutoTokenizer
folder = sys.argv[1] + '/'
written, original = (AutoTokenizer.from_pretrained(folder + name) for name in ('written', 'original'))
same = 0
cases = json.load(open(folder + 'cases.json', encoding='utf-8'))
for text, ids in cases:
    got = written.encode(text)
    assert got == original.encode(text), (text, got)
    same += got == ids  # transformers' own reading of a map of characters differs in corners
assert same >= 0.95 * len(cases), (same, len(cases))
)";

TEST(SentencePieceFiles, AreReadByTransformersWithTheSameIds) {
  const auto shared = std::filesystem::path(MOE_SHARED_DIR) / "parity/tokenizers";
  if (!std::filesystem::exists(shared / "mixtral_spm_model")) GTEST_SKIP() << "no ../shared/parity";
  if (!test::python_has("transformers, sentencepiece")) GTEST_SKIP() << "no transformers";
  for (const auto& [name, family] : {std::pair{"mixtral_spm_model", "mixtral"},
                                     std::pair{"switch_unigram_model", "switch_transformers"}}) {
    SCOPED_TRACE(name);
    const test::TemporaryFolder folder;
    const auto tokenizer = read_tokenizer(shared / name / "tokenizer.model");
    written_and_read(*tokenizer, folder / "written");
    std::filesystem::copy(shared / name, folder / "original");
    std::ofstream(folder.path() / "written/config.json") << json{{"model_type", family}};
    json cases = json::array();
    std::ifstream lines(shared / name / "cases.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const json each = json::parse(line);
      if (each.contains("text")) cases.push_back({each["text"], each["ids"]});
    }
    ASSERT_GT(cases.size(), 20u);
    std::ofstream(folder / "cases.json") << cases;
    std::ofstream(folder / "check.py") << kReadByTransformers;
    EXPECT_EQ(test::run_python(folder / "check.py", folder.path()), 0);
  }
}

}  // namespace
}  // namespace moe::data
