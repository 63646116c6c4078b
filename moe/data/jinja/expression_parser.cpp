#include <cstdlib>

#include <moe/data/jinja/parser_base.h>
#include <moe/formats/strict_json.h>

namespace moe::data::jinja {

namespace {

constexpr int kDeepestSyntax = 200;
/// Operators, filters and attributes one behind another: each lies inside the next.
constexpr int kLongestChain = 400;

}  // namespace

ExpressionParser::Depth::Depth(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.depth_ > kDeepestSyntax)
    fail("chat template", "expected a template nested at most ", kDeepestSyntax,
         " deep, got more on line ", parser_.now().line, ". Write a simpler one.");
}

void ExpressionParser::refuse(std::string_view expected) const {
  const Token& token = now();
  fail("chat template", "expected ", expected, " on line ", token.line, " of the template, got ",
       token.kind == Token::Kind::kEnd ? std::string("its end") : formats::in_quotes(token.text),
       ". Correct the template.");
}

void ExpressionParser::check_chain(int links) const {
  if (links > kLongestChain) refuse(concat("at most ", kLongestChain, " operators in a chain"));
}

bool ExpressionParser::take_operator(std::string_view text) {
  if (!is_operator(text)) return false;
  take();
  return true;
}

bool ExpressionParser::take_name(std::string_view text) {
  if (!is_name(text)) return false;
  take();
  return true;
}

void ExpressionParser::expect_operator(std::string_view text) {
  if (!take_operator(text)) refuse(concat('\'', text, '\''));
}

std::string ExpressionParser::expect_name(std::string_view what) {
  if (!is(Token::Kind::kName)) refuse(what);
  return take().text;
}

ExpressionPointer ExpressionParser::make(Expression::Kind kind, std::string name) const {
  auto out = std::make_unique<Expression>();
  out->kind = kind;
  out->line = now().line;
  out->name = std::move(name);
  return out;
}

ExpressionPointer ExpressionParser::binary(std::string name, ExpressionPointer left,
                                           ExpressionPointer right) const {
  auto out = make(Expression::Kind::kBinary, std::move(name));
  out->children.push_back(std::move(left));
  out->children.push_back(std::move(right));
  return out;
}

ExpressionPointer ExpressionParser::parse_tuple(bool condition) {
  auto first = parse_expression(condition);
  if (!is_operator(",")) return first;
  auto out = make(Expression::Kind::kList);
  out->children.push_back(std::move(first));
  while (take_operator(",")) {
    if (is(Token::Kind::kCloseBlock) || is(Token::Kind::kCloseOutput) || is_operator(")")) break;
    out->children.push_back(parse_expression(condition));
  }
  return out;
}

ExpressionPointer ExpressionParser::parse_expression(bool condition) {
  const Depth depth(*this);
  auto out = parse_or();
  for (int links = 0; condition && take_name("if"); check_chain(++links)) {
    auto choice = make(Expression::Kind::kCondition);
    choice->children.push_back(std::move(out));
    choice->children.push_back(parse_or());
    choice->children.push_back(take_name("else") ? parse_expression() : nullptr);
    out = std::move(choice);
  }
  return out;
}

ExpressionPointer ExpressionParser::parse_or() {
  auto out = parse_and();
  for (int links = 0; take_name("or"); check_chain(++links))
    out = binary("or", std::move(out), parse_and());
  return out;
}

ExpressionPointer ExpressionParser::parse_and() {
  auto out = parse_not();
  for (int links = 0; take_name("and"); check_chain(++links))
    out = binary("and", std::move(out), parse_not());
  return out;
}

ExpressionPointer ExpressionParser::parse_not() {
  if (!take_name("not")) return parse_compare();
  const Depth depth(*this);
  auto out = make(Expression::Kind::kUnary, "not");
  out->children.push_back(parse_not());
  return out;
}

/// a < b < c means what it means in Python: both hold.
ExpressionPointer ExpressionParser::parse_compare() {
  auto out = parse_binary(0);
  for (bool chained = false;; chained = true) {
    std::string sign;
    for (const char* known : {"==", "!=", "<=", ">=", "<", ">"})
      if (sign.empty() && take_operator(known)) sign = known;
    if (sign.empty() && take_name("in")) sign = "in";
    if (sign.empty() && is_name("not")) {
      take();
      if (!take_name("in")) refuse("'in' behind 'not'");
      sign = "not in";
    }
    if (sign.empty()) return out;
    if (chained) refuse("one comparison");
    out = binary(sign, std::move(out), parse_binary(0));
  }
}

ExpressionPointer ExpressionParser::parse_binary(size_t level) {
  static const std::vector<std::vector<std::string>> kLevels = {
      {"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
  if (level == kLevels.size()) return parse_unary(true);
  auto out = parse_binary(level + 1);
  int links = 0;
  for (bool found = true; found; check_chain(++links)) {
    found = false;
    for (const auto& sign : kLevels[level])
      if (!found && take_operator(sign)) {
        found = true;
        out = binary(sign, std::move(out), parse_binary(level + 1));
      }
  }
  return out;
}

ExpressionPointer ExpressionParser::parse_unary(bool with_filters) {
  const Depth depth(*this);
  ExpressionPointer out;
  if (is_operator("-") || is_operator("+")) {
    out = make(Expression::Kind::kUnary, take().text);
    out->children.push_back(parse_unary(false));
  } else {
    out = parse_postfix(parse_primary());
  }
  return with_filters ? parse_filters(std::move(out)) : std::move(out);
}

ExpressionPointer ExpressionParser::parse_primary() {
  auto out = make(Expression::Kind::kLiteral);
  if (is(Token::Kind::kString)) {
    std::string text = take().text;
    while (is(Token::Kind::kString)) text += take().text;
    out->value = text;
  } else if (is(Token::Kind::kInteger)) {
    const std::string digits = take().text;
    if (digits.size() > 18) refuse("an integer of at most 18 digits");
    out->value = static_cast<int64_t>(std::strtoll(digits.c_str(), nullptr, 10));
  } else if (is(Token::Kind::kFloat)) {
    out->value = std::strtod(take().text.c_str(), nullptr);
  } else if (is(Token::Kind::kName)) {
    const std::string name = take().text;
    if (name == "true" || name == "True")
      out->value = true;
    else if (name == "false" || name == "False")
      out->value = false;
    else if (name == "none" || name == "None")
      out->value = None{};
    else
      out = make(Expression::Kind::kName, name);
  } else if (take_operator("(")) {
    if (take_operator(")")) return make(Expression::Kind::kList);
    out = parse_tuple();
    expect_operator(")");
  } else if (take_operator("[")) {
    out->kind = Expression::Kind::kList;
    while (!take_operator("]")) {
      out->children.push_back(parse_expression());
      if (!is_operator("]")) expect_operator(",");
    }
  } else if (take_operator("{")) {
    out->kind = Expression::Kind::kDict;
    while (!take_operator("}")) {
      out->children.push_back(parse_expression());
      expect_operator(":");
      out->children.push_back(parse_expression());
      if (!is_operator("}")) expect_operator(",");
    }
  } else {
    refuse("an expression");
  }
  return out;
}

ExpressionPointer ExpressionParser::parse_postfix(ExpressionPointer of) {
  for (int links = 0;; check_chain(++links)) {
    if (take_operator(".")) {
      auto out = make(Expression::Kind::kAttribute);
      if (is(Token::Kind::kInteger)) {
        out->kind = Expression::Kind::kItem;
        out->children.push_back(std::move(of));
        out->children.push_back(parse_primary());
      } else {
        out->name = expect_name("the name of an attribute");
        out->children.push_back(std::move(of));
      }
      of = std::move(out);
    } else if (take_operator("[")) {
      of = parse_subscript(std::move(of));
    } else if (is_operator("(")) {
      auto out = make(Expression::Kind::kCall);
      out->children.push_back(std::move(of));
      out->arguments = parse_arguments();
      of = std::move(out);
    } else {
      return of;
    }
  }
}

ExpressionPointer ExpressionParser::parse_subscript(ExpressionPointer of) {
  auto out = make(Expression::Kind::kItem);
  out->children.push_back(std::move(of));
  const auto part = [&]() -> ExpressionPointer {
    return is_operator(":") || is_operator("]") ? nullptr : parse_expression();
  };
  out->children.push_back(part());
  if (is_operator(":")) {
    out->kind = Expression::Kind::kSlice;
    while (take_operator(":")) out->children.push_back(part());
    if (out->children.size() > 4) refuse("a slice of three parts");
    out->children.resize(4);
  } else if (!out->children[1]) {
    refuse("what stands between brackets");
  }
  expect_operator("]");
  return out;
}

CallArguments ExpressionParser::parse_arguments() {
  CallArguments out;
  expect_operator("(");
  while (!take_operator(")")) {
    if (is_operator("*") || is_operator("**")) refuse("an argument without a star");
    auto value = parse_expression();
    if (value->kind == Expression::Kind::kName && take_operator("=")) {
      std::string name = value->name;
      out.named.emplace_back(std::move(name), parse_expression());
    } else {
      out.positional.push_back(std::move(value));
    }
    if (!is_operator(")")) expect_operator(",");
  }
  return out;
}

ExpressionPointer ExpressionParser::parse_filters(ExpressionPointer of) {
  for (int links = 0;; check_chain(++links)) {
    if (take_operator("|")) {
      auto out = make(Expression::Kind::kFilter, expect_name("the name of a filter"));
      out->children.push_back(std::move(of));
      if (is_operator("(")) out->arguments = parse_arguments();
      of = std::move(out);
    } else if (take_name("is")) {
      of = parse_test(std::move(of));
    } else if (is_operator("(") || is_operator(".") || is_operator("[")) {
      // What a filter gave can be called, and looked into.
      if (of->kind != Expression::Kind::kFilter && of->kind != Expression::Kind::kTest) return of;
      of = parse_postfix(std::move(of));
    } else {
      return of;
    }
  }
}

ExpressionPointer ExpressionParser::parse_test(ExpressionPointer of) {
  const bool negated = take_name("not");
  auto out = make(Expression::Kind::kTest, expect_name("the name of a test"));
  out->children.push_back(std::move(of));
  if (is_operator("(")) {
    out->arguments = parse_arguments();
  } else {
    // One argument may stand without brackets.
    const bool word = is(Token::Kind::kName) && !is_name("else") && !is_name("or") &&
                      !is_name("and") && !is_name("if") && !is_name("is") && !is_name("in") &&
                      !is_name("not");
    const bool value = is(Token::Kind::kString) || is(Token::Kind::kInteger) ||
                       is(Token::Kind::kFloat) || is_operator("[") || is_operator("{");
    if (word || value) out->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  if (!negated) return out;
  auto no = make(Expression::Kind::kUnary, "not");
  no->children.push_back(std::move(out));
  return no;
}

}  // namespace moe::data::jinja
