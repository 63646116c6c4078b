#include <moe/data/bpe/byte_letters.h>
#include <moe/data/tokenizers/charsmap.h>
#include <moe/data/tokenizers/components.h>
#include <moe/data/tokenizers/normalizers.h>
#include <moe/data/tokenizers/text_work.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

using nlohmann::json;
using NormalizerPointer = std::unique_ptr<Normalizer>;

/// A function of text as a normalizer.
template <class Function>
class FunctionNormalizer final : public Normalizer {
 public:
  explicit FunctionNormalizer(Function function) : function_(std::move(function)) {}
  std::string apply(std::string_view text) const override { return function_(text); }

 private:
  Function function_;
};

template <class Function>
NormalizerPointer normalizer_of(Function function) {
  return std::make_unique<FunctionNormalizer<Function>>(std::move(function));
}

/// `change` of every character: it appends what the character becomes.
template <class Change>
std::string change_characters(std::string_view text, Change&& change) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint next = first_code_point(text);
    change(out, next.code, text.substr(0, next.length));
    text.remove_prefix(next.length);
  }
  return out;
}

std::string strip_accents(std::string_view text) {
  return change_characters(text, [](std::string& out, uint32_t code, std::string_view character) {
    if (!is_a(code, kNonspacing)) out += character;
  });
}

std::string_view strip_white_space(std::string_view text, bool left, bool right) {
  while (left && !text.empty() && is_a(first_code_point(text).code, kSpace))
    text.remove_prefix(first_code_point(text).length);
  while (right && !text.empty()) {
    const size_t last = last_code_point(text);
    if (!is_a(first_code_point(text.substr(last)).code, kSpace)) break;
    text = text.substr(0, last);
  }
  return text;
}

/// Control characters go, what counts as white space becomes a space (Neural Machine Translation's
/// rules in SentencePiece).
std::string nmt(std::string_view text) {
  return change_characters(text, [](std::string& out, uint32_t c, std::string_view character) {
    if ((c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
        c == 0x9F)
      return;
    const bool space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    out += space ? std::string_view(" ") : character;
  });
}

std::string clean_for_bert(std::string_view text) {
  return change_characters(text, [](std::string& out, uint32_t c, std::string_view character) {
    const bool break_or_tab = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xFFFD || (!break_or_tab && is_a(c, kOther))) return;
    out += break_or_tab || is_a(c, kSpace) ? std::string_view(" ") : character;
  });
}

bool is_chinese(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

std::string set_chinese_apart(std::string_view text) {
  return change_characters(text, [](std::string& out, uint32_t c, std::string_view character) {
    if (is_chinese(c))
      out.append(" ").append(character).append(" ");
    else
      out += character;
  });
}

template <NormalForm kForm>
NormalizerPointer read_normal_form(const TokenizerJson& in, const json& object,
                                   const std::string& where) {
  check_component(in, object, where, {});
  return normalizer_of([](std::string_view text) { return normal_form(text, kForm); });
}

template <std::string (*kFunction)(std::string_view)>
NormalizerPointer read_plain_normalizer(const TokenizerJson& in, const json& object,
                                        const std::string& where) {
  check_component(in, object, where, {});
  return normalizer_of(kFunction);
}

NormalizerPointer read_byte_level_normalizer(const TokenizerJson& in, const json& object,
                                             const std::string& where) {
  check_component(in, object, where, {"add_prefix_space", "trim_offsets", "use_regex"});
  return normalizer_of(bytes_to_letters);
}

NormalizerPointer read_strip(const TokenizerJson& in, const json& object,
                             const std::string& where) {
  check_component(in, object, where, {"strip_left", "strip_right"});
  const bool left = in.bool_or(object, where, "strip_left", true),
             right = in.bool_or(object, where, "strip_right", true);
  return normalizer_of(
      [=](std::string_view text) { return std::string(strip_white_space(text, left, right)); });
}

NormalizerPointer read_prepend(const TokenizerJson& in, const json& object,
                               const std::string& where) {
  check_component(in, object, where, {"prepend"});
  return normalizer_of([prefix = in.string_at(object, where, "prepend")](std::string_view text) {
    return text.empty() ? std::string() : std::string(prefix).append(text);
  });
}

NormalizerPointer read_replace(const TokenizerJson& in, const json& object,
                               const std::string& where) {
  check_component(in, object, where, {"pattern", "content"});
  return normalizer_of([pattern = TextPattern(in, object, where, "pattern"),
                        content = in.string_at(object, where, "content")](std::string_view text) {
    return pattern.replace(text, content);
  });
}

/// As the crate `tokenizers` applies it, which is not quite SentencePiece's way: by grapheme, else
/// by character, each by the shortest key that it begins with.
NormalizerPointer read_precompiled(const TokenizerJson& in, const json& object,
                                   const std::string& where) {
  check_component(in, object, where, {"precompiled_charsmap"});
  const json& value = TokenizerJson::find(object, "precompiled_charsmap");
  const auto blob = value.is_null()
                        ? std::string()
                        : decode_base64(in.string_at(object, where, "precompiled_charsmap"));
  if (!blob) in.refuse(where + "precompiled_charsmap", "text in base64", "something else");
  return normalizer_of([map = Charsmap(*blob)](std::string_view text) {
    constexpr size_t kLongestGrapheme = 5;  // longer ones are looked up by character at once
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
      const std::string_view grapheme = text.substr(0, grapheme_length(text));
      const auto whole =
          grapheme.size() <= kLongestGrapheme ? map.shortest(grapheme) : std::nullopt;
      const auto replace = [](std::string& changed, std::string_view replacement) {
        TextWork::write(replacement.size());
        changed += replacement;
      };
      if (whole)
        replace(out, whole->replacement);
      else
        out += change_characters(
            grapheme, [&](std::string& changed, uint32_t, std::string_view character) {
              const auto found = map.shortest(character);
              found ? replace(changed, found->replacement) : void(changed += character);
            });
      text.remove_prefix(grapheme.size());
    }
    return out;
  });
}

NormalizerPointer read_bert(const TokenizerJson& in, const json& object, const std::string& where) {
  check_component(in, object, where,
                  {"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
  const bool clean = in.bool_or(object, where, "clean_text", true),
             chinese = in.bool_or(object, where, "handle_chinese_chars", true),
             lower = in.bool_or(object, where, "lowercase", true);
  const bool accents_default = TokenizerJson::find(object, "strip_accents").is_null();
  const bool accents = accents_default ? lower : in.bool_at(object, where, "strip_accents");
  return normalizer_of([=](std::string_view text) {
    std::string out = clean ? clean_for_bert(text) : std::string(text);
    if (chinese) out = set_chinese_apart(out);
    if (accents) out = strip_accents(normal_form(out, NormalForm::kD));
    return lower ? lower_case(out) : out;
  });
}

NormalizerPointer read_normalizer_sequence(const TokenizerJson& in, const json& object,
                                           const std::string& where) {
  check_component(in, object, where, {"normalizers"});
  const json& list = in.array_at(object, where, "normalizers");
  std::vector<std::shared_ptr<const Normalizer>> steps;
  for (size_t i = 0; i < list.size(); ++i)
    steps.push_back(read_normalizer(in, list[i], concat(where, "normalizers[", i, ']')));
  if (steps.empty()) return nullptr;
  return normalizer_of([steps](std::string_view text) {
    std::string out(text);
    for (const auto& step : steps)
      if (step) out = step->apply(out);
    return out;
  });
}

constexpr ComponentKind<Normalizer> kNormalizers[] = {
    {"NFC", read_normal_form<NormalForm::kC>},
    {"NFD", read_normal_form<NormalForm::kD>},
    {"NFKC", read_normal_form<NormalForm::kKC>},
    {"NFKD", read_normal_form<NormalForm::kKD>},
    {"Lowercase", read_plain_normalizer<lower_case>},
    {"StripAccents", read_plain_normalizer<strip_accents>},
    {"Nmt", read_plain_normalizer<nmt>},
    {"Strip", read_strip},
    {"Prepend", read_prepend},
    {"Replace", read_replace},
    {"Precompiled", read_precompiled},
    {"BertNormalizer", read_bert},
    {"ByteLevel", read_byte_level_normalizer},
    {"Sequence", read_normalizer_sequence},
};

}  // namespace

std::unique_ptr<Normalizer> read_normalizer(const TokenizerJson& in, const nlohmann::json& object,
                                            const std::string& where) {
  if (object.is_null()) return nullptr;
  return read_component(kNormalizers, in, object, where);
}

}  // namespace moe::data
