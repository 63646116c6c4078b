#pragma once

#include <moe/data/batch.h>
#include <moe/models/model.h>
#include <moe/objectives/objective.h>
#include <moe/train/options.h>

namespace moe::train {

/// Throws ConfigError unless the model can read what the data hold: ids, lengths, shapes of images.
/// What it answers is the objective's business.
/// `init` names where the weights come from, if from anywhere.
void check_reads(const models::ModelTraits& model, const data::Dataset& dataset,
                 const std::string& init = "");

/// Throws ConfigError when train.consistency compares predictions of an objective that has none.
void check_compares(const TrainOptions& options, const objectives::Objective& objective);

/// Why routers that are meant to learn cannot, each reason once.
std::vector<std::string> untrained_routers(const models::Model& model);

}  // namespace moe::train
