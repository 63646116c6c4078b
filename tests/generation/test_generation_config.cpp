#include <fstream>

#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/generation/generation_config.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::generation {
namespace {

class GenerationConfigs : public testing::Test {
 protected:
  GenerationConfig read(const std::string& text) {
    std::ofstream(folder_.path() / "generation_config.json") << text;
    return read_generation_config(folder_.path());
  }
  test::TemporaryFolder folder_;
};

TEST_F(GenerationConfigs, SetWhatWasNotGiven) {
  const auto config = read(R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
      "repetition_penalty": 1.05, "max_new_tokens": 99, "bos_token_id": 1, "pad_token_id": null,
      "eos_token_id": [151645, 151643], "transformers_version": "4.51.0"})");
  GenerateOptions options;
  options.top_k = 7;
  config.apply(options, {"top_k"});
  EXPECT_EQ(options.temperature, 0.6);
  EXPECT_EQ(options.top_k, 7);
  EXPECT_EQ(options.top_p, 0.95);
  EXPECT_EQ(options.repetition_penalty, 1.05);
  EXPECT_EQ(options.max_tokens, 99);
  EXPECT_EQ(options.min_p, 0);
  EXPECT_EQ(options.end_tokens, (std::vector<int64_t>{151645, 151643}));
}

TEST_F(GenerationConfigs, AreGreedyUnlessTheySayOtherwise) {
  const auto temperature = [&](const std::string& text, const std::vector<std::string>& given) {
    GenerateOptions options;
    options.temperature = 0.5;  // given, or to be replaced
    read(text).apply(options, given);
    return options.temperature;
  };
  for (const char* text :
       {R"({"do_sample": false, "temperature": 0.6})", R"({"temperature": 0.6, "top_k": 20})"}) {
    EXPECT_EQ(temperature(text, {}), 0);
    EXPECT_EQ(temperature(text, {"max_tokens", "repetition_penalty"}), 0);
    EXPECT_EQ(temperature(text, {"temperature"}), 0.5);
    for (const char* of_draws : {"top_k", "top_p", "min_p"})
      EXPECT_EQ(temperature(text, {of_draws}), 0.6) << of_draws;
  }
  EXPECT_EQ(temperature("{}", {}), 0);
  EXPECT_EQ(temperature(R"({"do_sample": true})", {}), 0.5);
  // Without a file nothing is said.
  std::filesystem::remove(folder_ / "generation_config.json");
  GenerateOptions options;
  read_generation_config(folder_.path()).apply(options, {});
  EXPECT_EQ(options.temperature, 1);
}

TEST_F(GenerationConfigs, EndWhereTheDirectoryEndsATextIfTheySayNothingOfIt) {
  const auto put = [&](const char* name, const std::string& text) {
    std::ofstream(folder_.path() / name) << text;
  };
  using Ids = std::vector<int64_t>;
  put("config.json", R"({"model_type": "llama", "eos_token_id": [5, 6]})");
  EXPECT_EQ(read_generation_config(folder_.path()).end_tokens, (Ids{5, 6}));
  EXPECT_EQ(read(R"({"top_k": 2})").end_tokens, (Ids{5, 6}));
  EXPECT_EQ(read(R"({"eos_token_id": 7})").end_tokens, Ids{7});
  // A checkpoint of ours remembers them.
  std::filesystem::remove(folder_.path() / "config.json");
  put("origin.json", R"({"family": "llama", "eos_token_id": 8})");
  EXPECT_EQ(read("{}").end_tokens, Ids{8});
}

TEST_F(GenerationConfigs, NeedNotBeThereAndRefuseWhatAKeyCannotHave) {
  EXPECT_TRUE(read_generation_config(folder_.path()).end_tokens.empty());
  for (const char* text : {R"({"temperature": -1})", R"({"top_p": 2})", R"({"top_k": "many"})",
                           R"({"eos_token_id": "</s>"})", R"({"do_sample": 1})", "[]", "{"})
    EXPECT_PRED2(test::contains, test::message_of([&] { read(text); }), "generation") << text;
}

// Above 2^63 an id became a negative one.
TEST_F(GenerationConfigs, RefuseEndTokensThatNoVocabularyHas) {
  const auto message = [&](const std::string& text) {
    return test::message_of([&] { read(text); });
  };
  constexpr const char* kExpected = "expected an id from 0 to 2^31 or a list of ids";
  EXPECT_EQ(read(R"({"eos_token_id": [2147483648, -1]})").end_tokens,
            std::vector<int64_t>{2147483648});
  for (const char* id : {"2147483649", "9223372036854775808", "18446744073709551615", "[1, 1e3]"})
    EXPECT_PRED2(test::contains, message(concat(R"({"eos_token_id": )", id, '}')), kExpected) << id;
  // Those of config.json too.
  for (const char* id : {"2147483649", "[0, 9223372036854775807]", "\"</s>\"", "-2"}) {
    std::ofstream(folder_.path() / "config.json")
        << R"({"model_type": "llama", "eos_token_id": )" << id << '}';
    EXPECT_PRED2(test::contains, message("{}"), kExpected) << id;
  }
}

}  // namespace
}  // namespace moe::generation
