#pragma once
// The experts of a model in another form: products of thin matrices, adapters, whole matrices.

#include <string>
#include <vector>

#include <moe/base/files.h>
#include <moe/models/load.h>

namespace moe::models {

/// How far the low-rank experts of a layer are from those they were made of: relative Frobenius
/// errors |W - U V| / |W| over its experts.
struct LowRankError {
  /// Of the layer's experts: "layers.3.moe.experts".
  std::string experts;
  /// Over the experts; w_out's are 0 where it stays whole.
  double mean_in = 0, worst_in = 0, mean_out = 0, worst_out = 0;
};

struct LowRankModel {
  LoadedModel model;
  std::vector<LowRankError> errors;
};

/// `model`, whose experts are of the kind "gated" or "ffn", with experts of the kind "low_rank":
/// the best approximation of rank `rank` of each matrix (its singular value decomposition, cut;
/// Eckart and Young 1936), the singular values shared out evenly between the two factors. Gate and
/// up rows are one matrix. Without factor_out w_out stays as it is. Everything else is kept.
///
/// Throws ConfigError where no layer has such experts or the rank is above what their shape allows.
LowRankModel to_low_rank(const LoadedModel& model, int64_t rank, bool factor_out = true);

/// `model`, whose experts are of the kind "lora", with experts of the kind "gated" or "ffn" that
/// compute the same: w_in = base_in + alpha / r up_in down_in, and so on. Throws ConfigError where
/// no layer has such experts.
LoadedModel merge_adapters(const LoadedModel& model);

/// Writes what a model with "lora" experts has learned beside their base: of each such layer the
/// router and the adapters, with the configuration of the model. `folder` is as for save_native.
/// Throws ConfigError where no layer has such experts.
void save_adapters(const LoadedModel& model, const Path& folder);

/// Puts adapters that save_adapters wrote in the place of those of `base`, a model of the same
/// configuration. Throws moe::Error, leaving `base` as it is, where the configurations differ or
/// the folder is not whole.
void load_adapters(LoadedModel& base, const Path& folder, bool verify = true);

}  // namespace moe::models
