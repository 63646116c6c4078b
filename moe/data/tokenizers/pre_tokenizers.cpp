#include <moe/data/bpe/byte_letters.h>
#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/tokenizers/components.h>
#include <moe/data/tokenizers/known_patterns.h>
#include <moe/data/tokenizers/metaspace.h>
#include <moe/data/tokenizers/pre_tokenizers.h>
#include <moe/data/tokenizers/splits.h>
#include <moe/data/tokenizers/unicode_scripts.h>

namespace moe::data {

namespace {

using nlohmann::json;
using PreTokenizerPointer = std::unique_ptr<PreTokenizer>;

SplitBehavior read_behavior(const TokenizerJson& in, const json& object, const std::string& where,
                            SplitBehavior other) {
  if (!object.contains("behavior")) return other;
  const std::string& name = in.string_at(object, where, "behavior");
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  in.refuse(where + "behavior",
            "Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous",
            formats::in_quotes(name));
}

template <class Matches>
PreTokenizerPointer character_splitter(Matches matches, SplitBehavior behavior) {
  return make_splitter(
      [matches](std::string_view text, auto&& take) { divide_at_characters(text, matches, take); },
      behavior);
}

PreTokenizerPointer pattern_splitter(MatchLength length, SplitBehavior behavior,
                                     bool invert = false) {
  return make_splitter(
      [length](std::string_view text, auto&& take) { divide_by(length, text, take); }, behavior,
      invert);
}

bool is_space(uint32_t code) {
  return is_a(code, kSpace);
}
bool is_number(uint32_t code) {
  return is_a(code, kNumber);
}
bool is_punctuation(uint32_t code) {
  const bool ascii = code < 0x7F && code > ' ' && is_a(code, kPunctuation | kSymbol);
  return ascii || is_a(code, kPunctuation);
}

/// \w+|[^\w\s]+
size_t word_or_symbols_length(std::string_view text) {
  const auto kind = [](uint32_t code) {
    return is_a(code, kWord) ? 1 : is_a(code, kSpace) ? 0 : 2;
  };
  const CodePoint first = first_code_point(text);
  const int wanted = kind(first.code);
  if (wanted == 0) return 0;
  size_t end = first.length;
  while (end < text.size()) {
    const CodePoint next = first_code_point(text.substr(end));
    if (kind(next.code) != wanted) break;
    end += next.length;
  }
  return end;
}

PreTokenizerPointer read_split(const TokenizerJson& in, const json& object,
                               const std::string& where) {
  check_component(in, object, where, {"pattern", "behavior", "invert"});
  const SplitBehavior behavior = read_behavior(in, object, where, SplitBehavior::kIsolated);
  const bool invert = in.bool_or(object, where, "invert", false);
  // A known pattern may say what PCRE2 cannot.
  const json& written = TokenizerJson::find(object, "pattern");
  if (written.is_object() && written.size() == 1 && written.contains("Regex"))
    if (const MatchLength known = known_pattern(in.string_at(written, where, "Regex")))
      return pattern_splitter(known, behavior, invert);
  const TextPattern pattern(in, object, where, "pattern");
  return make_splitter(
      [pattern](std::string_view text, auto&& take) { pattern.divide(text, take); }, behavior,
      invert);
}

PreTokenizerPointer read_digits(const TokenizerJson& in, const json& object,
                                const std::string& where) {
  check_component(in, object, where, {"individual_digits"});
  const bool individual = in.bool_or(object, where, "individual_digits", false);
  return character_splitter(is_number,
                            individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

PreTokenizerPointer read_punctuation(const TokenizerJson& in, const json& object,
                                     const std::string& where) {
  check_component(in, object, where, {"behavior"});
  return character_splitter(is_punctuation,
                            read_behavior(in, object, where, SplitBehavior::kIsolated));
}

PreTokenizerPointer read_whitespace(const TokenizerJson& in, const json& object,
                                    const std::string& where) {
  check_component(in, object, where, {});
  return pattern_splitter(word_or_symbols_length, SplitBehavior::kRemoved, true);
}

PreTokenizerPointer read_whitespace_split(const TokenizerJson& in, const json& object,
                                          const std::string& where) {
  check_component(in, object, where, {});
  return character_splitter(is_space, SplitBehavior::kRemoved);
}

PreTokenizerPointer read_delimiter(const TokenizerJson& in, const json& object,
                                   const std::string& where) {
  check_component(in, object, where, {"delimiter"});
  const std::string& text = in.string_at(object, where, "delimiter");
  if (text.empty() || first_code_point(text).length != text.size())
    in.refuse(where + "delimiter", "one character", formats::in_quotes(text));
  return character_splitter(
      [wanted = first_code_point(text).code](uint32_t code) { return code == wanted; },
      SplitBehavior::kRemoved);
}

/// Pieces of so many characters.
class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(size_t length) : length_(length) {}
  void split(std::string_view text, bool begins, TakePiece take) const override {
    while (!text.empty()) {
      size_t end = 0;
      for (size_t i = 0; i < length_ && end < text.size(); ++i)
        end += first_code_point(text.substr(end)).length;
      take(text.substr(0, end), begins);
      text.remove_prefix(end);
      begins = false;
    }
  }

 private:
  size_t length_;
};

PreTokenizerPointer read_fixed_length(const TokenizerJson& in, const json& object,
                                      const std::string& where) {
  check_component(in, object, where, {"length"});
  const int64_t length = in.integer_at(object, where, "length");
  if (length < 1) in.refuse(where + "length", "at least 1", std::to_string(length));
  return std::make_unique<FixedLength>(static_cast<size_t>(length));
}

PreTokenizerPointer read_scripts(const TokenizerJson& in, const json& object,
                                 const std::string& where) {
  check_component(in, object, where, {});
  return make_script_splitter();
}

/// Puts replacement characters in the place of spaces, one before the text, and divides there.
class MetaspaceStep final : public PreTokenizer {
 public:
  explicit MetaspaceStep(Metaspace settings) : settings_(std::move(settings)) {}
  void split(std::string_view text, bool begins, TakePiece take) const override {
    const std::string& sign = settings_.replacement;
    const bool prepends = settings_.prepend == Metaspace::Prepend::kAlways ||
                          (settings_.prepend == Metaspace::Prepend::kFirst && begins);
    std::string out;
    out.reserve(text.size() + 16);
    if (prepends && !text.starts_with(' ') && !text.starts_with(sign)) out += sign;
    for (const char c : text) {
      if (c == ' ')
        out += sign;
      else
        out += c;
    }
    if (!settings_.split) return take(out, begins);
    PieceMaker pieces(out, begins, SplitBehavior::kMergedWithNext, take);
    size_t done = 0;
    for (size_t at; (at = out.find(sign, done)) != out.npos; done = at + sign.size()) {
      if (at > done) pieces.feed(done, at, false);
      pieces.feed(at, at + sign.size(), true);
    }
    if (done < out.size()) pieces.feed(done, out.size(), false);
    pieces.finish();
  }

 private:
  Metaspace settings_;
};

PreTokenizerPointer read_metaspace_step(const TokenizerJson& in, const json& object,
                                        const std::string& where) {
  return std::make_unique<MetaspaceStep>(read_metaspace(in, object, where));
}

/// GPT-2's words, or a space before the text, or both.
class ByteLevelWords final : public PreTokenizer {
 public:
  ByteLevelWords(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex) {}
  void split(std::string_view text, bool begins, TakePiece take) const override {
    std::string with_space;
    if (add_prefix_space_ && !text.starts_with(' ')) text = (with_space += ' ').append(text);
    while (!text.empty()) {
      const size_t length = use_regex_ ? gpt2_word_length(text) : text.size();
      take(text.substr(0, length), begins);
      text.remove_prefix(length);
      begins = false;
    }
  }

 private:
  bool add_prefix_space_, use_regex_;
};

class ByteLettersStep final : public PreTokenizer {
 public:
  void split(std::string_view text, bool begins, TakePiece take) const override {
    take(bytes_to_letters(text), begins);
  }
};

PreTokenizerPointer read_bert_words(const TokenizerJson& in, const json& object,
                                    const std::string& where) {
  check_component(in, object, where, {});
  return character_splitter(is_space, SplitBehavior::kRemoved);
}

constexpr ComponentKind<PreTokenizer> kPreTokenizers[] = {
    {"BertPreTokenizer", read_bert_words},
    {"ByteLevel", nullptr},  // by add_pre_tokenizer, as the next
    {"Sequence", nullptr},
    {"Split", read_split},
    {"Digits", read_digits},
    {"Punctuation", read_punctuation},
    {"Whitespace", read_whitespace},
    {"WhitespaceSplit", read_whitespace_split},
    {"Metaspace", read_metaspace_step},
    {"UnicodeScripts", read_scripts},
    {"CharDelimiterSplit", read_delimiter},
    {"FixedLength", read_fixed_length},
};

void add_pre_tokenizer(const TokenizerJson& in, const json& object, const std::string& where,
                       PreTokenizers& out) {
  const std::string dot = where + '.';
  const std::string& type = in.string_at(object, dot, "type");
  if (type == "Sequence") {
    check_component(in, object, dot, {"pretokenizers"});
    const json& list = in.array_at(object, dot, "pretokenizers");
    for (size_t i = 0; i < list.size(); ++i)
      add_pre_tokenizer(in, list[i], concat(dot, "pretokenizers[", i, ']'), out);
    return;
  }
  out.ends_in_letters = type == "ByteLevel";
  if (type != "ByteLevel") {
    out.steps.push_back(read_component(kPreTokenizers, in, object, where));
    if (type == "BertPreTokenizer")
      out.steps.push_back(character_splitter(is_punctuation, SplitBehavior::kIsolated));
    return;
  }
  check_component(in, object, dot, {"add_prefix_space", "trim_offsets", "use_regex"});
  const bool space = in.bool_or(object, dot, "add_prefix_space", true),
             regex = in.bool_or(object, dot, "use_regex", true);
  if (space || regex) out.steps.push_back(std::make_unique<ByteLevelWords>(space, regex));
  out.steps.push_back(std::make_unique<ByteLettersStep>());
}

}  // namespace

PreTokenizers read_pre_tokenizer(const TokenizerJson& in, const nlohmann::json& object,
                                 const std::string& where) {
  PreTokenizers out;
  if (!object.is_null()) add_pre_tokenizer(in, object, where, out);
  return out;
}

}  // namespace moe::data
