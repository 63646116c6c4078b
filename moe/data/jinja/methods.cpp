// Methods of values, functions and tests.

#include <algorithm>
#include <array>
#include <map>

#include <moe/base/error.h>
#include <moe/data/jinja/builtins.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data::jinja {

namespace {

constexpr int64_t kMostRange = 100000;

const std::string& text_argument(Interpreter& in, const Arguments& a, size_t place,
                                 std::string_view name) {
  const Value* value = a.find(place, name);
  if (!value || !value->string()) in.refuse(concat("a call without the text '", name, '\''));
  return *value->string();
}

int64_t integer_or(const Arguments& a, size_t place, std::string_view name, int64_t other) {
  const Value* value = a.find(place, name);
  return value && value->is_integer() ? value->integer() : other;
}

/// Parts of `text` between `separator`, or between runs of white space without one.
List split_text(Interpreter& in, const std::string& text, const std::string* separator,
                int64_t most, bool from_right) {
  List out;
  if (!separator) {
    std::string_view rest = strip(text, nullptr, true, true);
    while (!rest.empty()) {
      size_t end = 0;
      while (end < rest.size() && !is_a(first_code_point(rest.substr(end)).code, kSpace))
        end += first_code_point(rest.substr(end)).length;
      if (most-- == 0) end = rest.size();
      out.emplace_back(rest.substr(0, end));
      rest = strip(rest.substr(end), nullptr, true, false);
    }
  } else {
    if (separator->empty()) in.refuse("a text split at nothing");
    std::string_view rest = text;
    while (most-- != 0) {
      const size_t at = from_right ? rest.rfind(*separator) : rest.find(*separator);
      if (at == rest.npos) break;
      const std::string_view before = rest.substr(0, at),
                             behind = rest.substr(at + separator->size());
      out.emplace_back(from_right ? behind : before);
      rest = from_right ? before : behind;
    }
    out.emplace_back(rest);
    if (from_right) std::ranges::reverse(out);
  }
  in.charge(out.size() * sizeof(Value) + text.size());
  return out;
}

using Method = Value (*)(Interpreter&, const std::string&, const Arguments&);

Value strip_method(const std::string& text, const Arguments& a, bool left, bool right) {
  const Value* set = a.find(0, "chars");
  return strip(text, set && set->string() ? set->string() : nullptr, left, right);
}

bool begins_or_ends(Interpreter& in, const std::string& text, const Arguments& a, bool begins) {
  const Value* what = a.find(0, "prefix");
  const auto fits = [&](const Value& value) {
    if (!value.string()) in.refuse("a beginning or end that is no text");
    return begins ? text.starts_with(*value.string()) : text.ends_with(*value.string());
  };
  if (!what) in.refuse("startswith or endswith without a text");
  return what->list() ? std::ranges::any_of(*what->list(), fits) : fits(*what);
}

int64_t find_text(Interpreter& in, const std::string& text, const Arguments& a, bool right) {
  const std::string& what = text_argument(in, a, 0, "sub");
  const size_t at = right ? text.rfind(what) : text.find(what);
  return at == text.npos ? -1 : static_cast<int64_t>(characters(text.substr(0, at)).size());
}

bool all_are(const std::string& text, uint16_t bits) {
  const auto parts = characters(text);
  return !parts.empty() && std::ranges::all_of(parts, [&](std::string_view character) {
    return is_a(first_code_point(character).code, bits);
  });
}

const std::map<std::string_view, Method>& string_methods() {
  static const std::map<std::string_view, Method> methods = {
      {"strip", [](Interpreter&, const std::string& s,
                   const Arguments& a) { return strip_method(s, a, true, true); }},
      {"lstrip", [](Interpreter&, const std::string& s,
                    const Arguments& a) { return strip_method(s, a, true, false); }},
      {"rstrip", [](Interpreter&, const std::string& s,
                    const Arguments& a) { return strip_method(s, a, false, true); }},
      {"upper",
       [](Interpreter&, const std::string& s, const Arguments&) { return Value(upper_case(s)); }},
      {"lower",
       [](Interpreter&, const std::string& s, const Arguments&) { return Value(lower_case(s)); }},
      {"title",
       [](Interpreter&, const std::string& s, const Arguments&) { return Value(title(s)); }},
      {"capitalize",
       [](Interpreter&, const std::string& s, const Arguments&) { return Value(capitalize(s)); }},
      {"split",
       [](Interpreter& in, const std::string& s, const Arguments& a) {
         const Value* by = a.find(0, "sep");
         return Value(split_text(in, s, by ? by->string() : nullptr,
                                 integer_or(a, 1, "maxsplit", -1), false));
       }},
      {"rsplit",
       [](Interpreter& in, const std::string& s, const Arguments& a) {
         const Value* by = a.find(0, "sep");
         return Value(split_text(in, s, by ? by->string() : nullptr,
                                 integer_or(a, 1, "maxsplit", -1), true));
       }},
      {"splitlines",
       [](Interpreter& in, const std::string& s, const Arguments&) {
         const std::string lines = s.ends_with('\n') ? s.substr(0, s.size() - 1) : s;
         const std::string line_break = "\n";
         return s.empty() ? Value(List{}) : Value(split_text(in, lines, &line_break, -1, false));
       }},
      {"startswith", [](Interpreter& in, const std::string& s,
                        const Arguments& a) { return Value(begins_or_ends(in, s, a, true)); }},
      {"endswith", [](Interpreter& in, const std::string& s,
                      const Arguments& a) { return Value(begins_or_ends(in, s, a, false)); }},
      {"removeprefix",
       [](Interpreter& in, const std::string& s, const Arguments& a) {
         const auto& what = text_argument(in, a, 0, "prefix");
         return Value(s.starts_with(what) ? s.substr(what.size()) : s);
       }},
      {"removesuffix",
       [](Interpreter& in, const std::string& s, const Arguments& a) {
         const auto& what = text_argument(in, a, 0, "suffix");
         return Value(s.ends_with(what) ? s.substr(0, s.size() - what.size()) : s);
       }},
      {"replace",
       [](Interpreter& in, const std::string& s, const Arguments& a) {
         return Value(replace_text(in, s, text_argument(in, a, 0, "old"),
                                   text_argument(in, a, 1, "new"), integer_or(a, 2, "count", -1)));
       }},
      {"find", [](Interpreter& in, const std::string& s,
                  const Arguments& a) { return Value(find_text(in, s, a, false)); }},
      {"rfind", [](Interpreter& in, const std::string& s,
                   const Arguments& a) { return Value(find_text(in, s, a, true)); }},
      {"count",
       [](Interpreter& in, const std::string& s, const Arguments& a) {
         const auto& what = text_argument(in, a, 0, "sub");
         int64_t count = 0;
         for (size_t at = 0; !what.empty() && (at = s.find(what, at)) != s.npos; at += what.size())
           ++count;
         return Value(count);
       }},
      {"join",
       [](Interpreter& in, const std::string& s, const Arguments& a) {
         Arguments separator;
         separator.positional.emplace_back(s);
         return apply_filter(in, "join", a.positional.empty() ? Value(List{}) : a.positional[0],
                             separator);
       }},
      {"isdigit", [](Interpreter&, const std::string& s,
                     const Arguments&) { return Value(all_are(s, kNumber)); }},
      {"isalpha", [](Interpreter&, const std::string& s,
                     const Arguments&) { return Value(all_are(s, kLetter)); }},
      {"isalnum", [](Interpreter&, const std::string& s,
                     const Arguments&) { return Value(all_are(s, kLetter | kNumber)); }},
      {"isspace", [](Interpreter&, const std::string& s,
                     const Arguments&) { return Value(all_are(s, kSpace)); }},
      {"isupper", [](Interpreter&, const std::string& s,
                     const Arguments&) { return Value(s != lower_case(s) && s == upper_case(s)); }},
      {"islower", [](Interpreter&, const std::string& s,
                     const Arguments&) { return Value(s != upper_case(s) && s == lower_case(s)); }},
  };
  return methods;
}

std::optional<Value> dict_method(const Value& of, const std::string& name) {
  if (name == "items" || name == "keys" || name == "values") {
    const char which = name[0];
    return Value(
        [of, which](Interpreter& in, const Arguments&) {
          List out;
          for (const auto& [key, value] : *of.dict())
            out.push_back(which == 'i' ? Value(List{key, value}) : which == 'k' ? key : value);
          in.charge(out.size() * 3 * sizeof(Value));
          return Value(out);
        },
        of);
  }
  if (name != "get") return std::nullopt;
  const Function get = [of](Interpreter& in, const Arguments& a) -> Value {
    in.take_steps(of.dict()->size() / 16);
    const Value* key = a.find(0, "key");
    for (const auto& [known, value] : *of.dict())
      if (key && in.same(known, *key)) return value;
    const Value* other = a.find(1, "default");
    return other ? *other : Value(None{});
  };
  return Value(get, of);
}

Value make_range(Interpreter& in, const Arguments& a) {
  std::array<int64_t, 3> bounds = {0, 0, 1};
  const size_t count = a.positional.size();
  if (count < 1 || count > 3) in.refuse("range with no or more than three numbers");
  for (size_t i = 0; i < count; ++i) {
    if (!a.positional[i].is_integer()) in.refuse("range with what is no integer");
    bounds[count == 1 ? 1 : i] = a.positional[i].integer();
  }
  const auto [begin, end, step] = bounds;
  if (step == 0) in.refuse("range by steps of 0");
  List out;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(out.size()) >= kMostRange)
      in.refuse_cost(kMostRange, "numbers in a range");
    out.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  in.charge(out.size() * sizeof(Value));
  return out;
}

Value raise(Interpreter& in, const Arguments& a) {
  fail("chat template", "expected messages that the template takes, got: ",
       a.positional.empty() ? std::string() : in.text_of(a.positional[0]),
       ". Correct the messages.");
}

Value current_time(Interpreter& in, const Arguments& a) {
  const std::string& format = text_argument(in, a, 0, "format");
  const std::time_t now = in.now();
  std::tm parts = {};
  localtime_r(&now, &parts);
  std::array<char, 512> out = {};
  const size_t length =
      format.size() > 200 ? 0 : std::strftime(out.data(), out.size(), format.c_str(), &parts);
  return std::string(out.data(), length);
}

}  // namespace

std::optional<Value> find_method(const Value& of, const std::string& name) {
  if (of.dict()) return dict_method(of, name);
  if (of.list() && (name == "append" || name == "extend" || name == "insert" || name == "pop"))
    return Function([name](Interpreter& in, const Arguments&) -> Value {
      in.refuse(concat("a call of ", name, "(): lists of templates do not change,"));
    });
  if (of.list() && name == "count")
    return Value(
        [of](Interpreter& in, const Arguments& a) {
          in.take_steps(of.size().comparisons);
          const auto is_it = [&](const Value& item) {
            return !a.positional.empty() && equal(item, a.positional[0]);
          };
          return Value(static_cast<int64_t>(std::ranges::count_if(*of.list(), is_it)));
        },
        of);
  if (!of.string()) return std::nullopt;
  const auto found = string_methods().find(name);
  if (found == string_methods().end()) return std::nullopt;
  return Function([of, method = found->second](Interpreter& in, const Arguments& a) {
    return method(in, *of.string(), a);
  });
}

Value find_global(const std::string& name) {
  if (name == "range") return Function(make_range);
  if (name == "raise_exception") return Function(raise);
  if (name == "strftime_now") return Function(current_time);
  if (name == "namespace")
    return Function([](Interpreter& in, const Arguments& a) {
      const auto out = in.make_namespace();
      if (!a.positional.empty() && a.positional[0].dict())
        for (const auto& [key, value] : *a.positional[0].dict())
          out->fields.emplace_back(in.text_of(key), value);
      for (const auto& [key, value] : a.named) out->fields.emplace_back(key, value);
      return Value(out);
    });
  if (name == "dict")
    return Function([](Interpreter&, const Arguments& a) {
      Dict out = !a.positional.empty() && a.positional[0].dict() ? *a.positional[0].dict() : Dict();
      for (const auto& [key, value] : a.named) out.emplace_back(Value(key), value);
      return Value(out);
    });
  return Undefined{name};
}

bool apply_test(Interpreter& in, const std::string& name, const Value& v, const Arguments& a) {
  const auto other = [&]() -> const Value& {
    if (a.positional.empty()) in.refuse(concat("the test '", name, "' without a value"));
    return a.positional[0];
  };
  if (name == "defined") return !v.is_undefined();
  if (name == "undefined") return v.is_undefined();
  if (name == "none") return v.is_none();
  if (name == "string") return v.string() != nullptr;
  if (name == "mapping") return v.dict() != nullptr;
  if (name == "number") return v.is_number();
  if (name == "integer") return v.as<int64_t>() != nullptr;
  if (name == "float") return v.as<double>() != nullptr;
  if (name == "boolean") return v.as<bool>() != nullptr;
  if (name == "true") return v.as<bool>() && *v.as<bool>();
  if (name == "false") return v.as<bool>() && !*v.as<bool>();
  if (name == "iterable" || name == "sequence")
    return v.string() || v.list() || v.dict() || (name == "iterable" && v.is_undefined());
  if (name == "callable") return v.function() != nullptr;
  if (name == "odd") return v.is_integer() && v.integer() % 2 != 0;
  if (name == "even") return v.is_integer() && v.integer() % 2 == 0;
  if (name == "divisibleby")
    return v.is_integer() && other().is_integer() && other().integer() != 0 &&
           v.integer() % other().integer() == 0;
  if (name == "eq" || name == "equalto" || name == "==") return in.same(v, other());
  if (name == "sameas") return std::string_view(v.type()) == other().type() && in.same(v, other());
  if (name == "ne" || name == "!=") return !in.same(v, other());
  if (name == "lt" || name == "lessthan") return in.order(v, other()) < 0;
  if (name == "gt" || name == "greaterthan") return in.order(v, other()) > 0;
  if (name == "le") return in.order(v, other()) <= 0;
  if (name == "ge") return in.order(v, other()) >= 0;
  if (name == "in") return holds(in, other(), v);
  if (name == "lower") {
    const std::string text = in.text_of(v);
    return text != upper_case(text) && text == lower_case(text);
  }
  if (name == "upper") {
    const std::string text = in.text_of(v);
    return text != lower_case(text) && text == upper_case(text);
  }
  in.refuse(concat("the test '", name, "', which this version does not know,"));
}

}  // namespace moe::data::jinja
