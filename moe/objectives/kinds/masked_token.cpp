// T tokens, M sums.
#include <ATen/ops/full.h>

#include <moe/objectives/cross_entropy.h>
#include <moe/objectives/kinds/masked_token.h>

namespace moe {

void MaskedToken::validate(const std::string& place) const {
  const auto named = [&](const char* key) { return place.empty() ? key : concat(place, '.', key); };
  check<ConfigError>(share > 0 && share <= 1, "config", "expected '", named("share"),
                     "' in (0, 1], got ", share, ". Correct it.");
  check<ConfigError>(hidden >= 0 && random >= 0 && hidden + random <= 1, "config", "expected '",
                     named("hidden"), "' and '", named("random"),
                     "' of at least 0 and at most 1 together, got ", hidden, " and ", random,
                     ". Lower one of them.");
  objectives::check_label_smoothing(label_smoothing, place);
}

namespace objectives {

namespace {

class MaskedTokenObjective final : public CrossEntropyObjective {
 public:
  MaskedTokenObjective(const ObjectiveShape& shape, const MaskedToken& options)
      : CrossEntropyObjective(options.label_smoothing, /*count_correct=*/true),
        options_(options),
        vocabulary_(shape.data.vocabulary),
        hidden_id_(shape.model.vocabulary - 1) {
    check<ConfigError>(shape.data.vocabulary > 0 && shape.model.vocabulary > 0, "config",
                       "expected text and a model of text for objective = \"masked_token\", got ",
                       shape.data.vocabulary > 0 ? "another model" : "other data",
                       ". Set model.architecture and the format of data.domains to match it.");
    check<ConfigError>(!shape.model.causal, "config",
                       "expected a model that sees both sides of a hidden token for objective = "
                       "\"masked_token\", got a causal one. Set model.causal = false.");
    check<ConfigError>(shape.model.vocabulary > shape.data.vocabulary &&
                           shape.model.outputs >= shape.data.vocabulary,
                       "config", "expected an id beside the ", shape.data.vocabulary,
                       " of the data, to stand for hidden tokens, got model.vocabulary = ",
                       shape.model.vocabulary, ". Raise it by one.");
  }

  /// Numbers of a token are the blocks of its global number: whether it is predicted, what the
  /// model reads, and which other token that is.
  data::Batch prepared(const data::Batch& batch, const RandomKey& key) const override {
    const auto& tokens = batch.inputs.tokens;
    const int64_t T = tokens.ids_T.size(0);
    data::Batch out = batch;
    out.inputs.tokens.ids_T = tokens.ids_T.clone();
    out.targets = at::full({T}, data::kIgnoredTarget, tokens.ids_T.options());
    auto* ids = out.inputs.tokens.ids_T.mutable_data_ptr<int64_t>();
    auto* targets = out.targets.mutable_data_ptr<int64_t>();
    const RandomStream stream(key, Purpose::kData, kPart);
    for (int64_t t = 0; t < T; ++t) {
      const auto draw = stream.block(static_cast<uint64_t>(tokens.first_token + t));
      if (unit(draw[0]) >= options_.share) continue;
      targets[t] = ids[t];
      const double what = unit(draw[1]);
      if (what < options_.hidden)
        ids[t] = hidden_id_;
      else if (what < options_.hidden + options_.random)
        ids[t] = static_cast<int64_t>(unit(draw[2]) * static_cast<double>(vocabulary_));
    }
    return out;
  }

  std::vector<Metric> metrics(const Tensor& sums_M) const override {
    auto out = Objective::metrics(sums_M);
    out.emplace_back("accuracy", (sums_M[2] / sums_M[1]).item<double>());
    return out;
  }

 private:
  /// Keeps its numbers apart from those that rows of a batch are drawn by.
  static constexpr uint32_t kPart = 0x6d61736b;

  /// In [0, 1).
  static double unit(uint32_t bits) { return static_cast<double>(bits) * 0x1p-32; }

  MaskedToken options_;
  int64_t vocabulary_, hidden_id_;
};

}  // namespace

MOE_KIND(objectives, masked_token, MaskedTokenObjective, MaskedToken)

}  // namespace objectives

}  // namespace moe
