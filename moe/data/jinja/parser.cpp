#include <algorithm>

#include <moe/data/jinja/parser.h>
#include <moe/data/jinja/parser_base.h>

namespace moe::data::jinja {

namespace {

using Kind = Statement::Kind;

class TemplateParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Block run() {
    Block out = parse_block({});
    if (!is(Token::Kind::kEnd)) refuse("the end of the template");
    return out;
  }

 private:
  /// Statements up to a tag whose name is among `ends`, which is left to be read.
  Block parse_block(const std::vector<std::string>& ends) {
    const Depth depth(*this);
    Block out;
    for (;;) {
      if (is(Token::Kind::kText)) {
        out.push_back(make_statement(Kind::kText));
        out.back()->text = take().text;
      } else if (is(Token::Kind::kOpenOutput)) {
        take();
        out.push_back(make_statement(Kind::kOutput));
        out.back()->expression = parse_tuple();
        expect(Token::Kind::kCloseOutput, "'}}'");
      } else if (is(Token::Kind::kOpenBlock)) {
        take();
        if (std::ranges::find(ends, now().text) != ends.end()) return out;
        out.push_back(parse_statement());
      } else {
        if (!ends.empty()) refuse(concat("{% ", ends.back(), " %}"));
        return out;
      }
    }
  }

  std::unique_ptr<Statement> make_statement(Kind kind) const {
    auto out = std::make_unique<Statement>();
    out->kind = kind;
    out->line = now().line;
    return out;
  }
  void expect(Token::Kind kind, std::string_view what) {
    if (!is(kind)) refuse(what);
    take();
  }
  void close() { expect(Token::Kind::kCloseBlock, "'%}'"); }
  void end(std::string_view name) {
    if (!take_name(name)) refuse(concat("{% ", name, " %}"));
    close();
  }

  std::unique_ptr<Statement> parse_statement() {
    const std::string name = expect_name("a statement");
    if (name == "if") return parse_if();
    if (name == "for") return parse_for();
    if (name == "set") return parse_set();
    if (name == "macro") return parse_macro();
    if (name == "call") return parse_call_block();
    if (name == "filter") return parse_filter_block();
    if (name == "generation") {  // marks what a model answered; the text is as it stands
      close();
      auto out = make_statement(Kind::kBlock);
      out->body = parse_block({"endgeneration"});
      end("endgeneration");
      return out;
    }
    if (name == "with") return parse_with();
    if (name == "break" || name == "continue") {
      auto out = make_statement(name == "break" ? Kind::kBreak : Kind::kContinue);
      close();
      return out;
    }
    fail("chat template",
         "expected if, for, set, macro, call, filter, with, generation, break or "
         "continue in {% %} on line ",
         now().line, " of the template, got '", name, "'. This version does not know it.");
  }

  std::unique_ptr<Statement> parse_if() {
    auto out = make_statement(Kind::kIf);
    auto condition = parse_tuple();
    for (;;) {
      close();
      out->branches.emplace_back(std::move(condition), parse_block({"elif", "else", "endif"}));
      if (!take_name("elif")) break;
      condition = parse_tuple();
    }
    if (take_name("else")) {
      close();
      out->branches.emplace_back(nullptr, parse_block({"endif"}));
    }
    end("endif");
    return out;
  }

  std::unique_ptr<Statement> parse_for() {
    auto out = make_statement(Kind::kFor);
    out->targets = parse_targets();
    if (!take_name("in")) refuse("'in'");
    out->expression = parse_tuple(/*condition=*/false);
    if (take_name("if")) out->condition = parse_expression();
    out->recursive = take_name("recursive");
    close();
    out->body = parse_block({"else", "endfor"});
    if (take_name("else")) {
      close();
      out->otherwise = parse_block({"endfor"});
    }
    end("endfor");
    return out;
  }

  std::vector<std::string> parse_targets() {
    const bool bracket = take_operator("(");
    std::vector<std::string> out;
    do out.push_back(expect_name("a variable's name"));
    while (take_operator(","));
    if (bracket) expect_operator(")");
    return out;
  }

  std::unique_ptr<Statement> parse_set() {
    auto out = make_statement(Kind::kSet);
    out->targets = parse_targets();
    if (out->targets.size() == 1 && take_operator(".")) out->field = expect_name("a field's name");
    if (take_operator("=")) {
      out->expression = parse_tuple();
      close();
      return out;
    }
    if (is_operator("|")) {
      auto empty = make(Expression::Kind::kLiteral);
      empty->value = "";
      out->condition = parse_filters(std::move(empty));
    }
    close();
    out->body = parse_block({"endset"});
    end("endset");
    return out;
  }

  std::vector<MacroParameter> parse_parameters() {
    std::vector<MacroParameter> out;
    expect_operator("(");
    while (!take_operator(")")) {
      MacroParameter parameter;
      parameter.name = expect_name("a parameter's name");
      if (take_operator("=")) parameter.fallback = parse_expression();
      out.push_back(std::move(parameter));
      if (!is_operator(")")) expect_operator(",");
    }
    return out;
  }

  std::unique_ptr<Statement> parse_macro() {
    auto out = make_statement(Kind::kMacro);
    out->text = expect_name("a macro's name");
    out->parameters = parse_parameters();
    close();
    out->body = parse_block({"endmacro"});
    end("endmacro");
    return out;
  }

  std::unique_ptr<Statement> parse_call_block() {
    auto out = make_statement(Kind::kCallBlock);
    if (is_operator("(")) out->parameters = parse_parameters();
    out->expression = parse_expression();
    if (out->expression->kind != Expression::Kind::kCall) refuse("a call of a macro");
    close();
    out->body = parse_block({"endcall"});
    end("endcall");
    return out;
  }

  std::unique_ptr<Statement> parse_filter_block() {
    auto out = make_statement(Kind::kFilter);
    auto filter = make(Expression::Kind::kFilter, expect_name("a filter's name"));
    filter->children.push_back(make(Expression::Kind::kLiteral));
    filter->children[0]->value = "";
    if (is_operator("(")) filter->arguments = parse_arguments();
    out->expression = parse_filters(std::move(filter));
    close();
    out->body = parse_block({"endfilter"});
    end("endfilter");
    return out;
  }

  /// {% with a = 1, b = 2 %}: a block with variables of its own.
  std::unique_ptr<Statement> parse_with() {
    auto out = make_statement(Kind::kBlock);
    out->recursive = true;  // a scope of its own
    while (is(Token::Kind::kName)) {
      auto set = make_statement(Kind::kSet);
      set->targets = {take().text};
      expect_operator("=");
      set->expression = parse_expression();
      out->body.push_back(std::move(set));
      if (!take_operator(",")) break;
    }
    close();
    Block body = parse_block({"endwith"});
    for (auto& statement : body) out->body.push_back(std::move(statement));
    end("endwith");
    return out;
  }
};

}  // namespace

Block parse_template(std::string_view source) {
  return TemplateParser(tokenize_template(source)).run();
}

}  // namespace moe::data::jinja
