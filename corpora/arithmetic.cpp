#include <algorithm>
#include <string>
#include <vector>

#include <corpora/domains.h>
#include <moe/base/error.h>

namespace moe::corpora {

namespace {

struct Operands {
  int64_t a;
  int64_t b;
};

/// The pair that is held out or not: the same for a + b, b + a, a * b, ...
std::string pair_name(int64_t a, int64_t b) {
  return concat(std::min(a, b), ',', std::max(a, b));
}

/// Two operands, `most` at most, on the draw's side of the split. Half of them are short numbers.
Operands draw_operands(Draw& draw, int64_t least, int64_t most) {
  return draw.until_wanted(
      [&] {
        const int64_t bound = draw.chance(50) ? std::min<int64_t>(most, 99) : most;
        return Operands{draw.between(least, bound), draw.between(least, bound)};
      },
      [](const Operands& o) { return pair_name(o.a, o.b); });
}

constexpr const char* kColumns[] = {"ones", "tens", "hundreds", "thousands"};

std::string worked_sum(Draw& draw) {
  const auto [a, b] = draw_operands(draw, 11, 999);
  std::string out = concat("Add ", a, " and ", b, ".\n", a, " + ", b, "\n");
  int64_t carry = 0;
  int64_t x = a, y = b;
  for (int column = 0; x > 0 || y > 0; ++column, x /= 10, y /= 10) {
    const int64_t sum = x % 10 + y % 10 + carry;
    out += concat(kColumns[column], ": ", x % 10, " and ", y % 10, carry ? " and 1" : "", " make ",
                  sum, ", write ", sum % 10, sum > 9 ? ", carry 1.\n" : ".\n");
    carry = sum / 10;
  }
  if (carry) out += "The last carry gives 1 in front.\n";
  return out + concat("Answer: ", a + b);
}

std::string worked_difference(Draw& draw) {
  auto [a, b] = draw_operands(draw, 11, 999);
  if (a < b) std::swap(a, b);
  std::string out = concat("Take ", b, " from ", a, ".\n", a, " - ", b, "\n");
  int64_t borrow = 0;
  int64_t x = a, y = b;
  for (int column = 0; x > 0; ++column, x /= 10, y /= 10) {
    const int64_t top = x % 10 - borrow;
    const int64_t bottom = y % 10;
    out += concat(kColumns[column], ": ");
    if (borrow) out += concat(x % 10, " less the borrowed 1 is ", top, ", ");
    if (top < bottom)
      out += concat("borrow 10, ", top + 10, " less ", bottom, " is ", top + 10 - bottom, ".\n");
    else
      out += concat(top, " less ", bottom, " is ", top - bottom, ".\n");
    borrow = top < bottom;
  }
  return out + concat("Answer: ", a - b);
}

std::string worked_product(Draw& draw) {
  const auto [a, b] = draw.until_wanted(
      [&] {
        return Operands{draw.between(11, 99), draw.between(2, 9)};
      },
      [](const Operands& o) { return pair_name(o.a, o.b); });
  const int64_t tens = a / 10 * 10;
  std::string out = concat("Multiply ", a, " by ", b, ".\n", a, " * ", b, "\n");
  if (a % 10 == 0) {
    out +=
        concat(a / 10, " times ", b, " is ", a / 10 * b, ", with a zero behind it ", a * b, ".\n");
  } else {
    out += concat(a, " is ", tens, " and ", a % 10, ".\n", tens, " times ", b, " is ", tens * b,
                  ".\n", a % 10, " times ", b, " is ", a % 10 * b, ".\n", tens * b, " and ",
                  a % 10 * b, " make ", a * b, ".\n");
  }
  return out + concat("Answer: ", a * b);
}

std::string division(Draw& draw) {
  const auto [a, b] = draw.until_wanted(
      [&] {
        return Operands{draw.between(10, 99), draw.between(2, 9)};
      },
      [](const Operands& o) { return pair_name(o.a, o.b); });
  std::string out =
      concat("Divide ", a, " by ", b, ".\n", a, " / ", b, "\n", b, " goes ", a / b, " times into ",
             a, ", because ", a / b, " times ", b, " is ", a / b * b, ".\n");
  if (a % b)
    return out + concat(a, " less ", a / b * b, " leaves ", a % b, ".\nAnswer: ", a / b,
                        " remainder ", a % b);
  return out + concat("Nothing is left.\nAnswer: ", a / b);
}

std::string comparison(Draw& draw) {
  const auto [a, b] = draw_operands(draw, 10, 999);
  std::string out = concat("Which is greater, ", a, " or ", b, "?\n");
  if (a == b) return out + concat("Both are ", a, ".\nAnswer: they are equal");
  const std::string a_text = std::to_string(a), b_text = std::to_string(b);
  if (a_text.size() != b_text.size()) {
    out += concat(a, " has ", a_text.size(), " digits and ", b, " has ", b_text.size(), ".\n");
  } else {
    for (size_t i = 0; i < a_text.size(); ++i) {
      const char* column = kColumns[a_text.size() - 1 - i];
      if (a_text[i] == b_text[i]) {
        out += concat(column, ": ", a_text[i], " and ", b_text[i], " are equal.\n");
        continue;
      }
      out += concat(column, ": ", std::max(a_text[i], b_text[i]), " is more than ",
                    std::min(a_text[i], b_text[i]), ".\n");
      break;
    }
  }
  return out + concat("Answer: ", std::max(a, b));
}

std::string number_sequence(Draw& draw) {
  const auto [first, step] = draw.until_wanted(
      [&] {
        return Operands{draw.between(1, 60), draw.between(2, 15)};
      },
      [](const Operands& o) { return pair_name(o.a, o.b); });
  const bool down = draw.chance(35);
  // A falling sequence ends, rather than starts, at the drawn number.
  const auto term = [&, first = first, step = step](int64_t i) {
    return first + step * (down ? 4 - i : i);
  };
  return concat("What comes next: ", term(0), ", ", term(1), ", ", term(2), ", ", term(3),
                "?\nEach number is ", step, down ? " less" : " more", " than the one before.\n",
                step, down ? " less than " : " more than ", term(3), " is ", term(4),
                ".\nAnswer: ", term(4));
}

std::string drill(Draw& draw) {
  std::string out = "Quick sums.";
  for (int64_t line = draw.between(3, 5); line > 0; --line) {
    auto [a, b] = draw_operands(draw, 2, 60);
    if (a < b) std::swap(a, b);
    if (draw.chance(50))
      out += concat("\n", a, " + ", b, " = ", a + b);
    else
      out += concat("\n", a, " - ", b, " = ", a - b);
  }
  return out;
}

constexpr const char* kBuyers[] = {"Ada", "Emil", "Lina", "Omar", "Vera", "Kai", "Rita", "Paul"};
constexpr const char* kGoods[] = {"apples",  "pencils", "eggs",   "stickers",
                                  "buttons", "nuts",    "stamps", "shells"};
constexpr const char* kContainers[] = {"bags", "boxes", "baskets", "packs"};

/// Two steps, each a pair on this side of the split: `start` and then bags * each bought, or some
/// given away.
std::string word_problem(Draw& draw) {
  struct Story {
    int64_t start, bags, each, given;
  };
  const bool buys = draw.chance(60);
  const auto side = [&](int64_t a, int64_t b) { return draw.wants(pair_name(a, b)); };
  Story s{};
  do {
    s = {draw.between(5, 60), draw.between(2, 9), draw.between(2, 12), draw.between(2, 30)};
  } while (buys ? !side(s.bags, s.each) || !side(s.start, s.bags * s.each)
                : !side(s.start, s.bags) || s.start + s.bags <= s.given ||
                      !side(s.start + s.bags, s.given));
  const std::string name = draw.pick(kBuyers), goods = draw.pick(kGoods),
                    bags = draw.pick(kContainers);
  std::string out = concat(name, " has ", s.start, " ", goods, ". ");
  if (buys) {
    const int64_t bought = s.bags * s.each;
    return out + concat(name, " buys ", s.bags, " ", bags, " with ", s.each, " ", goods,
                        " each. How many ", goods, " does ", name, " have now?\nFirst: ", s.bags,
                        " * ", s.each, " = ", bought, "\nThen: ", s.start, " + ", bought, " = ",
                        s.start + bought, "\nAnswer: ", s.start + bought, " ", goods);
  }
  const int64_t total = s.start + s.bags;
  return out + concat(name, " finds ", s.bags, " more and gives ", s.given,
                      " to a friend. How many ", goods, " are left?", "\nFirst: ", s.start, " + ",
                      s.bags, " = ", total, "\nThen: ", total, " - ", s.given, " = ",
                      total - s.given, "\nAnswer: ", total - s.given,
                      total - s.given == 1 ? " of the " : " ", goods);
}

}  // namespace

std::string arithmetic_exercise(Draw& draw) {
  using Form = std::string (*)(Draw&);
  constexpr Form kForms[] = {worked_sum,   worked_sum,  worked_difference, worked_product,
                             division,     comparison,  number_sequence,   drill,
                             word_problem, word_problem};
  return draw.pick(kForms)(draw);
}

}  // namespace moe::corpora
