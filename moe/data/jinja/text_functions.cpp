// What filters and methods of strings share, and arithmetic.

#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/data/jinja/builtins.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data::jinja {

std::string_view strip(std::string_view text, const std::string* set, bool left, bool right) {
  const auto goes = [&](std::string_view character) {
    return set ? set->find(character) != std::string::npos
               : is_a(first_code_point(character).code, kSpace) ||
                     (character[0] >= 0x1C && character[0] <= 0x1F);
  };
  while (left && !text.empty()) {
    const size_t length = first_code_point(text).length;
    if (!goes(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    const size_t last = last_code_point(text);
    if (!goes(text.substr(last))) break;
    text = text.substr(0, last);
  }
  return text;
}

std::string replace_text(Interpreter& in, std::string_view text, std::string_view from,
                         std::string_view to, int64_t most) {
  std::string out;
  size_t done = 0;
  if (from.empty()) {  // before every character, and at the end
    for (const auto character : characters(text)) {
      if (most-- != 0) out += to;
      in.charge(to.size() + character.size());
      out += character;
    }
    return most != 0 ? out.append(to) : out;
  }
  for (size_t at; most-- != 0 && (at = text.find(from, done)) != text.npos;
       done = at + from.size()) {
    in.charge(to.size() + at - done);
    out.append(text.substr(done, at - done)).append(to);
  }
  return out.append(text.substr(done));
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return "";
  const size_t first = first_code_point(text).length;
  return upper_case(text.substr(0, first)) + lower_case(text.substr(first));
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const auto character : characters(text)) {
    const bool letter = is_a(first_code_point(character).code, kLetter);
    out += !letter  ? std::string(character)
           : inside ? lower_case(character)
                    : upper_case(character);
    inside = letter;
  }
  return out;
}

std::string format_text(Interpreter& in, const std::string& format, const List& values) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const char kind = i + 1 < format.size() ? format[++i] : '\0';
    if (kind == '%') {
      out += '%';
      continue;
    }
    if ((kind != 's' && kind != 'd' && kind != 'r') || next >= values.size())
      in.refuse("a format other than %s, %d and %r with a value for each");
    const Value& value = values[next++];
    if (kind == 'r') in.charge_text(value);
    out += kind == 'r'                        ? value.quoted()
           : kind == 'd' && value.is_number() ? std::to_string(value.integer())
                                              : in.text_of(value);
    in.charge(out.size());
  }
  return out;
}

Value arithmetic(Interpreter& in, const std::string& sign, const Value& a, const Value& b) {
  const auto no = [&]() {
    const Value& which = a.is_undefined() ? a : b;
    in.refuse(which.is_undefined() ? concat("'", which.as<Undefined>()->name,
                                            "', which is undefined, beside '", sign, "',")
                                   : concat(a.type(), ' ', sign, ' ', b.type()));
  };
  if (sign == "+" && a.string() && b.string()) return *a.string() + *b.string();
  if (sign == "+" && a.list() && b.list()) {
    List out = *a.list();
    out.insert(out.end(), b.list()->begin(), b.list()->end());
    in.charge(out.size() * sizeof(Value));
    return out;
  }
  if (sign == "%" && a.string())
    return format_text(in, *a.string(), b.list() ? *b.list() : List{b});
  if (sign == "*" && (a.string() || a.list()) && b.is_integer()) {
    constexpr int64_t kMostTimes = int64_t{1} << 30;
    if (b.integer() > kMostTimes) in.refuse_cost(kMostTimes, "repetitions of a text or list");
    const auto times = static_cast<size_t>(std::max<int64_t>(b.integer(), 0));
    if (a.string()) {
      in.charge(a.string()->size() * times);
      std::string out;
      for (size_t i = 0; i < times && !a.string()->empty(); ++i) out += *a.string();
      return out;
    }
    in.charge(a.list()->size() * times * sizeof(Value));
    List out;
    for (size_t i = 0; i < times && !a.list()->empty(); ++i)
      out.insert(out.end(), a.list()->begin(), a.list()->end());
    return out;
  }
  if (!a.is_number() || !b.is_number()) no();
  const bool divides = sign == "/" || sign == "//" || sign == "%";
  if (divides && b.number() == 0) in.refuse("a division by zero");
  if (a.is_integer() && b.is_integer() && sign != "/") {
    const int64_t left = a.integer(), right = b.integer();
    int64_t out = 0;
    bool over = false;
    if (sign == "+") over = __builtin_add_overflow(left, right, &out);
    if (sign == "-") over = __builtin_sub_overflow(left, right, &out);
    if (sign == "*") over = __builtin_mul_overflow(left, right, &out);
    if (divides) {
      if (right == -1) return sign == "%" ? Value(int64_t{0}) : Value(-a.number());
      const int64_t rest = left % right, fix = rest != 0 && (rest < 0) != (right < 0);
      out = sign == "//" ? left / right - fix : rest + fix * right;
    }
    if (sign == "**") {
      const double power = std::pow(static_cast<double>(left), static_cast<double>(right));
      if (right < 0 || std::abs(power) > 9e15) return power;
      return static_cast<int64_t>(std::llround(power));
    }
    if (over) in.refuse("an integer beyond 64 bits");
    return out;
  }
  const double left = a.number(), right = b.number();
  if (sign == "+") return left + right;
  if (sign == "-") return left - right;
  if (sign == "*") return left * right;
  if (sign == "/") return left / right;
  if (sign == "//") return std::floor(left / right);
  if (sign == "%") return left - right * std::floor(left / right);
  return std::pow(left, right);
}

bool holds(Interpreter& in, const Value& container, const Value& value) {
  if (const auto* text = container.string()) {
    if (!value.string()) in.refuse(concat(value.type(), " looked for in a string"));
    return text->find(*value.string()) != std::string::npos;
  }
  in.take_steps(container.size().comparisons);
  if (const auto* list = container.list())
    return std::ranges::any_of(*list, [&](const Value& item) { return equal(item, value); });
  if (const auto* dict = container.dict())
    return std::ranges::any_of(*dict, [&](const auto& e) { return equal(e.first, value); });
  if (container.is_undefined()) return false;
  in.refuse(concat("something looked for in ", container.type()));
}

}  // namespace moe::data::jinja
