#pragma once
// Everything a program needs that trains, runs or studies Mixture-of-Experts models:
// `#include <moe/moe.h>`. It is heavy (seconds a translation unit, as headers of libtorch are);
// where that matters, include the single headers that follow.

// So that `std::cout << tensor` works.
#include <ATen/core/Formatting.h>

#include <moe/analyze/coactivation.h>
#include <moe/analyze/expert_tokens.h>
#include <moe/analyze/specialisation.h>
#include <moe/analyze/statistics.h>
#include <moe/analyze/trace_file.h>
#include <moe/balance/terms.h>
#include <moe/base/error.h>
#include <moe/base/random.h>
#include <moe/config/toml.h>
#include <moe/data/loader.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/experts/expert_options.h>
#include <moe/experts/experts.h>
#include <moe/experts/modules.h>
#include <moe/generation/generate.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/counts.h>
#include <moe/models/load.h>
#include <moe/objectives/evaluate.h>
#include <moe/objectives/kinds/classification.h>
#include <moe/objectives/kinds/next_token.h>
#include <moe/objectives/kinds/regression.h>
#include <moe/routing/routers.h>
#include <moe/train/optimizers/adamw.h>
#include <moe/train/optimizers/muon.h>
#include <moe/train/run.h>
