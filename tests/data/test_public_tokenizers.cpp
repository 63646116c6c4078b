// The tokenizer cases of ../shared/parity: ids with and without what stands around a text, decoded
// text, and text that comes token by token.

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/tokenizer.h>
#include <moe/data/utf8.h>

namespace moe::data {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::vector<fs::path> tokenizer_folders() {
  std::vector<fs::path> out;
  std::error_code none;
  for (const auto& entry :
       fs::directory_iterator(fs::path(MOE_SHARED_DIR) / "parity/tokenizers", none))
    if (fs::exists(entry.path() / "cases.jsonl")) out.push_back(entry.path());
  std::ranges::sort(out);
  return out;
}

std::shared_ptr<const Tokenizer> tokenizer_in(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json";
  return read_tokenizer(fs::exists(file) ? file : folder / "tokenizer.model");
}

std::vector<json> cases_in(const fs::path& folder) {
  std::vector<json> out;
  std::ifstream file(folder / "cases.jsonl");
  for (std::string line; std::getline(file, line);) out.push_back(json::parse(line));
  return out;
}

/// With U+FFFD for what is no UTF-8, as JSON holds it.
std::string as_json_text(const std::string& bytes) {
  return json::parse(json(bytes).dump(-1, ' ', false, json::error_handler_t::replace))
      .get<std::string>();
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
  const auto stream = tokenizer.stream({});
  Utf8Stream characters;
  std::string out;
  for (const int64_t id : ids) {
    const std::string piece = characters.push(stream->push(id));
    EXPECT_EQ(as_json_text(piece), piece);
    out += piece;
  }
  out += characters.push(stream->flush());
  return out + characters.flush();
}

TEST(PublicTokenizers, GiveTheIdsAndTextsOfTheirOwnLibraries) {
  const auto folders = tokenizer_folders();
  if (folders.empty()) GTEST_SKIP() << "no ../shared/parity";
  for (const auto& folder : folders) {
    SCOPED_TRACE(folder.filename().string());
    const auto tokenizer = tokenizer_in(folder);
    for (const json& each : cases_in(folder)) {
      SCOPED_TRACE(each.dump());
      const auto ids = each.at("ids").get<std::vector<int64_t>>();
      if (each.contains("text")) {
        const auto text = each.at("text").get<std::string>();
        EXPECT_EQ(tokenizer->encode_framed(text), ids);
        const json& plain = each.contains("ids_no_special") ? each["ids_no_special"] : each["ids"];
        EXPECT_EQ(tokenizer->encode(text), plain.get<std::vector<int64_t>>());
      }
      if (each.contains("decoded")) {
        EXPECT_EQ(as_json_text(tokenizer->decode_plain(ids)), each["decoded"].get<std::string>());
      }
      // Cut characters apart, which a decoder judges by their neighbours, a stream gives the same.
      const std::string whole = as_json_text(tokenizer->decode(ids));
      if (whole.find("\xEF\xBF\xBD") == std::string::npos) {
        EXPECT_EQ(streamed(*tokenizer, ids), whole);
      }
    }
  }
}

TEST(PublicTokenizers, AreMadeAgainByTheirJson) {
  const auto folders = tokenizer_folders();
  if (folders.empty()) GTEST_SKIP() << "no ../shared/parity";
  for (const auto& folder : folders) {
    SCOPED_TRACE(folder.filename().string());
    const auto tokenizer = tokenizer_in(folder);
    const fs::path copy = fs::path(testing::TempDir()) / "tokenizer_made_again.json";
    std::ofstream(copy) << tokenizer->tokenizer_json();
    const auto again = read_tokenizer(copy);
    EXPECT_EQ(again->tokenizer_json(), tokenizer->tokenizer_json());
    EXPECT_EQ(again->vocabulary(), tokenizer->vocabulary());
    for (const json& each : cases_in(folder)) {
      if (!each.contains("text")) continue;
      const auto text = each.at("text").get<std::string>();
      EXPECT_EQ(again->encode_framed(text), tokenizer->encode_framed(text));
    }
    fs::remove(copy);
  }
}

}  // namespace
}  // namespace moe::data
