#pragma once
// The lexicon of the English stories.

#include <corpora/story_words.h>

namespace moe::corpora::english {

struct Child {
  const char* name;
  bool girl;
};
inline constexpr Child kChildren[] = {
    {"Mia", true},    {"Tom", false},  {"Lily", true},  {"Ben", false},  {"Anna", true},
    {"Sam", false},   {"Lucy", true},  {"Max", false},  {"Ella", true},  {"Jack", false},
    {"Rose", true},   {"Leo", false},  {"Nora", true},  {"Tim", false},  {"Ruby", true},
    {"Oscar", false}, {"Ivy", true},   {"Hugo", false}, {"Clara", true}, {"Finn", false},
    {"Molly", true},  {"Noah", false}, {"Daisy", true}, {"Peter", false}};

struct Elder {
  const char* word;  // "grandmother": "her grandmother", "Grandmother" is never used as a name
  bool woman;
};
inline constexpr Elder kElders[] = {{"mother", true},      {"father", false},
                                    {"grandmother", true}, {"grandfather", false},
                                    {"aunt", true},        {"uncle", false}};

/// `verb` takes the thing as its object: to fly it, flew it, flying it.
struct Thing {
  const char* noun;
  bool plural;
  const char* verb;
  const char* past;
  const char* ing;
  unsigned traits;
};
inline constexpr Thing kThings[] = {
    {"kite", false, "fly", "flew", "flying", kFlies | kBreaks},
    {"ball", false, "kick", "kicked", "kicking", kAnyThing},
    {"balloon", false, "chase", "chased", "chasing", kFlies},
    {"hat", false, "wear", "wore", "wearing", kFlies | kSmall},
    {"scarf", false, "wear", "wore", "wearing", kFlies | kSmall},
    {"drum", false, "play", "played", "playing", kBreaks},
    {"flute", false, "play", "played", "playing", kBreaks | kSmall},
    {"guitar", false, "play", "played", "playing", kBreaks},
    {"toy boat", false, "play with", "played with", "playing with", kBreaks | kSmall},
    {"toy train", false, "push", "pushed", "pushing", kBreaks | kSmall},
    {"wagon", false, "pull", "pulled", "pulling", kBreaks},
    {"bicycle", false, "ride", "rode", "riding", kBreaks},
    {"scooter", false, "ride", "rode", "riding", kBreaks},
    {"picture book", false, "read", "read", "reading", kSmall},
    {"map", false, "study", "studied", "studying", kFlies | kSmall},
    {"lantern", false, "carry", "carried", "carrying", kBreaks},
    {"basket", false, "carry", "carried", "carrying", kAnyThing},
    {"whistle", false, "blow", "blew", "blowing", kSmall},
    {"teddy bear", false, "hug", "hugged", "hugging", kSmall},
    {"doll", false, "hug", "hugged", "hugging", kBreaks | kSmall},
    {"marbles", true, "roll", "rolled", "rolling", kSmall},
    {"boots", true, "wear", "wore", "wearing", kSmall},
    {"mittens", true, "wear", "wore", "wearing", kSmall},
    {"crayons", true, "draw with", "drew with", "drawing with", kBreaks | kSmall}};

inline constexpr const char* kThingAdjectives[] = {"red",    "blue",    "green",  "yellow",
                                                   "little", "shiny",   "new",    "old",
                                                   "lovely", "striped", "bright", "purple"};

/// "in the park", "to the park", and what one sees there.
struct Place {
  const char* at;
  const char* to;
  const char* sight;
};
inline constexpr Place kPlaces[] = {
    {"in the park", "to the park", "Children were running on the grass"},
    {"in the garden", "to the garden", "Bees were humming in the flowers"},
    {"by the river", "to the river", "The water was clear and cold"},
    {"on the beach", "to the beach", "Small waves rolled over the sand"},
    {"in the forest", "to the forest", "A bird was singing high in a tree"},
    {"in the meadow", "to the meadow", "White flowers grew everywhere"},
    {"on the hill", "to the hill", "From there one could see the whole village"},
    {"in the village square", "to the village square", "An old man was feeding the birds"},
    {"on the playground", "to the playground", "The swings were moving in the wind"},
    {"on the farm", "to the farm", "The cows looked up and went on eating"},
    {"by the lake", "to the lake", "Two ducks were swimming in circles"},
    {"in the orchard", "to the orchard", "The apples were almost ripe"},
    {"by the old mill", "to the old mill", "The big wheel turned slowly"},
    {"in the school yard", "to the school yard", "Nobody else was there yet"},
    {"by the pond", "to the pond", "A frog jumped into the water"},
    {"near the bridge", "to the bridge", "A boat passed under it"}};

struct Weather {
  const char* adjective;
  const char* sky;
};
inline constexpr Weather kWeathers[] = {{"sunny", "The sun was warm and the sky was blue."},
                                        {"bright", "There was not a cloud in the sky."},
                                        {"windy", "The wind was dancing in the trees."},
                                        {"cool", "The air smelled of wet leaves."},
                                        {"cloudy", "Big gray clouds moved across the sky."},
                                        {"misty", "A thin mist lay over the fields."},
                                        {"warm", "The air smelled of flowers."},
                                        {"quiet", "Only a few birds were awake."}};
inline constexpr const char* kDayTimes[] = {"morning",        "afternoon",  "day",
                                            "spring morning", "summer day", "autumn afternoon",
                                            "Sunday",         "Saturday"};

inline constexpr const char* kSpots[] = {
    "under the bench",        "behind a big rock",   "in the tall grass",  "next to the fence",
    "under a pile of leaves", "behind the old tree", "between two bushes", "near the gate",
    "inside a hollow log",    "beside the path",     "under the steps",    "behind the wall"};

inline constexpr const char* kChores[] = {
    "swept the yard",        "watered the flowers", "fed the chickens", "washed the windows",
    "carried the firewood",  "picked the apples",   "raked the leaves", "walked the dog",
    "painted the old fence", "cleaned the shed"};

struct Animal {
  const char* baby;  // "a baby bird"
  const char* noun;  // "bird"
  const char* hurt;  // "wing"
  const char* food;
  const char* goodbye;  // past tense, what it does in the end
};
inline constexpr Animal kAnimals[] = {
    {"a baby bird", "bird", "wing", "seeds", "flew up into the sky"},
    {"a young fox", "fox", "leg", "small pieces of meat", "ran back into the trees"},
    {"a tiny kitten", "kitten", "paw", "warm milk", "ran to its mother"},
    {"a small rabbit", "rabbit", "foot", "carrots", "hopped away over the grass"},
    {"a little duckling", "duckling", "foot", "bread crumbs", "swam off to the other ducks"},
    {"a gray squirrel", "squirrel", "tail", "nuts", "climbed to the top of a tree"},
    {"a brown puppy", "puppy", "paw", "soft bread", "licked every face it could reach"},
    {"a baby owl", "owl", "wing", "little worms", "flew silently into the night"},
    {"a young deer", "deer", "leg", "fresh leaves", "walked slowly into the forest"},
    {"a small hedgehog", "hedgehog", "nose", "apple slices", "went to sleep under the leaves"}};

/// Something to be afraid of: "was afraid of the dark", then how it is done, then what is found.
struct Fear {
  const char* noun;
  const char* why;
  const char* deed;
  const char* reward;
};
inline constexpr Fear kFears[] = {
    {"the dark", "There could be anything behind the door", "walked through the dark room",
     "There was nothing there but a sleeping cat"},
    {"deep water", "The water looked cold and black", "jumped into the deep water",
     "The water was not so cold after all"},
    {"the tall slide", "It looked as high as a house", "went down the tall slide",
     "It felt like flying"},
    {"thunder", "It sounded as if the sky would break", "listened to the thunder without hiding",
     "It was only a loud noise, and then the rain came"},
    {"the big dog", "It had long teeth and a loud bark", "held out a hand to the big dog",
     "The dog wagged its tail and lay down"},
    {"the high bridge", "It moved with every step", "crossed the high bridge",
     "From the other side it did not look high at all"},
    {"the school play", "Everyone would look and listen", "stood up in the school play and spoke",
     "All the people clapped their hands"},
    {"the old cellar", "The steps creaked like an old voice", "went down into the old cellar",
     "There was a whole shelf of apple jam"}};

struct Present {
  const char* made;  // "a necklace", without the article
  const char* from;
};
inline constexpr Present kPresents[] = {
    {"necklace", "shells"},       {"bird house", "wood"},  {"cake", "apples and nuts"},
    {"puppet", "an old sock"},    {"little boat", "bark"}, {"crown", "flowers"},
    {"picture", "colored paper"}, {"pillow", "soft wool"}, {"cup", "clay"},
    {"lamp", "a glass jar"}};

}  // namespace moe::corpora::english
