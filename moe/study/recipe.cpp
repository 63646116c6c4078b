#include <algorithm>
#include <map>

#include <moe/base/error.h>
#include <moe/config/toml.h>
#include <moe/layers/moe_options.h>
#include <moe/models/uniform_blocks.h>
#include <moe/models/zoo.h>
#include <moe/study/recipe.h>

namespace moe::study {

namespace {

bool divides_tokens(const layers::FeedForwardSpec& spec) {
  return spec.kind == "moe" || spec.kind == "soft_moe";
}

/// A table without the options that are what `fields`, whose names begin with `prefix`, have by
/// default.
Table without_defaults(const Table& options, const std::vector<FieldInfo>& fields,
                       const std::string& prefix = "") {
  Table out;
  for (const auto& [key, value] : options) {
    const std::string name = prefix + key, inside = name + ".";
    const auto* table = value.as<Table>();
    if (table && std::ranges::any_of(fields, [&](const FieldInfo& field) {
          return field.name.starts_with(inside);
        })) {
      const Table rest = without_defaults(*table, fields, inside);
      if (!rest.empty()) out.set(key, rest);
      continue;
    }
    const auto field = std::ranges::find(fields, name, &FieldInfo::name);
    if (field == fields.end() || field->value != value.text()) out.set(key, value);
  }
  return out;
}

/// { kind = …, options that are not at their defaults }
template <class Spec, class Registry>
Table short_kind(const Spec& spec, const Registry& registry) {
  Table out;
  out.set("kind", spec.kind);
  for (const auto& [key, value] : without_defaults(spec.options, registry.at(spec.kind).fields()))
    out.set(key, value);
  return out;
}

Table short_expert(const ExpertSpec& expert) {
  Table out;
  out.set("kind", expert.kind);
  out.set("d_ff", expert.d_ff);
  for (const auto& [key, value] : short_kind(expert, experts::expert_kinds())) out.set(key, value);
  return out;
}

Array short_balance(const std::vector<BalanceSpec>& terms) {
  Array out;
  for (const auto& term : terms) {
    Table table;
    table.set("kind", term.kind);
    table.set("coefficient", term.coefficient);
    for (const auto& [key, value] :
         without_defaults(term.options, balance::terms().at(term.kind).fields()))
      table.set(key, value);
    out.push_back(table);
  }
  return out;
}

layers::MoELayerOptions mixture(const layers::FeedForwardSpec& spec) {
  layers::MoELayerOptions out;
  read_fields(out, spec.options, "feed_forward");
  return out;
}

/// What is not as it would be without it, in the order in which people read it.
Table short_mixture(const layers::FeedForwardSpec& spec) {
  const auto moe = mixture(spec);
  Table out;
  out.set("num_experts", moe.num_experts);
  out.set("top_k", moe.top_k);
  out.set("router", short_kind(moe.router, routing::routers()));
  out.set("expert", short_expert(moe.expert));
  if (layers::is_present(moe.shared))
    out.set("shared", short_kind(moe.shared, layers::feed_forwards()));
  out.set("balance", short_balance(moe.balance));
  const auto fields = layers::feed_forwards().at(spec.kind).fields();
  for (const auto& [key, value] : without_defaults(spec.options, fields))
    if (!out.find(key) && key != "d_model" && key != "seed" && key != "shared" && key != "init")
      out.set(key, value);
  return out;
}

/// Sections of one key a line: tables stay on it.
std::string lines_of(const Table& table) {
  std::string out;
  for (const auto& [key, value] : table) out += concat(key_text(key), " = ", value.text(), '\n');
  return out;
}

/// How the authors say that the load was balanced, in place of what the description has.
void take_training(layers::FeedForwardSpec& spec, const Table& training) {
  auto moe = mixture(spec);
  if (const Value* balance = training.find("balance")) {
    Table terms;
    terms.set("balance", *balance);
    read_fields(moe, terms, "training");
  }
  if (const Value* rate = training.find("bias_rate")) moe.router.options.set("bias_rate", *rate);
  if (const Value* jitter = training.find("jitter")) moe.router.options.set("jitter", *jitter);
  spec = moe;
}

}  // namespace

Recipe recipe(const std::string& name) {
  const models::KnownModelSpec known = models::known_model(name);
  Recipe out{name, known.title, 0, 0, {}, ""};
  // By their options as text: blocks that are alike are one.
  std::map<std::string, std::pair<int64_t, layers::FeedForwardSpec>> found;
  for (const auto& block : models::make_model(known.spec)->blocks()) {
    ++out.blocks;
    auto spec = block->spec().feed_forward;
    if (!divides_tokens(spec)) continue;
    spec.resolve();
    auto& entry = found[Value(spec.options).text()];
    ++entry.first;
    entry.second = spec;
  }
  check<ConfigError>(!found.empty(), "study/recipe", "expected a model with experts, '", name,
                     "' is dense. Name another (moe inspect --list model).");
  for (const auto& [text, entry] : found)
    if (entry.first > out.moe_blocks) {
      out.moe_blocks = entry.first;
      out.feed_forward = entry.second;
    }
  if (out.feed_forward.kind != "moe") {
    out.balance_source = "even by construction";
    return out;
  }
  if (const Value* source = known.training.find("source")) {
    out.balance_source = *source->as<std::string>();
    take_training(out.feed_forward, known.training);
    out.feed_forward.resolve();
  }
  return out;
}

std::vector<std::string> names_with_recipe() {
  std::vector<std::string> out;
  for (const auto& known : models::known_models()) {
    const auto blocks = models::make_model(models::known_model(known.name).spec)->blocks();
    if (std::ranges::any_of(blocks,
                            [](const auto& b) { return divides_tokens(b->spec().feed_forward); }))
      out.push_back(known.name);
  }
  return out;
}

RecipeRow recipe_row(const Recipe& recipe) {
  RecipeRow out;
  const auto words = [](const Table& kind, const std::vector<std::string>& shown) {
    std::string text = *kind.find("kind")->as<std::string>();
    for (const auto& key : shown)
      if (const Value* value = kind.find(key)) text += concat(", ", key, ' ', value->text());
    return text;
  };
  if (recipe.feed_forward.kind != "moe") {
    const Table& options = recipe.feed_forward.options;
    out.router = recipe.feed_forward.kind;
    out.experts = concat(options.find("num_experts")->text(), ", slots ",
                         options.find("slots")->text(), " each");
    out.expert = words(*options.find("expert")->as<Table>(), {"d_ff"});
    return out;
  }
  const auto moe = mixture(recipe.feed_forward);
  const Table router = short_kind(moe.router, routing::routers());
  out.router = moe.router.kind;
  const Value *groups = router.find("groups"), *kept = router.find("kept_groups");
  if (groups && kept) out.router += concat(", ", kept->text(), " of ", groups->text(), " groups");
  if (const Value* scale = router.find("scale")) out.router += ", times " + scale->text();
  out.experts = concat(moe.top_k, " of ", moe.num_experts);
  out.expert = words(short_expert(moe.expert), {"d_ff"});
  if (layers::is_present(moe.shared))
    out.shared = words(short_kind(moe.shared, layers::feed_forwards()), {"d_ff"});
  if (recipe.balance_source.empty()) return out;
  std::vector<std::string> terms;
  for (const auto& term : moe.balance) terms.push_back(concat(term.kind, ' ', term.coefficient));
  // Whether a router moves a bias of its own is said by its resolved options, at the default too.
  const Value* rate = moe.router.options.find("bias_rate");
  if (rate && rate->as<double>() && *rate->as<double>() > 0)
    terms.push_back("bias_rate " + rate->text());
  out.balance = join(terms);
  return out;
}

std::string write_recipe(const Recipe& recipe) {
  std::string out = concat("# ", recipe.title, ": ", recipe.moe_blocks, " of ", recipe.blocks,
                           " blocks are so.\n");
  out += recipe.balance_source.empty()
             ? std::string(
                   "# How its load was balanced in training is not in its description: the "
                   "balance below is a default.\n")
             : concat("# Balance: ", recipe.balance_source, ".\n");
  Table block;
  if (recipe.feed_forward.kind == "moe") {
    const Table mixture = short_mixture(recipe.feed_forward);
    const auto uniform = describe_fields<models::MoEBlocks>();
    const bool fits = std::ranges::all_of(mixture, [&](const auto& entry) {
      return std::ranges::find(uniform, entry.first, &FieldInfo::name) != uniform.end();
    });
    if (fits) return out + "[model.moe]\n" + lines_of(mixture);
    block.set("kind", "moe");
    for (const auto& [key, value] : mixture) block.set(key, value);
  } else {
    block = short_kind(recipe.feed_forward, layers::feed_forwards());
    ExpertSpec expert;
    read_fields(expert, *recipe.feed_forward.options.find("expert")->as<Table>(), "expert");
    block.set("expert", short_expert(expert));
    out += "# Not for causal models.\n";
  }
  Table feed_forward;
  feed_forward.set("feed_forward", block);
  return out + "[[model.blocks]]\n" + lines_of(feed_forward);
}

}  // namespace moe::study
