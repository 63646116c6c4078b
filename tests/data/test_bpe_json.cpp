#include <functional>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/data/bpe/bpe_tokenizer.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using BpeJson = nlohmann::json;

/// A small tokenizer.json: <|end|> is 0, the bytes are 1 to 256, "ab" is 257, " ab" is 258.
BpeJson small_tokenizer_json() {
  return BpeJson::parse(write_tokenizer_json(test::tiny_bpe("ab ab ab ab", 259, {"<|end|>"})));
}

BpeModel parse_bpe(const BpeJson& document) {
  return parse_tokenizer_json(document.dump(), "x.json");
}

/// The message about `change`d small_tokenizer_json, which names the file in any case.
std::string refusal(const std::function<void(BpeJson&)>& change) {
  BpeJson document = small_tokenizer_json();
  change(document);
  const std::string message = test::message_of([&] { parse_bpe(document); });
  EXPECT_PRED2(test::contains, message, "'x.json'");
  return message;
}

void expect_same_model(const BpeModel& a, const BpeModel& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(write_tokenizer_json(a), write_tokenizer_json(b));
}

TEST(TokenizerJson, ReadsBackWhatItWrites) {
  BpeModel model = test::tiny_bpe(test::mixed_text(), 380, {"<|end|>", "<|a b\n\"|>"});
  for (const bool flag : {false, true}) {
    model.add_prefix_space = flag;
    model.use_regex = !flag;
    model.ignore_merges = flag;
    model.added[1].special = flag;
    model.added[1].normalized = flag;
    const BpeModel back = parse_tokenizer_json(write_tokenizer_json(model), "x.json");
    expect_same_model(back, model);
    EXPECT_EQ(back.add_prefix_space, flag);
    EXPECT_EQ(back.use_regex, !flag);
    EXPECT_EQ(back.ignore_merges, flag);
    EXPECT_EQ(back.added[1].text, "<|a b\n\"|>");
    EXPECT_EQ(back.added[1].special, flag);
    EXPECT_EQ(back.added[1].normalized, flag);
  }
}

TEST(TokenizerJson, HasTheFieldsThatTokenizersReads) {
  const BpeJson document = small_tokenizer_json();
  EXPECT_EQ(document.at("version"), "1.0");
  for (const char* key : {"truncation", "padding", "normalizer", "post_processor"})
    EXPECT_TRUE(document.at(key).is_null()) << key;
  EXPECT_EQ(document.at("pre_tokenizer"), BpeJson({{"type", "ByteLevel"},
                                                   {"add_prefix_space", false},
                                                   {"trim_offsets", true},
                                                   {"use_regex", true}}));
  EXPECT_EQ(document.at("decoder").at("type"), "ByteLevel");
  EXPECT_EQ(document.at("added_tokens"), BpeJson::array({{{"id", 0},
                                                          {"content", "<|end|>"},
                                                          {"single_word", false},
                                                          {"lstrip", false},
                                                          {"rstrip", false},
                                                          {"normalized", false},
                                                          {"special", true}}}));
  EXPECT_EQ(document.at("model").at("type"), "BPE");
  EXPECT_EQ(document.at("model").at("vocab").at("Ġab"), 258);
  EXPECT_EQ(document.at("model").at("merges"),
            BpeJson::array({BpeJson::array({"a", "b"}), BpeJson::array({"Ġ", "ab"})}));
}

TEST(TokenizerJson, ReadsMergesOfOldAndNewReleasesAlike) {
  BpeJson document = small_tokenizer_json();
  const BpeModel expected = parse_bpe(document);
  document["model"]["merges"] = {"a b", "Ġ ab"};
  expect_same_model(parse_bpe(document), expected);
  // What old releases left out, and what changes no id.
  document["model"].erase("type");
  document["model"].erase("ignore_merges");
  document["model"]["unk_token"] = "<|end|>";
  document["model"]["continuing_subword_prefix"] = "";
  document["model"]["dropout"] = 0.0;
  document["pre_tokenizer"].erase("use_regex");
  document["post_processor"] = document["pre_tokenizer"];
  expect_same_model(parse_bpe(document), expected);
}

TEST(TokenizerJson, TakesAddedTokensBesideTheVocabulary) {
  BpeJson document = small_tokenizer_json();
  BpeJson token = document["added_tokens"][0];
  token["id"] = 259;
  token["content"] = "<|語 x|>";
  token["special"] = false;
  document["added_tokens"].push_back(token);
  const BpeTokenizer tokenizer(parse_bpe(document), "t");
  EXPECT_EQ(tokenizer.vocabulary(), 260);
  EXPECT_EQ(tokenizer.encode("ab<|語 x|> ab"), (std::vector<int64_t>{257, 259, 258}));
  EXPECT_EQ(tokenizer.decode_plain(tokenizer.encode("<|語 x|><|end|>")), "<|語 x|>");
  expect_same_model(parse_tokenizer_json(tokenizer.tokenizer_json(), "y.json"), tokenizer.model());
}

TEST(TokenizerJson, RefusesByNameWhatIsNotImplemented) {
  const auto set = [](const char* pointer, BpeJson value) {
    return refusal([&](BpeJson& d) { d[BpeJson::json_pointer(pointer)] = value; });
  };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_PRED2(test::contains, message, part);
  };
  expect(set("/normalizer", {{"type", "NFC"}}), "'normalizer' of 'x.json', got the type 'NFC'");
  expect(set("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", BpeJson::array()}}),
         "got the type 'Sequence'");
  expect(set("/pre_tokenizer", nullptr), "'pre_tokenizer'");
  expect(set("/pre_tokenizer/behavior", "Removed"), "'behavior'");
  expect(set("/post_processor", {{"type", "TemplateProcessing"}}), "'TemplateProcessing'");
  expect(set("/decoder", {{"type", "Metaspace"}}), "'Metaspace'");
  expect(set("/decoder", nullptr), "'decoder'");
  expect(set("/model/type", "Unigram"), "got the type 'Unigram'");
  expect(set("/model/dropout", 0.1), "'model.dropout' of 'x.json', got 0.1");
  expect(set("/model/end_of_word_suffix", "</w>"), "'</w>'");
  expect(set("/model/extra", 1), "'extra'");
  expect(set("/truncation", {{"max_length", 3}}), "'truncation'");
  expect(set("/padding", {{"strategy", "Fixed"}}), "'padding'");
  expect(set("/version", "2.0"), "got '2.0'");
  expect(set("/chat", 1), "'chat'");
  for (const char* key : {"single_word", "lstrip", "rstrip"})
    expect(set((std::string("/added_tokens/0/") + key).c_str(), true), key);
}

TEST(TokenizerJson, RefusesIdsWithHolesRepetitionsAndOtherTypes) {
  const auto id = [](const char* token, BpeJson value) {
    return refusal([&](BpeJson& d) { d["model"]["vocab"][token] = value; });
  };
  for (const BpeJson& value : {BpeJson(-1), BpeJson(259), BpeJson(1e9), BpeJson(2.5),
                               BpeJson(UINT64_MAX), BpeJson("7"), BpeJson(nullptr)})
    EXPECT_PRED2(test::contains, id("Ġab", value), "an id in [0, 259)");
  EXPECT_PRED2(test::contains, id("Ġab", 5), "every id once");
  EXPECT_PRED2(test::contains, id("a語", 259), "letters for bytes");
  EXPECT_PRED2(test::contains, id("", 259), "letters for bytes");
  const auto added = [](const char* key, BpeJson value) {
    return refusal([&](BpeJson& d) { d["added_tokens"][0][key] = value; });
  };
  EXPECT_PRED2(test::contains, added("id", 1), "the id of '<|end|>' in the vocabulary");
  EXPECT_PRED2(test::contains, added("id", 1 << 30), "an id in [0, 259)");
  EXPECT_PRED2(test::contains, added("id", nullptr), "added_tokens[0].id");
  EXPECT_PRED2(test::contains, added("content", ""), "bytes of text");
  EXPECT_PRED2(test::contains, added("content", std::string(5000, 'x')), "bytes of text");
  EXPECT_PRED2(test::contains, added("content", "é"), "spelling of other bytes");
  EXPECT_PRED2(test::contains, added("special", 1), "true or false");
  EXPECT_PRED2(test::contains,
               refusal([](BpeJson& d) { d["added_tokens"].push_back(d["added_tokens"][0]); }),
               "every added token once");
}

TEST(TokenizerJson, RefusesMergesOfWhatIsNoToken) {
  const auto merges = [](BpeJson value) {
    return refusal([&](BpeJson& d) { d["model"]["merges"] = value; });
  };
  EXPECT_PRED2(test::contains, merges({"a b", "b 語"}), "model.merges[1]");
  EXPECT_PRED2(test::contains, merges({"b a"}), "got 'ba'");  // both are tokens, the result is none
  for (const BpeJson& value :
       {BpeJson("ab"), BpeJson("a b c"), BpeJson(""), BpeJson(1), BpeJson::array({"a"}),
        BpeJson::array({"a", 1}), BpeJson::array({"a", "b", "c"})})
    EXPECT_PRED2(test::contains, merges(BpeJson::array({value})), "two tokens");
  EXPECT_PRED2(test::contains, merges({"a b", "a b"}), "every merge once");
  EXPECT_PRED2(test::contains, merges("a b"), "an array");
}

TEST(TokenizerJson, RefusesAVocabularyWithoutEveryByte) {
  const std::string message = refusal([](BpeJson& d) {
    d["model"]["vocab"]["ĀĀ"] = d["model"]["vocab"]["Ā"];
    d["model"]["vocab"].erase("Ā");
  });
  EXPECT_PRED2(test::contains, message, "none for byte 0 (written 'Ā')");
}

TEST(TokenizerJson, RefusesMissingPartsAndWrongTypes) {
  for (const char* pointer : {"/model", "/model/vocab", "/model/merges", "/pre_tokenizer",
                              "/pre_tokenizer/add_prefix_space", "/decoder",
                              "/added_tokens/0/content", "/added_tokens/0/special"}) {
    const BpeJson::json_pointer at(pointer);
    refusal([&](BpeJson& d) { d[at.parent_pointer()].erase(at.back()); });
    for (const BpeJson& value :
         {BpeJson(nullptr), BpeJson(3), BpeJson("x"), BpeJson::array(), BpeJson::array({1, "a"})})
      if (!(value.is_array() && value.empty() && at.back() == "merges") &&
          !(value.is_string() && at.back() == "content"))
        refusal([&](BpeJson& d) { d[at] = value; });
  }
}

TEST(TokenizerJson, RefusesTextThatIsNoSuchDocument) {
  const std::string whole = small_tokenizer_json().dump();
  for (size_t length = 0; length < whole.size(); length += 97)
    EXPECT_THROW(parse_tokenizer_json(whole.substr(0, length), "x.json"), Error) << length;
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("null"), std::string("{}"),
        std::string("\0{}", 3), std::string(100000, '['), std::string(100000, '{'), whole + "x",
        std::string("{\"model\": {}, \"model\": {}}"), "\xEF\xBB\xBF" + whole})
    EXPECT_THROW(parse_tokenizer_json(text, "x.json"), Error) << text.substr(0, 40);
}

TEST(MakeTokenizer, ReadsATokenizerJsonByItsPath) {
  const test::TemporaryFolder folder;
  const std::string path = (folder / "t.json").string();
  EXPECT_THROW(make_tokenizer(path), ConfigError);
  EXPECT_ERROR(make_tokenizer(path), path);
  EXPECT_THROW(make_tokenizer(folder.path().string()), ConfigError);
  const std::string json = small_tokenizer_json().dump();
  write_file(real_files(), path, [&](OutputFile& out) { out.write(bytes_of(json)); });
  const auto tokenizer = make_tokenizer(path);
  EXPECT_EQ(tokenizer->name(), path);
  EXPECT_EQ(tokenizer->vocabulary(), 259);
  EXPECT_FALSE(tokenizer->is_bytes());
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("ab ab\n")), "ab ab\n");
  EXPECT_EQ(make_tokenizer("byte")->tokenizer_json(), "");
}

}  // namespace
}  // namespace moe::data
