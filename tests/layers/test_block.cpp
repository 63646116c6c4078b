// Blocks against the formulas of BlockSpec. T tokens, D width.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <moe/layers/block.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>

namespace moe::layers::block_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t T = 7, D = 8;

BlockSpec plain() {
  BlockSpec out;
  out.mixer = Attention{.heads = 2};
  MoELayerOptions mixture;
  mixture.num_experts = 4;
  mixture.expert = {.kind = "gated", .d_ff = 5};
  mixture.balance = {{"switch", 0.01}};
  out.feed_forward = mixture;
  return out;
}

/// Every position of norms, with scales, and every wiring.
std::vector<std::pair<std::string, BlockSpec>> specs() {
  std::vector<std::pair<std::string, BlockSpec>> out;
  const auto add = [&](const std::string& name, const std::function<void(BlockSpec&)>& change) {
    out.emplace_back(name, plain());
    change(out.back().second);
  };
  for (const std::string position : {"pre", "post", "output", "both", "residual"})
    for (const std::string second : {"", "pre", "output"})
      for (const bool scaled : {false, true})
        add(concat(position, ", ", second, scaled ? ", scaled" : ""), [&](auto& s) {
          s.norm_position = position, s.feed_forward_norm_position = second;
          if (!scaled) return;
          s.mixer_scale = 0.3, s.feed_forward_scale = 0.7;
          s.mixer_residual = 1.5, s.feed_forward_residual = -0.5;
          s.output_scale = true;
        });
  add("parallel", [](auto& s) { s.wiring = "parallel", s.norm = "layernorm_scale"; });
  add("parallel, scaled", [](auto& s) {
    s.wiring = "parallel", s.mixer_scale = 0.3, s.feed_forward_scale = 0.7, s.mixer_residual = 2;
  });
  for (const std::string wiring : {"dense_beside", "shortcut"})
    add(wiring, [&](auto& s) { s.wiring = wiring, s.dense = Dense{.d_ff = 6}; });
  add("dense_beside, dense", [](auto& s) {
    s.wiring = "dense_beside", s.dense = Dense{.d_ff = 6}, s.feed_forward = Dense{.d_ff = 3};
  });
  return out;
}

std::shared_ptr<BlockImpl> make(const BlockSpec& spec) {
  auto block = std::make_shared<BlockImpl>(
      spec, 0, BlockShape{.d_model = D, .tensors = at::TensorOptions(at::kDouble)});
  randomise(*block, 3, 0.4);
  for (auto& buffer : block->named_buffers())
    if (buffer.key() == "output_scale") buffer.value().fill_(1.25);
  return block;
}

/// What the block's own parts give, put together as the formulas say.
struct ByFormula {
  BlockImpl& block;
  const BlockSpec& spec = block.spec();
  LayerContext context = {};

  template <class Part>
  std::shared_ptr<Part> part(const std::string& name) {
    const auto out = std::dynamic_pointer_cast<Part>(block.named_children()[name]);
    EXPECT_TRUE(out) << name;
    return out;
  }
  Tensor norm(const std::string& name, const Tensor& x) { return part<NormImpl>(name)->forward(x); }
  Tensor mixer(const std::string& name, const Tensor& x) {
    return part<Mixer>(name)->forward(x, context, nullptr);
  }
  Tensor feed(const std::string& name, const Tensor& x) {
    return part<FeedForward>(name)->forward_tokens(x, context).hidden_TD;
  }

  Tensor half(const std::string& position, const std::string& name, double a, double b,
              const Tensor& x, const std::function<Tensor(const Tensor&)>& f) {
    const std::string before = name + "_norm", behind = name + "_output_norm";
    if (position == "pre") return a * x + b * f(norm(before, x));
    if (position == "post") return norm(before, a * x + b * f(x));
    if (position == "output") return a * x + b * norm(behind, f(x));
    if (position == "both") return a * x + b * norm(behind, f(norm(before, x)));
    const Tensor n = norm(before, x);
    return a * n + b * f(n);
  }

  Tensor operator()(const Tensor& x) {
    const std::string ff = spec.feed_forward.kind;
    if (spec.wiring == "parallel") {
      const Tensor n = norm("norm", x);
      return spec.mixer_residual * x + spec.mixer_scale * mixer("attention", n) +
             spec.feed_forward_scale * feed(ff, n);
    }
    if (spec.wiring == "dense_beside") {
      const Tensor h = x + mixer("attention", norm("attention_norm", x));
      return h + feed("dense", norm("dense_norm", h)) +
             feed(ff == "dense" ? "feed_forward" : ff, norm("ffn_norm", x));
    }
    if (spec.wiring == "shortcut") {
      const Tensor a = x + mixer("attention", norm("attention_norm", x));
      const Tensor n = norm("ffn_norm", a);
      const Tensor b = a + feed("dense", n);
      const Tensor c = b + mixer("second_attention", norm("second_attention_norm", b));
      return c + feed("second_dense", norm("second_ffn_norm", c)) + feed(ff, n);
    }
    const std::string first = spec.norm_position, second = spec.feed_forward_norm_position;
    const Tensor h = half(first, "attention", spec.mixer_residual, spec.mixer_scale, x,
                          [&](const Tensor& in) { return mixer("attention", in); });
    const Tensor y =
        half(second.empty() ? first : second, "ffn", spec.feed_forward_residual,
             spec.feed_forward_scale, h, [&](const Tensor& in) { return feed(ff, in); });
    return spec.output_scale ? y * 1.25 : y;
  }
};

TEST(Block, EveryWiringEqualsItsFormula) {
  const Tensor x_TD = normal({T, D}, 5);
  for (const auto& [name, spec] : specs()) {
    SCOPED_TRACE(name);
    const auto block = make(spec);
    const auto differentiated = [&](const std::function<Tensor(const Tensor&)>& f) {
      block->zero_grad();
      Tensor x = x_TD.clone().set_requires_grad(true);
      const Tensor y_TD = f(x);
      (y_TD * normal({T, D}, 9)).sum().backward();
      auto gradients = moe::test::gradients_of(*block);
      gradients["x"] = x.grad();
      gradients["y"] = y_TD.detach();
      return gradients;
    };
    const auto got =
        differentiated([&](const Tensor& x) { return block->forward(x, {}, nullptr).first; });
    const auto expected = differentiated([&](const Tensor& x) { return ByFormula{*block}(x); });
    for (const auto& [key, tensor] : expected) {
      expect_close(got.at(key), tensor, 1e-11, key);
      EXPECT_GT(tensor.abs().max().item<double>(), 0) << key;
    }
  }
}

TEST(Block, GradientsEqualCentralDifferences) {
  for (const auto& [name, spec] : specs()) {
    if (name.find(", pre") != std::string::npos) continue;
    SCOPED_TRACE(name);
    const auto block = make(spec);
    const Tensor x_TD = normal({T, D}, 5);
    auto tensors = named_parameters_of(*block);
    tensors.emplace_back("x", x_TD);
    expect_directional_gradients(
        [&] {
          return (block->forward(x_TD, {}, nullptr).first * normal({T, D}, 9)).sum();
        },
        tensors);
  }
}

TEST(Block, RecomputationGivesTheSameBits) {
  const moe::test::WithThreads one_thread(1);
  LayerContext context;
  context.training = true;
  context.random = {.seed = 4, .step = 2};
  for (auto [name, spec] : specs()) {
    SCOPED_TRACE(name);
    spec.dropout = 0.2;
    const auto block = make(spec);
    const auto run = [&](Recompute recompute) {
      block->zero_grad();
      Tensor x = normal({T, D}, 5).set_requires_grad(true);
      auto [y_TD, report] = block->forward(x, context, nullptr, recompute);
      Tensor loss = (y_TD * normal({T, D}, 9)).sum();
      if (report) loss = loss + report->balance.loss();
      loss.backward();
      auto out = moe::test::gradients_of(*block);
      out["x"] = x.grad();
      out["y"] = y_TD.detach();
      return out;
    };
    const auto expected = run(Recompute::kNone);
    for (const auto recompute : {Recompute::kMoE, Recompute::kBlocks})
      for (const auto& [key, tensor] : run(recompute))
        expect_identical(tensor, expected.at(key), key);
  }
}

TEST(Block, PiecesWithAStateEqualOneCallWithout) {
  const at::NoGradGuard no_grad;
  const Tensor x_TD = normal({T, D}, 5);
  for (const auto& [name, spec] : specs()) {
    SCOPED_TRACE(name);
    const auto block = make(spec);
    const Tensor whole_TD = block->forward(x_TD, {}, nullptr).first;
    for (const std::vector<int64_t>& cuts :
         {std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7}, {3, 3, 5, 7}, {7}}) {
      BlockState state =
          block->new_state({.capacity = T, .tensors = at::TensorOptions(at::kDouble)});
      for (auto* part : state.parts()) part->join(1);
      std::vector<Tensor> pieces;
      int64_t begin = 0;
      for (const int64_t end : cuts) {
        LayerContext context;
        context.tokens.sequences = Sequences::equal(1, end - begin);
        context.tokens.sequences.first_position = {begin};
        pieces.push_back(block->forward(x_TD.slice(0, begin, end), context, &state).first);
        begin = end;
      }
      expect_close(at::cat(pieces), whole_TD, 1e-12);
    }
  }
}

TEST(Block, ReportsItsRoutingAndTakesNoTokens) {
  for (const auto& [name, spec] : specs()) {
    SCOPED_TRACE(name);
    const auto block = make(spec);
    const auto [y_TD, report] = block->forward(at::zeros({0, D}, at::kDouble), {}, nullptr);
    EXPECT_EQ(y_TD.sizes(), (std::vector<int64_t>{0, D}));
    EXPECT_EQ(report.has_value(), block->routes());
  }
}

TEST(Block, NamesItsPartsByTheirKinds) {
  const auto children = [](const BlockSpec& spec) { return make(spec)->named_children().keys(); };
  using Names = std::vector<std::string>;
  BlockSpec spec = plain();
  EXPECT_EQ(children(spec), (Names{"attention_norm", "attention", "ffn_norm", "moe"}));
  spec.norm_position = "both", spec.feed_forward_norm_position = "output";
  EXPECT_EQ(children(spec), (Names{"attention_norm", "attention_output_norm", "attention",
                                   "ffn_output_norm", "moe"}));
  spec = plain();
  spec.wiring = "parallel";
  EXPECT_EQ(children(spec), (Names{"norm", "attention", "moe"}));
  spec.wiring = "dense_beside";
  EXPECT_EQ(children(spec),
            (Names{"attention_norm", "attention", "ffn_norm", "moe", "dense_norm", "dense"}));
  spec.wiring = "shortcut";
  EXPECT_EQ(children(spec), (Names{"attention_norm", "attention", "ffn_norm", "moe", "dense",
                                   "second_attention_norm", "second_attention", "second_ffn_norm",
                                   "second_dense"}));
}

TEST(Block, TheOutputScaleIsStoredAndNotTrained) {
  BlockSpec spec = plain();
  spec.output_scale = true;
  BlockImpl block(spec, 0, {.d_model = D});
  initialise(block, {}, 1);
  expect_identical(block.named_buffers()["output_scale"], at::full({1}, 1.0f));
  EXPECT_FALSE(block.named_parameters().contains("output_scale"));
}

TEST(Block, RefusesWhatDoesNotGoTogether) {
  const auto refuse = [](const std::function<void(BlockSpec&)>& change) {
    BlockSpec spec = plain();
    change(spec);
    return moe::test::message_of([&] { spec.validate("b"); });
  };
  const auto contains = moe::test::contains;
  EXPECT_PRED2(contains, refuse([](auto& s) { s.wiring = "serial"; }), "b.wiring");
  EXPECT_PRED2(contains, refuse([](auto& s) { s.norm_position = "mid"; }), "b.norm_position");
  EXPECT_PRED2(contains, refuse([](auto& s) { s.feed_forward_norm_position = "mid"; }),
               "b.feed_forward_norm_position");
  EXPECT_PRED2(contains, refuse([](auto& s) { s.norm = "batchnorm"; }), "b.norm");
  EXPECT_PRED2(contains, refuse([](auto& s) { s.dense = Dense{.d_ff = 3}; }), "nothing would use");
  EXPECT_PRED2(contains, refuse([](auto& s) { s.wiring = "parallel", s.norm_position = "post"; }),
               "Leave the positions out");
  EXPECT_PRED2(contains, refuse([](auto& s) { s.wiring = "shortcut", s.mixer_scale = 2; }),
               "scales and residuals of 1");
  EXPECT_PRED2(contains, refuse([](auto& s) { s.mixer_scale = std::nan(""); }), "'b.mixer_scale'");
}

}  // namespace

}  // namespace moe::layers::block_test
