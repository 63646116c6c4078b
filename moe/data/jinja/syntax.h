#pragma once
// What a template is parsed into.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moe/data/jinja/value.h>

namespace moe::data::jinja {

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPointer> positional;
  std::vector<std::pair<std::string, ExpressionPointer>> named;
};

struct Expression {
  enum class Kind {
    kLiteral,    // value
    kName,       // name
    kList,       // children
    kDict,       // children: key, value, key, value, …
    kAttribute,  // children[0].name
    kItem,       // children[0][children[1]]
    kSlice,      // children[0][children[1]:children[2]:children[3]], each may be null
    kCall,       // children[0](arguments)
    kFilter,     // children[0] | name(arguments)
    kTest,       // children[0] is name(arguments)
    kUnary,      // name children[0]
    kBinary,     // children[0] name children[1]
    kCondition,  // children[0] if children[1] else children[2], which may be null
  };
  Kind kind = Kind::kLiteral;
  size_t line = 0;
  Value value = {};
  std::string name = {};
  std::vector<ExpressionPointer> children = {};
  CallArguments arguments = {};
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

struct MacroParameter {
  std::string name;
  ExpressionPointer fallback;  // may be null
};

struct Statement {
  enum class Kind {
    kText,       // text
    kOutput,     // expression
    kIf,         // branches: (condition, body), the last condition may be null
    kFor,        // targets, expression (what), condition (may be null), body, otherwise
    kSet,        // targets or name.field = expression; a block: body
    kMacro,      // text (name), parameters, body
    kCallBlock,  // expression (a call) with body as caller
    kFilter,     // expression (a chain of filters on the empty literal) over body
    kBlock,      // body
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  size_t line = 0;
  std::string text = {};
  std::string field = {};  // of a namespace
  ExpressionPointer expression = {}, condition = {};
  std::vector<std::string> targets = {};
  std::vector<std::pair<ExpressionPointer, Block>> branches = {};
  std::vector<MacroParameter> parameters = {};
  Block body = {}, otherwise = {};
  bool recursive = false;
};

}  // namespace moe::data::jinja
