#pragma once
// A small imperative language, a subset of Python: whole numbers, variables, print, if/else, while,
// for over range. The corpus generator builds programs of it, writes them as source and runs them.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moe::corpora::toy {

struct Expression {
  enum class Kind { kNumber, kVariable, kBinary };
  Kind kind = Kind::kNumber;
  int64_t value = 0;   // kNumber: the number, kVariable: its index
  std::string symbol;  // kBinary: + - * // % < > <= == !=
  std::vector<Expression> operands;
};

Expression number(int64_t value);
Expression variable(int64_t index);
Expression binary(Expression left, std::string symbol, Expression right);

struct Statement {
  enum class Kind { kAssign, kPrint, kIf, kWhile, kFor };
  Kind kind = Kind::kAssign;
  int64_t target = 0;  // kAssign, kFor
  std::vector<Expression>
      expressions;              // the value; printed values; the condition; from and to of range
  std::string label;            // kPrint: a text printed first, "" for none
  std::vector<Statement> body;  // kIf, kWhile, kFor
  std::vector<Statement> otherwise;  // kIf
};

Statement assign(int64_t target, Expression value);
Statement print(std::vector<Expression> values, std::string label = "");
Statement if_then(Expression condition, std::vector<Statement> body,
                  std::vector<Statement> otherwise = {});
Statement while_loop(Expression condition, std::vector<Statement> body);
Statement for_range(int64_t target, Expression from, Expression to, std::vector<Statement> body);

using Program = std::vector<Statement>;

/// Python source, one statement a line, no newline at the end. `names[i]` is what variable i is
/// called.
std::string source(const Program& program, const std::vector<std::string>& names);

/// What the program prints, without the last newline. Nothing when it prints nothing, runs for more
/// than `most_steps` statements, prints more than `most_lines` lines, reads a variable without a
/// value, divides by zero, or leaves
/// [-999999, 999999].
std::optional<std::string> run(const Program& program, int64_t most_steps = 400,
                               int64_t most_lines = 10);

}  // namespace moe::corpora::toy
