#pragma once
// What templates find: filters, tests, methods of values, functions.

#include <optional>
#include <string>

#include <moe/data/jinja/interpreter.h>

namespace moe::data::jinja {

/// `input | name(arguments)`. Throws Error for a filter that there is not.
Value apply_filter(Interpreter& interpreter, const std::string& name, const Value& input,
                   const Arguments& arguments);
/// `input is name(arguments)`. Throws Error for a test that there is not.
bool apply_test(Interpreter& interpreter, const std::string& name, const Value& input,
                const Arguments& arguments);
/// The method of a string, list or dict, bound to it.
std::optional<Value> find_method(const Value& of, const std::string& name);
/// range, dict, namespace, raise_exception, strftime_now; undefined for another name.
Value find_global(const std::string& name);

/// a `sign` b for an arithmetic operator.
Value arithmetic(Interpreter& interpreter, const std::string& sign, const Value& a, const Value& b);
/// Python's a % b of a string.
std::string format_text(Interpreter& interpreter, const std::string& format, const List& values);
/// Whether `container` holds `value`.
bool holds(Interpreter& interpreter, const Value& container, const Value& value);

/// Without white space, or any of `characters` if given, at its ends.
std::string_view strip(std::string_view text, const std::string* characters, bool left, bool right);
std::string replace_text(Interpreter& interpreter, std::string_view text, std::string_view from,
                         std::string_view to, int64_t most = -1);
/// "hello world" with its first letter, or that of every word, as a capital.
std::string capitalize(std::string_view text);
std::string title(std::string_view text);

}  // namespace moe::data::jinja
