#include <iterator>
#include <map>
#include <string>
#include <utility>

#include <corpora/domains.h>
#include <corpora/pattern.h>
#include <corpora/turkish_plots.h>
#include <corpora/turkish_words.h>
#include <moe/base/error.h>

// Slots of the plots:
//   {noun:FORM}  a noun of the cast; FORM is a possessive (p1, p2, p3) and a case (acc, dat, loc,
//                abl, gen, ins), or "too" (de/da)
//   {toy}        the thing in the case its verb asks for, as the hero's own; {toy0} as nobody's
//   {play}       its verb in the story's tense; {play:inf} its infinitive
//   <stem>       a verb in the story's tense; ~ progressive, = copula of a predicate, + plural
// A leading ^ sets a capital.

namespace moe::corpora {

namespace turkish {

namespace {

/// The people and things of one story, and its tense.
struct Cast {
  std::map<std::string, Noun, std::less<>> nouns;
  std::map<std::string, std::string, std::less<>> texts;
  const Thing* thing = nullptr;
  Tense tense = Tense::kPast;
};

std::string form_of(const Noun& noun, std::string_view form) {
  if (form == "too") {
    const bool back = attach(noun.lemma, "lA").back() == 'a';
    return noun.lemma + (back ? " da" : " de");
  }
  Owner owner = Owner::kNobody;
  for (const auto& [name, value] :
       {std::pair{"p1", Owner::kMine}, {"p2", Owner::kYours}, {"p3", Owner::kHis}})
    if (form.starts_with(name)) owner = value;
  if (owner != Owner::kNobody) form.remove_prefix(2);
  constexpr std::pair<std::string_view, Case> kCases[] = {
      {"", Case::kNominative},     {"acc", Case::kAccusative}, {"dat", Case::kDative},
      {"loc", Case::kLocative},    {"abl", Case::kAblative},   {"gen", Case::kGenitive},
      {"ins", Case::kInstrumental}};
  for (const auto& [name, value] : kCases)
    if (form == name) return inflect(noun, owner, value);
  fail("corpora", "expected a case of a Turkish noun, got '", form,
       "'. Use acc, dat, loc, abl, gen or ins.");
}

/// A verb or predicate of a plot in the tense of its story.
std::string in_tense(std::string_view word, Tense tense) {
  const bool plural = word.ends_with('+');
  if (plural) word.remove_suffix(1);
  if (word.ends_with('=')) return copula(word.substr(0, word.size() - 1), tense, plural);
  if (word.ends_with('~')) {
    word.remove_suffix(1);
    if (tense == Tense::kPast) tense = Tense::kPastProgressive;
    if (tense == Tense::kEvidential) tense = Tense::kEvidentialProgressive;
  }
  return conjugate(word, tense, plural ? Person::kThey : Person::kHe);
}

Cast draw_cast(const Plot& plot, Draw& draw) {
  Cast cast;
  cast.thing = draw.pick(with_traits(kThings, plot.traits));
  const Animal& animal = draw.pick(kAnimals);
  const Fear& fear = draw.pick(kFears);
  const Present& present = draw.pick(kPresents);
  const char* const topics[] = {cast.thing->word.lemma, animal.word.lemma, fear.word.lemma,
                                present.word.lemma};
  // Both children are named together with the object, so both pairs lie on this side of the split.
  const auto [hero, friend_] =
      draw_children(std::size(kChildren), topics[static_cast<int>(plot.topic)], draw);

  const auto name = [](const char* text) { return Noun{.lemma = text, .proper = true}; };
  cast.nouns["hero"] = name(kChildren[hero]);
  cast.nouns["friend"] = name(kChildren[friend_]);
  cast.nouns["city"] = name(draw.pick(kCities));
  cast.nouns["elder"] = draw.pick(kElders).noun();
  cast.nouns["relative"] = draw.pick(kRelatives).noun();
  cast.nouns["thing"] = cast.thing->word.noun();
  cast.nouns["animal"] = animal.word.noun();
  cast.nouns["hurt"] = animal.hurt.noun();
  cast.nouns["fear"] = fear.word.noun();
  cast.nouns["gift"] = present.word.noun();
  const Place& place = draw.pick(kPlaces);
  cast.nouns["place"] = place.word.noun();
  const auto spots = draw_different(kSpots, 3, draw);
  for (size_t i = 0; i < spots.size(); ++i)
    cast.nouns["spot" + std::to_string(i + 1)] = spots[i]->noun();

  const Weather& weather = draw.pick(kWeathers);
  cast.texts = {{"adj", draw.pick(kThingAdjectives)},
                {"weather", weather.adjective},
                {"sky", weather.sky},
                {"day", draw.pick(kDayTimes)},
                {"sight", place.sight},
                {"food", animal.food},
                {"goodbye", animal.goodbye},
                {"why", fear.why},
                {"deed", fear.deed},
                {"reward", fear.reward},
                {"from", present.from}};
  const auto chores = draw_different(kChores, 2, draw);
  for (size_t i = 0; i < chores.size(); ++i)
    cast.texts["chore" + std::to_string(i + 1)] = *chores[i];
  for (const auto& phrase : kPhrases) cast.texts[phrase.name] = phrase.pattern;

  const uint32_t tense = draw.below(20);
  cast.tense = tense < 11 ? Tense::kPast : tense < 17 ? Tense::kEvidential : Tense::kPresent;
  return cast;
}

std::string slot_text(const Cast& cast, std::string_view name) {
  const size_t colon = name.find(':');
  const auto base = name.substr(0, colon);
  const auto form = colon == std::string_view::npos ? std::string_view() : name.substr(colon + 1);
  if (base == "toy") return inflect(cast.thing->word.noun(), Owner::kHis, cast.thing->asks);
  if (base == "toy0") return inflect(cast.thing->word.noun(), cast.thing->asks);
  if (base == "play")
    return form == "inf" ? infinitive(cast.thing->verb) : in_tense(cast.thing->verb, cast.tense);
  if (const auto noun = cast.nouns.find(base); noun != cast.nouns.end())
    return form_of(noun->second, form);
  const auto text = cast.texts.find(base);
  check(text != cast.texts.end(), "corpora", "expected a slot of the Turkish stories, got '", name,
        "'. Add it to draw_cast.");
  return text->second;
}

std::string drawn_story(Draw& draw) {
  const Plot& plot = draw.pick(kPlots);
  const Cast cast = draw_cast(plot, draw);
  const bool fairy_tale = cast.tense == Tense::kEvidential && draw.chance(50);
  return (fairy_tale ? "Bir varmış, bir yokmuş. " : "") +
         expand(plot.pattern, draw, [&](char kind, std::string_view name) {
           if (kind == '<') return in_tense(name, cast.tense);
           const bool capital = name.starts_with('^');
           if (capital) name.remove_prefix(1);
           const std::string text = slot_text(cast, name);
           return capital ? capitalised(text) : text;
         });
}

}  // namespace

}  // namespace turkish

std::string turkish_story(Draw& draw) {
  return turkish::drawn_story(draw);
}

}  // namespace moe::corpora
