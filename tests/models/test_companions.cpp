// What stands beside a model's weights, carried by checkpoints of ours and written back.
#include <cerrno>
#include <fstream>
#include <tests/support/faulty_files.h>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>
#include <tests/support/tiny_bpe.h>

#include <gtest/gtest.h>

#include <moe/data/chat_template.h>
#include <moe/formats/json_table.h>
#include <moe/models/companions.h>
#include <moe/models/family.h>
#include <moe/models/save.h>

namespace moe::models::companions_test {
namespace {

using test::TemporaryFolder;

const Path kMixtral = Path(MOE_SOURCE_DIR) / "tests" / "golden" / "mixtral_basic" / "model";
const Companions kTexts = {
    {"generation_config.json",
     R"({"bos_token_id": 5, "eos_token_id": [7, 9], "top_p": 0.9, "temperature": 0.5})"},
    {"special_tokens_map.json", R"({"eos_token": "</s>"})"},
    {"tokenizer_config.json",
     R"({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "tokenizer_class": "X"})"},
    {"chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"}};

void put(const Path& file, const std::string& text) {
  std::ofstream(file) << text;
}

/// A copy of a directory of the family mixtral with all that may stand beside its weights.
void write_source(const Path& folder) {
  std::filesystem::copy(kMixtral, folder);
  Table config = HfConfig::read(folder).settings();
  config.set("bos_token_id", int64_t{5});
  config.set("eos_token_id", Array{int64_t{7}, int64_t{8}});
  config.set("pad_token_id", int64_t{6});
  put(folder / "config.json", formats::format_json_table(config));
  for (const auto& [name, text] : kTexts) put(folder / name, text);
}

Table tokens_in_config(const Path& folder) {
  Table out;
  const auto config = HfConfig::read(folder);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (const Value* id = config.settings().find(key)) out.set(key, *id);
  return out;
}

std::string text_in(const Path& file) {
  return read_file(real_files(), file, 1 << 24);
}

TEST(Companions, GoThroughCheckpointsAndBack) {
  const TemporaryFolder folder;
  write_source(folder / "source");
  save_native(load(folder / "source"), folder / "native");
  save_native(load(folder / "native"), folder / "again");
  for (const char* name : {"native", "again"}) {
    SCOPED_TRACE(name);
    const auto model = load(folder / name);
    EXPECT_EQ(model.converted_from, "mixtral");
    EXPECT_EQ(companions_of(folder / name), companions_of(folder / "source"));
    EXPECT_EQ(data::read_chat_template(folder / name)->render({{"user", "Hello"}}), "<s>Hello</s>");
  }
  save_hugging_face(load(folder / "again"), folder / "back", "mixtral");
  for (const auto& [name, text] : kTexts) EXPECT_EQ(text_in(folder / "back" / name), text) << name;
  EXPECT_EQ(formats::format_json_table(tokens_in_config(folder / "back")),
            formats::format_json_table(tokens_in_config(folder / "source")));
}

TEST(Companions, NameTokensOfAModelWithoutThem) {
  const TemporaryFolder folder;
  write_source(folder / "source");
  for (const auto& [name, text] : kTexts) std::filesystem::remove(folder / "source" / name);
  save_native(load(folder / "source"), folder / "native");
  save_hugging_face(load(folder / "native"), folder / "back", "mixtral");
  const auto generation =
      formats::parse_json_table(text_in(folder / "back" / "generation_config.json"), "", "");
  EXPECT_EQ(generation.find("eos_token_id")->text(), "[7, 8]");
  EXPECT_EQ(generation.find("do_sample"), nullptr);
  EXPECT_EQ(tokens_in_config(folder / "back").find("bos_token_id")->text(), "5");
}

TEST(Companions, SayThatModelsMadeHereAreDrawnFrom) {
  const TemporaryFolder folder;
  LoadedModel own = load(kMixtral);
  own.names = nullptr;
  own.family = "";
  own.folder = "";
  save_hugging_face(own, folder / "out", "mixtral");
  const auto generation =
      formats::parse_json_table(text_in(folder / "out" / "generation_config.json"), "", "");
  ASSERT_TRUE(generation.find("do_sample"));
  EXPECT_EQ(generation.find("do_sample")->text(), "true");
}

TEST(Companions, OfARunAreThoseOfItsVocabulary) {
  const TemporaryFolder folder;
  const auto bpe = [](const std::string& text) {
    return data::write_tokenizer_json(test::tiny_bpe(text, 280, {"</s>"}));
  };
  write_source(folder / "source");
  put(folder / "source" / "tokenizer.json", bpe(test::mixed_text()));
  const std::string own = folder / "source" / "tokenizer.json";
  EXPECT_EQ(companions_of_run(own, folder / "source"), companions_of(folder / "source"));
  put(folder / "copy.json", bpe(test::mixed_text()));
  EXPECT_EQ(companions_of_run(folder / "copy.json", folder / "source"),
            companions_of(folder / "source"));
  // Ids of another vocabulary mean nothing.
  put(folder / "other.json", bpe("to be or not to be, that is the question to be asked"));
  const auto other = companions_of_run(folder / "other.json", folder / "source");
  EXPECT_EQ(other.size(), 1u);
  EXPECT_EQ(family_in(other), "mixtral");
  EXPECT_FALSE(test::contains(other.at(kOriginFile), "token_id"));
  EXPECT_EQ(family_in(companions_of_run("byte", folder / "source")), "mixtral");
  // A run that starts anew takes what is said of its tokenizer, and not how a model writes.
  auto anew = companions_of_run(own, {});
  EXPECT_EQ(anew.count("chat_template.jinja"), 1u);
  EXPECT_EQ(anew.count("generation_config.json"), 0u);
  EXPECT_EQ(anew.count(kOriginFile), 0u);
  EXPECT_TRUE(companions_of_run("byte", {}).empty());
}

/// Not a moe::Error, as a caught signal is none.
struct Told {};

TEST(Saving, LeavesNothingBehindWhereItFailsOrIsStopped) {
  const TemporaryFolder folder;
  write_source(folder / "source");
  const auto model = load(folder / "source");
  make_folders(real_files(), folder / "out");
  for (const bool native : {true, false})
    for (const bool told : {true, false}) {
      SCOPED_TRACE(native);
      SCOPED_TRACE(told);
      int64_t failed = 0;
      for (size_t limit = 0; failed == static_cast<int64_t>(limit); ++limit) {
        size_t writes = 0;
        test::FaultyFiles files(real_files(), [&](size_t, std::string_view call) {
          if (call != "write" || writes++ != limit) return test::FaultyFiles::kPass;
          if (told) throw Told();
          return ENOSPC;
        });
        try {
          native ? save_native(model, folder / "out" / "m", files)
                 : save_hugging_face(model, folder / "out" / "m", "", files);
        } catch (const Told&) {
          ++failed;
        } catch (const Error& error) {
          EXPECT_PRED2(test::contains, error.what(), "No space left");
          ++failed;
        }
        if (failed > static_cast<int64_t>(limit)) {
          EXPECT_TRUE(real_files().list(folder / "out").empty()) << limit;
        }
      }
      EXPECT_GT(failed, 5);
      EXPECT_EQ(real_files().list(folder / "out"), std::vector<std::string>{"m"});
      remove_all(real_files(), folder / "out" / "m");
    }
}

}  // namespace
}  // namespace moe::models::companions_test
