#include <moe/base/error.h>
#include <moe/data/bpe/bpe_model.h>
#include <moe/data/bpe/byte_letters.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfBpeModel = "data/tokenizer";

}  // namespace

void BpeModel::validate(const std::string& source) const {
  const size_t count = tokens.size();
  for (const auto& [left, right, result] : merges) {
    check(left < count && right < count && result < count, kPlaceOfBpeModel,
          "expected the ids of merges in [0, ", count, ") in ", source, ", got ", left, " + ",
          right, " = ", result, ". Write the file again.");
    if (tokens[left] + tokens[right] != tokens[result])
      fail(kPlaceOfBpeModel, "expected a merge to join the bytes of its two tokens in ", source,
           ", got the tokens ", left, " + ", right, " = ", result, ". Write the file again.");
  }
  for (const auto& token : added)
    check(token.id < count && !token.text.empty() && tokens[token.id] == token.text,
          kPlaceOfBpeModel, "expected the added token ", formats::in_quotes(token.text),
          " to have a text and an id of its own in ", source, ", got the id ", token.id,
          ". Write the file again.");
  std::vector<bool> seen(256, false);
  for (const auto& bytes : tokens)
    if (bytes.size() == 1) seen[static_cast<unsigned char>(bytes[0])] = true;
  for (size_t byte = 0; byte < 256; ++byte)
    if (!seen[byte])
      fail(kPlaceOfBpeModel, "expected a token for every byte in ", source, ", got none for byte ",
           byte, " (written '", bytes_to_letters(std::string(1, static_cast<char>(byte))),
           "'). Train with the whole byte-level alphabet (initial_alphabet).");
}

std::vector<uint32_t> BpeModel::byte_ids() const {
  const std::vector<bool> added_ids = is_added();
  std::vector<uint32_t> out(256, 0);
  // An added token may be one byte too ("\n" beside "Ċ"); the alphabet's own goes before it.
  for (const bool from_added : {true, false})
    for (size_t id = 0; id < tokens.size(); ++id)
      if (tokens[id].size() == 1 && added_ids[id] == from_added)
        out[static_cast<unsigned char>(tokens[id][0])] = static_cast<uint32_t>(id);
  return out;
}

std::vector<bool> BpeModel::is_added() const {
  std::vector<bool> out(tokens.size(), false);
  for (const auto& token : added) out[token.id] = true;
  return out;
}

}  // namespace moe::data
