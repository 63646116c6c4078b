#include <gtest/gtest.h>

#include <corpora/turkish_morphology.h>

namespace moe::corpora::turkish {
namespace {

using C = Case;
using O = Owner;

Noun plain(std::string lemma) {
  return {.lemma = std::move(lemma)};
}
Noun soft(std::string lemma, std::string before_vowel) {
  return {.lemma = std::move(lemma), .before_vowel = std::move(before_vowel)};
}
Noun name(std::string lemma) {
  return {.lemma = std::move(lemma), .proper = true};
}

TEST(TurkishMorphology, HarmonisesCaseSuffixesWithBufferLetters) {
  EXPECT_EQ(inflect(plain("uçurtma"), C::kAccusative), "uçurtmayı");
  EXPECT_EQ(inflect(plain("uçurtma"), C::kDative), "uçurtmaya");
  EXPECT_EQ(inflect(plain("uçurtma"), C::kLocative), "uçurtmada");
  EXPECT_EQ(inflect(plain("uçurtma"), C::kAblative), "uçurtmadan");
  EXPECT_EQ(inflect(plain("uçurtma"), C::kGenitive), "uçurtmanın");
  EXPECT_EQ(inflect(plain("uçurtma"), C::kInstrumental), "uçurtmayla");
  EXPECT_EQ(inflect(plain("köprü"), C::kAccusative), "köprüyü");
  EXPECT_EQ(inflect(plain("köprü"), C::kDative), "köprüye");
  EXPECT_EQ(inflect(plain("kedi"), C::kGenitive), "kedinin");
  EXPECT_EQ(inflect(plain("ev"), C::kAccusative), "evi");
  EXPECT_EQ(inflect(plain("ev"), C::kLocative), "evde");
  EXPECT_EQ(inflect(plain("okul"), C::kAccusative), "okulu");
  EXPECT_EQ(inflect(plain("okul"), C::kDative), "okula");
  EXPECT_EQ(inflect(plain("göl"), C::kAccusative), "gölü");
  EXPECT_EQ(inflect(plain("göl"), C::kInstrumental), "gölle");
  EXPECT_EQ(inflect(plain("kız"), C::kGenitive), "kızın");
  EXPECT_EQ(inflect(plain("gün"), C::kGenitive), "günün");
}

TEST(TurkishMorphology, AssimilatesTheVoicingOfD) {
  EXPECT_EQ(inflect(plain("park"), C::kLocative), "parkta");
  EXPECT_EQ(inflect(plain("sepet"), C::kAblative), "sepetten");
  EXPECT_EQ(inflect(soft("ağaç", "ağac"), C::kLocative), "ağaçta");
  EXPECT_EQ(inflect(soft("kitap", "kitab"), C::kAblative), "kitaptan");
  EXPECT_EQ(inflect(plain("kuş"), C::kLocative), "kuşta");
  EXPECT_EQ(inflect(plain("deniz"), C::kLocative), "denizde");
  EXPECT_EQ(inflect(plain("orman"), C::kAblative), "ormandan");
}

TEST(TurkishMorphology, ChangesStemsBeforeVowelsOnly) {
  EXPECT_EQ(inflect(soft("kitap", "kitab"), C::kAccusative), "kitabı");
  EXPECT_EQ(inflect(soft("kitap", "kitab"), O::kMine, C::kNominative), "kitabım");
  EXPECT_EQ(inflect(soft("ağaç", "ağac"), C::kAccusative), "ağacı");
  EXPECT_EQ(inflect(soft("ağaç", "ağac"), C::kDative), "ağaca");
  EXPECT_EQ(inflect(soft("çocuk", "çocuğ"), O::kHis, C::kNominative), "çocuğu");
  EXPECT_EQ(inflect(soft("çocuk", "çocuğ"), C::kGenitive), "çocuğun");
  EXPECT_EQ(inflect(soft("çocuk", "çocuğ"), C::kLocative), "çocukta");
  EXPECT_EQ(inflect(soft("çocuk", "çocuğ"), C::kInstrumental), "çocukla");
  EXPECT_EQ(inflect(soft("renk", "reng"), C::kAccusative), "rengi");
  EXPECT_EQ(inflect(soft("burun", "burn"), O::kHis, C::kNominative), "burnu");
  EXPECT_EQ(inflect(soft("burun", "burn"), C::kAblative), "burundan");
  EXPECT_EQ(inflect(soft("su", "suy"), C::kAccusative), "suyu");
  EXPECT_EQ(inflect(soft("su", "suy"), C::kGenitive), "suyun");
  EXPECT_EQ(inflect(soft("su", "suy"), C::kAblative), "sudan");
  EXPECT_EQ(inflect({.lemma = "saat", .front = true}, C::kAccusative), "saati");
  EXPECT_EQ(inflect({.lemma = "saat", .front = true}, C::kLocative), "saatte");
}

TEST(TurkishMorphology, PutsThePronominalNAfterThirdPersonPossessives) {
  EXPECT_EQ(inflect(plain("uçurtma"), O::kHis, C::kAccusative), "uçurtmasını");
  EXPECT_EQ(inflect(plain("top"), O::kHis, C::kLocative), "topunda");
  EXPECT_EQ(inflect(plain("anne"), O::kHis, C::kDative), "annesine");
  EXPECT_EQ(inflect(plain("anne"), O::kHis, C::kGenitive), "annesinin");
  EXPECT_EQ(inflect(plain("top"), O::kHis, C::kInstrumental), "topuyla");
  EXPECT_EQ(inflect(soft("topaç", "topac"), O::kHis, C::kAblative), "topacından");
  EXPECT_EQ(inflect(plain("top"), O::kMine, C::kAccusative), "topumu");
  EXPECT_EQ(inflect(plain("uçurtma"), O::kMine, C::kAccusative), "uçurtmamı");
  EXPECT_EQ(inflect(plain("bahçe"), O::kOurs, C::kLocative), "bahçemizde");
  EXPECT_EQ(inflect(plain("balon"), O::kYours, C::kNominative), "balonun");
}

TEST(TurkishMorphology, InflectsNounCompoundsOnTheirPossessive) {
  const Noun square{.lemma = "köy meydan", .compound = true};
  EXPECT_EQ(inflect(square, C::kNominative), "köy meydanı");
  EXPECT_EQ(inflect(square, C::kLocative), "köy meydanında");
  EXPECT_EQ(inflect(square, C::kDative), "köy meydanına");
  const Noun shore{.lemma = "göl kıyı", .compound = true};
  EXPECT_EQ(inflect(shore, C::kAblative), "göl kıyısından");
  EXPECT_EQ(inflect(plural(square), C::kNominative), "köy meydanları");
}

TEST(TurkishMorphology, SetsAnApostropheAfterProperNames) {
  EXPECT_EQ(inflect(name("Ayşe"), C::kGenitive), "Ayşe'nin");
  EXPECT_EQ(inflect(name("Ankara"), C::kDative), "Ankara'ya");
  EXPECT_EQ(inflect(name("Zeynep"), C::kGenitive), "Zeynep'in");
  EXPECT_EQ(inflect(name("Mert"), C::kLocative), "Mert'te");
  EXPECT_EQ(inflect(name("Kars"), C::kAblative), "Kars'tan");
  EXPECT_EQ(inflect(name("İzmir"), C::kLocative), "İzmir'de");
  EXPECT_EQ(inflect(name("Ömer"), C::kAccusative), "Ömer'i");
  EXPECT_EQ(inflect(name("Umut"), C::kGenitive), "Umut'un");
  EXPECT_EQ(inflect(name("Can"), C::kInstrumental), "Can'la");
  EXPECT_EQ(inflect(name("Ali"), C::kInstrumental), "Ali'yle");
}

TEST(TurkishMorphology, MakesPlurals) {
  EXPECT_EQ(plural(soft("ağaç", "ağac")).lemma, "ağaçlar");
  EXPECT_EQ(inflect(plural(plain("ev")), C::kLocative), "evlerde");
  EXPECT_EQ(inflect(plural(soft("çocuk", "çocuğ")), O::kHis, C::kNominative), "çocukları");
}

TEST(TurkishMorphology, ConjugatesThePast) {
  EXPECT_EQ(conjugate("git", Tense::kPast), "gitti");
  EXPECT_EQ(conjugate("gör", Tense::kPast), "gördü");
  EXPECT_EQ(conjugate("bul", Tense::kPast, Person::kThey), "buldular");
  EXPECT_EQ(conjugate("kaybet", Tense::kPast, Person::kI), "kaybettim");
  EXPECT_EQ(conjugate("yap", Tense::kPast), "yaptı");
  EXPECT_EQ(conjugate("oyna", Tense::kPast, Person::kWe), "oynadık");
  EXPECT_EQ(conjugate("gör", Tense::kPast, Person::kYou), "gördün");
  EXPECT_EQ(conjugate("bulama", Tense::kPast), "bulamadı");
}

TEST(TurkishMorphology, ConjugatesThePresentInIyor) {
  EXPECT_EQ(conjugate("git", Tense::kPresent), "gidiyor");
  EXPECT_EQ(conjugate("oyna", Tense::kPresent), "oynuyor");
  EXPECT_EQ(conjugate("bekle", Tense::kPresent), "bekliyor");
  EXPECT_EQ(conjugate("söyle", Tense::kPresent), "söylüyor");
  EXPECT_EQ(conjugate("ara", Tense::kPresent), "arıyor");
  EXPECT_EQ(conjugate("oku", Tense::kPresent), "okuyor");
  EXPECT_EQ(conjugate("de", Tense::kPresent), "diyor");
  EXPECT_EQ(conjugate("ye", Tense::kPresent), "yiyor");
  EXPECT_EQ(conjugate("bulama", Tense::kPresent), "bulamıyor");
  EXPECT_EQ(conjugate("gülme", Tense::kPresent), "gülmüyor");
  EXPECT_EQ(conjugate("yardım et", Tense::kPresent), "yardım ediyor");
  EXPECT_EQ(conjugate("anlat", Tense::kPresent), "anlatıyor");
  EXPECT_EQ(conjugate("koş", Tense::kPresent, Person::kI), "koşuyorum");
  EXPECT_EQ(conjugate("gel", Tense::kPresent, Person::kYou), "geliyorsun");
  EXPECT_EQ(conjugate("gel", Tense::kPresent, Person::kThey), "geliyorlar");
}

TEST(TurkishMorphology, ConjugatesHearsayAndProgressive) {
  EXPECT_EQ(conjugate("gel", Tense::kEvidential), "gelmiş");
  EXPECT_EQ(conjugate("bul", Tense::kEvidential), "bulmuş");
  EXPECT_EQ(conjugate("gör", Tense::kEvidential, Person::kThey), "görmüşler");
  EXPECT_EQ(conjugate("al", Tense::kEvidential, Person::kI), "almışım");
  EXPECT_EQ(conjugate("iste", Tense::kPastProgressive), "istiyordu");
  EXPECT_EQ(conjugate("oyna", Tense::kPastProgressive, Person::kThey), "oynuyorlardı");
  EXPECT_EQ(conjugate("oyna", Tense::kEvidentialProgressive), "oynuyormuş");
  EXPECT_EQ(conjugate("git", Tense::kEvidentialProgressive, Person::kThey), "gidiyorlarmış");
}

TEST(TurkishMorphology, MakesNonFiniteFormsAndCopulas) {
  EXPECT_EQ(infinitive("uç"), "uçmak");
  EXPECT_EQ(infinitive("bin"), "binmek");
  EXPECT_EQ(infinitive_dative("oyna"), "oynamaya");
  EXPECT_EQ(infinitive_dative("gör"), "görmeye");
  EXPECT_EQ(and_then("git"), "gidip");
  EXPECT_EQ(and_then("oku"), "okuyup");
  EXPECT_EQ(and_then("al"), "alıp");
  EXPECT_EQ(and_then("ye"), "yiyip");
  EXPECT_EQ(copula("mutlu", Tense::kPast), "mutluydu");
  EXPECT_EQ(copula("yok", Tense::kPast), "yoktu");
  EXPECT_EQ(copula("yok", Tense::kEvidential), "yokmuş");
  EXPECT_EQ(copula("güzel", Tense::kPast), "güzeldi");
  EXPECT_EQ(copula("yüksek", Tense::kPast), "yüksekti");
  EXPECT_EQ(copula("mutlu", Tense::kEvidential), "mutluymuş");
  EXPECT_EQ(copula("neşeli", Tense::kPresent), "neşeli");
}

TEST(TurkishMorphology, CapitalisesDottedAndDotlessI) {
  EXPECT_EQ(capitalised("ılık"), "Ilık");
  EXPECT_EQ(capitalised("inek"), "İnek");
  EXPECT_EQ(capitalised("çocuk"), "Çocuk");
  EXPECT_EQ(capitalised("uçurtma"), "Uçurtma");
  EXPECT_EQ(capitalised(""), "");
}

}  // namespace
}  // namespace moe::corpora::turkish
