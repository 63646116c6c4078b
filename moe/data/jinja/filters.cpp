// Filters of templates.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include <moe/base/error.h>
#include <moe/data/jinja/builtins.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data::jinja {

namespace {

using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);

bool flag_or(const Arguments& a, size_t place, std::string_view name, bool other) {
  const Value* value = a.find(place, name);
  return value ? value->truth() : other;
}

int64_t whole_or(const Arguments& a, size_t place, std::string_view name, int64_t other) {
  const Value* value = a.find(place, name);
  return value && value->is_integer() ? value->integer() : other;
}

std::string text_or(const Arguments& a, size_t place, std::string_view name,
                    const std::string& other) {
  const Value* value = a.find(place, name);
  return value && !value->is_none() ? value->text() : other;
}

/// of.a.b for the path "a.b".
Value follow(Interpreter& in, Value of, const std::string& path) {
  size_t begin = 0;
  for (size_t dot; begin <= path.size(); begin = dot + 1) {
    dot = std::min(path.find('.', begin), path.size());
    const std::string part = path.substr(begin, dot - begin);
    const bool digits = !part.empty() && part.size() < 10 &&
                        part.find_first_not_of("0123456789") == std::string::npos;
    of = digits ? in.item(of, static_cast<int64_t>(std::stoll(part))) : in.item(of, Value(part));
  }
  return of;
}

Arguments behind(const Arguments& a, size_t count) {
  Arguments out;
  for (size_t i = count; i < a.positional.size(); ++i) out.positional.push_back(a.positional[i]);
  out.named = a.named;
  return out;
}

Value map_filter(Interpreter& in, const Value& v, const Arguments& a) {
  List out;
  const Value* path = a.positional.empty() ? a.find(0, "attribute") : nullptr;
  if (!path && a.positional.empty()) in.refuse("map without an attribute or a filter");
  for (const auto& item : in.items_of(v)) {
    if (path) {
      const Value found = follow(in, item, path->text());
      const Value* other = a.find(1, "default");
      out.push_back(found.is_undefined() && other ? *other : found);
    } else {
      out.push_back(apply_filter(in, a.positional[0].text(), item, behind(a, 1)));
    }
  }
  return out;
}

/// select, reject, selectattr and rejectattr.
Value choose(Interpreter& in, const Value& v, const Arguments& a, bool by_attribute, bool wanted) {
  const size_t place = by_attribute;
  if (a.positional.size() < place) in.refuse("selectattr or rejectattr without an attribute");
  List out;
  for (const auto& item : in.items_of(v)) {
    const Value seen = by_attribute ? follow(in, item, a.positional[0].text()) : item;
    const bool holds_true = a.positional.size() > place ? apply_test(in, a.positional[place].text(),
                                                                     seen, behind(a, place + 1))
                                                        : seen.truth();
    if (holds_true == wanted) out.push_back(item);
  }
  return out;
}

Value sorted(Interpreter& in, List items, const Arguments& a, size_t first) {
  const bool reverse = flag_or(a, first, "reverse", false),
             exact = flag_or(a, first + 1, "case_sensitive", false);
  const Value* path = a.find(first + 2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (auto& item : items) {
    Value key = path && !path->is_none() ? follow(in, item, path->text()) : item;
    if (!exact && key.string()) key = lower_case(*key.string());
    keyed.emplace_back(std::move(key), std::move(item));
  }
  std::ranges::stable_sort(keyed, [&](const auto& x, const auto& y) {
    return reverse ? in.order(y.first, x.first) < 0 : in.order(x.first, y.first) < 0;
  });
  List out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return out;
}

Value json_filter(Interpreter& in, const Value& v, const Arguments& a) {
  JsonStyle style;
  style.ascii = flag_or(a, 0, "ensure_ascii", false);
  // Jinja's own filter has the indentation first; a number there is one.
  const bool first_is_indent = !a.positional.empty() && a.positional[0].as<int64_t>();
  if (first_is_indent) style.ascii = false;
  style.indent = static_cast<int>(std::clamp<int64_t>(
      first_is_indent ? a.positional[0].integer() : whole_or(a, 1, "indent", -1), -1, 32));
  if (const Value* signs = a.find(2, "separators"); signs && signs->list()) {
    if (signs->list()->size() != 2) in.refuse("separators that are not two");
    style.item_separator = (*signs->list())[0].text();
    style.key_separator = (*signs->list())[1].text();
  }
  style.sort_keys = flag_or(a, 3, "sort_keys", false);
  in.charge_text(v);
  return to_json(v, style);
}

Value join_filter(Interpreter& in, const Value& v, const Arguments& a) {
  const std::string between = text_or(a, 0, "d", "");
  const Value* path = a.find(1, "attribute");
  std::string out;
  bool first = true;
  for (const auto& item : in.items_of(v)) {
    if (!first) out += between;
    first = false;
    const std::string text = in.text_of(path ? follow(in, item, path->text()) : item);
    in.charge(text.size() + between.size());
    out += text;
  }
  return out;
}

Value indent_filter(Interpreter& in, const Value& v, const Arguments& a) {
  const Value* width = a.find(0, "width");
  const std::string space =
      width && width->string()
          ? *width->string()
          : std::string(
                static_cast<size_t>(std::clamp<int64_t>(whole_or(a, 0, "width", 4), 0, 1000)), ' ');
  const bool first = flag_or(a, 1, "first", false), blank = flag_or(a, 2, "blank", false);
  std::string out;
  size_t begin = 0;
  const std::string text = in.text_of(v);
  for (bool front = true; begin <= text.size(); front = false) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (!front) out += '\n';
    in.charge(space.size() + end - begin);
    if ((front ? first : true) && (blank || end > begin)) out += space;
    out.append(text, begin, end - begin);
    begin = end + 1;
  }
  return out;
}

Value length_filter(Interpreter& in, const Value& v, const Arguments&) {
  if (const auto* text = v.string()) return static_cast<int64_t>(characters(*text).size());
  if (const auto* list = v.list()) return static_cast<int64_t>(list->size());
  if (const auto* dict = v.dict()) return static_cast<int64_t>(dict->size());
  if (v.is_undefined()) return int64_t{0};
  in.refuse(concat("the length of ", v.type()));
}

Value extreme(Interpreter& in, const Value& v, bool largest) {
  const List items = in.items_of(v);
  if (items.empty()) return Undefined{"extreme of nothing"};
  const auto less = [&](const Value& x, const Value& y) { return in.order(x, y) < 0; };
  return largest ? *std::ranges::max_element(items, less) : *std::ranges::min_element(items, less);
}

Value integer_filter(const Value& v, const Arguments& a) {
  const int64_t other = whole_or(a, 0, "default", 0);
  if (v.is_number()) {
    const double value = v.number();
    return std::abs(value) < 9e18 ? v.is_integer() ? v.integer() : static_cast<int64_t>(value)
                                  : other;
  }
  if (!v.string()) return other;
  const std::string text(strip(*v.string(), nullptr, true, true));
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const bool fits = !text.empty() && *end == '\0' && std::abs(value) < 9e18;
  return fits ? static_cast<int64_t>(value) : other;
}

Value float_filter(const Value& v, const Arguments& a) {
  const Value* other = a.find(0, "default");
  if (v.is_number()) return v.number();
  char* end = nullptr;
  const double value = v.string() ? std::strtod(v.string()->c_str(), &end) : 0;
  if (v.string() && !v.string()->empty() && *end == '\0') return value;
  return other ? *other : Value(0.0);
}

std::string escape_html(Interpreter& in, const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  in.charge(out.size());
  return out;
}

Value pairs_of(Interpreter& in, const Value& v) {
  if (v.is_undefined()) return List{};
  if (!v.dict()) in.refuse(concat("the items of ", v.type()));
  return in.call(*find_method(v, "items"), {});
}

Value round_filter(const Value& v, const Arguments& a) {
  const double scale = std::pow(10.0, static_cast<double>(whole_or(a, 0, "precision", 0)));
  const std::string method = text_or(a, 1, "method", "common");
  const double value = v.number() * scale;
  return (method == "ceil"    ? std::ceil(value)
          : method == "floor" ? std::floor(value)
                              : std::nearbyint(value)) /
         scale;
}

Value unique_filter(Interpreter& in, const Value& v, const Arguments&) {
  List out;
  for (const auto& item : in.items_of(v)) {
    in.charge(out.size());  // what looking through them costs
    if (std::ranges::none_of(out, [&](const Value& seen) { return in.same(seen, item); }))
      out.push_back(item);
  }
  return out;
}

const std::map<std::string_view, Filter>& filters() {
#define MOE_FILTER(name, expression)                                         \
  {                                                                          \
    name, [](Interpreter& in, const Value& v, const Arguments& a) -> Value { \
      static_cast<void>(in), static_cast<void>(v), static_cast<void>(a);     \
      return expression;                                                     \
    }                                                                        \
  }
  static const std::map<std::string_view, Filter> known = {
      {"map", map_filter},
      {"tojson", json_filter},
      {"join", join_filter},
      {"indent", indent_filter},
      {"length", length_filter},
      {"count", length_filter},
      {"unique", unique_filter},
      MOE_FILTER("select", choose(in, v, a, false, true)),
      MOE_FILTER("reject", choose(in, v, a, false, false)),
      MOE_FILTER("selectattr", choose(in, v, a, true, true)),
      MOE_FILTER("rejectattr", choose(in, v, a, true, false)),
      MOE_FILTER("sort", sorted(in, in.items_of(v), a, 0)),
      MOE_FILTER("items", pairs_of(in, v)),
      MOE_FILTER("dictsort", sorted(in, in.items_of(pairs_of(in, v)), {}, 0)),
      MOE_FILTER("trim", Value(strip(in.text_of(v),
                                     a.find(0, "chars") ? a.find(0, "chars")->string() : nullptr,
                                     true, true))),
      MOE_FILTER("upper", Value(upper_case(in.text_of(v)))),
      MOE_FILTER("lower", Value(lower_case(in.text_of(v)))),
      MOE_FILTER("title", Value(title(in.text_of(v)))),
      MOE_FILTER("capitalize", Value(capitalize(in.text_of(v)))),
      MOE_FILTER("string", v.string() ? v : Value(in.text_of(v))),
      MOE_FILTER("safe", v.string() ? v : Value(in.text_of(v))),
      MOE_FILTER("escape", Value(escape_html(in, in.text_of(v)))),
      MOE_FILTER("e", Value(escape_html(in, in.text_of(v)))),
      MOE_FILTER("int", integer_filter(v, a)),
      MOE_FILTER("float", float_filter(v, a)),
      MOE_FILTER("list", Value(in.items_of(v))),
      MOE_FILTER("max", extreme(in, v, true)),
      MOE_FILTER("min", extreme(in, v, false)),
      MOE_FILTER("replace",
                 Value(replace_text(in, in.text_of(v), text_or(a, 0, "old", ""),
                                    text_or(a, 1, "new", ""), whole_or(a, 2, "count", -1)))),
      MOE_FILTER("attr", a.positional.empty() ? Value(Undefined{"attr"})
                                              : in.attribute(v, a.positional[0].text())),
      MOE_FILTER("format", Value(format_text(in, in.text_of(v), a.positional))),
      MOE_FILTER("wordcount",
                 static_cast<int64_t>(
                     in.call(*find_method(Value(in.text_of(v)), "split"), {}).list()->size())),
  };
#undef MOE_FILTER
  return known;
}

}  // namespace

Value apply_filter(Interpreter& in, const std::string& name, const Value& v, const Arguments& a) {
  if (const auto found = filters().find(name); found != filters().end())
    return found->second(in, v, a);
  if (name == "default" || name == "d") {
    const Value* other = a.find(0, "default_value");
    const bool also_false = flag_or(a, 1, "boolean", false);
    if (v.is_undefined() || (also_false && !v.truth())) return other ? *other : Value("");
    return v;
  }
  if (name == "abs" || name == "round") {
    if (!v.is_number()) in.refuse(concat("the filter '", name, "' of ", v.type()));
    if (name == "round") return round_filter(v, a);
    return v.is_integer() ? Value(std::abs(v.integer())) : Value(std::abs(v.number()));
  }
  if (name == "first" || name == "last") {
    const List items = in.items_of(v);
    if (items.empty()) return Undefined{name + " of nothing"};
    return name == "first" ? items.front() : items.back();
  }
  if (name == "reverse") {
    List items = in.items_of(v);
    std::ranges::reverse(items);
    if (!v.string()) return items;
    std::string text;
    for (const auto& item : items) text += *item.string();
    return text;
  }
  if (name == "sum") {
    const Value* path = a.find(0, "attribute");
    Value out = a.find(1, "start") ? *a.find(1, "start") : Value(int64_t{0});
    for (const auto& item : in.items_of(v))
      out = arithmetic(in, "+", out, path ? follow(in, item, path->text()) : item);
    return out;
  }
  in.refuse(concat("the filter '", name, "', which this version does not know,"));
}

}  // namespace moe::data::jinja
