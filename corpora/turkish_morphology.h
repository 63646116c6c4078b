#pragma once
// Turkish inflection: two-way (a/e) and four-way (ı/i/u/ü) vowel harmony, buffer letters, voicing
// of suffix d to t, stem changes before a vowel, the pronominal n, and the apostrophe after proper
// names. UTF-8 in and out.
//
// Covers what the story generator needs of nouns and verbs; it is no analyser.

#include <string>
#include <string_view>

namespace moe::corpora::turkish {

enum class Case {
  kNominative,
  kAccusative,    // -(y)I
  kDative,        // -(y)A
  kLocative,      // -DA
  kAblative,      // -DAn
  kGenitive,      // -(n)In
  kInstrumental,  // -(y)lA
};

/// Whose it is: the possessive suffix.
enum class Owner { kNobody, kMine, kYours, kHis, kOurs };

struct Noun {
  std::string lemma;
  /// The stem before a suffix that begins with a vowel, where it differs: kitap -> "kitab", burun
  /// -> "burn", su -> "suy".
  std::string before_vowel = {};
  /// Suffixes have front vowels against the rule: saat -> saati.
  bool front = false;
  /// Takes an apostrophe before its suffix and keeps its spelling: Zeynep'in.
  bool proper = false;
  /// Carries the possessive of a noun compound already: before_vowel and lemma are the bare head,
  /// "köy meydan" shows as "köy meydanı" and inflects as köy meydanında.
  bool compound = false;
};

/// Noun + possessive + case: (kitap, kHis, kLocative) -> "kitabında".
std::string inflect(const Noun& noun, Owner owner, Case c);
inline std::string inflect(const Noun& noun, Case c) {
  return inflect(noun, Owner::kNobody, c);
}
/// The plural as a noun of its own: ağaç -> ağaçlar.
Noun plural(const Noun& noun);

enum class Tense {
  kPast,                   // -DI
  kEvidential,             // -mIş
  kPresent,                // -Iyor
  kPastProgressive,        // -Iyordu
  kEvidentialProgressive,  // -Iyormuş
};

enum class Person { kI, kYou, kHe, kWe, kThey };

/// A verb stem conjugated: ("git", kPresent, kHe) -> "gidiyor". Compounds are fine: "yardım et" ->
/// "yardım ediyor". Negative stems are stems too: "bulama" -> "bulamadı", "bulamıyor".
std::string conjugate(std::string_view stem, Tense tense, Person person = Person::kHe);
/// -mAk, and its dative -mAyA ("oynamaya başladı"), and the converb -(y)Ip.
std::string infinitive(std::string_view stem);
std::string infinitive_dative(std::string_view stem);
std::string and_then(std::string_view stem);
/// A predicate with the copula, third person: mutlu -> mutluydu, mutluymuş, mutlu (present).
std::string copula(std::string_view predicate, Tense tense, bool plural = false);

/// A suffix in the usual notation: A = a/e, I = ı/i/u/ü, D = d/t; "(y)", "(n)", "(s)" appear after
/// a vowel, "(I)" after a consonant. ("kapı", "(y)A") -> "kapıya". `front` overrides the harmony of
/// the word's last vowel.
std::string attach(std::string word, std::string_view suffix, bool front = false);

/// The first letter in upper case, the Turkish way: i -> İ, ı -> I.
std::string capitalised(std::string_view text);

}  // namespace moe::corpora::turkish
