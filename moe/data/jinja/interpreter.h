#pragma once
// Running a template.

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <moe/data/jinja/syntax.h>

namespace moe::data::jinja {

inline constexpr const char* kDepthText = "calls, expressions and statements inside one another";

/// What a template may cost before it is stopped.
struct TemplateLimits {
  size_t steps = 10'000'000;          // expressions and statements
  size_t output = size_t{16} << 20;   // bytes
  size_t memory = size_t{512} << 20;  // bytes of all strings and lists made on the way
  int depth = 1000;                   // expressions, statements and macros inside one another
};

/// Variables of a block and of those around it.
struct Scope {
  Scope* around = nullptr;
  std::vector<std::pair<std::string, Value>> variables = {};

  const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);
};

/// Runs one template once.
class Interpreter {
 public:
  Interpreter(const TemplateLimits& limits, std::time_t now) : limits_(limits), now_(now) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// What the template writes. Throws Error for a template that goes wrong or costs too much.
  std::string render(const Block& block, Scope& variables);

  /// Counts bytes that are about to be made.
  void charge(size_t bytes);
  /// Counts what is about to be looked through as steps.
  void take_steps(size_t count);
  /// equal(a, b) and compare(a, b), counted.
  bool same(const Value& a, const Value& b);
  int order(const Value& a, const Value& b);
  /// value.text(), counted before it is made.
  std::string text_of(const Value& value);
  /// Counts going through `value`, and its text.
  void charge_text(const Value& value);
  Value call(const Value& function, const Arguments& arguments);
  std::shared_ptr<Namespace> make_namespace();
  std::time_t now() const { return now_; }
  [[noreturn]] void refuse(std::string_view problem) const;
  /// Of a template that costs more than `limit`, `what` being counted.
  [[noreturn]] void refuse_cost(size_t limit, std::string_view what) const;

  /// of.name, and of[key] with the meanings that they have in Jinja; undefined where there is none.
  Value attribute(const Value& of, const std::string& name);
  Value item(const Value& of, const Value& key);
  /// The values that a loop over `of` sees.
  List items_of(const Value& of);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Inside;

  Flow run(const Block& block, Scope& scope, std::string& out);
  Flow run(const Statement& statement, Scope& scope, std::string& out);
  Flow run_loop(const Statement& loop, Scope& scope, std::string& out, const Value& over,
                int depth);
  void run_set(const Statement& set, Scope& scope);
  void bind(const std::vector<std::string>& targets, const Value& value, Scope& scope);
  std::string render_inner(const Block& block, Scope& scope);
  Value make_macro(const std::vector<MacroParameter>& parameters, const Block& body,
                   const std::string& name, Scope& scope);
  void write(std::string& out, std::string_view text);

  Value evaluate(const Expression& expression, Scope& scope);
  Value evaluate_inner(const Expression& expression, Scope& scope);
  Value evaluate_binary(const Expression& expression, Scope& scope);
  Value evaluate_slice(const Expression& expression, Scope& scope);
  Arguments evaluate_arguments(const CallArguments& arguments, Scope& scope);
  Value look_up(const std::string& name, const Scope& scope) const;

  TemplateLimits limits_;
  std::time_t now_;
  size_t steps_ = 0, output_ = 0, memory_ = 0, line_ = 0;
  int depth_ = 0;
  std::vector<std::shared_ptr<Namespace>> spaces_;
};

}  // namespace moe::data::jinja
