#pragma once
// Reading tokens one after another, and the expressions of a template.

#include <string>
#include <vector>

#include <moe/base/error.h>
#include <moe/data/jinja/lexer.h>
#include <moe/data/jinja/syntax.h>

namespace moe::data::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  [[noreturn]] void refuse(std::string_view expected) const;
  void check_chain(int links) const;
  const Token& now() const { return tokens_[at_]; }
  bool is(Token::Kind kind) const { return now().kind == kind; }
  bool is_operator(std::string_view text) const {
    return now().kind == Token::Kind::kOperator && now().text == text;
  }
  bool is_name(std::string_view text) const {
    return now().kind == Token::Kind::kName && now().text == text;
  }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool take_operator(std::string_view text);
  bool take_name(std::string_view text);
  void expect_operator(std::string_view text);
  std::string expect_name(std::string_view what);

  /// With `condition` an "a if b else c"; a comma makes a list where `tuple` is true.
  ExpressionPointer parse_expression(bool condition = true);
  ExpressionPointer parse_tuple(bool condition = true);
  ExpressionPointer parse_primary();
  ExpressionPointer parse_postfix(ExpressionPointer of);
  ExpressionPointer parse_filters(ExpressionPointer of);
  CallArguments parse_arguments();
  ExpressionPointer make(Expression::Kind kind, std::string name = "") const;

  /// Counts how deep the parser is inside itself.
  class Depth {
   public:
    explicit Depth(ExpressionParser& parser);
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    ExpressionParser& parser_;
  };

 private:
  ExpressionPointer parse_or();
  ExpressionPointer parse_and();
  ExpressionPointer parse_not();
  ExpressionPointer parse_compare();
  ExpressionPointer parse_binary(size_t level);
  ExpressionPointer parse_unary(bool with_filters);
  ExpressionPointer parse_subscript(ExpressionPointer of);
  ExpressionPointer parse_test(ExpressionPointer of);
  ExpressionPointer binary(std::string name, ExpressionPointer left, ExpressionPointer right) const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace moe::data::jinja
