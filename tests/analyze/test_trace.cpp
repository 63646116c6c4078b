// Traces: what is read is what was written, and nothing else is read.
#include <cmath>
#include <fstream>
#include <functional>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/analyze/statistics.h>
#include <moe/analyze/trace_file.h>
#include <moe/routing/replay.h>

#include "tests/analyze/routed.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"
#include "tests/support/tiny_model.h"

namespace moe::analyze {
namespace {

void expect_equal(const RoutedRows& a, const RoutedRows& b) {
  EXPECT_EQ(a.domain, b.domain);
  EXPECT_EQ(a.sequence, b.sequence);
  EXPECT_EQ(a.row_begin_U, b.row_begin_U);
  EXPECT_EQ(a.token_T, b.token_T);
  EXPECT_EQ(a.position_T, b.position_T);
  EXPECT_EQ(a.counted_T, b.counted_T);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    const auto &x = a.layers[i], &y = b.layers[i];
    EXPECT_EQ(x.layer, y.layer);
    EXPECT_EQ(x.experts, y.experts);
    EXPECT_EQ(x.offset_T, y.offset_T);
    EXPECT_EQ(x.expert_N, y.expert_N);
    EXPECT_EQ(x.weight_N, y.weight_N);
    EXPECT_EQ(x.score_entropy_T, y.score_entropy_T);
    EXPECT_EQ(x.logits_TE, y.logits_TE);
    EXPECT_EQ(x.weight_on_input, y.weight_on_input);
  }
}

class Traces : public ::testing::Test {
 protected:
  TraceInfo info() const {
    return {.domains = {"english", "code"},
            .sequence = 12,
            .vocabulary = 7,
            .model = "out/a",
            .step = 5,
            .checksum = "0123456789abcdef"};
  }
  Path write(const std::vector<RoutedRows>& batches) {
    TraceWriter writer(real_files(), path_, info());
    for (const auto& rows : batches) writer.add(rows);
    writer.finish();
    return path_;
  }
  /// The file with some tensors and metadata changed.
  Path change(const std::function<void(std::map<std::string, Tensor>&,
                                       std::map<std::string, std::string>&)>& edit) {
    const auto file = formats::SafetensorsFile::open(path_);
    std::map<std::string, Tensor> tensors;
    for (const auto& name : file.names()) tensors[name] = file.tensor(name).clone();
    auto metadata = file.metadata();
    edit(tensors, metadata);
    const Path changed = folder_ / "changed.safetensors";
    formats::write_safetensors(real_files(), changed, {tensors.begin(), tensors.end()}, metadata);
    return changed;
  }

  test::TemporaryFolder folder_;
  Path path_ = folder_ / "t.safetensors";
};

TEST_F(Traces, GiveBackTheRows) {
  const std::vector<RoutedRows> batches = {
      test::random_rows(1, {.rows = 4, .logits = true}),
      test::random_rows(2, {.rows = 3, .logits = true}),
      test::random_rows(3, {.rows = 4, .domain = 1, .logits = true})};
  const auto file = TraceFile::open(write(batches));
  EXPECT_EQ(file.info().domains, info().domains);
  EXPECT_EQ(file.info().model, "out/a");
  EXPECT_EQ(file.info().step, 5);
  EXPECT_EQ(file.info().checksum, info().checksum);
  EXPECT_EQ(file.layers(), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(file.tokenizer()->name(), "byte");
  std::vector<RoutedRows> read;
  file.rows({.batch = 4, .max_batches = -1, .logits = true},
            [&](const RoutedRows& rows) { read.push_back(rows); });
  ASSERT_EQ(read.size(), 3u);
  for (size_t i = 0; i < 3; ++i) expect_equal(read[i], batches[i]);

  std::vector<int64_t> rows_of_batches;
  file.rows({.batch = 3, .max_batches = 2},
            [&](const RoutedRows& rows) { rows_of_batches.push_back(rows.rows()); });
  EXPECT_EQ(rows_of_batches, (std::vector<int64_t>{3, 3, 3, 1}));
  EXPECT_ERROR(file.rows({.batch = 0}, [](const RoutedRows&) {}), "batch >= 1");
}

TEST_F(Traces, HoldATableWhereAllTokensHaveAsManyExperts) {
  auto rows = test::random_rows(1, {.experts = {4}, .scores = false});
  auto& pairs = rows.layers[0];
  pairs.offset_T = {0}, pairs.expert_N.clear(), pairs.weight_N.clear();
  for (int64_t t = 0; t < rows.tokens(); ++t) {
    pairs.expert_N.insert(pairs.expert_N.end(), {static_cast<int32_t>(t % 4), -1});
    pairs.weight_N.insert(pairs.weight_N.end(), {0.5f, 0});
    pairs.offset_T.push_back(2 * t + 2);
  }
  pairs.weight_on_input = true;
  const auto stored = formats::SafetensorsFile::open(write({rows, rows}));
  EXPECT_EQ(stored.info("layers.1.experts").shape, (std::vector<int64_t>{2 * rows.tokens(), 2}));
  EXPECT_FALSE(stored.contains("layers.1.offsets"));
  EXPECT_FALSE(stored.contains("layers.1.score_entropy"));
  std::vector<RoutedRows> read;
  TraceFile::open(path_).rows({.batch = 5}, [&](const RoutedRows& r) { read.push_back(r); });
  ASSERT_EQ(read.size(), 2u);
  expect_equal(read[1], rows);
}

TEST_F(Traces, OfAModelGiveTheNumbersOfTheModel) {
  auto loaded = test::tiny_text_model();
  std::ofstream(folder_ / "a.txt") << "to be or not to be, that is the question: whether 'tis";
  std::ofstream(folder_ / "b.txt") << "int main() { return 0; } // and so on, and on";
  data::DataOptions options{.sequence = 16};
  for (const char* name : {"a", "b"})
    options.domains.push_back({.name = name,
                               .train = (folder_ / (std::string(name) + ".txt")).string(),
                               .valid = (folder_ / (std::string(name) + ".txt")).string()});
  const data::Corpus corpus(options);
  TraceWriter writer(real_files(), path_,
                     {.domains = validated_domains(corpus), .sequence = 16, .vocabulary = 256});
  RoutingCounts counts{.domains = validated_domains(corpus)}, read_counts = counts;
  StatisticsCollector collector({.vocabulary = 256}), read_collector({.vocabulary = 256});
  route_rows(*loaded.model, corpus, {.batch = 3}, [&](const RoutedRows& rows) {
    writer.add(rows), add_rows(counts, rows), collector.add(rows);
  });
  writer.finish();
  const auto file = TraceFile::open(path_);
  // Other batches than when it was written.
  file.rows({.batch = 2, .max_batches = -1},
            [&](const RoutedRows& rows) { add_rows(read_counts, rows), read_collector.add(rows); });
  EXPECT_EQ(read_counts.domain_U, counts.domain_U);
  EXPECT_EQ(read_counts.tokens, counts.tokens);
  EXPECT_EQ(read_counts.layers[0].counts_UE, counts.layers[0].counts_UE);
  const auto run = std::move(collector).finish(), trace = std::move(read_collector).finish();
  EXPECT_EQ(run.tokens, trace.tokens);
  const auto &a = run.layers[0], &b = trace.layers[0];
  EXPECT_EQ(a.load_E, b.load_E);
  EXPECT_EQ(a.weight_entropy.mean(), b.weight_entropy.mean());
  EXPECT_EQ(a.score_entropy.deviation(), b.score_entropy.deviation());
  EXPECT_EQ(a.token.information, b.token.information);
  EXPECT_GT(a.score_entropy.mean(), a.weight_entropy.mean());

  // A recording of a domain routes its tokens as the model did.
  const auto routing = file.routing(1, "b");
  EXPECT_EQ(routing.num_experts, 3);
  EXPECT_EQ(routing.choices, 2);
  std::vector<int64_t> load_E(3, 0), expected_E(3, 0);
  for (int64_t n = 0; n < routing.pairs(); ++n)
    ++load_E[static_cast<size_t>(routing.experts_N[n].item<int64_t>())];
  for (size_t u = 0; u < counts.domain_U.size(); ++u)
    for (size_t e = 0; e < 3 && counts.domain_U[u] == 1; ++e)
      expected_E[e] += counts.layers[0].counts_UE[3 * u + e];
  EXPECT_EQ(load_E, expected_E);
  routing::write_recording(real_files(), folder_ / "r.safetensors", routing);
  EXPECT_TRUE(
      routing::read_recording(folder_ / "r.safetensors").experts_N.equal(routing.experts_N));
  // The replay router gives the tokens of the domain, by their global number, what the trace says.
  routing::Replay replay({.d_model = 4, .num_experts = 3}, {});
  replay.set_assignment(routing);
  LayerContext context;
  context.tokens.first_token = 8;
  const auto replayed = replay.forward(at::zeros({5, 4}), context);
  EXPECT_TRUE(replayed.experts_N.equal(routing.experts_N.slice(0, 16, 26)));
  EXPECT_TRUE(replayed.weights_N.equal(routing.weights_N.slice(0, 16, 26)));
  EXPECT_ERROR(file.routing(0, "b"), "a layer with experts");
  EXPECT_ERROR(file.routing(1, "bb"), "Did you mean 'b'?");
}

TEST_F(Traces, CarryTheirTokenizer) {
  const auto model = test::tiny_bpe("some text with some words, some twice", 270, {});
  auto with = info();
  with.tokenizer = "some/tokenizer.json";
  with.tokenizer_json = data::write_tokenizer_json(model);
  TraceWriter writer(real_files(), path_, with);
  writer.add(test::random_rows(1));
  writer.finish();
  const auto tokenizer = TraceFile::open(path_).tokenizer();
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("some words")), "some words");
  EXPECT_EQ(tokenizer->name(), "some/tokenizer.json");
}

TEST_F(Traces, RefuseDamage) {
  write({test::random_rows(1)});
  using Tensors = std::map<std::string, Tensor>;
  using Metadata = std::map<std::string, std::string>;
  const auto refuses = [&](const std::function<void(Tensors&, Metadata&)>& edit,
                           const std::string& part) {
    const Path path = change(edit);
    EXPECT_ERROR(TraceFile::open(path), part);
  };
  refuses([](Tensors&, Metadata& m) { m.erase("format"); }, "to be a routing trace");
  refuses([](Tensors&, Metadata& m) { m["version"] = "2"; }, "expected version 1");
  refuses([](Tensors&, Metadata& m) { m["vocabulary"] = "3"; }, "token ids in [0, 3)");
  refuses([](Tensors&, Metadata& m) { m["vocabulary"] = "3x"; }, "metadata 'vocabulary'");
  refuses([](Tensors&, Metadata& m) { m["sequence"] = "2"; }, "positions in [0, 2)");
  refuses([](Tensors&, Metadata& m) { m["domains"] = "99999999"; }, "metadata 'domains'");
  refuses([](Tensors&, Metadata& m) { m["domains"] = "3"; }, "the name of domain 2 of 3");
  refuses([](Tensors&, Metadata& m) { m["layers.1.num_experts"] = "2"; },
          "layers.1.experts in [-1, 2)");
  refuses([](Tensors&, Metadata& m) { m["layers.1.num_experts"] = "0"; }, "num_experts");
  refuses([](Tensors&, Metadata& m) { m["layers.01.num_experts"] = "2"; }, "layers.I.num_experts");
  refuses([](Tensors&, Metadata& m) { m["layers.7.num_experts"] = "2"; }, "layers.7.experts");
  refuses([](Tensors&, Metadata& m) { m.erase("layers.1.num_experts"); }, "4 unknown");
  refuses([](Tensors& t, Metadata&) { t.erase("positions"); }, "positions");
  refuses([](Tensors& t, Metadata&) { t["extra"] = at::zeros({1}); }, "'extra'");
  refuses([](Tensors& t, Metadata&) { t["token_ids"] = t["token_ids"].to(at::kLong); },
          "'token_ids' of");
  refuses([](Tensors& t, Metadata&) { t["token_ids"] = t["token_ids"].slice(0, 1); }, "of shape");
  refuses([](Tensors& t, Metadata&) { t["positions"][0] = -1; }, "positions");
  refuses([](Tensors& t, Metadata&) { t["row_domains"][1] = 2; }, "row_domains in [0, 2)");
  refuses([](Tensors& t, Metadata&) { t["row_offsets"][1] = -1; }, "row_offsets that rise");
  refuses([](Tensors& t, Metadata&) { t["row_offsets"][-1] += 1; }, "row_offsets that rise");
  refuses([](Tensors& t, Metadata&) { t["row_offsets"][0] = 1; }, "row_offsets that rise");
  refuses([](Tensors& t, Metadata&) { t["layers.3.offsets"][3] = int64_t{1} << 60; },
          "layers.3.offsets that rise");
  refuses([](Tensors& t, Metadata&) { t["layers.3.experts"][0] = -2; }, "layers.3.experts in");
  refuses([](Tensors& t, Metadata&) { t["layers.3.weights"] = at::zeros({2}); },
          "layers.3.weights");
  refuses([](Tensors& t, Metadata&) { t.erase("layers.3.offsets"); }, "layers.3.experts");
  refuses(
      [](Tensors& t, Metadata&) {
        t["layers.3.router_logits"] = at::zeros({2, 6});
      },
      "layers.3.router_logits");
  const Path unreadable = change([](Tensors&, Metadata& m) { m["tokenizer"] = "other"; });
  EXPECT_ERROR(TraceFile::open(unreadable).tokenizer(), "the tokenizer 'other'");
}

TEST_F(Traces, SurviveRandomDamage) {
  write({test::random_rows(1)});
  const std::string good = read_file(real_files(), path_, 1 << 20);
  const RandomStream stream({.seed = 9}, Purpose::kTest);
  const Path bad = folder_ / "bad.safetensors";
  int refused = 0;
  for (uint64_t i = 0; i < 400; ++i) {
    std::string text = good;
    if (i % 4 == 0) text.resize(stream.below(8 * i, text.size()));
    for (uint64_t k = 1; k < 4 && !text.empty(); ++k)
      text[stream.below(8 * i + k, text.size())] =
          static_cast<char>(stream.below(8 * i + k + 4, 256));
    std::ofstream(bad, std::ios::binary) << text;
    refused +=
        !test::message_of([&] {
           TraceFile::open(bad).rows({.max_batches = -1, .logits = true}, [](const RoutedRows&) {});
         }).empty();
  }
  EXPECT_GT(refused, 150);
}

TEST_F(Traces, AreNotWrittenOfNothingOrOfTwoModels) {
  TraceWriter writer(real_files(), path_, info());
  writer.add(test::random_rows(1, {.rows = 0}));
  EXPECT_ERROR(writer.finish(), "rows with tokens");
  writer.add(test::random_rows(1));
  EXPECT_ERROR(writer.add(test::random_rows(1, {.experts = {4}})), "2 MoE layers");
  EXPECT_ERROR(writer.add(test::random_rows(1, {.experts = {4, 5}})), "layer 3 of 6 experts");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace moe::analyze
