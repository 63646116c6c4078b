#define PCRE2_CODE_UNIT_WIDTH 8
#include <optional>
#include <pcre2.h>
#include <unordered_map>

#include <moe/data/tokenizers/unicode.h>
#include <moe/data/tokenizers/unicode_scripts.h>

namespace moe::data {

namespace {

constexpr const char* kScripts[] = {"Adlam",
                                    "Ahom",
                                    "Anatolian_Hieroglyphs",
                                    "Arabic",
                                    "Armenian",
                                    "Avestan",
                                    "Balinese",
                                    "Bamum",
                                    "Bassa_Vah",
                                    "Batak",
                                    "Bengali",
                                    "Bhaiksuki",
                                    "Bopomofo",
                                    "Brahmi",
                                    "Braille",
                                    "Buginese",
                                    "Buhid",
                                    "Canadian_Aboriginal",
                                    "Carian",
                                    "Caucasian_Albanian",
                                    "Chakma",
                                    "Cham",
                                    "Cherokee",
                                    "Chorasmian",
                                    "Common",
                                    "Coptic",
                                    "Cuneiform",
                                    "Cypriot",
                                    "Cyrillic",
                                    "Deseret",
                                    "Devanagari",
                                    "Dives_Akuru",
                                    "Dogra",
                                    "Duployan",
                                    "Egyptian_Hieroglyphs",
                                    "Elbasan",
                                    "Elymaic",
                                    "Ethiopic",
                                    "Georgian",
                                    "Glagolitic",
                                    "Gothic",
                                    "Grantha",
                                    "Greek",
                                    "Gujarati",
                                    "Gunjala_Gondi",
                                    "Gurmukhi",
                                    "Han",
                                    "Hangul",
                                    "Hanifi_Rohingya",
                                    "Hanunoo",
                                    "Hatran",
                                    "Hebrew",
                                    "Imperial_Aramaic",
                                    "Inherited",
                                    "Inscriptional_Pahlavi",
                                    "Inscriptional_Parthian",
                                    "Javanese",
                                    "Kaithi",
                                    "Kannada",
                                    "Kayah_Li",
                                    "Kharoshthi",
                                    "Khitan_Small_Script",
                                    "Khmer",
                                    "Khojki",
                                    "Khudawadi",
                                    "Lao",
                                    "Latin",
                                    "Lepcha",
                                    "Limbu",
                                    "Linear_A",
                                    "Linear_B",
                                    "Lisu",
                                    "Lycian",
                                    "Lydian",
                                    "Mahajani",
                                    "Makasar",
                                    "Malayalam",
                                    "Mandaic",
                                    "Manichaean",
                                    "Marchen",
                                    "Masaram_Gondi",
                                    "Medefaidrin",
                                    "Meetei_Mayek",
                                    "Mende_Kikakui",
                                    "Meroitic_Cursive",
                                    "Meroitic_Hieroglyphs",
                                    "Miao",
                                    "Modi",
                                    "Mongolian",
                                    "Mro",
                                    "Multani",
                                    "Myanmar",
                                    "Nabataean",
                                    "Nandinagari",
                                    "New_Tai_Lue",
                                    "Newa",
                                    "Nko",
                                    "Nushu",
                                    "Nyiakeng_Puachue_Hmong",
                                    "Ogham",
                                    "Ol_Chiki",
                                    "Old_Hungarian",
                                    "Old_Italic",
                                    "Old_North_Arabian",
                                    "Old_Permic",
                                    "Old_Persian",
                                    "Old_Sogdian",
                                    "Old_South_Arabian",
                                    "Old_Turkic",
                                    "Oriya",
                                    "Osage",
                                    "Osmanya",
                                    "Pahawh_Hmong",
                                    "Palmyrene",
                                    "Pau_Cin_Hau",
                                    "Phags_Pa",
                                    "Phoenician",
                                    "Psalter_Pahlavi",
                                    "Rejang",
                                    "Runic",
                                    "Samaritan",
                                    "Saurashtra",
                                    "Sharada",
                                    "Shavian",
                                    "Siddham",
                                    "SignWriting",
                                    "Sinhala",
                                    "Sogdian",
                                    "Sora_Sompeng",
                                    "Soyombo",
                                    "Sundanese",
                                    "Syloti_Nagri",
                                    "Syriac",
                                    "Tagalog",
                                    "Tagbanwa",
                                    "Tai_Le",
                                    "Tai_Tham",
                                    "Tai_Viet",
                                    "Takri",
                                    "Tamil",
                                    "Tangut",
                                    "Telugu",
                                    "Thaana",
                                    "Thai",
                                    "Tibetan",
                                    "Tifinagh",
                                    "Tirhuta",
                                    "Ugaritic",
                                    "Vai",
                                    "Wancho",
                                    "Warang_Citi",
                                    "Yezidi",
                                    "Yi",
                                    "Zanabazar_Square"};

/// The number of a character's script: equal for characters of one script.
class ScriptFinder {
 public:
  ScriptFinder() {
    std::string pattern = "(?:[\\p{sc:Han}\\p{sc:Hiragana}\\p{sc:Katakana}\\x{30fc}])";
    for (const char* script : kScripts) pattern += concat("|(\\p{sc:", script, "})");
    int error = 0;
    size_t at = 0;
    code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_ANCHORED, &error, &at, nullptr);
    check(code_ != nullptr, "data/tokenizer", "expected PCRE2 to know the scripts of Unicode, got ",
          "error ", error, " at ", at, ". Install PCRE2 10.40 or newer.");
    pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE);
    data_ = pcre2_match_data_create_from_pattern(code_, nullptr);
  }
  ~ScriptFinder() {
    pcre2_match_data_free(data_);
    pcre2_code_free(code_);
  }
  ScriptFinder(const ScriptFinder&) = delete;
  ScriptFinder& operator=(const ScriptFinder&) = delete;

  int find(uint32_t code, std::string_view character) {
    const auto [known, is_new] = scripts_.try_emplace(code, 0);
    if (is_new)
      known->second = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(character.data()),
                                  character.size(), 0, PCRE2_NO_UTF_CHECK, data_, nullptr);
    return known->second;
  }

 private:
  pcre2_code* code_ = nullptr;
  pcre2_match_data* data_ = nullptr;
  std::unordered_map<uint32_t, int> scripts_;
};

class ScriptSplitter final : public PreTokenizer {
 public:
  void split(std::string_view text, bool begins, TakePiece take) const override {
    thread_local ScriptFinder finder;
    std::optional<int> before;
    std::optional<size_t> begin;
    for (size_t i = 0; i < text.size();) {
      const auto [code, length] = first_code_point(text.substr(i));
      const int script = code == ' ' ? -1 : finder.find(code, text.substr(i, length));
      if (script >= 0 && script != before) {  // negative: of no script
        if (begin) take(text.substr(*begin, i - *begin), begins && *begin == 0);
        begin = i;
        before = script;
      }
      i += length;
    }
    if (begin) take(text.substr(*begin), begins && *begin == 0);
  }
};

}  // namespace

std::unique_ptr<PreTokenizer> make_script_splitter() {
  return std::make_unique<ScriptSplitter>();
}

}  // namespace moe::data
