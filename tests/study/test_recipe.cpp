// What published models use: every block that is printed is one that our reader takes and that
// makes a layer of the sizes it says.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/config/toml.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/zoo.h>
#include <moe/study/recipe.h>

namespace moe::study {
namespace {

/// A decoder of one block that has the printed settings, for a width of our own.
models::DecoderOptions decoder_with(const std::string& printed) {
  const Table table = config::parse_toml(printed, "recipe");
  models::DecoderOptions out;
  read_fields(out, *table.find("model")->as<Table>(), "model");
  out.d_model = 64;
  out.causal = printed.find("Not for causal") == std::string::npos;
  if (out.blocks.empty()) out.uniform.layers = 1;
  for (auto& block : out.blocks) block.mixer.options.set("heads", 4);
  return out;
}

TEST(Recipe, EveryPublishedModelsBlockMakesALayer) {
  const auto names = names_with_recipe();
  EXPECT_GE(names.size(), 40u);
  for (const auto& name : names) {
    SCOPED_TRACE(name);
    const Recipe found = recipe(name);
    const auto model = models::make_model(decoder_with(write_recipe(found)));
    const auto blocks = model->blocks();
    ASSERT_EQ(blocks.size(), 1u);
    // The layer has what the model's own has, but for the width, and how its load is balanced.
    auto made = blocks.front()->spec().feed_forward;
    ASSERT_EQ(made.kind, found.feed_forward.kind);
    made.resolve();
    for (const char* key : {"num_experts", "top_k", "slots", "router", "expert", "capacity",
                            "balance", "identity_experts", "output_bias"}) {
      const Value *ours = made.options.find(key), *theirs = found.feed_forward.options.find(key);
      ASSERT_EQ(ours == nullptr, theirs == nullptr) << key;
      if (!ours) continue;
      EXPECT_EQ(ours->text(), theirs->text()) << key;
    }
  }
}

TEST(Recipe, SaysWhatIsKnown) {
  const std::string v3 = write_recipe(recipe("deepseek-v3"));
  for (const char* said : {"DeepSeek-V3", "58 of 61 blocks", "num_experts = 256", "top_k = 8",
                           "kind = \"sigmoid\"", "groups = 8", "d_ff = 2048", "shared = "})
    EXPECT_PRED2(moe::test::contains, v3, said);
  const auto row = recipe_row(recipe("deepseek-v3"));
  EXPECT_EQ(row.router, "sigmoid, 4 of 8 groups, times 2.5");
  EXPECT_EQ(row.experts, "8 of 256");
  EXPECT_EQ(row.balance, "sequence 0.0001, bias_rate 0.001");
  // Where nobody said how, none is made up.
  EXPECT_EQ(recipe_row(recipe("mixtral-8x7b")).balance, "");
  EXPECT_PRED2(moe::test::contains, write_recipe(recipe("mixtral-8x7b")), "is a default");
  EXPECT_PRED2(moe::test::contains, write_recipe(recipe("soft-moe-s-16")), "soft_moe");
}

TEST(Recipe, RefusesWhatHasNone) {
  EXPECT_ERROR(recipe("deepseek-v33"), "Did you mean 'deepseek-v3'?");
  EXPECT_ERROR(recipe("llama-2-70b"), "is dense");
}

/// The table of docs/choosing.md.
std::string published_table() {
  std::string out =
      "| model | router | experts a token | experts | shared | balance | by |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const auto& name : names_with_recipe()) {
    const Recipe found = recipe(name);
    const RecipeRow row = recipe_row(found);
    const std::string unsaid = found.balance_source.empty() ? "not said" : "none";
    out += concat("| `", name, "` | ", row.router, " | ", row.experts, " | ", row.expert, " | ",
                  row.shared, " | ", row.balance.empty() ? unsaid : row.balance, " | ",
                  found.balance_source, " |\n");
  }
  return out;
}

TEST(Recipe, TheDocumentShowsTheSame) {
  std::ifstream file(std::filesystem::path(MOE_SOURCE_DIR) / "docs" / "choosing.md");
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_NE(page.str().find(published_table()), std::string::npos)
      << "scripts/study_figures.py --models build/release/moe writes it anew.";
}

}  // namespace
}  // namespace moe::study
