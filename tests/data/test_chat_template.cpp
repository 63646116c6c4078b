// Chat templates of public models, as the library jinja2 renders them (chat_templates/render.py),
// and templates that go wrong.

#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/data/chat_template.h>
#include <moe/data/jinja/template.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::data {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::time_t kNow = 1700049600;

std::string text_in(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string rendered(const std::string& source,
                     const ordered_json& variables = ordered_json::object()) {
  return jinja::Template(source).render(variables, kNow);
}

TEST(ChatTemplates, OfPublicModelsAreRenderedAsByJinja2) {
  const fs::path folder = fs::path(MOE_SOURCE_DIR) / "tests/data/chat_templates";
  const auto cases = ordered_json::parse(text_in(folder / "cases.json")),
             expected = ordered_json::parse(text_in(folder / "expected.json"));
  ASSERT_GE(expected.size(), 15u);
  for (const auto& each : expected.items()) {
    SCOPED_TRACE(each.key());
    const jinja::Template source(text_in(folder / (each.key() + ".jinja")));
    for (size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE(i);
      if (each.value()[i].is_null())
        EXPECT_THROW(source.render(cases[i], kNow), Error);
      else
        EXPECT_EQ(source.render(cases[i], kNow), each.value()[i].get<std::string>());
    }
  }
}

TEST(ChatTemplates, AreReadFromAFolder) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(read_chat_template(folder.path()), nullptr);
  std::ofstream(folder.path() / "tokenizer_config.json")
      << R"({"bos_token": {"content": "<s>"}, "chat_template": [{"name": "tool_use", "template": "no"},)"
      << R"( {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"}]})";
  EXPECT_EQ(read_chat_template(folder.path())->render({{"user", "Hello"}}), "<s>Hello");
  std::ofstream(folder.path() / "chat_template.jinja") << "{{ messages[0].role }}\n";
  EXPECT_EQ(read_chat_template(folder.path())->render({{"user", "Hello"}}), "user");
}

TEST(ChatTemplates, SayWhatMessagesTheyTake) {
  const ChatTemplate chat("{{ raise_exception('roles must alternate') }}", ordered_json::object());
  EXPECT_PRED2(test::contains, test::message_of([&] {
                 chat.render({{"user", "x"}});
               }),
               "roles must alternate");
}

TEST(ChatTemplates, NameTheLineOfWhatTheyDoNotKnow) {
  for (const char* source :
       {"{{ x | no_such_filter }}", "{% include 'x' %}", "{{ 1 +", "{% if x %}", "{{ 'open }}",
        "{% endfor %}", "{{ a.b.c }}", "{{ none() }}", "{# x", "{{ x is no_such_test }}",
        "{{ [].append(1) }}", "{{ 1 / 0 }}", "{% set x.y = 1 %}", "{{ 'a' + 1 }}",
        "{{ ''.split('') }}"})
    EXPECT_PRED2(test::contains, test::message_of([&] { rendered(std::string("\n") + source); }),
                 "line 2")
        << source;
}

TEST(ChatTemplates, AreStoppedWhereTheyCostTooMuch) {
  const std::string many = "{% for i in range(100000) %}";
  std::string nested, chain = "{{ 1", filters = "{{ 'x'", brackets = "{{ ";
  for (int i = 0; i < 300; ++i) nested += "{% if true %}";
  for (int i = 0; i < 100000; ++i) chain += " + 1";
  for (int i = 0; i < 100000; ++i) filters += "|trim";
  brackets += std::string(100000, '(');
  const std::vector<std::string> sources = {
      many + many + many + "{% endfor %}{% endfor %}{% endfor %}",
      many + many + "{{ 'a' * 1000 }}{% endfor %}{% endfor %}",
      "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}" + many +
          "{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}" + many + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ range(10000000000) }}",
      "{{ 'a' * 9999999999 }}", nested, chain, filters, brackets,
      "{{ 'aaaaaaaaaaaaaaaaaaaaaaaa' | replace('', 'x' * 16000000) }}",
      // Looking through a list costs a step for each of its values.
      "{% set s = range(99999)|list %}" + many + "{% if -1 in s %}{% endif %}{% endfor %}",
      "{% set s = range(99999)|list %}{% set r = range(99999)|list %}" + many +
          "{% if s == r %}{% endif %}{% if s is eq r %}{% endif %}{% endfor %}",
      "{% set s = range(99999)|list %}" + many + "{{ s.count(-1) }}{% endfor %}",
      "{% set s = range(99999)|list %}{% set r = range(99999)|list %}" + many +
          "{% if s < r %}{% endif %}{% if s is lt r %}{% endif %}{% endfor %}",
      // So does each list in it, though they are one and the same.
      "{% set s = [range(99999)|list] * 1000 %}" + many + "{% set x = s|sort %}{% endfor %}",
      "{% set s = [range(99999)|list] * 1000 %}" + many + "{% set x = s|unique %}{% endfor %}",
      // Their text would not fit into memory.
      "{% set s = [[range(99999)|list] * 99999] * 99999 %}{{ s }}",
      "{% set s = [['x' * 1000000] * 99999] * 99999 %}{{ s|tojson }}",
      "{% set s = [['x' * 1000000] * 99999] * 99999 %}{{ s ~ '' }}",
      // Values inside one another.
      "{% set ns = namespace(x=[]) %}" + many + "{% set ns.x = [ns.x] %}{% endfor %}",
      "{% set ns = namespace(x=[]) %}" + many + "{% set ns.x = [ns.x.count] %}{% endfor %}",
      "{% set ns = namespace(x={}) %}" + many + "{% set ns.x = {'a': ns.x.items} %}{% endfor %}"};
  for (const auto& source : sources) EXPECT_THROW(rendered(source), Error) << source.substr(0, 60);
}

TEST(ChatTemplates, SayWhichLimitTheyMeetAndWhatToDo) {
  const auto message = [](const std::string& source) {
    return test::message_of([&] { rendered("\n" + source); });
  };
  const std::string many = "{% for i in range(100000) %}", end = "{% endfor %}";
  std::string long_condition = "{% if true";
  for (int i = 0; i < 200; ++i) long_condition += " and true";
  for (const auto& [source, limit] :
       {std::pair{many + long_condition + " %}{% endif %}" + end,
                  "at most 10,000,000 steps (expressions, statements, values looked at)"},
        {many + "{{ 'a' * 1000 }}" + end, "at most 16,777,216 bytes of output"},
        {many + "{% set x = 'a' * 100000 %}" + end,
         "at most 536,870,912 bytes for text and lists on the way"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
         "at most 1,000 calls, expressions and statements inside one another"},
        {"{{ range(100001) }}", "at most 100,000 numbers in a range"}}) {
    EXPECT_PRED2(test::contains, message(source), limit);
    EXPECT_PRED2(test::contains, message(source),
                 "stopped on line 2 of it. Send fewer or shorter messages; where it takes that "
                 "much for a short one, it is at fault: correct it (chat_template.jinja,");
  }
}

TEST(ChatTemplates, KeepWhatNamespacesHoldFromOutlivingThem) {
  EXPECT_EQ(rendered("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns.me.me is defined }}"),
            "True");
}

}  // namespace
}  // namespace moe::data
