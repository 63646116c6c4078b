#include <iterator>
#include <map>
#include <string>
#include <utility>

#include <corpora/domains.h>
#include <corpora/english_words.h>
#include <corpora/pattern.h>
#include <moe/base/error.h>

namespace moe::corpora {

namespace english {

namespace {

enum class Topic { kThing, kAnimal, kFear, kPresent };

struct Plot {
  Topic topic;
  unsigned traits;
  const char* pattern;
};

// Slots: {hero} {sub} {ob} {pos} the main child and its pronouns; {friend} {fsub} {fob} {fpos};
// {elder} {esub} {eob}; {a} "a red kite", {thing}, {it} {they} {was} {is} {this} agreeing with it;
// {verb} {past} {ing}. A leading ^ sets a capital.
constexpr Plot kPlots[] = {
    // Lost and found.
    {Topic::kThing, kAnyThing,
     "{open} {hero} went {to} with {pos} {adj} {thing}. [{sight}. |{sky} |]{^sub} {past} {it} [for "
     "a long time|until {sub} "
     "was tired|and sang a little song]. [But when it was time to go home,|Then {sub} stopped to "
     "rest, and when {sub} looked again,|But after a while {sub} looked around, and] the {thing} "
     "{was} gone! [{^sub} "
     "looked {spot1}, but "
     "{they} {was} not there. {^sub} looked {spot2}, but {they} {was} not there either.|{^sub} "
     "looked {spot1} and "
     "{spot2}, but {sub} could not find {it}.] {hero} [felt very sad|began to cry|did not know "
     "what to do]. \"[Have "
     "you seen|Did you see] my {thing}?\" {sub} asked {pos} friend {friend}. \"[No, but I will "
     "help you|Not yet, but "
     "two can look better than one],\" said {friend}. [They walked slowly and looked "
     "everywhere.|They searched "
     "together, step by step.] At last {friend} found the {thing} {spot3}. {hero} [thanked {fob} "
     "and promised to take "
     "better care of {it}|hugged {fob} and held the {thing} tight]. {friendship}"},
    // Work for a wish.
    {Topic::kThing, kAnyThing,
     "{hero} saw {a} in the window of [a shop|the toy shop|the little store]. {^sub} wanted to "
     "{verb} {it} [more than "
     "anything|every day], but {sub} had no money. \"[You can earn it|If you work, you can buy "
     "{it}],\" said {pos} "
     "{elder}. [So|The next morning|All week] {hero} helped the neighbors. On Monday {sub} "
     "{chore1}. On Tuesday {sub} "
     "{chore2}. [It was hard work, but {sub} did not stop.|{^pos} arms were tired, but {sub} kept "
     "going.] On Friday "
     "{hero} [counted {pos} coins|had a pocket full of coins] and ran to the shop. The {thing} "
     "{was} still there! "
     "\"[I worked for {it} all by myself|I earned every coin],\" {sub} said [proudly|with a "
     "smile]. That evening {hero} "
     "{past} {the} {at} [and felt very proud|until the sun went down]. {work}"},
    // Carried off by the wind.
    {Topic::kThing, kFlies,
     "{open} {hero} and {friend} were {at}. {hero} had {a}, and {sub} {past} {it} [happily|with "
     "joy]. Suddenly a strong "
     "wind [came|blew] and carried the {thing} up into [a tall tree|the oak tree|the highest "
     "branches]. {hero} jumped, "
     "but {sub} could not reach {it}. \"[Oh no, my {thing} {is} stuck|Now I will never get {it} "
     "back]!\" {sub} cried. "
     "[{friend} threw a stick, but it fell down again.|{friend} shook the tree, but nothing "
     "happened.] Then {friend} had "
     "an idea. {^fsub} [brought a long ladder|fetched a long pole|asked {fpos} {elder} for help]. "
     "[Slowly and "
     "carefully|After three tries] they got the {thing} down. \"[Thank you, {friend}|You are so "
     "clever, {friend}]!\" "
     "said {hero}. \"[Now it is your turn|Come, let us play together],\" {sub} added. "
     "{friendship}"},
    // Sharing.
    {Topic::kThing, kAnyThing,
     "{open} {hero} was {at} with {pos} friend {friend}. They found {a} {spot1}. \"[{^they} {is} "
     "mine|I saw {it} "
     "first]!\" said {hero}. \"No, I want to {verb} {it}!\" said {friend}. They [pulled and "
     "pushed|shouted at each "
     "other] until [both were angry|both were red in the face]. {hero}'s {elder} heard them and "
     "came over. \"[If you "
     "fight, nobody will be happy|There is a better way],\" {esub} said. \"{hero} can {verb} {it} "
     "first, and then it is "
     "{friend}'s turn.\" So {hero} {past} the {thing} [for a while|until the clock struck], and "
     "then {sub} gave {it} to "
     "{friend}. [{friend} was very happy.|{friend} smiled.] [They laughed and took turns all "
     "day.|After that they were "
     "friends again.] {sharing}"},
    // Broken and mended.
    {Topic::kThing, kBreaks,
     "{friend} had {a} and loved {it} [very much|more than anything]. One day {hero} wanted to "
     "{verb} {it} too. "
     "[{^sub} did not ask.|{^sub} took {it} without asking.] But {sub} [slipped|stumbled over a "
     "stone], and the {thing} "
     "fell to the ground and broke. {hero} [was scared|felt terrible]. {^sub} wanted to hide the "
     "{thing}, but "
     "{pos} heart [felt heavy|would not let {ob}]. So {sub} went to {friend} and told {fob} [the "
     "truth|everything]. "
     "\"[I am so sorry|I was wrong, and I am sorry],\" said {hero}. {friend} was [sad|angry] [at "
     "first|for a moment], but "
     "then {fsub} said, \"[Thank you for telling me|Let us try to mend {it}].\" They took [glue "
     "and string|a little "
     "hammer and some glue] and worked [all afternoon|until dinner]. In the end the {thing} {was} "
     "[as good as "
     "new|whole again]. {truth}"},
    // A storm on the way.
    {Topic::kThing, kSmall,
     "{hero} and {pos} {elder} were on the way {to}. {hero} carried {pos} {adj} {thing}. [At first "
     "the sky was "
     "blue.|They sang as they walked.] Then dark clouds came, and it began to rain. \"[We must "
     "find a dry place|Quick, "
     "let us run]!\" said {pos} {elder}. They saw [a small hut|an old barn|a wooden house] and ran "
     "inside. The thunder "
     "was loud, and {hero} held the {thing} close. [An old woman|A kind farmer] lived there and "
     "gave them [hot "
     "soup|warm milk|tea and bread]. \"[You may stay until the rain stops|Sit by the fire],\" "
     "[{sub} heard|came a kind "
     "voice]. [After an hour|Soon] the sun came out again, and there was a rainbow {rainbow}. "
     "{hero} {past} {pos} "
     "{thing} [under the rainbow|in the fresh air] and [laughed|was not afraid any more]. "
     "{kindness}"},
    // A hurt animal.
    {Topic::kAnimal, kAnyThing,
     "{open} {hero} was walking {at}. [{sight}. |{sky} |]Suddenly {sub} heard a "
     "[soft|small|strange] sound. {^sub} looked "
     "{spot1}, and there {sub} found {baby}. [\"Are you hurt, little {animal}?\" {sub} asked|\"Do "
     "not be afraid, little {animal},\" {sub} whispered]. Its {hurt} was hurt. {hero} carried the "
     "{animal} home [in {pos} "
     "arms|very carefully]. {^pos} {elder} [cleaned|looked at] the {hurt} and said, \"[It needs "
     "rest and food|It will be well in a few "
     "days].\" Every day {hero} gave the {animal} {food} and [told it stories|sang to it|kept it "
     "warm]. [Day by day it "
     "grew stronger.|After a week it could move again.] Then {hero} and {friend} took the {animal} "
     "back {to}. It "
     "looked at {hero} one more time and {goodbye}. \"[Goodbye, my friend|Take care of "
     "yourself]!\" {sub} called. "
     "{animals}"},
    // Afraid, then brave.
    {Topic::kFear, kAnyThing,
     "{hero} was afraid of {fear}. {why}. [Other children laughed at {ob}, but {friend} did "
     "not.|One day {friend} saw "
     "that {hero} was shaking.] \"[I was afraid of {fear} too|Everybody is afraid of something],\" "
     "said {friend}. \"[Take "
     "a deep breath and hold my hand|Count to three and I will be right beside you].\" {hero} "
     "[closed {pos} eyes|looked "
     "at {pos} friend] and counted: one, two, three. Then {sub} {deed}. {reward}. \"[I did it|It "
     "was easy]!\" {hero} "
     "[shouted|laughed]. {friend} [clapped {fpos} hands|was proud of {ob}]. {hero}'s {elder} "
     "[smiled and made pancakes for "
     "everyone|said that {sub} had grown that day]. From then on {hero} was not afraid of {fear} "
     "any more. {brave}"},
    // A present made by hand.
    {Topic::kPresent, kAnyThing,
     "It was {friend}'s birthday, and {hero} [wanted to give {fob} something special|had no money "
     "for a present]. \"[What "
     "can I do|What should I give to {friend}]?\" {sub} asked {pos} {elder}. \"[Make something "
     "with your own hands|A gift "
     "from the heart is the best gift],\" {esub} said. So {hero} made a {gift} out of {from}. [The "
     "first "
     "one was not good, so {sub} tried again.|It took {ob} the whole day.] [When it was ready, "
     "{sub} was nervous.|At last "
     "it was ready.] {hero} went to the party {at} and gave {friend} the {gift}. {friend} [opened "
     "{fpos} eyes wide|was "
     "quiet for a moment]. [\"Did you make it yourself?\" {fsub} asked|\"This is the best present "
     "of all!\" {fsub} said]. "
     "[They ate cake and danced.|Then all the children sang.] {gifts}"},
    // The boaster.
    {Topic::kThing, kAnyThing,
     "{hero} had {a}. \"[Look at my {adj} {thing}|Mine {is} the best in the village],\" {sub} "
     "said [every day|to everyone]. {^sub} never let the other children {verb} {it}. [Soon|After "
     "some time] nobody wanted to play "
     "with {ob}. {open} {hero} sat alone {at}. [{sight}. |{sky} |]The {adj} {thing} {was} not fun "
     "any more. {friend} "
     "came by and [sat down beside {ob}|asked why {sub} was sad]. \"[I have the best {thing}, but "
     "no friends|I was not "
     "kind],\" said {hero} [quietly|in a low voice]. \"[Then let us share|You can change that],\" "
     "answered {friend}. "
     "{hero} thought about it and gave {friend} the {thing}. [Soon other children came too.|The "
     "others saw it and came "
     "running.] They {past} {it} one after another, and {hero} [laughed the loudest|was happy at "
     "last]. {sharing}"},
    // A hidden treasure.
    {Topic::kThing, kSmall,
     "{hero} found an old letter {spot1}. \"[Go {to} and look {spot2}|Something waits for you "
     "{at}, {spot2}],\" it said. [{^sub} "
     "showed it to {friend}.|{hero} ran to {friend} with the letter.] \"[A secret|A treasure]!\" "
     "said {friend}. \"[Let us "
     "go|We must find it] [at once|before it gets dark]!\" They went {to}. {sight}. First they "
     "looked {spot3}, but "
     "there was nothing. Then {hero} looked {spot2} and saw a box. [Inside|In the box] {was} {a}! "
     "\"[Who hid "
     "{it} here|Whose {is} {they}]?\" {friend} asked. Just then {hero}'s {elder} came [out from "
     "behind a tree|laughing down "
     "the path]. \"I hid the {thing} for you, {hero},\" {esub} said. [All three laughed.|What a "
     "surprise!] {hero} held "
     "the {thing} tight all the way home. {family}"},
};

const std::map<std::string, const char*, std::less<>> kPhrases = {
    {"open", "One {weather} {day}[| last year| not long ago],"},
    {"friendship",
     "[A good friend is worth more than gold.|From that day on they were best friends.|They walked "
     "home hand in hand.|"
     "It is good to have a friend.|\"You can always count on me,\" said {friend}.]"},
    {"sharing",
     "[Sharing makes everything more fun.|That day {hero} learned to share.|A toy is only fun when "
     "friends can play "
     "too.|They went home tired and happy.]"},
    {"work",
     "[Good things come to those who work for them.|{^sub} learned that work can be fun.|Nothing "
     "is as sweet as what we "
     "earn ourselves.|{^pos} {elder} was proud too.]"},
    {"truth",
     "[It is always better to tell the truth.|{hero} felt light and happy.|After that {hero} "
     "always asked first.|A true "
     "friend forgives.]"},
    {"kindness",
     "[They never forgot that kind house.|\"What a day,\" {sub} said, and went to bed early.|A "
     "little kindness keeps us "
     "warm.|The way home was wet, but they sang.]"},
    {"animals",
     "[{hero} was sad and happy at the same time.|Sometimes {sub} still thinks of the {animal}.|We "
     "must be kind to every small "
     "thing.|{friend} held {pos} hand and they went home.]"},
    {"brave",
     "[To be brave is to try, even when your knees shake.|That night {sub} slept very well.|Now "
     "{sub} helps other "
     "children to be brave.|A good friend makes us strong.]"},
    {"gifts",
     "[The best gifts are made with love.|{hero} was so happy that {sub} could not sleep.|{friend} "
     "kept it for many "
     "years.|It was a wonderful day.]"},
    {"family",
     "[It was the best day of the summer.|{hero} kept the letter forever.|\"Tomorrow we will hide "
     "something for you,\" "
     "said {friend}.|They had found something even better: a good story.]"},
    {"rainbow", "[over the hills|above the trees|in the wet sky]"}};

std::string with_article(const std::string& adjective, const Thing& thing) {
  if (thing.plural) return "some " + adjective + " " + thing.noun;
  const bool vowel = std::string_view("aeiou").find(adjective[0]) != std::string_view::npos;
  return (vowel ? "an " : "a ") + adjective + " " + thing.noun;
}

/// Who and what an English story is about, as slots.
std::map<std::string, std::string> draw_cast(const Plot& plot, Draw& draw) {
  const auto things = with_traits(kThings, plot.traits);
  std::map<std::string, std::string> slots;
  const Thing& thing = *draw.pick(things);
  const Animal& animal = draw.pick(kAnimals);
  const Fear& fear = draw.pick(kFears);
  const Present& present = draw.pick(kPresents);
  const char* const topics[] = {thing.noun, animal.noun, fear.noun, present.made};
  const std::string topic = topics[static_cast<int>(plot.topic)];

  // Both children are named together with the object, so both pairs lie on this side of the split.
  const auto [hero_index, friend_index] = draw_children(std::size(kChildren), topic, draw);
  const Child& hero = kChildren[hero_index];
  const Child& companion = kChildren[friend_index];

  const auto person = [&](const std::string& prefix, bool female) {
    slots[prefix + "sub"] = female ? "she" : "he";
    slots[prefix + "ob"] = female ? "her" : "him";
    slots[prefix + "pos"] = female ? "her" : "his";
  };
  slots["hero"] = hero.name;
  person("", hero.girl);
  slots["friend"] = companion.name;
  person("f", companion.girl);
  const Elder& elder = draw.pick(kElders);
  slots["elder"] = elder.word;
  person("e", elder.woman);

  const std::string adjective = draw.pick(kThingAdjectives);
  slots["adj"] = adjective;
  slots["thing"] = thing.noun;
  slots["a"] = with_article(adjective, thing);
  slots["the"] = std::string("the ") + thing.noun;
  slots["it"] = thing.plural ? "them" : "it";
  slots["they"] = thing.plural ? "they" : "it";
  slots["was"] = thing.plural ? "were" : "was";
  slots["is"] = thing.plural ? "are" : "is";
  slots["verb"] = thing.verb;
  slots["past"] = thing.past;
  slots["ing"] = thing.ing;

  const Place& place = draw.pick(kPlaces);
  slots["at"] = place.at;
  slots["to"] = place.to;
  slots["sight"] = place.sight;
  const Weather& weather = draw.pick(kWeathers);
  slots["weather"] = weather.adjective;
  slots["sky"] = weather.sky;
  slots["day"] = draw.pick(kDayTimes);
  const auto spots = draw_different(kSpots, 3, draw);
  for (size_t i = 0; i < spots.size(); ++i) slots["spot" + std::to_string(i + 1)] = *spots[i];
  const auto chores = draw_different(kChores, 2, draw);
  for (size_t i = 0; i < chores.size(); ++i) slots["chore" + std::to_string(i + 1)] = *chores[i];

  slots["baby"] = animal.baby;
  slots["animal"] = animal.noun;
  slots["hurt"] = animal.hurt;
  slots["food"] = animal.food;
  slots["goodbye"] = animal.goodbye;
  slots["fear"] = fear.noun;
  slots["why"] = fear.why;
  slots["deed"] = fear.deed;
  slots["reward"] = fear.reward;
  slots["gift"] = present.made;
  slots["from"] = present.from;
  return slots;
}

std::string drawn_story(Draw& draw) {
  const Plot& plot = draw.pick(kPlots);
  const auto cast = draw_cast(plot, draw);
  return expand(plot.pattern, draw, [&](char, std::string_view name) -> std::string {
    const bool capital = name.starts_with('^');
    if (capital) name.remove_prefix(1);
    if (const auto phrase = kPhrases.find(name); phrase != kPhrases.end()) return phrase->second;
    const auto slot = cast.find(std::string(name));
    check(slot != cast.end(), "corpora", "expected a slot of the English stories, got '", name,
          "'. Add it to draw_cast.");
    std::string text = slot->second;
    if (capital) text[0] = static_cast<char>(text[0] - 'a' + 'A');
    return text;
  });
}

}  // namespace

}  // namespace english

std::string english_story(Draw& draw) {
  return english::drawn_story(draw);
}

}  // namespace moe::corpora
