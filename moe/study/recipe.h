#pragma once
// How published models divide their tokens, to be copied into a configuration.

#include <string>
#include <vector>

#include <moe/layers/feed_forward.h>

namespace moe::study {

/// What the MoE layers of a known model are made of: those that most of its blocks have.
struct Recipe {
  std::string name, title;
  /// Blocks of the model, and those whose feed-forward is this one.
  int64_t blocks = 0, moe_blocks = 0;
  /// Kind "moe" or "soft_moe", defaults filled in.
  layers::FeedForwardSpec feed_forward;
  /// Who says how the load was balanced in training; "" where its authors published nothing, and
  /// the balance is the default of its family or architecture.
  std::string balance_source;
};

/// Throws ConfigError with the nearest name when there is no such model, and where it is dense.
Recipe recipe(const std::string& name);

/// The names that have one.
std::vector<std::string> names_with_recipe();

/// The recipe in a few words each, for a table: "sigmoid, 4 of 8 groups", "8 of 256", "gated,
/// d_ff 2048", "dense, d_ff 2048", "sequence 0.0001, bias_rate 0.001"; "" for what it has not.
struct RecipeRow {
  std::string router, experts, expert, shared, balance;
};
RecipeRow recipe_row(const Recipe& recipe);

/// The recipe as TOML: comments, then [model.moe], or a block with this feed-forward where
/// [model.moe] has no such settings. Options at their defaults are left out; d_model is the
/// reader's own.
std::string write_recipe(const Recipe& recipe);

}  // namespace moe::study
