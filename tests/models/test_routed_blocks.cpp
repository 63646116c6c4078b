// Routers and blocks that need more than a layer to be tested: read from TOML, trained on labelled
// data, written on with. T tokens, D width, E experts.
#include <cmath>

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/isfinite.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/config/toml.h>
#include <moe/generation/generate.h>
#include <moe/models/forward_pass.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_model.h"

namespace moe::models::routed_blocks_test {

namespace {

using at::Tensor;

/// A model of bytes, width 12, whose one block has the feed-forward that `toml` says.
std::shared_ptr<Model> model_of(const std::string& toml) {
  const Table table =
      config::parse_toml(concat("vocabulary = 256\ncontext_length = 32\nd_model = 12\ninit = { "
                                "router_std = 0.5 }\n[[blocks]]\n"
                                "mixer = { kind = \"attention\", heads = 2 }\nfeed_forward = ",
                                toml, '\n'),
                         "test");
  return make_model(ModelSpec{"decoder", table}, /*seed=*/3);
}

constexpr const char* kMultiHead =
    "{ kind = \"multi_head_moe\", heads = 3, moe = { num_experts = 4, top_k = 2, "
    "expert = { kind = \"gated\", d_ff = 6 }, balance = [{ kind = \"switch\" }] } }";

std::string moe_with(const std::string& router, const std::string& balance = "") {
  return concat("{ kind = \"moe\", num_experts = 4, top_k = 2, router = { ", router,
                " }, balance = [", balance, "] }");
}

/// 12 tokens, the first half of domain 0, the other of domain 1.
ModelInputs labelled_inputs() {
  ModelInputs out;
  out.tokens.ids_T = at::arange(12, at::kLong).square().remainder(256);
  out.tokens.sequences = Sequences::equal(2, 6);
  out.tokens.domains_T = at::floor_divide(at::arange(12, at::kLong), 6);
  out.tokens.num_domains = 2;
  return out;
}

TEST(RoutedBlocks, EveryRouterTrainsFromToml) {
  for (const std::string router :
       {"kind = \"hierarchical\", clusters = 2, kept_clusters = 2, renormalise = false",
        "kind = \"grouped_topk\", groups = 2", "kind = \"per_head\", heads = 2, reads = \"token\"",
        "kind = \"task_adaptive\", tasks = 2",
        "kind = \"task_adaptive\", tasks = 2, form = \"embedding\"",
        "kind = \"domain_aware\", domains = 2",
        "kind = \"cross_modal\", modalities = 2, projection = 5, allowed = [\"0-2\", \"1,3\"]",
        "kind = \"top_p\", p = 0.5", "kind = \"threshold\", threshold = 0.2"}) {
    SCOPED_TRACE(router);
    const bool classifies = router.find("domain_aware") != std::string::npos;
    const auto model =
        model_of(moe_with(router, classifies ? "{ kind = \"domain_classifier\", coefficient = 1 }"
                                             : "{ kind = \"token_entropy\" }"));
    ForwardContext context;
    context.training = true;
    const ModelOutput out = model->forward(labelled_inputs(), context);
    ASSERT_EQ(out.layers.size(), 1u);
    EXPECT_GT(out.balance_loss().item<double>(), 0);
    (model->head(out.hidden_TD).square().mean() + out.balance_loss()).backward();
    for (const auto& item : model->named_parameters()) {
      if (item.key().find("router") == std::string::npos) continue;
      ASSERT_TRUE(item.value().grad().defined()) << item.key();
      EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << item.key();
      EXPECT_GT(item.value().grad().abs().max().item<double>(), 0) << item.key();
    }
  }
}

TEST(RoutedBlocks, DomainsAreLearnedFromLabels) {
  const auto model = model_of(moe_with("kind = \"domain_aware\", domains = 2",
                                       "{ kind = \"domain_classifier\", coefficient = 1 }"));
  ForwardContext context;
  context.training = true;
  const auto loss = [&] { return model->forward(labelled_inputs(), context).balance_loss(); };
  const double before = loss().item<double>();
  for (int step = 0; step < 100; ++step) {
    const auto parameters = model->parameters();
    const auto gradients =
        torch::autograd::grad({loss()}, parameters, {}, std::nullopt, false, true);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters.size(); ++i)
      if (gradients[i].defined()) Tensor(parameters[i]).sub_(gradients[i], 0.5);
  }
  EXPECT_NEAR(before, std::log(2.0), 0.5);
  EXPECT_LT(loss().item<double>(), 0.05);
}

TEST(RoutedBlocks, MultiHeadMoEWritesWhatAWholeReadingPredicts) {
  LoadedModel model;
  model.model = model_of(kMultiHead);
  model.tokenizer = data::make_tokenizer("byte");
  const auto result = generate(model, "ab", {.max_tokens = 12, .temperature = 0});
  std::vector<int64_t> ids = {'a', 'b'};
  for (const int64_t token : result.tokens) {
    const Tensor logits_BSV =
        test::run_rows(*model.model, at::tensor(ids, at::kLong).unsqueeze(0)).logits_BSV;
    EXPECT_EQ(at::argmax(logits_BSV[0][-1]).item<int64_t>(), token);
    ids.push_back(token);
  }
}

TEST(RoutedBlocks, MultiHeadMoEReportsTheRoutingOfEachToken) {
  const auto model = model_of(kMultiHead);
  const TokenRows rows = parse_token_rows(
      R"({"input_ids": [[5, 6, 7], [8, 9, 0]], "attention_mask": [[1,1,1],[1,1,0]]})", "rows", 256);
  const auto out = forward_pass(*model, rows, {.routing = true, .gradients = true});
  int64_t found = 0;
  for (const auto& [name, tensor] : out) {
    if (name == "layers.0.experts") {
      EXPECT_EQ(tensor.sizes(), (std::vector<int64_t>{6, 6}));
      EXPECT_TRUE(tensor[5].eq(-1).all().item<bool>()) << "padding";
      ++found;
    }
    EXPECT_NE(name, "layers.0.router_logits") << "sub-tokens have logits, tokens have none";
    if (name.find("grad.") == 0 && name.find("multi_head_moe") != std::string::npos) {
      EXPECT_GT(tensor.abs().max().item<double>(), 0) << name;
      ++found;
    }
  }
  EXPECT_EQ(found, 1 + 4 + 1 + 2);  // experts; the two matrices, their biases, router, experts
}

}  // namespace

}  // namespace moe::models::routed_blocks_test
