#include <map>
#include <utility>

#include <corpora/toy_program.h>
#include <moe/base/error.h>

namespace moe::corpora::toy {

namespace {

constexpr int64_t kLargest = 999999;

std::string text_of(const Expression& e, const std::vector<std::string>& names, bool inner) {
  switch (e.kind) {
    case Expression::Kind::kNumber:
      return std::to_string(e.value);
    case Expression::Kind::kVariable:
      return names.at(static_cast<size_t>(e.value));
    case Expression::Kind::kBinary:
      break;
  }
  const std::string text = concat(text_of(e.operands[0], names, true), ' ', e.symbol, ' ',
                                  text_of(e.operands[1], names, true));
  return inner ? "(" + text + ")" : text;
}

void write_block(const std::vector<Statement>& block, const std::vector<std::string>& names,
                 int depth, std::string& out) {
  const std::string indent(static_cast<size_t>(depth) * 4, ' ');
  for (const auto& s : block) {
    const auto part = [&](size_t i) { return text_of(s.expressions[i], names, false); };
    switch (s.kind) {
      case Statement::Kind::kAssign:
        out += concat(indent, names.at(static_cast<size_t>(s.target)), " = ", part(0), '\n');
        break;
      case Statement::Kind::kPrint: {
        std::vector<std::string> parts;
        if (!s.label.empty()) parts.push_back('"' + s.label + '"');
        for (size_t i = 0; i < s.expressions.size(); ++i) parts.push_back(part(i));
        out += concat(indent, "print(", join(parts), ")\n");
        break;
      }
      case Statement::Kind::kIf:
        out += concat(indent, "if ", part(0), ":\n");
        write_block(s.body, names, depth + 1, out);
        if (!s.otherwise.empty()) {
          out += indent + "else:\n";
          write_block(s.otherwise, names, depth + 1, out);
        }
        break;
      case Statement::Kind::kWhile:
        out += concat(indent, "while ", part(0), ":\n");
        write_block(s.body, names, depth + 1, out);
        break;
      case Statement::Kind::kFor:
        out += concat(indent, "for ", names.at(static_cast<size_t>(s.target)), " in range(",
                      part(0), ", ", part(1), "):\n");
        write_block(s.body, names, depth + 1, out);
        break;
    }
  }
}

/// Runs statements; `ok` turns false for good at the first thing `run` gives up on.
struct Machine {
  int64_t steps_left;
  int64_t lines_left;
  std::map<int64_t, int64_t> values = {};
  std::string out = {};
  bool ok = true;

  int64_t give_up() {
    ok = false;
    return 0;
  }

  int64_t apply(const std::string& symbol, int64_t a, int64_t b) {
    if (symbol == "+") return a + b;
    if (symbol == "-") return a - b;
    if (symbol == "*") return a * b;
    if (symbol == "<") return a < b;
    if (symbol == ">") return a > b;
    if (symbol == "<=") return a <= b;
    if (symbol == "==") return a == b;
    if (symbol == "!=") return a != b;
    if (b == 0) return give_up();
    // Python rounds a quotient down; the remainder has the divisor's sign.
    const int64_t quotient = a / b - (a % b != 0 && (a < 0) != (b < 0));
    if (symbol == "//") return quotient;
    if (symbol == "%") return a - quotient * b;
    return give_up();
  }

  int64_t value_of(const Expression& e) {
    int64_t value = e.value;
    if (e.kind == Expression::Kind::kVariable) {
      const auto found = values.find(e.value);
      if (found == values.end()) return give_up();
      value = found->second;
    } else if (e.kind == Expression::Kind::kBinary) {
      const int64_t left = value_of(e.operands[0]);
      value = apply(e.symbol, left, value_of(e.operands[1]));
    }
    return value < -kLargest || value > kLargest ? give_up() : value;
  }

  void print(const Statement& s) {
    if (--lines_left < 0) ok = false;
    std::string line = s.label;
    for (const auto& e : s.expressions)
      line += (line.empty() ? "" : " ") + std::to_string(value_of(e));
    out += line + '\n';
  }

  void run(const std::vector<Statement>& block) {
    for (const auto& s : block) {
      if (!ok || --steps_left < 0) {
        ok = false;
        return;
      }
      switch (s.kind) {
        case Statement::Kind::kAssign:
          values[s.target] = value_of(s.expressions[0]);
          break;
        case Statement::Kind::kPrint:
          print(s);
          break;
        case Statement::Kind::kIf:
          run(value_of(s.expressions[0]) ? s.body : s.otherwise);
          break;
        case Statement::Kind::kWhile:
          while (ok && value_of(s.expressions[0])) run(s.body);
          break;
        case Statement::Kind::kFor: {
          const int64_t from = value_of(s.expressions[0]);
          const int64_t to = value_of(s.expressions[1]);
          for (int64_t i = from; ok && i < to; ++i) {
            values[s.target] = i;
            run(s.body);
          }
          break;
        }
      }
    }
  }
};

}  // namespace

Expression number(int64_t value) {
  return {.kind = Expression::Kind::kNumber, .value = value, .symbol = {}, .operands = {}};
}

Expression variable(int64_t index) {
  return {.kind = Expression::Kind::kVariable, .value = index, .symbol = {}, .operands = {}};
}

Expression binary(Expression left, std::string symbol, Expression right) {
  Expression e{
      .kind = Expression::Kind::kBinary, .value = 0, .symbol = std::move(symbol), .operands = {}};
  e.operands.push_back(std::move(left));
  e.operands.push_back(std::move(right));
  return e;
}

Statement assign(int64_t target, Expression value) {
  Statement s;
  s.target = target;
  s.expressions.push_back(std::move(value));
  return s;
}

Statement print(std::vector<Expression> values, std::string label) {
  Statement s;
  s.kind = Statement::Kind::kPrint;
  s.expressions = std::move(values);
  s.label = std::move(label);
  return s;
}

Statement if_then(Expression condition, std::vector<Statement> body,
                  std::vector<Statement> otherwise) {
  Statement s;
  s.kind = Statement::Kind::kIf;
  s.expressions.push_back(std::move(condition));
  s.body = std::move(body);
  s.otherwise = std::move(otherwise);
  return s;
}

Statement while_loop(Expression condition, std::vector<Statement> body) {
  Statement s;
  s.kind = Statement::Kind::kWhile;
  s.expressions.push_back(std::move(condition));
  s.body = std::move(body);
  return s;
}

Statement for_range(int64_t target, Expression from, Expression to, std::vector<Statement> body) {
  Statement s;
  s.kind = Statement::Kind::kFor;
  s.target = target;
  s.expressions.push_back(std::move(from));
  s.expressions.push_back(std::move(to));
  s.body = std::move(body);
  return s;
}

std::string source(const Program& program, const std::vector<std::string>& names) {
  std::string out;
  write_block(program, names, 0, out);
  if (!out.empty()) out.pop_back();
  return out;
}

std::optional<std::string> run(const Program& program, int64_t most_steps, int64_t most_lines) {
  Machine machine{.steps_left = most_steps, .lines_left = most_lines};
  machine.run(program);
  if (!machine.ok || machine.out.empty()) return std::nullopt;
  machine.out.pop_back();
  return std::move(machine.out);
}

}  // namespace moe::corpora::toy
