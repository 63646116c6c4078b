#include <map>

#include <moe/routing/router.h>
#include <moe/train/fit.h>

namespace moe::train {

namespace {

void check_reads_text(const models::ModelTraits& model, const data::DataTraits& data,
                      const data::Dataset& dataset, const std::string& init) {
  check<ConfigError>(model.vocabulary > 0, "config",
                     "expected a model of text for data.domains of text, got one of images. Set "
                     "model.architecture, or the format of the domains.");
  const auto tokenizer = dataset.tokenizer();
  check<ConfigError>(data.vocabulary <= model.vocabulary, "config",
                     "expected model.vocabulary of at least ", data.vocabulary,
                     " for the tokenizer '", tokenizer ? tokenizer->name() : "", "', got ",
                     model.vocabulary,
                     init.empty() ? ". Raise it."
                                  : concat(", which the weights of train.init = '", init,
                                           "' have. Leave data.tokenizer out to take theirs, or "
                                           "name a tokenizer with fewer tokens."));
  check<ConfigError>(
      data.sequence <= model.context_length, "config",
      "expected data.sequence of at most model.context_length=", model.context_length, ", got ",
      data.sequence, ". Lower the one or raise the other.");
}

void check_reads_images(const models::ModelTraits& model, const data::DataTraits& data) {
  const bool same =
      model.channels == data.channels && model.height == data.height && model.width == data.width;
  check<ConfigError>(same, "config", "expected a model of images (", data.channels, ", ",
                     data.height, ", ", data.width, "), got ",
                     model.channels == 0 ? "one of text"
                                         : concat("one of (", model.channels, ", ", model.height,
                                                  ", ", model.width, ')'),
                     ". Set model.architecture and the model's channels, height and width.");
}

}  // namespace

void check_reads(const models::ModelTraits& model, const data::Dataset& dataset,
                 const std::string& init) {
  const auto data = dataset.traits();
  if (data.vocabulary > 0)
    check_reads_text(model, data, dataset, init);
  else
    check_reads_images(model, data);
}

void check_compares(const TrainOptions& options, const objectives::Objective& objective) {
  const double coefficient = options.consistency.coefficient;
  check<ConfigError>(coefficient == 0 || objective.has_distribution(), "config",
                     "expected 'train.consistency.coefficient' = 0 with train.objective.kind = \"",
                     options.objective.kind, "\", which predicts no distribution to compare, got ",
                     coefficient, ". Leave it out, or train for next_token or classification.");
}

std::vector<std::string> untrained_routers(const models::Model& model) {
  std::map<std::string, int64_t> layers;
  for (const auto& module : model.modules(/*include_self=*/false)) {
    const auto* router = dynamic_cast<const routing::Router*>(module.get());
    if (!router || router->untrained().empty()) continue;
    const auto parameters = router->parameters();
    if (std::ranges::any_of(parameters, [](const Tensor& p) { return p.requires_grad(); }))
      ++layers[router->untrained()];
  }
  std::vector<std::string> out;
  for (const auto& [why, count] : layers)
    out.push_back(count == 1 ? why : concat(why, " This holds in ", count, " layers."));
  return out;
}

}  // namespace moe::train
