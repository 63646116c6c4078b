// TOML text, and `--set` on what it gives: the text, then after each NUL byte one override.

#include <moe/config/overrides.h>
#include <moe/config/toml.h>

#include "tests/fuzz/targets.h"
#include "tests/support/same_settings.h"

namespace moe::fuzz {

namespace {

void require_written_reads_back(const Table& table) {
  const std::string written = config::write_toml(table);
  const Table again = config::parse_toml(written, "written");
  require(test::same(table, again), "settings changed when written: ", written);
  require(config::write_toml(again) == written, "the text changed when written twice: ", written);
}

}  // namespace

void toml(Bytes input) {
  std::string_view rest = text_of(input);
  const std::string_view text = take_until(rest, '\0');
  Table table;
  if (!accepts([&] { table = config::parse_toml(text, "run.toml"); })) return;
  require_written_reads_back(table);
  while (!rest.empty()) {
    const std::string_view setting = take_until(rest, '\0');
    const Table before = table;
    if (!accepts([&] { config::apply_override(table, setting); })) {
      require(test::same(table, before), "a refused override changed the settings");
      continue;
    }
    // Together overrides may grow beyond what a file may hold.
    if (!accepts([&] { config::write_toml(table); }))
      table = before;
    else
      require_written_reads_back(table);
  }
}

}  // namespace moe::fuzz
