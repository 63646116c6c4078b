// Against the Python package `tokenizers`, where it is present.
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <corpora/corpora.h>
#include <moe/data/bpe/bpe_tokenizer.h>

#include "tests/support/python.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

/// Compares ids.json with what the tokenizers of the folder make of strings.json.
constexpr const char* kCompare = R"(
import json, sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
folder = sys.argv[1] + '/'
strings = json.load(open(folder + 'strings.json', encoding='utf-8'))
for name, expected in json.load(open(folder + 'ids.json')).items():
    ours = Tokenizer.from_file(folder + name + '.json')
    ours.encode_special_tokens = name.startswith('text')
    for string, ids in zip(strings, expected, strict=True):
        got = ours.encode(string).ids
        assert got == ids, (name, string, got, ids)
        if name.startswith('plain'):
            assert ours.decode(ids, skip_special_tokens=False) == string, (name, string)
)";

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

/// What breaks tokenizers: sequences of emoji, marks that combine, line ends of every kind, NULs,
/// words without end, special tokens inside words and cut short.
std::vector<std::string> hostile_strings() {
  const auto times = [](const std::string& part, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += part;
    return out;
  };
  const std::string family = "👨‍👩‍👧‍👦", flag = "🇹🇷", tone = "👍🏽",
                    keycap = "1️⃣";
  return {family + flag + tone + keycap,
          times(family, 50),
          "x" + family + "'s " + flag + flag + " " + tone,
          times("🙂", 300),
          "Z" + times("\u0300\u0301\u0316", 60) + "algo",
          " e\u0301 e \u0301e\u0301'll",
          "नमस्ते क्षत्रिय ก็ต้อง நி",
          "a\r\nb\r\n\r\nc\r\r\n\n d\n\r",
          times("\r\n", 200),
          std::string(1, '\0'),
          std::string("a\0b \0 \0\0c", 9),
          std::string(300, '\0'),
          std::string(30000, 'a'),
          times("ab", 10000) + "c",
          times("日本", 4000),
          times(" ", 5000) + "x" + times(" ", 5000),
          times("9", 3000) + "." + times("!", 3000),
          "<|endoftext|><|endoftext|>",
          "a<|endoftext|>b <|endoftext|> c",
          "<|endoftext|",
          "<<|endoftext|>>",
          "<|endoftext|<|endoftext|>",
          "<|end|>oftext|> <|end|><|end|",
          "'s<|end|>'s it's<|end|>'ll",
          "\u200D\uFEFF\u2060 \u180E\u1680x\u2003y",
          "İıŞşĞğ ǅ ß ſ ﬁ ﷺ",
          "\U0001F469\u200D \u200D\U0001F4BB",
          "\uFFFD\uFFFE \U0010FFFF\U000E0001"};
}

TEST(BpeTokenizer, AgreesWithThePythonPackageOnHostileStrings) {
  if (!test::python_has("tokenizers")) GTEST_SKIP() << "python3 has no tokenizers";
  const test::TemporaryFolder folder;
  const corpora::Options synth{.seed = 5, .bytes_per_domain = 60000, .validation_share = 0.1};
  std::string text = test::mixed_text();
  for (const char* domain : {"english", "turkish", "programs"})
    text += corpora::make_domain(domain, corpora::Split::kTrain, synth);
  for (const auto& string : hostile_strings()) text += string.substr(0, 400) + "\n";
  auto strings = hostile_strings();
  for (const auto& string : disputed_strings(1000)) strings.push_back(string);
  nlohmann::json ids = nlohmann::json::object();
  for (const int64_t vocabulary : {400, 3000}) {
    const std::string name = "plain-" + std::to_string(vocabulary);
    const BpeTokenizer tokenizer(test::tiny_bpe(text, vocabulary, {"<|endoftext|>", "<|end|>"}),
                                 name);
    ASSERT_EQ(tokenizer.vocabulary(), vocabulary);
    std::ofstream(folder / (name + ".json")) << tokenizer.tokenizer_json();
    for (const auto& string : strings) ids[name].push_back(tokenizer.encode(string));
    const std::string as_text = "text-" + std::to_string(vocabulary);
    std::ofstream(folder / (as_text + ".json")) << tokenizer.tokenizer_json();
    for (const auto& string : strings)
      ids[as_text].push_back(tokenizer.without_special()->encode(string));
    // What Python's strings cannot hold comes back as it was.
    for (const std::string bytes :
         {"\xFF", "a\x80\xBF'", "\xF0\x9F\x99", "\xED\xA0\x80 x", "\xC0\x80"})
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes)), bytes);
  }
  std::ofstream(folder / "strings.json") << nlohmann::json(strings);
  std::ofstream(folder / "ids.json") << ids;
  std::ofstream(folder / "check.py") << kCompare;
  EXPECT_EQ(test::run_python(folder / "check.py", folder.path()), 0);
}

TEST(BpeTokenizer, AgreesWithThePythonPackage) {
  if (!test::python_has("tokenizers")) GTEST_SKIP() << "python3 has no tokenizers";
  const test::TemporaryFolder folder;
  const corpora::Options synth{.seed = 3, .bytes_per_domain = 40000, .validation_share = 0.1};
  const std::string text = corpora::make_domain("english", corpora::Split::kTrain, synth) +
                           corpora::make_domain("turkish", corpora::Split::kTrain, synth) +
                           test::mixed_text();
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
  std::ofstream(folder / "check.py") << kCompare << R"(
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
