#pragma once
// Published models by name: what they are made of, without weights.

#include <string>
#include <vector>

#include <moe/models/model.h>

namespace moe::models {

/// A published (or rumoured) model.
struct KnownModel {
  std::string name, title;
  /// Total and active parameters as its authors give them.
  std::string published;
  /// What to know when comparing the counts with those; empty: nothing.
  std::string note;
};

/// One for each file of zoo/, by name.
std::vector<KnownModel> known_models();

/// Whether there is a model of that name.
bool is_known_model(const std::string& name);

/// A known model with what it is made of.
struct KnownModelSpec : KnownModel {
  /// The family of its config.json; empty where it is described as a model of ours.
  std::string family;
  ModelSpec spec;
  /// How its authors say that they balanced the load: `balance` (terms), `bias_rate` and `jitter`
  /// of the router, and `source`, who says so. Empty where they published nothing.
  Table training = {};
};

/// Throws ConfigError with the nearest name when there is no such.
KnownModelSpec known_model(const std::string& name);

}  // namespace moe::models
