#pragma once
// The lexicon of the Turkish stories. Texts may hold <verbs> for the story's tense, see
// turkish_stories.cpp.

#include <corpora/story_words.h>
#include <corpora/turkish_morphology.h>

namespace moe::corpora::turkish {

/// A noun of the lexicon: constant data from which a Noun is made.
struct Word {
  const char* lemma;
  const char* before_vowel = "";
  bool compound = false;

  Noun noun() const {
    return {.lemma = lemma,
            .before_vowel = before_vowel,
            .front = false,
            .proper = false,
            .compound = compound};
  }
};

inline constexpr const char* kChildren[] = {"Elif", "Ayşe",  "Zeynep", "Defne", "Ada",  "Ece",
                                            "Duru", "İpek",  "Nehir",  "Selin", "Can",  "Ali",
                                            "Mert", "Deniz", "Kerem",  "Emre",  "Ömer", "Yusuf",
                                            "Arda", "Efe",   "Umut",   "Çınar", "Şule", "Bora"};
inline constexpr Word kElders[] = {{"anne"},  {"baba"}, {"dede"}, {"nine"},
                                   {"teyze"}, {"amca"}, {"hala"}, {"abla"}};
/// Those who may live in another town.
inline constexpr Word kRelatives[] = {{"dede"}, {"nine"}, {"teyze"}, {"amca"}, {"hala"}};
inline constexpr const char* kCities[] = {"Ankara", "İzmir", "Bursa", "Trabzon", "Konya", "Antalya",
                                          "Edirne", "Rize",  "Sinop", "Mardin",  "Kars",  "Van"};

/// What one does with the thing: the verb and the case it asks for.
struct Thing {
  Word word;
  const char* verb;
  Case asks;
  unsigned traits;
};
inline constexpr Thing kThings[] = {
    {{"uçurtma"}, "uçur", Case::kAccusative, kFlies | kBreaks},
    {{"kâğıt uçak", "kâğıt uçağ"}, "uçur", Case::kAccusative, kFlies | kSmall},
    {{"oyuncak paraşüt"}, "uçur", Case::kAccusative, kFlies | kSmall},
    {{"balon"}, "oyna", Case::kInstrumental, kFlies},
    {{"top"}, "oyna", Case::kInstrumental, kAnyThing},
    {{"davul"}, "çal", Case::kAccusative, kBreaks},
    {{"flüt"}, "çal", Case::kAccusative, kBreaks | kSmall},
    {{"gitar"}, "çal", Case::kAccusative, kBreaks},
    {{"keman"}, "çal", Case::kAccusative, kBreaks},
    {{"mızıka"}, "çal", Case::kAccusative, kBreaks | kSmall},
    {{"oyuncak tren"}, "oyna", Case::kInstrumental, kBreaks | kSmall},
    {{"oyuncak araba"}, "oyna", Case::kInstrumental, kBreaks | kSmall},
    {{"oyuncak gemi"}, "oyna", Case::kInstrumental, kBreaks | kSmall},
    {{"kaykay"}, "bin", Case::kDative, kBreaks},
    {{"bisiklet"}, "bin", Case::kDative, kBreaks},
    {{"kitap", "kitab"}, "oku", Case::kAccusative, kSmall},
    {{"düdük", "düdüğ"}, "öttür", Case::kAccusative, kBreaks | kSmall},
    {{"oyuncak ayı"}, "oyna", Case::kInstrumental, kSmall},
    {{"bez bebek", "bez bebeğ"}, "oyna", Case::kInstrumental, kSmall},
    {{"topaç", "topac"}, "çevir", Case::kAccusative, kBreaks | kSmall},
    {{"kukla"}, "oynat", Case::kAccusative, kBreaks | kSmall},
    {{"robot"}, "oyna", Case::kInstrumental, kBreaks | kSmall}};
inline constexpr const char* kThingAdjectives[] = {"kırmızı", "mavi",    "sarı",   "yeşil",
                                                   "mor",     "turuncu", "renkli", "yeni",
                                                   "güzel",   "küçük",   "beyaz",  "parlak"};

struct Place {
  Word word;
  const char* sight;
};
inline constexpr Place kPlaces[] = {{{"park"}, "Çocuklar çimlerin üzerinde <koş~>"},
                                    {{"bahçe"}, "Arılar çiçekten çiçeğe <kon~>"},
                                    {{"orman"}, "Yüksek bir ağaçta bir kuş <öt~>"},
                                    {{"göl kıyı", "", true}, "İki ördek suda <yüz~>"},
                                    {{"deniz kenar", "", true}, "Küçük dalgalar kumlara <vur~>"},
                                    {{"köy meydan", "", true}, "Yaşlı bir adam kuşlara yem <ver~>"},
                                    {{"okul bahçe", "", true}, "Henüz kimse <yok=>"},
                                    {{"çayır"}, "Her yerde beyaz çiçekler <var=>"},
                                    {{"tepe"}, "Oradan bütün köy <görün~>"},
                                    {{"çiftlik", "çiftliğ"}, "İnekler sessizce ot <ye~>"},
                                    {{"dere kenar", "", true}, "Su berrak ve <soğuk=>"},
                                    {{"oyun park", "", true}, "Salıncaklar rüzgârda <sallan~>"},
                                    {{"meyve bahçe", "", true}, "Elmalar yeni yeni <kızar~>"},
                                    {{"eski değirmen"}, "Büyük çark yavaş yavaş <dön~>"},
                                    {{"kumsal"}, "Bir martı suyun üzerinde <uç~>"},
                                    {{"yayla"}, "Keçiler kayaların arasında <otla~>"}};

struct Weather {
  const char* adjective;
  const char* sky;
};
inline constexpr Weather kWeathers[] = {{"güneşli", "Gökyüzü <masmavi=>."},
                                        {"rüzgârlı", "Ağaçların dalları <sallan~>."},
                                        {"serin", "Hava ıslak yaprak <kok~>."},
                                        {"ılık", "Hava çiçek <kok~>."},
                                        {"bulutlu", "Gökyüzünde gri bulutlar <toplan~>."},
                                        {"sisli", "Tarlaların üzerinde ince bir sis <var=>."},
                                        {"güzel", "Kuşlar neşeyle <öt~>."},
                                        {"sıcak", "Güneş tepede <parla~>."}};
inline constexpr const char* kDayTimes[] = {
    "sabah",         "gün",        "öğleden sonra",    "bahar sabahı",
    "sonbahar günü", "pazar günü", "cumartesi sabahı", "yaz günü"};

inline constexpr Word kSpots[] = {
    {"çalıların arka", "", true}, {"bankın alt", "", true},     {"büyük kayanın arka", "", true},
    {"otların ara", "", true},    {"çitin yan", "", true},      {"yaprakların alt", "", true},
    {"kapının yan", "", true},    {"kütüğün iç", "", true},     {"yaşlı ağacın arka", "", true},
    {"duvarın arka", "", true},   {"merdivenin alt", "", true}, {"kuyunun yan", "", true}};

inline constexpr const char* kChores[] = {"bahçedeki yaprakları <topla>",
                                          "çiçekleri <sula>",
                                          "tavukları <besle>",
                                          "pencereleri <sil>",
                                          "odun <taşı>",
                                          "elma <topla>",
                                          "köpeği <gezdir>",
                                          "çiti <boya>",
                                          "avluyu <süpür>",
                                          "bulaşıkları <yıka>"};

struct Animal {
  Word word;
  Word hurt;
  const char* food;
  const char* goodbye;
};
inline constexpr Animal kAnimals[] = {
    {{"yavru kuş"}, {"kanat", "kanad"}, "yem", "gökyüzüne doğru <uç>"},
    {{"yavru tilki"}, {"bacak", "bacağ"}, "et", "ağaçların arasına <koş>"},
    {{"yavru kedi"}, {"pati"}, "süt", "annesinin yanına <koş>"},
    {{"tavşan"}, {"ayak", "ayağ"}, "havuç", "zıplaya zıplaya <uzaklaş>"},
    {{"yavru ördek", "yavru ördeğ"},
     {"ayak", "ayağ"},
     "ekmek kırıntısı",
     "öteki ördeklerin yanına <yüz>"},
    {{"sincap", "sincab"}, {"kuyruk", "kuyruğ"}, "fındık", "bir ağacın tepesine <tırman>"},
    {{"yavru köpek", "yavru köpeğ"}, {"pati"}, "ekmek", "sevinçle kuyruğunu <salla>"},
    {{"yavru baykuş"}, {"kanat", "kanad"}, "solucan", "sessizce karanlığa <uç>"},
    {{"yavru ceylan"}, {"bacak", "bacağ"}, "taze yaprak", "ağaçların arasına <gir>"},
    {{"kirpi"}, {"burun", "burn"}, "elma dilimi", "yaprakların altına <saklan>"}};

/// Something to be afraid of: why, then the deed, then what is found.
struct Fear {
  Word word;
  const char* why;
  const char* deed;
  const char* reward;
};
inline constexpr Fear kFears[] = {{{"karanlık", "karanlığ"},
                                   "Kapının arkasında ne olduğunu <bilme~>",
                                   "karanlık odaya <gir>",
                                   "Orada yalnızca uyuyan bir kedi <var=>"},
                                  {{"derin su", "derin suy"},
                                   "Su soğuk ve simsiyah <görün~>",
                                   "derin suya <atla>",
                                   "Su hiç de soğuk <değil=>"},
                                  {{"yüksek kaydırak", "yüksek kaydırağ"},
                                   "Kaydırak bir ev kadar <yüksek=>",
                                   "kaydıraktan <kay>",
                                   "Kaymak uçmak <gibi=>"},
                                  {{"gök gürültü", "", true},
                                   "Gök ikiye ayrılacak <gibi=>",
                                   "saklanmadan gök gürültüsünü <dinle>",
                                   "Bu yalnızca bir <ses=>"},
                                  {{"büyük köpek", "büyük köpeğ"},
                                   "Köpeğin sesi çok <kalın=>",
                                   "köpeğe elini <uzat>",
                                   "Köpek kuyruğunu <salla>"},
                                  {{"asma köprü"},
                                   "Köprü her adımda <sallan~>",
                                   "köprüyü <geç>",
                                   "Köprü karşıdan hiç de yüksek <görünme~>"},
                                  {{"sahne"},
                                   "Orada herkes onu <dinleyecek=>",
                                   "sahneye <çık>",
                                   "Herkes onu uzun uzun <alkışla>"},
                                  {{"eski kiler"},
                                   "Kilerin merdivenleri <gıcırda~>",
                                   "kilere <in>",
                                   "Raflarda kavanoz kavanoz reçel <var=>"},
                                  {{"arılar"},
                                   "Arılar yüksek sesle <vızılda~>",
                                   "kovanın yanında sessizce <dur>",
                                   "Arılar ona hiç <dokunma>"}};

struct Present {
  Word word;
  const char* from;
};
inline constexpr Present kPresents[] = {{{"kolye"}, "deniz kabuklarından"},
                                        {{"kuş ev", "", true}, "tahtadan"},
                                        {{"kukla"}, "eski bir çoraptan"},
                                        {{"küçük kayık", "küçük kayığ"}, "ağaç kabuğundan"},
                                        {{"taç", "tac"}, "çiçeklerden"},
                                        {{"fener"}, "renkli kâğıttan"},
                                        {{"yastık", "yastığ"}, "yumuşak yünden"},
                                        {{"bardak", "bardağ"}, "kilden"},
                                        {{"maske"}, "kartondan"},
                                        {{"vazo"}, "cam bir şişeden"}};

}  // namespace moe::corpora::turkish
