// What transformers writes greedily is written here too, by every family that it has: texts of
// different lengths at once, some longer than windows, one joining while others write. Runs where
// the Python packages are present; the interpreter is that of MOE_PYTHON, or python3.
// MOE_GENERATION_CASES=N compares N models of each family instead of one.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/generation/running_batch.h>
#include <moe/generation/switch_length.h>
#include <moe/models/hugging_face.h>

#include "tests/support/python.h"
#include "tests/support/temporary_folder.h"

namespace moe::generation::transformers_generation_test {
namespace {

using Texts = std::vector<std::vector<int64_t>>;

const Path kScript = Path(MOE_SOURCE_DIR) / "tests/reference/transformers/generation.py";

/// What a model writes behind the prompts, the last of which joins later.
Texts written_together(const models::HuggingFaceModel& loaded, const Texts& prompts,
                       const SequenceOptions& options) {
  RunningBatch batch(loaded.model, 0, switch_length(loaded.spec));
  Texts out(prompts.size());
  for (size_t n = 0; n + 1 < prompts.size(); ++n) batch.add(prompts[n], options);
  for (int64_t step = 0; batch.size() > 0; ++step) {
    if (step == 3) batch.add(prompts.back(), options);
    for (const DrawnToken& drawn : batch.step())
      out[static_cast<size_t>(drawn.sequence)].push_back(drawn.token);
  }
  return out;
}

TEST(TransformersGeneration, EveryFamilyWritesWhatTransformersWrites) {
  if (!test::python_has("torch, transformers, safetensors"))
    GTEST_SKIP() << test::python() << " has no torch, transformers and safetensors";
  const char* count = std::getenv("MOE_GENERATION_CASES");
  const test::TemporaryFolder folder;
  ASSERT_EQ(test::run_python(kScript, concat(folder.path().string(), " --count ",
                                             count != nullptr ? count : "1")),
            0);
  std::set<std::string> families;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    SCOPED_TRACE(entry.path().filename().string());
    const auto text = read_file(real_files(), entry.path() / "written.json", 1 << 20);
    const auto expected = nlohmann::json::parse(text);
    const auto prompts = expected["prompts"].get<Texts>();
    const auto tokens = expected["tokens"].get<Texts>();
    const SequenceOptions options = {
        .sampling = {.temperature = 0,
                     .repetition_penalty = expected["repetition_penalty"].get<double>()},
        .max_tokens = static_cast<int64_t>(tokens.front().size())};
    Texts together(prompts.size());
    EXPECT_NO_THROW({
      const auto loaded = models::load_hugging_face(entry.path() / "model");
      families.insert(loaded.family);
      together = written_together(loaded, prompts, options);
    });
    for (size_t n = 0; n < prompts.size(); ++n) {
      EXPECT_GE(tokens[n].size(), 32);
      EXPECT_EQ(together[n], tokens[n]) << "a prompt of " << prompts[n].size() << " tokens";
    }
  }
  // All but four that transformers has no classes for.
  EXPECT_EQ(families.size(), 43);
}

}  // namespace
}  // namespace moe::generation::transformers_generation_test
