#include <cmath>

#include <moe/base/utf8.h>
#include <moe/data/tokenizers/protobuf_reader.h>
#include <moe/data/tokenizers/sentencepiece_model.h>
#include <moe/data/tokenizers/text_work.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";  // "▁"
constexpr size_t kLongestPiece = 8192;
constexpr size_t kMostPieces = size_t{1} << 22;

bool is_byte_token(std::string_view text) {
  return text.size() == 6 && text.starts_with("<0x") && text[5] == '>' &&
         text.substr(3, 2).find_first_not_of("0123456789ABCDEFabcdef") == text.npos;
}

SentencePiece read_piece(std::string_view bytes, const std::string& source) {
  SentencePiece out;
  ProtobufReader in(bytes, source);
  while (in.next()) {
    if (in.field() == 1) out.text = in.text();
    if (in.field() == 2) out.score = in.as_float();
    if (in.field() == 3) {
      check(in.number() >= 1 && in.number() <= 6, "data/tokenizer",
            "expected pieces of the types 1 to 6 in ", source, ", got ", in.number(),
            ". The file is damaged: fetch it again.");
      out.type = static_cast<SentencePiece::Type>(in.number());
    }
  }
  check(std::isfinite(out.score), "data/tokenizer", "expected pieces with finite scores in ",
        source, ", got another. The file is damaged: fetch it again.");
  check(out.type != SentencePiece::Type::kByte || is_byte_token(out.text), "data/tokenizer",
        "expected byte pieces like <0x0A> in ", source,
        ", got another. The file is damaged: fetch it again.");
  check(is_utf8(out.text) && !out.text.empty() && out.text.size() <= kLongestPiece,
        "data/tokenizer", "expected pieces of 1 to ", kLongestPiece, " bytes in UTF-8 in ", source,
        ", got another. The file is damaged: fetch it again.");
  return out;
}

void read_trainer(std::string_view bytes, const std::string& source, SentencePieceModel& out) {
  ProtobufReader in(bytes, source);
  while (in.next()) {
    if (in.field() == 3) {
      check(in.number() == 1 || in.number() == 2, "data/tokenizer",
            "expected a SentencePiece model of the kind unigram (1) or bpe (2) in ", source,
            ", got ", in.number(), ". This version reads these two.");
      out.kind = static_cast<SentencePieceModel::Kind>(in.number());
    }
    if (in.field() == 24) out.space_behind = in.number() != 0;
    if (in.field() == 35) out.byte_fallback = in.number() != 0;
    if (in.field() == 44) out.unknown_surface = in.text();
  }
}

void read_normalizer_settings(std::string_view bytes, const std::string& source,
                              SentencePieceModel& out) {
  ProtobufReader in(bytes, source);
  while (in.next()) {
    if (in.field() == 2) out.charsmap = in.text();
    if (in.field() == 3) out.add_dummy_prefix = in.number() != 0;
    if (in.field() == 4) out.remove_extra_spaces = in.number() != 0;
    if (in.field() == 5) out.escape_spaces = in.number() != 0;
  }
}

ByteTrie user_defined_pieces(const SentencePieceModel& model) {
  std::vector<std::pair<std::string_view, uint32_t>> words;
  for (size_t id = 0; id < model.pieces.size(); ++id)
    if (model.pieces[id].type == SentencePiece::Type::kUserDefined)
      words.emplace_back(model.pieces[id].text, static_cast<uint32_t>(id));
  return ByteTrie(std::move(words));
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& source) {
  SentencePieceModel out;
  ProtobufReader in(bytes, source);
  while (in.next()) {
    if (in.field() == 1) {
      check(out.pieces.size() < kMostPieces, "data/tokenizer", "expected at most ", kMostPieces,
            " pieces in ", source, ", got more. The file is damaged or hostile.");
      out.pieces.push_back(read_piece(in.text(), source));
    }
    if (in.field() == 2) read_trainer(in.text(), source, out);
    if (in.field() == 3) read_normalizer_settings(in.text(), source, out);
  }
  check(!out.pieces.empty(), "data/tokenizer", "expected a SentencePiece model in ", source,
        ", got a file without pieces. Fetch it again.");
  return out;
}

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceModel& model)
    : map_(model.charsmap),
      user_defined_(user_defined_pieces(model)),
      add_dummy_prefix_(model.add_dummy_prefix),
      remove_extra_spaces_(model.remove_extra_spaces),
      escape_spaces_(model.escape_spaces),
      space_behind_(model.space_behind) {}

SentencePieceNormalizer::Step SentencePieceNormalizer::step(std::string_view text) const {
  if (const size_t length = user_defined(text)) return {text.substr(0, length), length};
  if (const auto found = map_.longest(text)) {
    TextWork::write(found->replacement.size());
    return {found->replacement, found->length};
  }
  const size_t length = first_code_point(text).length;
  return {text.substr(0, length), length};
}

std::string SentencePieceNormalizer::apply(std::string_view text, bool begins) const {
  std::string out;
  while (remove_extra_spaces_ && !text.empty()) {
    const Step next = step(text);
    if (next.text != " ") break;
    text.remove_prefix(next.length);
  }
  if (text.empty()) return out;
  const std::string_view space = escape_spaces_ ? kEscapedSpace : std::string_view(" ");
  out.reserve(text.size() + text.size() / 4 + 8);
  if (add_dummy_prefix_ && begins && !space_behind_) out += space;
  bool behind_space = remove_extra_spaces_;
  while (!text.empty()) {
    const Step next = step(text);
    std::string_view part = next.text;
    while (behind_space && part.starts_with(' ')) part.remove_prefix(1);
    for (const char c : part) {
      if (c == ' ')
        out += space;
      else
        out += c;
    }
    if (!part.empty()) behind_space = part.back() == ' ';
    text.remove_prefix(next.length);
    if (!remove_extra_spaces_) behind_space = false;
  }
  while (remove_extra_spaces_ && out.ends_with(space)) out.resize(out.size() - space.size());
  if (add_dummy_prefix_ && begins && space_behind_) out += space;
  return out;
}

}  // namespace moe::data
