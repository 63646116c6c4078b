// A run's configuration: TOML text, then after each NUL byte one override, read as `moe train`
// does.

#include <moe/config/overrides.h>
#include <moe/config/toml.h>
#include <moe/train/options.h>
#include <moe/train/run.h>

#include "tests/fuzz/targets.h"
#include "tests/support/same_settings.h"

namespace moe::fuzz {

void run_options(Bytes input) {
  std::string_view rest = text_of(input);
  const std::string_view text = take_until(rest, '\0');
  Table table;
  train::RunOptions options;
  const bool accepted = accepts([&] {
    table = config::parse_toml(text, "run.toml");
    while (!rest.empty()) config::apply_override(table, take_until(rest, '\0'));
    read_fields(options, table, "");
  });
  if (!accepted) return;

  // What a run writes as its config.toml must make the same run.
  const Table resolved = train::resolved(options);
  std::string written;
  if (!accepts([&] { written = config::write_toml(resolved); })) return;  // text that is no UTF-8
  train::RunOptions again;
  read_fields(again, config::parse_toml(written, "config.toml"), "");
  require(test::same(train::resolved(again), resolved), "the resolved run changed: ", written);
}

}  // namespace moe::fuzz
