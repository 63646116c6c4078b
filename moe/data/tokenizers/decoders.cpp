#include <moe/base/utf8.h>
#include <moe/data/bpe/byte_letters.h>
#include <moe/data/tokenizers/components.h>
#include <moe/data/tokenizers/decoders.h>
#include <moe/data/tokenizers/metaspace.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

using nlohmann::json;
using DecoderPointer = std::unique_ptr<Decoder>;

constexpr const char* kReplacementCharacter = "\xEF\xBF\xBD";

/// A function of all texts as a decoder.
template <class Function>
class FunctionDecoder final : public Decoder {
 public:
  explicit FunctionDecoder(Function function) : function_(std::move(function)) {}
  void apply(std::vector<std::string>& texts) const override { function_(texts); }

 private:
  Function function_;
};

template <class Function>
DecoderPointer decoder_of(Function function) {
  return std::make_unique<FunctionDecoder<Function>>(std::move(function));
}

std::string replace_all(std::string_view text, std::string_view what, std::string_view by) {
  if (what.empty()) return std::string(text);
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(what, done)) != text.npos; done = at + what.size())
    out.append(text.substr(done, at - done)).append(by);
  return out.append(text.substr(done));
}

/// English without the spaces that stand before its punctuation.
std::string clean_up(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const auto& text : texts) out += text;
  return out;
}

DecoderPointer read_byte_level_decoder(const TokenizerJson& in, const json& object,
                                       const std::string& where) {
  check_component(in, object, where, {"add_prefix_space", "trim_offsets", "use_regex"});
  return decoder_of([](std::vector<std::string>& texts) {
    std::string bytes;
    for (const auto& text : texts) bytes += bytes_of_letters(text);
    texts.assign(1, to_valid_utf8(bytes));
  });
}

DecoderPointer read_metaspace_decoder(const TokenizerJson& in, const json& object,
                                      const std::string& where) {
  const Metaspace settings = read_metaspace(in, object, where);
  return decoder_of([settings](std::vector<std::string>& texts) {
    const bool drops = settings.prepend != Metaspace::Prepend::kNever;
    for (size_t i = 0; i < texts.size(); ++i)
      texts[i] = replace_all(texts[i], settings.replacement, i == 0 && drops ? "" : " ");
  });
}

/// The byte that a token like <0x0A> stands for, or -1.
int byte_of_token(const std::string& text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int out = 0;
  for (const char c : text.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'F',
               lower = c >= 'a' && c <= 'f';
    if (!digit && !upper && !lower) return -1;
    out = out * 16 + (digit ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return out;
}

/// Runs of byte tokens become their characters; a run that is no UTF-8 as a whole one U+FFFD a
/// byte.
void join_bytes(std::vector<std::string>& texts) {
  std::vector<std::string> out;
  std::string bytes;
  const auto end_run = [&] {
    if (bytes.empty()) return;
    if (is_utf8(bytes))
      out.push_back(bytes);
    else
      out.insert(out.end(), bytes.size(), kReplacementCharacter);
    bytes.clear();
  };
  for (auto& text : texts) {
    if (const int byte = byte_of_token(text); byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    end_run();
    out.push_back(std::move(text));
  }
  end_run();
  texts = std::move(out);
}

DecoderPointer read_byte_fallback(const TokenizerJson& in, const json& object,
                                  const std::string& where) {
  check_component(in, object, where, {});
  return decoder_of(join_bytes);
}

DecoderPointer read_fuse(const TokenizerJson& in, const json& object, const std::string& where) {
  check_component(in, object, where, {});
  return decoder_of([](std::vector<std::string>& texts) { texts.assign(1, joined(texts)); });
}

DecoderPointer read_strip_decoder(const TokenizerJson& in, const json& object,
                                  const std::string& where) {
  check_component(in, object, where, {"content", "start", "stop"});
  const std::string& content = in.string_at(object, where, "content");
  if (content.empty()) in.refuse(where + "content", "a character", "none");
  const int64_t start = in.integer_at(object, where, "start"),
                stop = in.integer_at(object, where, "stop");
  return decoder_of([content, start, stop](std::vector<std::string>& texts) {
    for (auto& text : texts) {
      std::string_view rest = text;
      for (int64_t i = 0; i < start && rest.starts_with(content); ++i)
        rest.remove_prefix(content.size());
      for (int64_t i = 0; i < stop && rest.ends_with(content); ++i)
        rest.remove_suffix(content.size());
      text = std::string(rest);
    }
  });
}

DecoderPointer read_replace_decoder(const TokenizerJson& in, const json& object,
                                    const std::string& where) {
  check_component(in, object, where, {"pattern", "content"});
  return decoder_of(
      [pattern = TextPattern(in, object, where, "pattern"),
       content = in.string_at(object, where, "content")](std::vector<std::string>& texts) {
        for (auto& text : texts) text = pattern.replace(text, content);
      });
}

DecoderPointer read_word_piece_decoder(const TokenizerJson& in, const json& object,
                                       const std::string& where) {
  check_component(in, object, where, {"prefix", "cleanup"});
  const std::string prefix =
      object.contains("prefix") ? in.string_at(object, where, "prefix") : "##";
  const bool cleans = in.bool_or(object, where, "cleanup", true);
  return decoder_of([prefix, cleans](std::vector<std::string>& texts) {
    for (size_t i = 0; i < texts.size(); ++i) {
      auto& text = texts[i];
      if (i > 0) text = text.starts_with(prefix) ? text.substr(prefix.size()) : ' ' + text;
      if (cleans) text = clean_up(std::move(text));
    }
  });
}

DecoderPointer read_bpe_decoder(const TokenizerJson& in, const json& object,
                                const std::string& where) {
  check_component(in, object, where, {"suffix"});
  const std::string suffix =
      object.contains("suffix") ? in.string_at(object, where, "suffix") : "</w>";
  return decoder_of([suffix](std::vector<std::string>& texts) {
    for (size_t i = 0; i < texts.size(); ++i)
      texts[i] = replace_all(texts[i], suffix, i + 1 == texts.size() ? "" : " ");
  });
}

/// Labels of connectionist temporal classification: repeats and padding go.
DecoderPointer read_ctc(const TokenizerJson& in, const json& object, const std::string& where) {
  check_component(in, object, where, {"pad_token", "word_delimiter_token", "cleanup"});
  const std::string pad =
      object.contains("pad_token") ? in.string_at(object, where, "pad_token") : "<pad>";
  const std::string delimiter = object.contains("word_delimiter_token")
                                    ? in.string_at(object, where, "word_delimiter_token")
                                    : "|";
  const bool cleans = in.bool_or(object, where, "cleanup", true);
  return decoder_of([pad, delimiter, cleans](std::vector<std::string>& texts) {
    std::vector<std::string> out;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (i > 0 && texts[i] == texts[i - 1]) continue;
      std::string text = replace_all(texts[i], pad, "");
      if (cleans) text = replace_all(clean_up(std::move(text)), delimiter, " ");
      if (!text.empty()) out.push_back(std::move(text));
    }
    texts = std::move(out);
  });
}

constexpr ComponentKind<Decoder> kDecoders[] = {
    {"ByteLevel", read_byte_level_decoder},
    {"Metaspace", read_metaspace_decoder},
    {"ByteFallback", read_byte_fallback},
    {"Fuse", read_fuse},
    {"Strip", read_strip_decoder},
    {"Replace", read_replace_decoder},
    {"WordPiece", read_word_piece_decoder},
    {"BPEDecoder", read_bpe_decoder},
    {"CTC", read_ctc},
    {"Sequence", nullptr},  // by add_decoder
};

void add_decoder(const TokenizerJson& in, const json& object, const std::string& where,
                 Decoders& out) {
  const std::string dot = where + '.';
  if (in.string_at(object, dot, "type") != "Sequence") {
    out.steps.push_back(read_component(kDecoders, in, object, where));
    return;
  }
  check_component(in, object, dot, {"decoders"});
  const json& list = in.array_at(object, dot, "decoders");
  for (size_t i = 0; i < list.size(); ++i)
    add_decoder(in, list[i], concat(dot, "decoders[", i, ']'), out);
}

}  // namespace

std::string bytes_of_letters(const std::string& text) {
  return letters_to_bytes(text).value_or(text);
}

Decoders read_decoder(const TokenizerJson& in, const nlohmann::json& object,
                      const std::string& where) {
  Decoders out;
  if (object.is_null()) return out;
  out.none = false;
  add_decoder(in, object, where, out);
  out.byte_level = object["type"] == "ByteLevel";
  return out;
}

}  // namespace moe::data
