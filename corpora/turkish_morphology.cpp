#include <algorithm>
#include <array>
#include <utility>

#include <corpora/turkish_morphology.h>

namespace moe::corpora::turkish {

namespace {

struct Vowel {
  std::string_view letter;
  bool back;
  bool round;
};

// Letters with a circumflex soften the consonant before them but harmonise as written here (rüzgâr
// -> rüzgârı).
constexpr Vowel kVowels[] = {
    {"a", true, false}, {"e", false, false}, {"ı", true, false}, {"i", false, false},
    {"o", true, true},  {"ö", false, true},  {"u", true, true},  {"ü", false, true},
    {"A", true, false}, {"E", false, false}, {"I", true, false}, {"İ", false, false},
    {"O", true, true},  {"Ö", false, true},  {"U", true, true},  {"Ü", false, true},
    {"â", true, false}, {"î", false, false}, {"û", true, true}};
constexpr std::string_view kVoiceless[] = {"f", "s", "t", "k", "ç", "ş", "h", "p",
                                           "F", "S", "T", "K", "Ç", "Ş", "H", "P"};

/// The last UTF-8 letter of `word`.
std::string_view last_letter(std::string_view word) {
  size_t begin = word.size();
  while (begin > 0 && (static_cast<unsigned char>(word[--begin]) & 0xC0) == 0x80) {
  }
  return word.substr(begin);
}

const Vowel* as_vowel(std::string_view letter) {
  const auto* found = std::ranges::find(kVowels, letter, &Vowel::letter);
  return found == std::end(kVowels) ? nullptr : found;
}

const Vowel* last_vowel(std::string_view word) {
  while (!word.empty()) {
    const auto letter = last_letter(word);
    if (const auto* vowel = as_vowel(letter)) return vowel;
    word.remove_suffix(letter.size());
  }
  return nullptr;
}

bool ends_in_vowel(std::string_view word) {
  return as_vowel(last_letter(word)) != nullptr;
}

std::string_view high_vowel(bool back, bool round) {
  return back ? (round ? "u" : "ı") : (round ? "ü" : "i");
}

/// Does `suffix` put a vowel right after `word`?
bool starts_with_vowel(std::string_view word, std::string_view suffix) {
  const bool vowel_end = ends_in_vowel(word);
  if (suffix.starts_with("(I)")) return !vowel_end;
  if (suffix.starts_with("(")) return !vowel_end && (suffix[3] == 'A' || suffix[3] == 'I');
  return suffix.starts_with('A') || suffix.starts_with('I');
}

std::string_view case_suffix(Case c, bool pronominal) {
  switch (c) {
    case Case::kNominative:
      return "";
    case Case::kAccusative:
      return pronominal ? "nI" : "(y)I";
    case Case::kDative:
      return pronominal ? "nA" : "(y)A";
    case Case::kLocative:
      return pronominal ? "nDA" : "DA";
    case Case::kAblative:
      return pronominal ? "nDAn" : "DAn";
    case Case::kGenitive:
      return "(n)In";
    case Case::kInstrumental:
      return "(y)lA";
  }
  return "";
}

std::string_view owner_suffix(Owner owner) {
  switch (owner) {
    case Owner::kNobody:
      return "";
    case Owner::kMine:
      return "(I)m";
    case Owner::kYours:
      return "(I)n";
    case Owner::kHis:
      return "(s)I";
    case Owner::kOurs:
      return "(I)mIz";
  }
  return "";
}

/// The first suffix of a noun: changes the stem before a vowel, or sets the apostrophe after a
/// name.
std::string attach_first(const Noun& noun, std::string_view suffix) {
  if (suffix.empty()) return noun.lemma;
  if (noun.proper) {
    // The apostrophe is no letter: harmony and buffers look at the name.
    const std::string whole = attach(noun.lemma, suffix, noun.front);
    return noun.lemma + "'" + whole.substr(noun.lemma.size());
  }
  const bool changed = !noun.before_vowel.empty() && starts_with_vowel(noun.before_vowel, suffix);
  return attach(changed ? noun.before_vowel : noun.lemma, suffix, noun.front);
}

bool ends_with_word(std::string_view text, std::string_view word) {
  return text == word || (text.ends_with(word) && text[text.size() - word.size() - 1] == ' ');
}

/// The stem before -Iyor and -(y)Ip: t softens in a handful of verbs (git -> gid, et and what is
/// built of it).
std::string verb_before_vowel(std::string_view stem) {
  std::string out(stem);
  for (const std::string_view soft :
       {"git", "et", "tat", "güt", "kaybet", "hisset", "affet", "seyret", "keşfet", "sabret"})
    if (ends_with_word(stem, soft)) out.back() = 'd';
  return out;
}

/// -Iyor: a stem's last vowel gives way to the suffix's.
std::string progressive(std::string_view stem) {
  for (const auto& [verb, form] :
       {std::pair<std::string_view, std::string_view>{"de", "di"}, {"ye", "yi"}})
    if (ends_with_word(stem, verb))
      return std::string(stem.substr(0, stem.size() - verb.size())) + std::string(form) + "yor";
  std::string base = verb_before_vowel(stem);
  if (ends_in_vowel(base)) base.resize(base.size() - last_letter(base).size());
  return attach(std::move(base), "I") + "yor";
}

std::string_view past_person(Person person) {
  switch (person) {
    case Person::kI:
      return "m";
    case Person::kYou:
      return "n";
    case Person::kHe:
      return "";
    case Person::kWe:
      return "k";
    case Person::kThey:
      return "lAr";
  }
  return "";
}

std::string_view present_person(Person person) {
  switch (person) {
    case Person::kI:
      return "(y)Im";
    case Person::kYou:
      return "sIn";
    case Person::kHe:
      return "";
    case Person::kWe:
      return "(y)Iz";
    case Person::kThey:
      return "lAr";
  }
  return "";
}

}  // namespace

std::string attach(std::string word, std::string_view suffix, bool front) {
  const auto* vowel = last_vowel(word);
  bool back = vowel && vowel->back && !front;
  bool round = vowel && vowel->round;
  bool after_vowel = ends_in_vowel(word);
  bool voiceless = std::ranges::find(kVoiceless, last_letter(word)) != std::end(kVoiceless);
  for (size_t i = 0; i < suffix.size(); ++i) {
    char c = suffix[i];
    if (c == '(') {
      c = suffix[i + 1];
      i += 2;
      if (after_vowel == (c == 'I')) continue;
    }
    if (c == 'A') {
      word += back ? 'a' : 'e';
      round = false;
    } else if (c == 'I') {
      word += high_vowel(back, round);
    } else if (c == 'D') {
      word += voiceless ? 't' : 'd';
    } else {
      word += c;
    }
    after_vowel = c == 'A' || c == 'I';
    // Of the plain suffix consonants only k, s, t and the ş of -mIş are voiceless; ş is two bytes
    // and its last decides.
    voiceless = c == 'k' || c == 's' || c == 't' || word.ends_with("ş");
  }
  return word;
}

std::string inflect(const Noun& noun, Owner owner, Case c) {
  if (noun.compound && owner == Owner::kNobody) owner = Owner::kHis;
  if (owner == Owner::kNobody) return attach_first(noun, case_suffix(c, false));
  return attach(attach_first(noun, owner_suffix(owner)), case_suffix(c, owner == Owner::kHis));
}

Noun plural(const Noun& noun) {
  return {.lemma = attach_first(noun, "lAr"), .compound = noun.compound};
}

std::string conjugate(std::string_view stem, Tense tense, Person person) {
  switch (tense) {
    case Tense::kPast:
      return attach(attach(std::string(stem), "DI"), past_person(person));
    case Tense::kEvidential:
      return attach(attach(std::string(stem), "mIş"), present_person(person));
    case Tense::kPresent:
      return attach(progressive(stem), present_person(person));
    case Tense::kPastProgressive:
    case Tense::kEvidentialProgressive: {
      const bool past = tense == Tense::kPastProgressive;
      // The plural stands before the second suffix: oynuyorlardı.
      if (person == Person::kThey) return attach(progressive(stem) + "lar", past ? "DI" : "mIş");
      return attach(attach(progressive(stem), past ? "DI" : "mIş"),
                    past ? past_person(person) : present_person(person));
    }
  }
  return {};
}

std::string infinitive(std::string_view stem) {
  return attach(std::string(stem), "mAk");
}

std::string infinitive_dative(std::string_view stem) {
  return attach(std::string(stem), "mAyA");
}

std::string and_then(std::string_view stem) {
  if (ends_with_word(stem, "ye")) return std::string(stem.substr(0, stem.size() - 1)) + "iyip";
  return attach(verb_before_vowel(stem), "(y)Ip");
}

std::string copula(std::string_view predicate, Tense tense, bool plural) {
  std::string out(predicate);
  if (tense == Tense::kPast || tense == Tense::kPastProgressive)
    out = attach(std::move(out), "(y)DI");
  if (tense == Tense::kEvidential || tense == Tense::kEvidentialProgressive)
    out = attach(std::move(out), "(y)mIş");
  return plural ? attach(std::move(out), "lAr") : out;
}

std::string capitalised(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kSpecial = {
      {{"i", "İ"}, {"ı", "I"}, {"ç", "Ç"}, {"ö", "Ö"}, {"ş", "Ş"}, {"ü", "Ü"}}};
  for (const auto& [lower, upper] : kSpecial)
    if (text.starts_with(lower)) return std::string(upper) + std::string(text.substr(lower.size()));
  std::string out(text);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z')
    out[0] = static_cast<char>(out[0] - 'a' + 'A');
  return out;
}

}  // namespace moe::corpora::turkish
