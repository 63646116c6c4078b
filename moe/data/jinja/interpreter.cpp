#include <algorithm>

#include <moe/base/error.h>
#include <moe/base/text.h>
#include <moe/data/jinja/builtins.h>
#include <moe/data/jinja/interpreter.h>

namespace moe::data::jinja {

/// Counts a step, and how deep the interpreter is inside itself.
class Interpreter::Inside {
 public:
  Inside(Interpreter& interpreter, size_t line) : interpreter_(interpreter) {
    if (line > 0) interpreter_.line_ = line;
    interpreter_.take_steps(1);
    if (++interpreter_.depth_ > interpreter_.limits_.depth)
      interpreter_.refuse_cost(static_cast<size_t>(interpreter_.limits_.depth), kDepthText);
  }
  ~Inside() { --interpreter_.depth_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Interpreter& interpreter_;
};

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope; scope = scope->around)
    for (const auto& [known, value] : scope->variables)
      if (known == name) return &value;
  return nullptr;
}

void Scope::set(const std::string& name, Value value) {
  for (auto& [known, old] : variables)
    if (known == name) {
      old = std::move(value);
      return;
    }
  variables.emplace_back(name, std::move(value));
}

Interpreter::~Interpreter() {
  for (const auto& space : spaces_) space->fields.clear();  // they may hold one another
}

void Interpreter::refuse(std::string_view problem) const {
  fail("chat template", "expected a template that these messages fit, got ", problem, " on line ",
       line_, " of it. Correct the messages or the template.");
}

void Interpreter::refuse_cost(size_t limit, std::string_view what) const {
  fail("chat template", "expected a template that takes at most ",
       grouped(static_cast<int64_t>(limit)), ' ', what,
       ", got one that takes more, stopped on line ", line_,
       " of it. Send fewer or shorter messages; where it takes that much for a short one, it is at "
       "fault: correct it (chat_template.jinja, or chat_template in tokenizer_config.json).");
}

void Interpreter::charge(size_t bytes) {
  memory_ += bytes;
  if (memory_ > limits_.memory || bytes > limits_.memory)
    refuse_cost(limits_.memory, "bytes for text and lists on the way");
}

void Interpreter::take_steps(size_t count) {
  steps_ += count;
  if (steps_ > limits_.steps || count > limits_.steps)
    refuse_cost(limits_.steps, "steps (expressions, statements, values looked at)");
}

bool Interpreter::same(const Value& a, const Value& b) {
  const bool whole = (a.list() && b.list()) || (a.dict() && b.dict()) || (a.string() && b.string());
  if (whole) take_steps(a.size().comparisons - 1);
  return equal(a, b);
}

int Interpreter::order(const Value& a, const Value& b) {
  take_steps(a.size().comparisons - 1);
  return compare(a, b);
}

void Interpreter::charge_text(const Value& value) {
  take_steps(value.size().comparisons - 1);
  charge(value.size().bytes);
}

std::string Interpreter::text_of(const Value& value) {
  if (value.list() || value.dict()) charge_text(value);
  return value.text();
}

std::string Interpreter::render(const Block& block, Scope& variables) {
  std::string out;
  run(block, variables, out);
  return out;
}

std::string Interpreter::render_inner(const Block& block, Scope& scope) {
  std::string out;
  run(block, scope, out);
  charge(out.size());
  return out;
}

void Interpreter::write(std::string& out, std::string_view text) {
  output_ += text.size();
  if (output_ > limits_.output) refuse_cost(limits_.output, "bytes of output");
  out += text;
}

std::shared_ptr<Namespace> Interpreter::make_namespace() {
  charge(sizeof(Namespace) + 64);
  spaces_.push_back(std::make_shared<Namespace>());
  return spaces_.back();
}

Value Interpreter::call(const Value& function, const Arguments& arguments) {
  const Inside inside(*this, 0);
  const Function* code = function.function();
  if (!code) refuse(concat("a call of what is no function but ", function.type()));
  return (*code)(*this, arguments);
}

Interpreter::Flow Interpreter::run(const Block& block, Scope& scope, std::string& out) {
  for (const auto& statement : block)
    if (const Flow flow = run(*statement, scope, out); flow != Flow::kNext) return flow;
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run(const Statement& s, Scope& scope, std::string& out) {
  using Kind = Statement::Kind;
  const Inside inside(*this, s.line);
  switch (s.kind) {
    case Kind::kText:
      write(out, s.text);
      return Flow::kNext;
    case Kind::kOutput:
      write(out, text_of(evaluate(*s.expression, scope)));
      return Flow::kNext;
    case Kind::kIf:
      for (const auto& [condition, body] : s.branches)
        if (!condition || evaluate(*condition, scope).truth()) return run(body, scope, out);
      return Flow::kNext;
    case Kind::kFor:
      return run_loop(s, scope, out, evaluate(*s.expression, scope), 1);
    case Kind::kSet:
      run_set(s, scope);
      return Flow::kNext;
    case Kind::kMacro:
      scope.set(s.text, make_macro(s.parameters, s.body, s.text, scope));
      return Flow::kNext;
    case Kind::kCallBlock: {
      const Expression& called = *s.expression;
      const Value function = evaluate(*called.children[0], scope);
      Arguments arguments = evaluate_arguments(called.arguments, scope);
      arguments.named.emplace_back("caller", make_macro(s.parameters, s.body, "caller", scope));
      write(out, text_of(call(function, arguments)));
      return Flow::kNext;
    }
    case Kind::kFilter: {
      // The chain begins with an empty literal, in whose place the text stands.
      Scope around{&scope, {}};
      around.set("", render_inner(s.body, scope));
      write(out, text_of(evaluate(*s.expression, around)));
      return Flow::kNext;
    }
    case Kind::kBlock: {
      if (!s.recursive) return run(s.body, scope, out);
      Scope own{&scope, {}};
      return run(s.body, own, out);
    }
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::bind(const std::vector<std::string>& targets, const Value& value, Scope& scope) {
  if (targets.size() == 1) return scope.set(targets[0], value);
  const List* parts = value.list();
  if (!parts || parts->size() != targets.size())
    refuse(concat("a value that is not ", targets.size(), " values"));
  for (size_t i = 0; i < targets.size(); ++i) scope.set(targets[i], (*parts)[i]);
}

void Interpreter::run_set(const Statement& s, Scope& scope) {
  Value value;
  if (s.expression) {
    value = evaluate(*s.expression, scope);
  } else {
    Scope inner{&scope, {}};
    value = render_inner(s.body, inner);
    if (s.condition) {
      inner.set("", value);
      value = evaluate(*s.condition, inner);
    }
  }
  if (s.field.empty()) return bind(s.targets, value, scope);
  const Value* found = scope.find(s.targets[0]);
  const auto space = found ? found->space() : nullptr;
  if (!space) refuse(concat("a field of '", s.targets[0], "', which is no namespace,"));
  for (auto& [name, old] : space->fields)
    if (name == s.field) {
      old = value;
      return;
    }
  charge(64);
  space->fields.emplace_back(s.field, value);
}

Interpreter::Flow Interpreter::run_loop(const Statement& s, Scope& scope, std::string& out,
                                        const Value& over, int depth) {
  List items = items_of(over);
  if (s.condition) {
    List kept;
    for (auto& item : items) {
      Scope inner{&scope, {}};
      bind(s.targets, item, inner);
      if (evaluate(*s.condition, inner).truth()) kept.push_back(item);
    }
    items = std::move(kept);
  }
  if (items.empty()) return run(s.otherwise, scope, out);
  const auto count = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < count; ++i) {
    const Inside inside(*this, s.line);
    Scope inner{&scope, {}};
    const auto at = [&](int64_t place) {
      return place < 0 || place >= count ? Value(Undefined{"loop item"})
                                         : items[static_cast<size_t>(place)];
    };
    Dict loop{{"index", i + 1},
              {"index0", i},
              {"revindex", count - i},
              {"revindex0", count - i - 1},
              {"first", i == 0},
              {"last", i == count - 1},
              {"length", count},
              {"previtem", at(i - 1)},
              {"nextitem", at(i + 1)},
              {"depth", int64_t{depth}},
              {"depth0", int64_t{depth - 1}}};
    loop.emplace_back("cycle", Function([i](Interpreter& in, const Arguments& a) -> Value {
                        if (a.positional.empty()) in.refuse("a cycle of nothing");
                        return a.positional[static_cast<size_t>(i) % a.positional.size()];
                      }));
    charge(loop.size() * sizeof(loop[0]));
    inner.set("loop", loop);
    if (s.recursive)
      inner.set("loop", Function([&s, &scope, depth](Interpreter& in, const Arguments& a) -> Value {
                  std::string text;
                  if (const Value* again = a.find(0, "iterable"))
                    in.run_loop(s, scope, text, *again, depth + 1);
                  return text;
                }));
    bind(s.targets, items[static_cast<size_t>(i)], inner);
    if (run(s.body, inner, out) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

/// A macro sees its parameters and the variables of the whole template.
Value Interpreter::make_macro(const std::vector<MacroParameter>& parameters, const Block& body,
                              const std::string& name, Scope& scope) {
  Scope* around = &scope;
  // The body of a call block is run while the blocks around it are; a macro may outlive them.
  while (name != "caller" && around->around) around = around->around;
  return Function([&parameters, &body, name, around](Interpreter& in, const Arguments& given) {
    Scope own{around, {}};
    if (given.positional.size() > parameters.size())
      in.refuse(concat("too many arguments for the macro '", name, '\''));
    for (const auto& [key, value] : given.named) {
      const bool known = key == "caller" || std::ranges::any_of(parameters, [&](const auto& p) {
                           return p.name == key;
                         });
      if (!known) in.refuse(concat("the argument '", key, "' of the macro '", name, '\''));
      own.set(key, value);
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (const Value* value = given.find(i, parameters[i].name))
        own.set(parameters[i].name, *value);
      else if (parameters[i].fallback)
        own.set(parameters[i].name, in.evaluate(*parameters[i].fallback, own));
      else
        own.set(parameters[i].name, Undefined{parameters[i].name});
    }
    return Value(in.render_inner(body, own));
  });
}

List Interpreter::items_of(const Value& of) {
  List out;
  if (of.is_undefined()) return out;
  if (const auto* list = of.list()) {
    out = *list;
  } else if (const auto* dict = of.dict()) {
    for (const auto& entry : *dict) out.push_back(entry.first);
  } else if (const auto* text = of.string()) {
    for (const auto character : characters(*text)) out.emplace_back(character);
  } else {
    refuse(concat("a loop over ", of.type()));
  }
  charge(out.size() * sizeof(Value));
  return out;
}

Value Interpreter::look_up(const std::string& name, const Scope& scope) const {
  if (const Value* found = scope.find(name)) return *found;
  Value global = find_global(name);
  return global.is_undefined() ? Value(Undefined{name}) : global;
}

Value Interpreter::attribute(const Value& of, const std::string& name) {
  if (of.is_undefined())
    refuse(concat("'", of.as<Undefined>()->name, "', which is undefined, asked for '", name, "',"));
  if (const auto space = of.space()) {
    for (const auto& [field, value] : space->fields)
      if (field == name) return value;
    return Undefined{name};
  }
  if (auto method = find_method(of, name)) return *method;
  if (const Value* found = of.get(name)) return *found;
  return Undefined{name};
}

Value Interpreter::item(const Value& of, const Value& key) {
  if (of.is_undefined())
    refuse(concat("'", of.as<Undefined>()->name, "', which is undefined, asked for an item,"));
  if (const auto* dict = of.dict()) {
    take_steps(dict->size() / 16);
    for (const auto& [name, value] : *dict)
      if (same(name, key)) return value;
  }
  if (key.is_integer() && !key.as<double>()) {
    int64_t place = key.integer();
    if (const auto* list = of.list()) {
      if (place < 0) place += static_cast<int64_t>(list->size());
      if (place >= 0 && place < static_cast<int64_t>(list->size()))
        return (*list)[static_cast<size_t>(place)];
    } else if (const auto* text = of.string()) {
      const auto parts = characters(*text);
      if (place < 0) place += static_cast<int64_t>(parts.size());
      if (place >= 0 && place < static_cast<int64_t>(parts.size()))
        return parts[static_cast<size_t>(place)];
    }
    return Undefined{"item"};
  }
  if (key.string()) return attribute(of, *key.string());
  return Undefined{"item"};
}

}  // namespace moe::data::jinja
