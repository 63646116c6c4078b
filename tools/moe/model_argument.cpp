#include "tools/moe/model_argument.h"

namespace moe::tools {

void add_model(CLI::App& app, ModelArgument& o) {
  app.add_option("MODEL", o.path,
                 "a run (its newest checkpoint), one checkpoint, or a Hugging Face directory")
      ->required()
      ->type_name("DIR");
  add_device(app, o.device);
  add_dtype(app, o.dtype);
  add_threads(app, o.threads);
}

models::LoadedModel load_model(const ModelArgument& o, bool with_tokenizer) {
  use_threads(o.threads);
  const at::Device device = parse_device(o.device);
  auto model = models::load(o.path, parse_dtype(o.dtype), with_tokenizer);
  if (!device.is_cpu()) model.model->to(device);
  return model;
}

}  // namespace moe::tools
