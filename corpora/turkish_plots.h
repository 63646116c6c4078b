#pragma once
// The plots and closing phrases of the Turkish stories; what their slots mean stands in
// turkish_stories.cpp.

#include <corpora/story_words.h>

namespace moe::corpora::turkish {

enum class Topic { kThing, kAnimal, kFear, kPresent };

struct Plot {
  Topic topic;
  unsigned traits;
  const char* pattern;
};

inline constexpr Plot kPlots[] = {
    // Kayıp oyuncak.
    {Topic::kThing, kAnyThing,
     "{open} {hero} {adj} {thing:p3acc} alıp {place:dat} <git>. [{sight}. |{sky} |]Orada [uzun "
     "süre|neşeyle|şarkı "
     "söyleyerek] {toy} {play}. [Eve dönme vakti gelince|Biraz dinlendikten sonra] bir de <bak>, "
     "{thing:p3} [ortada "
     "<yok=>|yerinde <yok=>]! Önce {spot1:dat}, sonra {spot2:dat} <bak>, ama {thing:p3acc} "
     "<bulama>. {hero} [çok "
     "<üzül>|ağlamaya <başla>|ne yapacağını <bileme>]. \"{^thing:p1acc} gördün mü?\" diye arkadaşı "
     "{friend:dat} <sor>. "
     "\"[Görmedim ama birlikte ararız|Hayır, ama sana yardım ederim],\" <de> {friend}. [İki "
     "arkadaş her yeri "
     "<ara>.|Birlikte her yere <bak+>.] Sonunda {friend} {thing:acc} {spot3:loc} <bul>. {hero} "
     "[sevinçle ona "
     "<sarıl>|çok <sevin>] ve [{thing:p3acc} bir daha yanından <ayırma>|{friend:dat} <teşekkür "
     "et>]. {friendship}"},
    // Emek.
    {Topic::kThing, kAnyThing,
     "{hero} [bir dükkânın|oyuncakçının] vitrininde {adj} bir {thing} <gör>. {^toy0} {play:inf} "
     "<iste~>, ama hiç "
     "parası <yok=>. \"[Çalışırsan onu alabilirsin|Komşulara yardım edersen para kazanırsın],\" "
     "<de> {elder:p3}. "
     "{hero} bütün hafta komşulara <yardım et>. Pazartesi günü {chore1}, salı günü {chore2}. [Çok "
     "<yorul>, ama hiç "
     "<vazgeçme>.|İş <zor=>, ama {hero} <pes etme>.] Cuma günü [paralarını sayıp|cebindeki "
     "parayla] dükkâna <koş>. "
     "{^thing} hâlâ <orada=>! \"[Onu kendi emeğimle aldım|Bu parayı ben kazandım]!\" <de> "
     "[gururla|gülerek]. O akşam "
     "{hero} {place:loc} {toy} {play}. {work}"},
    // Rüzgâr.
    {Topic::kThing, kFlies,
     "{open} {hero} ile {friend} {place:loc} <oyna~+>. {hero:gen} {adj} bir {thing:p3} <var=>. "
     "Birden [sert|kuvvetli] "
     "bir rüzgâr <es> ve {thing:acc} [yüksek bir ağacın dallarına|bir çınarın tepesine] <götür>. "
     "{hero} <zıpla>, ama "
     "ona <yetişeme>. \"[Eyvah, {thing:p1} ağaçta kaldı|{^thing:p1acc} artık alamam]!\" diye "
     "<bağır>. [{friend} bir "
     "sopa <at>, ama sopa yere <düş>.|{friend} ağacı <salla>, ama bir şey <olma>.] Sonra "
     "{friend:gen} aklına bir fikir "
     "<gel>. [Koşup uzun bir merdiven <getir>.|Koşup {elder:p3acc} <çağır>.] [Yavaş yavaş|Üçüncü "
     "denemede] {thing:acc} "
     "aşağı <indir+>. \"[Teşekkür ederim, {friend}|Sen çok akıllısın, {friend}]!\" <de> {hero}. "
     "\"[Şimdi sıra "
     "sende|Haydi, birlikte oynayalım],\" diye <ekle>. {friendship}"},
    // Paylaşmak.
    {Topic::kThing, kAnyThing,
     "{open} {hero} ile arkadaşı {friend} {place:loc} <gez~+>. {^spot1:loc} {adj} bir {thing} "
     "<bul+>. \"[O benim|Onu önce "
     "ben gördüm]!\" <de> {hero}. \"Hayır, {thing} benim olsun!\" <de> {friend}. [İkisi de çok "
     "<kız>.|Bir o yana, bir "
     "bu yana <çekiştir+>.] {hero:gen} {elder:p3} sesleri [duyup|işitip] yanlarına <gel>. \"[Kavga "
     "ederseniz kimse mutlu "
     "olmaz|Bunun daha iyi bir yolu var],\" <de>. \"Sıra önce {hero:loc}, sonra {friend:loc} "
     "olsun.\" Böylece {hero} biraz "
     "{toy0} {play}, sonra {thing:acc} {friend:dat} <ver>. {friend} çok <sevin>. [Bütün gün "
     "sırayla <eğlen+>.|Sonra yine "
     "arkadaş <ol+>.] {sharing}"},
    // Kırılan oyuncak.
    {Topic::kThing, kBreaks,
     "{friend:gen} {adj} bir {thing:p3} <var=>. Onu [çok <sev~>|gözü gibi <koru~>]. Bir gün "
     "{hero:too} {toy0} "
     "{play:inf} <iste>. İzin almadan {thing:acc} <al>. Ama ayağı [<kay>|bir taşa <takıl>] ve "
     "{thing} yere düşüp "
     "<kırıl>. {hero} çok <kork>. {^thing:acc} saklamak <iste>, ama içi rahat <etme>. Sonunda "
     "{friend:gen} yanına gidip "
     "[her şeyi|doğruyu] <anlat>. \"[Çok özür dilerim|Hata ettim, beni affet],\" <de> {hero}. "
     "{friend} [önce "
     "<üzül>|biraz <kız>], sonra \"[Doğruyu söylediğin için teşekkür ederim|Gel, birlikte "
     "onaralım],\" <de>. Yapıştırıcı ve "
     "ip alıp [akşama kadar|saatlerce] <çalış+>. Sonunda {thing} [yepyeni|eskisinden de güzel] "
     "<ol>. {truth}"},
    // Yağmur.
    {Topic::kThing, kSmall,
     "{hero} ile {elder:p3} {place:dat} <git~+>. {hero:gen} elinde {adj} {thing:p3} <var=>. [Yolda "
     "şarkı <söyle~+>.|Önce "
     "hava çok <güzel=>.] Birden gökyüzü <karar> ve yağmur <başla>. \"[Kuru bir yer "
     "bulmalıyız|Çabuk, koşalım]!\" <de> "
     "{elder:p3}. [Küçük bir kulübe|Eski bir ahır|Tahta bir ev] görüp içeri <gir+>. Gök <gürle~>, "
     "{hero} {thing:p3dat} "
     "sıkı sıkı <sarıl>. [Yaşlı bir kadın|İyi kalpli bir çiftçi] onlara [sıcak çorba|ılık süt|çay "
     "ve ekmek] <ver>. "
     "\"[Yağmur dinene kadar burada kalın|Ateşin yanına oturun],\" <de>. [Bir saat sonra|Çok "
     "geçmeden] güneş <aç> ve "
     "[tepelerin|ağaçların] üzerinde bir gökkuşağı <belir>. {hero} gökkuşağının altında {toy} "
     "{play}. {kindness}"},
    // Yaralı hayvan.
    {Topic::kAnimal, kAnyThing,
     "{open} {hero} {place:loc} <dolaş~>. [{sight}. |{sky} |]Birden [ince|hafif|garip] bir ses "
     "<duy>. {^spot1:dat} <bak> "
     "ve orada bir {animal} <bul>. [\"Korkma, küçük dostum,\" <de>|\"Canın mı yanıyor?\" diye "
     "<sor>]. {^animal:gen} "
     "{hurt:p3} <yaralı=>. {hero} {animal:acc} [kucağında|dikkatle] eve <götür>. {^elder:p3} "
     "yarayı [temizleyip|sarıp] "
     "\"[Dinlenmesi gerek|Birkaç güne iyileşir],\" <de>. {hero} her gün {animal:dat} {food} <ver> "
     "ve [ona masal "
     "<anlat>|onu sıcak <tut>]. [Günler geçtikçe {animal} <güçlen>.|Bir hafta sonra {animal} "
     "<iyileş>.] Sonra {hero} ile "
     "{friend} onu {place:dat} <götür+>. {^animal} son bir kez {hero:dat} <bak> ve {goodbye}. "
     "\"[Güle güle, dostum|Kendine "
     "iyi bak]!\" diye <seslen> {hero}. {animals}"},
    // Korku.
    {Topic::kFear, kAnyThing,
     "{hero} {fear:abl} çok <kork~>. {why}. [Öteki çocuklar ona <gül~>, ama {friend} <gülme~>.|Bir "
     "gün {friend} onun "
     "titrediğini <gör>.] \"[Eskiden ben de {fear:abl} korkardım|Herkes bir şeyden korkar],\" <de> "
     "{friend}. \"[Derin bir "
     "nefes al ve elimi tut|Üçe kadar say, ben yanındayım].\" {hero} [gözlerini <kapat>|arkadaşına "
     "<bak>] ve <say>: bir, "
     "iki, üç. Sonra {deed}. {reward}. \"[Başardım|Hiç de zor değilmiş]!\" diye <bağır> {hero}. "
     "{friend} [onu "
     "<alkışla>|onunla gurur <duy>]. O günden sonra {hero} {fear:abl} hiç <korkma>. {brave}"},
    // Doğum günü.
    {Topic::kPresent, kAnyThing,
     "O gün {friend:gen} doğum <günü=>. {hero} ona [özel|güzel] bir şey vermek <iste~>, ama parası "
     "<yok=>. \"[Ne "
     "yapabilirim|{friend:dat} ne vereyim]?\" diye {elder:p3dat} <sor>. \"[Kendi ellerinle bir şey "
     "yap|En güzel hediye "
     "yürekten gelendir],\" <de> {elder:p3}. {hero} {from} bir {gift} <yap>. [İlki güzel <olma>, o "
     "yüzden bir daha "
     "<dene>.|Bu iş bütün gününü <al>.] [Bitince çok <heyecanlan>.|Sonunda hediyesi hazır <ol>.] "
     "{hero} {place:loc} "
     "yapılan kutlamaya gidip {gift:acc} {friend:dat} <ver>. {friend:gen} [gözleri <parla>|yüzü "
     "<gül>]. [\"Bunu kendin mi "
     "yaptın?\" diye <sor>|\"Bu en güzel hediye!\" <de>]. Sonra çocuklar pasta yiyip <dans et>. "
     "{gifts}"},
    // Böbürlenmek.
    {Topic::kThing, kAnyThing,
     "{hero:gen} {adj} bir {thing:p3} <var=>. \"[Köyün en güzel {thing:p3} benim|Kimsede böyle bir "
     "{thing} yok],\" diye "
     "<övün~>. {^thing:p3acc} kimseyle <paylaşma~>. [Çok geçmeden|Bir süre sonra] kimse onunla "
     "oynamak <isteme>. {open} "
     "{hero} {place:loc} tek başına <otur~>. [{sight}. |{sky} |]{^adj} {thing:p3} artık ona güzel "
     "<gelme~>. {friend} gelip "
     "[yanına <otur>|neden üzgün olduğunu <sor>]. \"[Güzel bir {thing:p1} var, ama hiç arkadaşım "
     "yok|Size iyi "
     "davranmadım],\" <de> {hero} alçak sesle. \"[Öyleyse paylaşalım|Bunu değiştirebilirsin],\" "
     "diye karşılık <ver> "
     "{friend}. {hero} biraz düşünüp {thing:p3acc} {friend:dat} <uzat>. Çok geçmeden öteki "
     "çocuklar da <gel>. Hepsi "
     "sırayla {toy0} {play}. {hero} [herkesten çok <gül>|sonunda mutlu <ol>]. {sharing}"},
    // Gizli mektup.
    {Topic::kThing, kSmall,
     "{hero} {spot1:loc} eski bir mektup <bul>. Mektupta \"[{^place:dat} git ve {spot2:dat} "
     "bak|{^place:loc}, {spot2:loc} bir "
     "sürpriz var]\" <yaz~>. {hero} mektubu {friend:dat} <göster>. \"[Bu bir sır|Bu bir hazine]!\" "
     "<de> {friend}. \"Hemen "
     "gidelim!\" İkisi {place:dat} <koş>. {sight}. Önce {spot3:dat} <bak+>, ama orada bir şey "
     "<yok=>. Sonra {hero} "
     "{spot2:dat} <bak> ve bir kutu <gör>. Kutunun içinde {adj} bir {thing} <var=>! \"[Bunu buraya "
     "kim sakladı|Bu kimin "
     "acaba]?\" diye <sor> {friend}. Tam o sırada {hero:gen} {elder:p3} [bir ağacın arkasından "
     "<çık>|gülerek yanlarına "
     "<gel>]. \"{^thing:acc} senin için sakladım, {hero},\" <de>. [Üçü birden <gül>.|Bu ne güzel "
     "bir <sürpriz=>!] {hero} eve "
     "kadar {thing:p3acc} elinden <bırakma>. {family}"},
    // Yaz tatili.
    {Topic::kThing, kAnyThing,
     "{hero:gen} {relative:p3} {city:loc} <otur~>. {hero} yaz tatilinde {city:dat} <git>. Yanına "
     "{adj} {thing:p3acc} <al>. "
     "[Yol <uzun=>, ama {hero} hiç <sıkılma>.|Yol boyunca pencereden dışarı <bak>.] {city:loc} onu "
     "{relative:p3} "
     "<karşıla>. \"[Hoş geldin|Seni çok özledim], {hero}!\" <de>. {hero} orada {friend} adında bir "
     "çocukla <tanış>. İkisi her "
     "gün {place:loc} {toy0} {play}. Tatil bitince [ikisi de çok <üzül>|birbirlerine <sarıl+>]. "
     "{hero} {city:abl} ayrılırken "
     "{thing:p3acc} {friend:dat} <bırak>. \"Seneye yine gel,\" <de> {friend}. O kış {friend:abl} "
     "bir mektup <gel>. "
     "Mektupta \"{^thing:p2} burada seni bekliyor\" <yaz~>. {friendship}"},
};

struct Phrase {
  const char* name;
  const char* pattern;
};

inline constexpr Phrase kPhrases[] = {
    {"open", "{^weather} bir {day}"},
    {"friendship",
     "[İyi bir arkadaş altından değerlidir.|O günden sonra hiç <küsme+>.|{hero} o gün gerçek "
     "arkadaşlığı <öğren>.|Böyle bir "
     "arkadaşı olduğu için {hero} çok <mutlu=>.]"},
    {"sharing",
     "[Paylaşınca her şey daha eğlenceli olur.|{hero} o gün paylaşmayı <öğren>.|Akşam olunca mutlu "
     "mutlu eve "
     "<dön+>.|Paylaşılan oyuncak iki kat güzeldir.]"},
    {"work",
     "[Emek verince her şey daha güzel olur.|{^elder:p3} onunla gurur <duy>.|Emekle kazanılan şey "
     "daha değerlidir.|{hero} o "
     "gece mutlu bir uykuya <dal>.]"},
    {"truth",
     "[Doğruyu söylemek her zaman en iyisidir.|{hero:gen} içi <rahatla>.|{hero} bir daha izinsiz "
     "bir şey <alma>.|Gerçek "
     "arkadaş affetmeyi bilir.]"},
    {"kindness",
     "[Küçük bir iyilik insanın içini ısıtır.|O evi hiç <unutma+>.|Dönüş yolu <ıslak=>, ama onlar "
     "çok <neşeli=>.|{hero} o "
     "gece erkenden <uyu>.]"},
    {"animals",
     "[{hero} hem <üzül> hem <sevin>.|Her canlıya iyi davranmak gerekir.|{friend} onun elini <tut> "
     "ve eve <dön+>.|O günü hiç "
     "<unutma+>.]"},
    {"brave",
     "[Cesur olmak, korksan da denemektir.|{hero} o gece çok rahat <uyu>.|{^elder:p3} o akşam "
     "kurabiye <yap>.|İyi bir "
     "arkadaş insana güç verir.]"},
    {"gifts",
     "[En güzel hediyeler sevgiyle yapılır.|{hero} o gece sevinçten <uyuyama>.|{friend} {gift:acc} "
     "yıllarca <sakla>.|Çok "
     "güzel bir <gün=>.]"},
    {"family",
     "[{hero} o mektubu yıllarca <sakla>.|O yazın en güzel günü <bu=>.|\"Yarın da biz sana bir şey "
     "saklarız,\" <de> "
     "{friend}.|Akşam sofrada hep bundan söz <et+>.]"}};

}  // namespace moe::corpora::turkish
