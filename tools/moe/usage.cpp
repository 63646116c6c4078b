#include "tools/moe/usage.h"

#include <charconv>

#include <moe/base/error.h>

namespace moe::tools {

namespace {

std::vector<std::string> names_of_subcommands(const CLI::App& app) {
  std::vector<std::string> out;
  for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    out.push_back(sub->get_name());
  return out;
}

std::vector<std::string> names_of_options(const CLI::App& app) {
  std::vector<std::string> out;
  for (const auto* option : app.get_options())
    for (const auto& name : option->get_lnames()) out.push_back("--" + name);
  return out;
}

/// "--out DIR", or "CONFIG.toml" for an argument that has no dashes.
std::string shown(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const bool named = !option.get_lnames().empty();
  const bool telling = type != "INT" && type != "UINT" && type != "FLOAT" && type != "TEXT" &&
                       !type.empty() && type.find(':') == std::string::npos;
  if (!named) return telling ? type : option.get_name();
  return concat("--", option.get_lnames().front(), telling ? " " + type : "");
}

/// The option that a message of CLI11 is about: it names one in front of a colon, or between one
/// and " = ".
const CLI::Option* option_of(const CLI::App& app, std::string message) {
  constexpr std::string_view kConvert = "Could not convert: ";
  if (message.starts_with(kConvert)) {
    message = message.substr(kConvert.size());
    return app.get_option_no_throw(message.substr(0, message.find(" = ")));
  }
  return app.get_option_no_throw(message.substr(0, message.find(':')));
}

/// The subcommand's own path and the hint that ends a message.
struct Place {
  const CLI::App* app;
  std::string path = "moe";
  std::string help() const { return concat(" Run '", path, " --help'."); }
};

Place place_of(const CLI::App& program) {
  Place out{&program};
  while (!out.app->get_subcommands().empty()) {
    out.app = out.app->get_subcommands().front();
    out.path += ' ' + out.app->get_name();
  }
  return out;
}

/// Reports unknown words first: a mistyped option also makes its value look missing.
void refuse_left_over_words(const Place& place) {
  const auto rest = place.app->remaining();
  if (rest.empty()) return;
  for (const auto& word : rest) {
    if (!word.starts_with('-')) continue;
    const std::string name = word.substr(0, word.find('='));
    fail<ConfigError>("usage", "expected an option of '", place.path, "', got '", word, "'.",
                      did_you_mean(name, names_of_options(*place.app)), place.help());
  }
  const auto known = names_of_subcommands(*place.app);
  if (!known.empty())
    fail<ConfigError>("usage", "expected a subcommand of '", place.path, "', got '", rest.front(),
                      "'.", did_you_mean(rest.front(), known), " Known: ", join(known), ".");
  fail<ConfigError>("usage", "expected no more arguments of '", place.path, "', got '",
                    rest.front(), "'. Remove it; text with spaces stands in quotes.", place.help());
}

void refuse_what_is_missing(const Place& place) {
  const auto known = names_of_subcommands(*place.app);
  if (!known.empty())
    fail<ConfigError>("usage", "expected a subcommand of '", place.path,
                      "', got none. Known: ", join(known), ".", place.help());
  std::vector<std::string> missing;
  for (const auto* option : place.app->get_options())
    if (option->get_required() && option->count() == 0)
      missing.push_back(concat(shown(*option), " (", option->get_description(), ')'));
  if (!missing.empty())
    fail<ConfigError>("usage", "expected ", join(missing, " and "), " for '", place.path,
                      "', got none. Add ", missing.size() == 1 ? "it." : "them.", place.help());
}

void refuse_wrong_values(const Place& place, const CLI::Option& option) {
  const auto& given = option.results();
  if (option.get_expected_max() == 0)
    fail<ConfigError>("usage", "expected ", option.get_name(), " without a value, got '",
                      join(given), "'. Remove the value.", place.help());
  if (given.size() > 1)
    fail<ConfigError>("usage", "expected ", option.get_name(), " once, got it ", given.size(),
                      " times: ", join(given), ". Keep one.", place.help());
  if (given.empty())
    fail<ConfigError>("usage", "expected a value behind ", shown(option), ", got none. Add it.",
                      place.help());
  fail<ConfigError>("usage", "expected another value of ", shown(option), " (",
                    option.get_description(), "), got '", given.front(), "'. Correct it.",
                    place.help());
}

/// `text` as a Number and nothing else.
template <class Number>
bool read_number(const std::string& text, Number& out) {
  const char* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, out);
  return problem == std::errc() && stop == end;
}

template <class Number>
CLI::Validator number_check(const std::string& option, const char* expected) {
  return CLI::Validator(
      [option, expected](std::string& text) {
        Number number{};
        check<ConfigError>(read_number(text, number), option, "expected ", expected, ", got '",
                           text, "'. Correct the number.");
        // CLI11 would read a leading zero as octal.
        if constexpr (std::is_integral_v<Number>) text = std::to_string(number);
        return std::string();
      },
      "");
}

}  // namespace

void fail_usage(const CLI::App& program, const CLI::ParseError& error) {
  const Place place = place_of(program);
  refuse_left_over_words(place);
  if (dynamic_cast<const CLI::RequiredError*>(&error)) refuse_what_is_missing(place);
  std::string what = error.what();
  what = what.substr(0, what.find('\n'));
  if (const auto* option = option_of(*place.app, what)) refuse_wrong_values(place, *option);
  fail<ConfigError>("usage", "expected a command line that fits, got: ", what, '.', place.help());
}

void check_values(CLI::App& app) {
  for (auto* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (type == "INT")
      option->transform(
          number_check<int64_t>(option->get_name(), "a whole number from -2^63 to 2^63-1"));
    else if (type == "FLOAT")
      option->transform(number_check<double>(option->get_name(), "a number"));
    else if (option->check_lname("out"))
      option->check(CLI::Validator(
          [](std::string& text) {
            check<ConfigError>(!text.empty(), "--out",
                               "expected a name to write to, got ''. Give one.");
            return std::string();
          },
          ""));
  }
}

}  // namespace moe::tools
