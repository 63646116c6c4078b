#pragma once
// What rows of studies are made with.

#include <string>
#include <vector>

#include <moe/layers/feed_forward.h>
#include <moe/study/study.h>

namespace moe::study {

/// `base` with settings in the words of `--set`. Throws ConfigError for what does not fit.
train::RunOptions with_settings(const train::RunOptions& base,
                                const std::vector<std::string>& settings);

/// `base` whose MoE layers are the feed-forward block `spec` instead.
train::RunOptions with_feed_forward(const train::RunOptions& base,
                                    const layers::FeedForwardSpec& spec);

/// `base` without the causal mask, filling in hidden tokens (masked_token) instead of predicting
/// the next one.
train::RunOptions bidirectional(const train::RunOptions& base);

/// Why the model of `run` cannot be trained: what a forward and a backward pass over a few tokens
/// throw; "" where they work.
std::string trial(const train::RunOptions& run);

/// Whether the options of a kind have a field of that name.
bool has_field(const std::vector<FieldInfo>& fields, const std::string& name);

/// FLOPs of a token's forward pass; parameters that it meets, and all.
struct Size {
  int64_t flops = 0, active = 0, total = 0;
};
Size size_of(const train::RunOptions& run);

}  // namespace moe::study
