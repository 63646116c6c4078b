#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include <moe/base/utf8.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/bpe/word_cache.h>
#include <moe/data/tokenizers/added_vocabulary.h>
#include <moe/data/tokenizers/pipeline_tokenizer.h>
#include <moe/data/tokenizers/sentencepiece_encoders.h>
#include <moe/data/tokenizers/sentencepiece_tokenizer.h>
#include <moe/data/tokenizers/text_work.h>
#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

namespace {

using nlohmann::json;
using PieceKind = SentencePiece::Type;

constexpr std::string_view kSpacePiece = "\xE2\x96\x81";  // "▁"
constexpr std::string_view kNoCharacter = "\xEF\xBF\xBD";
constexpr const char* kWrappedModel = "SentencePiece";

/// What a SentencePieceTokenizer is made of.
struct SentencePieceParts {
  std::string name, json;
  std::map<std::string, std::string> files;
  SentencePieceModel model;
  std::vector<AddedToken> added;
  std::map<size_t, const AddedToken*> added_by_id;
  TextFrame frame;
  std::optional<int64_t> end_of_text;
  size_t vocabulary = 0;
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::shared_ptr<const SentencePieceParts> parts, SpecialText special)
      : parts_(std::move(parts)),
        cache_owner_(next_cache_owner()),
        normalizer_(parts_->model),
        added_(find_added(*parts_, special)) {
    encoder_ = parts_->model.kind == SentencePieceModel::Kind::kBpe
                   ? make_sentencepiece_bpe(parts_->model)
                   : make_sentencepiece_unigram(parts_->model);
  }

  std::string name() const override { return parts_->name; }
  int64_t vocabulary() const override { return static_cast<int64_t>(parts_->vocabulary); }
  std::optional<int64_t> end_of_text() const override { return parts_->end_of_text; }
  std::string tokenizer_json() const override { return parts_->json; }
  std::map<std::string, std::string> published_files() const override { return parts_->files; }

  std::vector<int64_t> encode(std::string_view text) const override {
    const TextWork work(text.size());
    std::string valid;
    if (!is_utf8(text)) text = valid = to_valid_utf8(text);
    std::vector<int64_t> out;
    added_.divide(text, true, [&](std::string_view part, std::optional<uint32_t> id, bool begins) {
      id ? out.push_back(*id) : encode_part(part, begins, out);
    });
    return out;
  }
  std::vector<int64_t> encode_framed(std::string_view text) const override {
    std::vector<int64_t> out = encode(text);
    const auto& [before, behind] = parts_->frame;
    out.insert(out.begin(), before.begin(), before.end());
    out.insert(out.end(), behind.begin(), behind.end());
    return out;
  }

  std::string decode(std::span<const int64_t> tokens) const override {
    return decode(tokens, true);
  }
  std::string decode_plain(std::span<const int64_t> tokens) const override {
    return decode(tokens, false);
  }
  std::unique_ptr<TokenStream> stream(std::span<const int64_t> before) const override {
    return std::make_unique<WindowStream>(*this, before);
  }
  std::shared_ptr<const Tokenizer> without_special() const override {
    std::call_once(without_special_made_, [&] {
      without_special_ = std::make_shared<SentencePieceTokenizer>(parts_, SpecialText::kText);
    });
    return without_special_;
  }

 private:
  static AddedVocabulary find_added(const SentencePieceParts& parts, SpecialText special) {
    std::vector<AddedToken> tokens;
    std::vector<std::string> texts;
    for (const auto& token : parts.added) {
      if (token.special && special == SpecialText::kText) continue;
      tokens.push_back(token);
      texts.push_back(token.text);
    }
    return AddedVocabulary(tokens, texts);
  }

  void encode_part(std::string_view part, bool begins, std::vector<int64_t>& out) const {
    const std::string normal = normalizer_.apply(part, begins);
    if (parts_->model.kind == SentencePieceModel::Kind::kUnigram) {
      std::vector<uint32_t> ids;
      if (!normal.empty()) encoder_->encode(normal, ids);
      out.insert(out.end(), ids.begin(), ids.end());
      return;
    }
    std::string_view rest = normal;
    size_t begin = 0;  // of what has no user-defined piece
    for (size_t i = 0; i < rest.size();) {
      const size_t length = normalizer_.user_defined(rest.substr(i));
      if (length == 0) {
        i += first_code_point(rest.substr(i)).length;
        continue;
      }
      encode_words(rest.substr(begin, i - begin), out);
      out.push_back(normalizer_.user_defined_id(rest.substr(i)));
      begin = i += length;
    }
    encode_words(rest.substr(begin), out);
  }

  void encode_words(std::string_view text, std::vector<int64_t>& out) const {
    WordCache& cache = word_cache_of_thread();
    std::vector<uint32_t> made;
    while (!text.empty()) {
      const std::string_view word = text.substr(0, encoder_->cut(text));
      text.remove_prefix(word.size());
      const auto known = cache.find(cache_owner_, word);
      if (!known.empty()) {
        out.insert(out.end(), known.begin(), known.end());
        continue;
      }
      made.clear();
      encoder_->encode(word, made);
      cache.store(cache_owner_, word, made);
      out.insert(out.end(), made.begin(), made.end());
    }
  }

  /// Adds the characters of byte tokens, U+FFFD for every byte that is in none.
  static void add_bytes(std::string& bytes, std::string& out) {
    std::string_view rest = bytes;
    while (!rest.empty()) {
      const Utf8Piece piece = next_utf8(rest);
      const bool fits = piece.kind == Utf8Piece::Kind::kCharacter;
      out += fits ? rest.substr(0, piece.length) : kNoCharacter;
      rest.remove_prefix(fits ? piece.length : 1);
    }
    bytes.clear();
  }

  std::string decode(std::span<const int64_t> tokens, bool with_special) const {
    const SentencePieceModel& model = parts_->model;
    std::string out, bytes;
    bool begins = true, began = false;  // at the front of the text; a space there went away
    for (const int64_t token : tokens) {
      check(token >= 0 && token < vocabulary(), "data/tokenizer", "expected tokens in [0, ",
            vocabulary(), ") for the tokenizer '", name(), "', got ", token,
            ". Use the tokenizer of the model.");
      const auto id = static_cast<size_t>(token);
      if (id < model.pieces.size() && model.pieces[id].type == PieceKind::kByte) {
        bytes += static_cast<char>(std::stoi(model.pieces[id].text.substr(3, 2), nullptr, 16));
        continue;
      }
      add_bytes(bytes, out);
      if (began || !out.empty()) begins = false;
      began = false;
      if (const auto added = parts_->added_by_id.find(id); added != parts_->added_by_id.end()) {
        if (with_special || !added->second->special) out += added->second->text;
        continue;
      }
      if (id >= model.pieces.size()) continue;
      const SentencePiece& piece = model.pieces[id];
      if (piece.type == PieceKind::kControl) {
        if (with_special) out += piece.text;
        continue;
      }
      if (piece.type == PieceKind::kUnknown) {
        out += model.unknown_surface;
        continue;
      }
      began = add_piece(piece.text, begins, out);
    }
    add_bytes(bytes, out);
    return out;
  }

  /// Adds a piece with its spaces; whether it was at the front and lost one.
  bool add_piece(std::string_view text, bool begins, std::string& out) const {
    const SentencePieceModel& model = parts_->model;
    bool lost = false;
    if (begins && (model.add_dummy_prefix || model.remove_extra_spaces) &&
        text.starts_with(kSpacePiece)) {
      text.remove_prefix(kSpacePiece.size());
      lost = !model.remove_extra_spaces;
    }
    while (!text.empty()) {
      const bool space = text.starts_with(kSpacePiece);
      out += space ? ' ' : text.front();
      text.remove_prefix(space ? kSpacePiece.size() : 1);
    }
    return lost;
  }

  std::shared_ptr<const SentencePieceParts> parts_;
  uint32_t cache_owner_;
  SentencePieceNormalizer normalizer_;
  AddedVocabulary added_;
  std::unique_ptr<TokenModel> encoder_;
  mutable std::once_flag without_special_made_;
  mutable std::shared_ptr<const Tokenizer> without_special_;
};

/// Adds the tokens that are found in text: those of the settings that pieces have, the settings'
/// own, T5's sentinels behind the pieces.
void add_tokens(const TokenizerSettings& settings, SentencePieceParts& parts) {
  const auto& pieces = parts.model.pieces;
  std::set<std::string> texts;
  const auto add = [&](AddedToken token) {
    if (token.id >= pieces.size() + (size_t{1} << 20) || !texts.insert(token.text).second) return;
    parts.vocabulary = std::max(parts.vocabulary, token.id + size_t{1});
    parts.added.push_back(std::move(token));
  };
  for (const auto& token : settings.added) add(token);
  for (size_t id = 0; id < pieces.size(); ++id) {
    const bool named = pieces[id].text == settings.begin_of_text ||
                       pieces[id].text == settings.end_of_text ||
                       pieces[id].text == settings.padding;
    if (!named || pieces[id].type != PieceKind::kControl) continue;
    AddedToken token;
    token.id = static_cast<uint32_t>(id);
    token.text = pieces[id].text;
    add(token);
  }
  const bool t5 = settings.tokenizer_class.starts_with("T5");
  const int64_t sentinels = settings.extra_ids.value_or(t5 ? 100 : 0);
  for (int64_t i = 0; i < sentinels; ++i) {
    AddedToken token;
    token.id = static_cast<uint32_t>(static_cast<int64_t>(pieces.size()) + sentinels - 1 - i);
    token.text = concat("<extra_id_", i, '>');
    add(token);
  }
  for (const auto& token : parts.added) parts.added_by_id[token.id] = &token;
}

/// The piece `text`, else the first of the usual names.
std::optional<uint32_t> find_control(const SentencePieceModel& model,
                                     const std::vector<std::string>& names) {
  for (const auto& name : names)
    for (size_t id = 0; id < model.pieces.size(); ++id)
      if (!name.empty() && model.pieces[id].text == name) return static_cast<uint32_t>(id);
  return std::nullopt;
}

json wrapped(std::string_view bytes, const TokenizerSettings& settings) {
  return {{"version", "1.0"},
          {"model", {{"type", kWrappedModel}, {"model", encode_base64(bytes)}}},
          {"settings", json_of_settings(settings)}};
}

/// The model as it came, with settings that name the class that reads it.
std::map<std::string, std::string> files_of(std::string_view bytes, TokenizerSettings settings,
                                            const SentencePieceParts& parts) {
  const bool bpe = parts.model.kind == SentencePieceModel::Kind::kBpe;
  if (settings.tokenizer_class.empty())
    settings.tokenizer_class = bpe ? "LlamaTokenizer" : "T5Tokenizer";
  // The classes look for these names; named, a token would also be found in text.
  const auto name_unless = [&](std::optional<int64_t> id, const char* usual, std::string& text) {
    if (!id || !text.empty()) return;
    const std::string& piece = parts.model.pieces[static_cast<size_t>(*id)].text;
    if (piece != usual) text = piece;
  };
  if (!parts.frame.before.empty())
    name_unless(parts.frame.before.front(), "<s>", settings.begin_of_text);
  name_unless(parts.end_of_text, "</s>", settings.end_of_text);
  // What a class takes for granted where nothing is said is not what this library does.
  settings.adds_begin = !parts.frame.before.empty();
  settings.adds_end = !parts.frame.behind.empty();
  const bool t5 = settings.tokenizer_class.starts_with("T5");
  if (t5 && !settings.extra_ids) settings.extra_ids = 100;
  json around = json_of_settings(settings);
  around["clean_up_tokenization_spaces"] = false;
  return {{t5 ? "spiece.model" : "tokenizer.model", std::string(bytes)},
          {"tokenizer_config.json", around.dump(1)}};
}

}  // namespace

std::shared_ptr<const Tokenizer> read_sentencepiece(std::string_view bytes, const std::string& name,
                                                    const TokenizerSettings& settings) {
  auto parts = std::make_shared<SentencePieceParts>();
  parts->name = name;
  parts->json = wrapped(bytes, settings).dump();
  parts->model = parse_sentencepiece_model(bytes, concat('\'', name, '\''));
  parts->vocabulary = parts->model.pieces.size();
  add_tokens(settings, *parts);
  const bool bpe = parts->model.kind == SentencePieceModel::Kind::kBpe;
  const auto begin = find_control(parts->model, {settings.begin_of_text, "<s>", "<bos>"});
  const auto end = find_control(parts->model, {settings.end_of_text, "</s>", "<eos>"});
  if (begin && settings.adds_begin.value_or(bpe)) parts->frame.before.push_back(*begin);
  if (end && settings.adds_end.value_or(!bpe)) parts->frame.behind.push_back(*end);
  if (end) parts->end_of_text = *end;
  parts->files = files_of(bytes, settings, *parts);
  return std::make_shared<SentencePieceTokenizer>(std::move(parts), SpecialText::kToken);
}

std::shared_ptr<const Tokenizer> read_wrapped_sentencepiece(const nlohmann::json& document,
                                                            const std::string& name) {
  const auto& model = TokenizerJson::find(document, "model");
  if (!model.is_object() || TokenizerJson::find(model, "type") != kWrappedModel) return nullptr;
  const std::string source = concat('\'', name, '\'');
  const TokenizerJson in(source);
  const auto bytes = decode_base64(in.string_at(model, "model.", "model"));
  if (!bytes) in.refuse("model.model", "text in base64", "something else");
  return read_sentencepiece(*bytes, name, settings_of(TokenizerJson::find(document, "settings")));
}

}  // namespace moe::data
