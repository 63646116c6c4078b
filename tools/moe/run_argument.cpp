#include "tools/moe/run_argument.h"

#include <moe/base/error.h>

namespace moe::tools {

void add_run(CLI::App& app, RunArgument& o) {
  app.add_option("CONFIG", o.config,
                 "the run, as TOML; moe inspect --list section names its settings")
      ->required()
      ->type_name("FILE.toml");
  app.add_option("--out", o.out, "folder to write to")->required()->type_name("DIR");
  add_set(app, o.settings);
  app.add_option("--dtype", o.dtype,
                 "float32, bfloat16 or float64; default: train.dtype of the configuration")
      ->type_name("TYPE");
  app.add_option("--device", o.device, "cpu; this version trains on the processor only")
      ->type_name("DEVICE")
      ->capture_default_str();
  add_threads(app, o.threads);
  app.add_flag(
      "--allow-changed-data", o.allow_changed_data,
      "go on from a checkpoint although files hold other data than it was trained on (above "
      "1 GiB that is told by their size and samples)");
}

train::Run open_run(const RunArgument& o) {
  check<ConfigError>(o.device == "cpu", "--device", "expected cpu, got '", o.device,
                     "': this version trains on the processor only. Leave the option out.");
  auto settings = o.settings;
  if (!o.dtype.empty()) {
    parse_dtype(o.dtype);
    settings.push_back(concat("train.dtype=\"", o.dtype, '"'));
  }
  if (o.threads != 0) settings.push_back(concat("train.threads=", o.threads));
  auto run = train::Run::from_toml(o.config, settings, o.out);
  use_threads(run.options().train.threads);
  return run;
}

}  // namespace moe::tools
