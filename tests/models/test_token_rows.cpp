// B batch, S sequence.
#include <string>

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/models/token_rows.h>

#include "tests/support/message_of.h"

namespace moe::models {
namespace {

TokenRows parse_rows(const std::string& json) {
  return parse_token_rows(json, "'in.json'", 10);
}

TEST(TokenRows, ReadsIdsAndMask) {
  const auto rows =
      parse_rows(R"({"input_ids": [[1, 9, 0], [4, 0, 0]], "attention_mask": [[1,1,1],[1,0,0]]})");
  EXPECT_TRUE(at::equal(rows.ids_BS, at::tensor({1, 9, 0, 4, 0, 0}, at::kLong).view({2, 3})));
  EXPECT_TRUE(at::equal(rows.valid_BS,
                        at::tensor({1, 1, 1, 1, 0, 0}, at::kLong).view({2, 3}).to(at::kBool)));
}

TEST(TokenRows, TakesPaddingAtEitherEnd) {
  const auto rows = parse_rows(
      R"({"input_ids": [[0, 0, 3], [4, 0, 0], [0, 5, 0]], "attention_mask": [[0,0,1],[1,0,0],[0,1,0]]})");
  EXPECT_TRUE(
      at::equal(rows.valid_BS,
                at::tensor({0, 0, 1, 1, 0, 0, 0, 1, 0}, at::kLong).view({3, 3}).to(at::kBool)));
}

TEST(TokenRows, WithoutAMaskEverythingIsReal) {
  const auto rows = parse_rows(R"({"input_ids": [[1, 2]]})");
  EXPECT_TRUE(at::equal(rows.valid_BS, at::tensor({1, 1}, at::kLong).view({1, 2}).to(at::kBool)));
}

TEST(TokenRows, NamesUnknownFields) {
  const auto message =
      moe::test::message_of([] { parse_rows(R"({"input_id": [[1]], "x\ny": 1})"); });
  EXPECT_TRUE(moe::test::contains(message, "'input_id' Did you mean 'input_ids'?")) << message;
  EXPECT_TRUE(moe::test::contains(message, "\n  'x\\x0ay'")) << message;
  EXPECT_ERROR(parse_rows(R"({"input_ids": [[1]], "decoder_input_ids": [[1]]})"),
               "got 'decoder_input_ids', which encoder-decoders");
  EXPECT_ERROR(parse_rows(R"({"input_ids": [[1]], "inputs": "a.safetensors"})"), "got 'inputs'");
}

TEST(TokenRows, OfEncoderDecodersHaveTwoTexts) {
  const auto parse = [](const char* text) {
    return parse_token_rows(text, "'in.json'", 10, /*decoder=*/true);
  };
  const auto rows = parse(
      R"({"input_ids": [[1, 2], [3, 0]], "attention_mask": [[1, 1], [1, 0]], "decoder_input_ids": [[0, 4, 5], [0, 6, 7]]})");
  EXPECT_TRUE(at::equal(rows.decoder_BS, at::tensor({0, 4, 5, 0, 6, 7}, at::kLong).view({2, 3})));
  EXPECT_EQ(rows.valid_BS.sum().item<int64_t>(), 3);
  EXPECT_ERROR(parse(R"({"input_ids": [[1]]})"), "expected the field decoder_input_ids");
  EXPECT_ERROR(parse(R"({"input_ids": [[1]], "decoder_input_ids": [[1], [2]]})"),
               "as many rows in decoder_input_ids as in input_ids");
  EXPECT_ERROR(parse(R"({"input_ids": [[1]], "decoder_input_ids": [[10]]})"),
               "at decoder_input_ids[0][0] of 'in.json', got '10'");
  EXPECT_ERROR(parse(R"({"input_ids": [[1]], "decoder_input_ids": [[1]], "inputs": "a"})"),
               "for an encoder-decoder, got 'inputs', which vision models read");
}

TEST(TokenRows, TellsThePlaceOfABadId) {
  const auto refuse = [](const std::string& id, const std::string& got) {
    EXPECT_ERROR(parse_rows(R"({"input_ids": [[1, 2], [3, )" + id + "]]}"),
                 "expected a token id in [0, 10) at input_ids[1][1] of 'in.json', got '" + got);
  };
  refuse("10", "10'");
  refuse("-1", "-1'");
  refuse("1.0", "1.0'");
  refuse("1e3", "1000.0'");
  refuse("18446744073709551615", "18446744073709551615'");
  refuse("9223372036854775808", "9223372036854775808'");
  refuse("null", "null'");
  refuse("true", "true'");
  refuse("\"1\"", "\"1\"'");
}

TEST(TokenRows, RefusesOtherShapes) {
  EXPECT_ERROR(parse_rows("{}"), "expected the field input_ids in 'in.json', found none");
  EXPECT_ERROR(parse_rows(R"({"input_ids": 3})"), "expected a list of rows");
  EXPECT_ERROR(parse_rows(R"({"input_ids": []})"), "got an empty list");
  EXPECT_ERROR(parse_rows(R"({"input_ids": [1, 2]})"), "at input_ids[0] of 'in.json', got number");
  EXPECT_ERROR(parse_rows(R"({"input_ids": [[]]})"), "at input_ids[0] of 'in.json', got an empty");
  EXPECT_ERROR(parse_rows(R"({"input_ids": [[1, 2], [3]]})"),
               "expected 2 numbers at input_ids[1] of 'in.json'");
  EXPECT_ERROR(parse_rows(R"({"input_ids": [[[1]]]})"), "nested levels");
}

TEST(TokenRows, RefusesMasksThatDoNotFit) {
  const auto refuse = [](const std::string& mask, const std::string& part) {
    EXPECT_ERROR(parse_rows(R"({"input_ids": [[1, 2], [3, 4]], "attention_mask": )" + mask + "}"),
                 part);
  };
  refuse("[[1, 1]]", "expected attention_mask of shape [2, 2]");
  refuse("[[1, 1], [1, 2]]", "expected 0 or 1 in [0, 2) at attention_mask[1][1]");
  refuse("[[1, 1], [1]]", "expected 2 numbers at attention_mask[1]");
  EXPECT_ERROR(parse_rows(R"({"input_ids": [[1, 2, 3]], "attention_mask": [[1, 0, 1]]})"),
               "a 1 behind a 0 at attention_mask[0][2]");
}

TEST(TokenRows, RefusesWhatIsNoJsonObject) {
  for (const char* text :
       {"", "[]", "{\"input_ids\": [[1]]", "{\"input_ids\": [[1]]} x",
        "{\"input_ids\": [[1]], \"input_ids\": [[1]]}", "{\"input_ids\": [[01]]}"})
    EXPECT_THROW(parse_rows(text), Error) << text;
}

}  // namespace
}  // namespace moe::models
