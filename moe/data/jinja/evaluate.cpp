// Expressions of templates.

#include <algorithm>

#include <moe/base/error.h>
#include <moe/data/jinja/builtins.h>
#include <moe/data/jinja/interpreter.h>

namespace moe::data::jinja {

namespace {

using ExpressionKind = Expression::Kind;

}  // namespace

Value Interpreter::evaluate(const Expression& e, Scope& scope) {
  take_steps(1);
  if (++depth_ > limits_.depth) refuse_cost(static_cast<size_t>(limits_.depth), kDepthText);
  line_ = e.line;
  Value out = evaluate_inner(e, scope);
  if (const auto* text = out.string()) charge(text->size());
  --depth_;
  return out;
}

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments, Scope& scope) {
  Arguments out;
  for (const auto& value : arguments.positional) out.positional.push_back(evaluate(*value, scope));
  for (const auto& [name, value] : arguments.named)
    out.named.emplace_back(name, evaluate(*value, scope));
  return out;
}

Value Interpreter::evaluate_inner(const Expression& e, Scope& scope) {
  const auto child = [&](size_t i) { return evaluate(*e.children[i], scope); };
  switch (e.kind) {
    case ExpressionKind::kLiteral:
      // The empty literal at the front of a filter block's chain (see Statement::Kind::kFilter).
      if (e.value.string() && e.value.string()->empty())
        if (const Value* body = scope.find("")) return *body;
      return e.value;
    case ExpressionKind::kName:
      return look_up(e.name, scope);
    case ExpressionKind::kList: {
      List out;
      for (size_t i = 0; i < e.children.size(); ++i) out.push_back(child(i));
      charge(out.size() * sizeof(Value));
      return out;
    }
    case ExpressionKind::kDict: {
      Dict out;
      for (size_t i = 0; i + 1 < e.children.size(); i += 2) {
        Value key = child(i), value = child(i + 1);
        const auto known =
            std::ranges::find_if(out, [&](const auto& entry) { return same(entry.first, key); });
        if (known != out.end())
          known->second = std::move(value);
        else
          out.emplace_back(std::move(key), std::move(value));
      }
      charge(out.size() * 2 * sizeof(Value));
      return out;
    }
    case ExpressionKind::kAttribute:
      return attribute(child(0), e.name);
    case ExpressionKind::kItem:
      return item(child(0), child(1));
    case ExpressionKind::kSlice:
      return evaluate_slice(e, scope);
    case ExpressionKind::kCall: {
      const Value function = child(0);
      if (function.is_undefined())
        refuse(concat("a call of '", function.as<Undefined>()->name, "', which is undefined,"));
      return call(function, evaluate_arguments(e.arguments, scope));
    }
    case ExpressionKind::kFilter: {
      const Value input = child(0);
      return apply_filter(*this, e.name, input, evaluate_arguments(e.arguments, scope));
    }
    case ExpressionKind::kTest: {
      const Value input = child(0);
      return apply_test(*this, e.name, input, evaluate_arguments(e.arguments, scope));
    }
    case ExpressionKind::kUnary: {
      const Value value = child(0);
      if (e.name == "not") return !value.truth();
      if (!value.is_number()) refuse(concat("a sign before ", value.type()));
      if (e.name == "+") return value;
      return value.is_integer() ? Value(-value.integer()) : Value(-value.number());
    }
    case ExpressionKind::kBinary:
      return evaluate_binary(e, scope);
    case ExpressionKind::kCondition:
      if (child(1).truth()) return child(0);
      return e.children[2] ? child(2) : Value(Undefined{"the other choice"});
  }
  return Undefined{};
}

Value Interpreter::evaluate_binary(const Expression& e, Scope& scope) {
  const std::string& sign = e.name;
  Value left = evaluate(*e.children[0], scope);
  if (sign == "and") return left.truth() ? evaluate(*e.children[1], scope) : left;
  if (sign == "or") return left.truth() ? left : evaluate(*e.children[1], scope);
  const Value right = evaluate(*e.children[1], scope);
  if (sign == "==") return same(left, right);
  if (sign == "!=") return !same(left, right);
  if (sign == "in") return holds(*this, right, left);
  if (sign == "not in") return !holds(*this, right, left);
  if (sign == "<") return order(left, right) < 0;
  if (sign == ">") return order(left, right) > 0;
  if (sign == "<=") return order(left, right) <= 0;
  if (sign == ">=") return order(left, right) >= 0;
  if (sign == "~") return text_of(left) + text_of(right);
  return arithmetic(*this, sign, left, right);
}

Value Interpreter::evaluate_slice(const Expression& e, Scope& scope) {
  const Value of = evaluate(*e.children[0], scope);
  std::optional<int64_t> bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (!e.children[i + 1]) continue;
    const Value bound = evaluate(*e.children[i + 1], scope);
    if (bound.is_none()) continue;
    if (!bound.is_integer()) refuse(concat("a slice to ", bound.type()));
    bounds[i] = bound.integer();
  }
  if (of.is_undefined())
    refuse(concat("'", of.as<Undefined>()->name, "', which is undefined, asked for a slice,"));
  const List items = items_of(of);
  const auto count = static_cast<int64_t>(items.size());
  const int64_t step = bounds[2].value_or(1);
  if (step == 0) refuse("a slice by steps of 0");
  const auto place = [&](std::optional<int64_t> bound, int64_t other) {
    if (!bound) return other;
    const int64_t at = *bound < 0 ? *bound + count : *bound;
    return step > 0 ? std::clamp<int64_t>(at, 0, count) : std::clamp<int64_t>(at, -1, count - 1);
  };
  const int64_t begin = place(bounds[0], step > 0 ? 0 : count - 1),
                end = place(bounds[1], step > 0 ? count : -1);
  List out;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (step > 0 ? step >= end - i : step <= end - i) break;
    i += step;
  }
  if (!of.string()) return out;
  std::string text;
  for (const auto& item : out) text += *item.string();
  return text;
}

}  // namespace moe::data::jinja
