// Against the Python package `tokenizers`, where it is present.
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/synth/synth.h>

#include "tests/support/python.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

/// Strings of what tokenizers disagree about, in characters that every Unicode of late classes
/// alike.
std::vector<std::string> disputed_strings(size_t count) {
  const std::vector<std::string> parts = {" ",
                                          "  ",
                                          "\n",
                                          "\n\n",
                                          "\t",
                                          "\r\n",
                                          "\u00A0",
                                          "\u3000",
                                          "\u2028",
                                          "'s",
                                          "'ll",
                                          "'S",
                                          "'",
                                          "it",
                                          "The",
                                          "isn't",
                                          "where",
                                          "2024",
                                          "7",
                                          "²½",
                                          "Ⅷ",
                                          "٣",
                                          ".",
                                          ",",
                                          "...",
                                          "!?",
                                          "++",
                                          "=",
                                          "_",
                                          "ş",
                                          "ğü",
                                          "Çocuk",
                                          "İ",
                                          "Москва",
                                          "ё",
                                          "Αθήνα",
                                          "日本語",
                                          "の",
                                          "한국어",
                                          "العربية",
                                          "हिन्दी",
                                          "e\u0301",
                                          "🙂",
                                          "👩‍👩‍👧",
                                          "\u200B",
                                          "\u0085",
                                          "\x1F",
                                          "\x7F",
                                          "<|end|>",
                                          "<|end",
                                          "<|endoftext|>",
                                          "Ġ",
                                          "Ċ",
                                          "a",
                                          "b",
                                          "c",
                                          "x",
                                          "ab",
                                          "\u00AD",
                                          "\uFFFD"};
  std::mt19937_64 random(17);
  std::vector<std::string> out = {""};
  while (out.size() < count) {
    std::string text;
    for (uint64_t left = 1 + random() % 30; left > 0; --left)
      text += parts[random() % parts.size()];
    out.push_back(text);
  }
  return out;
}

TEST(BpeTokenizer, AgreesWithThePythonPackage) {
  if (!test::python_has("tokenizers")) GTEST_SKIP() << "python3 has no tokenizers";
  const test::TemporaryFolder folder;
  const SynthOptions synth{.seed = 3, .bytes_per_domain = 40000, .validation_share = 0.1};
  const std::string text = make_domain("english", SynthSplit::kTrain, synth) +
                           make_domain("turkish", SynthSplit::kTrain, synth) + test::mixed_text();
  BpeModel model = test::tiny_bpe(text, 900, {"<|endoftext|>", "<|end|>"});
  const auto strings = disputed_strings(1000);
  nlohmann::json ids = nlohmann::json::object();
  for (const bool prefix : {false, true})
    for (const bool regex : {false, true}) {
      model.add_prefix_space = prefix;
      model.use_regex = regex;
      const std::string name = std::string(prefix ? "prefix" : "plain") + (regex ? "-words" : "");
      std::ofstream(folder / (name + ".json")) << write_tokenizer_json(model);
      const BpeTokenizer tokenizer(model, name);
      for (const auto& string : strings) ids[name].push_back(tokenizer.encode(string));
    }
  std::ofstream(folder / "text.txt") << text;
  std::ofstream(folder / "strings.json") << nlohmann::json(strings);
  std::ofstream(folder / "ids.json") << ids;
  std::ofstream(folder / "check.py") << R"(
import json, sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
folder = sys.argv[1] + '/'
strings = json.load(open(folder + 'strings.json', encoding='utf-8'))
for name, expected in json.load(open(folder + 'ids.json')).items():
    ours = Tokenizer.from_file(folder + name + '.json')
    for string, ids in zip(strings, expected, strict=True):
        got = ours.encode(string).ids
        assert got == ids, (name, string, got, ids)
        if name.startswith('plain'):
            assert ours.decode(ids, skip_special_tokens=False) == string, (name, string)
theirs = Tokenizer(models.BPE())
theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
theirs.decoder = decoders.ByteLevel()
theirs.train_from_iterator([open(folder + 'text.txt', encoding='utf-8', newline='').read()], trainers.BpeTrainer(
    vocab_size=900, min_frequency=2, special_tokens=['<|endoftext|>', '<|end|>'], show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
theirs.save(folder + 'theirs.json')
)";
  ASSERT_EQ(test::run_python(folder / "check.py", folder.path()), 0);
  const auto theirs = read_bpe_tokenizer(folder / "theirs.json");
  model.add_prefix_space = false;
  model.use_regex = true;
  EXPECT_EQ(theirs->tokenizer_json(), write_tokenizer_json(model));
}

}  // namespace
}  // namespace moe::data
