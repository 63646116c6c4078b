// moe data: corpora that the program writes itself.

#include <iostream>

#include <moe/base/fields.h>
#include <moe/data/synth/synth.h>

#include "tools/moe/common.h"

namespace moe::tools {

namespace {

struct SynthCommand {
  std::string out;
  data::SynthOptions options;
};

int synth(const SynthCommand& o) {
  o.options.validate("data synth");
  data::write_synth(o.out, o.options);
  data::verify_synth(o.out);
  std::cout << o.out << '\n';
  return 0;
}

void setup_synth(CLI::App& app, SynthCommand& o) {
  app.add_option("--out", o.out, "folder to write to")->required()->type_name("DIR");
  add_seed(app, o.options.seed);
  app.add_option("--bytes-per-domain", o.options.bytes_per_domain,
                 "bytes of text of one domain, validation included")
      ->capture_default_str();
  app.add_option("--validation-share", o.options.validation_share,
                 "share of the bytes that goes to validation")
      ->capture_default_str();
}

}  // namespace

void add_data(CLI::App& program, Session& session) {
  const char* example = "moe data synth --out out/data --seed 1";
  CLI::App& group = add_group(program, "data", "Makes corpora.", example);
  add_command<SynthCommand>(
      group, session,
      {"synth", "Writes the demo's corpora, one folder a domain, with checksums.", example,
       setup_synth, synth});
}

}  // namespace moe::tools
