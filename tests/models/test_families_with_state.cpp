// Every family reads texts piece by piece as it reads them whole: several texts of different
// lengths at once, in pieces of any size, one token at a time, and beyond sliding windows.
// V vocabulary.
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <tests/support/compare.h>
#include <tests/support/run_model.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <moe/models/family.h>
#include <moe/models/load.h>

#include "tests/models/settings_case.h"

namespace moe::models::families_with_state_test {
namespace {

using at::Tensor;

/// Longer than the windows, chunks and numbers of keys of all cases.
const std::vector<int64_t> kLengths = {15, 1, 8, 13};

/// How many tokens text n brings next, of which so many have been read.
using Pieces = std::function<int64_t(int64_t n, int64_t read)>;

const std::map<std::string, Pieces> kPieces = {
    {"a token at a time", [](int64_t, int64_t) { return 1; }},
    {"whole", [](int64_t, int64_t) { return 100; }},
    {"a prompt, then tokens", [](int64_t n, int64_t read) { return read == 0 ? 9 - n : 1; }},
    {"pieces of 5, 0, 3, 17, …", [](int64_t n, int64_t read) {
       return std::vector<int64_t>{5, 3, 17, 2}[(n + read) % 4];
     }}};

Tensor text_of(int64_t n, int64_t vocabulary) {
  return (at::arange(kLengths[static_cast<size_t>(n)], at::kLong).square() * 5 + 3 * n + 2)
      .remainder(vocabulary);
}

/// The texts of a call, a sequence each, from `read[n]` on; `fresh[n]` tokens.
TokenList part_of(const std::vector<Tensor>& texts, const std::vector<int64_t>& read,
                  const std::vector<int64_t>& fresh) {
  std::vector<Tensor> ids;
  for (size_t n = 0; n < texts.size(); ++n) ids.push_back(texts[n].narrow(0, read[n], fresh[n]));
  return {.sequences = Sequences::of_lengths(fresh), .ids_T = at::cat(ids)};
}

class Reading {
 public:
  explicit Reading(std::shared_ptr<Model> model)
      : model_(std::move(model)), encodes_(model_->traits().decoder_start >= 0) {
    for (size_t n = 0; n < kLengths.size(); ++n)
      texts_.push_back(text_of(static_cast<int64_t>(n), model_->traits().vocabulary));
  }

  /// (length, V) logits of each text, read alone.
  std::vector<Tensor> whole() const {
    std::vector<Tensor> out;
    for (size_t n = 0; n < texts_.size(); ++n) {
      ModelInputs inputs;
      (encodes_ ? inputs.decoder : inputs.tokens).ids_T = texts_[n];
      if (encodes_) inputs.tokens.ids_T = texts_[n].flip(0);
      out.push_back(test::logits(*model_, inputs));
    }
    return out;
  }

  std::vector<Tensor> in_pieces(const Pieces& pieces) const {
    GenerationState state = model_->new_state(16, model_->dtype());
    state.join(static_cast<int64_t>(texts_.size()));
    std::vector<std::vector<Tensor>> parts(texts_.size());
    while (state.lengths() != kLengths) {
      std::vector<int64_t> fresh, encode;
      for (size_t n = 0; n < texts_.size(); ++n) {
        const int64_t read = state.lengths()[n];
        fresh.push_back(std::min(pieces(static_cast<int64_t>(n), read), kLengths[n] - read));
        encode.push_back(read == 0 ? kLengths[n] : 0);
      }
      ModelInputs inputs;
      TokenList& written = encodes_ ? inputs.decoder : inputs.tokens;
      written = part_of(texts_, state.lengths(), fresh);
      written.sequences = state.sequences(fresh);
      if (encodes_) {
        std::vector<Tensor> turned;
        for (const auto& text : texts_) turned.push_back(text.flip(0));
        inputs.tokens = part_of(turned, std::vector<int64_t>(texts_.size(), 0), encode);
      }
      ForwardContext context;
      context.state = &state;
      const Tensor logits_TV = test::logits(*model_, inputs, context);
      int64_t begin = 0;
      for (size_t n = 0; n < texts_.size(); ++n) {
        parts[n].push_back(logits_TV.narrow(0, begin, fresh[n]));
        begin += fresh[n];
      }
    }
    std::vector<Tensor> out;
    for (const auto& part : parts) out.push_back(at::cat(part));
    return out;
  }

 private:
  std::shared_ptr<Model> model_;
  bool encodes_;
  std::vector<Tensor> texts_;
};

/// Reads the model of `folder` in float64, where other sums differ by nothing; its family.
std::string expect_pieces_as_whole(const Path& folder) {
  const auto loaded = load(folder, at::kDouble);
  const Reading reading(loaded.model);
  const auto whole = reading.whole();
  for (const auto& [how, pieces] : kPieces) {
    SCOPED_TRACE(how);
    const auto read = reading.in_pieces(pieces);
    for (size_t n = 0; n < whole.size(); ++n)
      test::expect_close(read[n], whole[n], 1e-9 * whole[n].abs().max().item<double>(),
                         concat("text ", n));
  }
  return loaded.family;
}

TEST(FamiliesWithState, ReadPiecesAsTheyReadTheWhole) {
  const at::NoGradGuard no_grad;
  const test::WithThreads one_thread(1);
  std::set<std::string> seen;
  // Positions that depend on how long a text has become are those of its length so far:
  // docs/hugging_face.md.
  const std::set<std::string> by_length = {"llama_dynamic", "phimoe_beyond"};
  for (const auto& entry : std::filesystem::directory_iterator(
           test::SettingsCase::stored("tokens.json").parent_path())) {
    const auto name = entry.path().filename().string();
    if (!entry.is_directory() || by_length.contains(name)) continue;
    SCOPED_TRACE(name);
    seen.insert(expect_pieces_as_whole(test::SettingsCase(name).path() / "model"));
  }
  const Path golden = Path(MOE_SOURCE_DIR) / "tests" / "golden", shared = MOE_SHARED_DIR;
  seen.insert(expect_pieces_as_whole(golden / "llama_tied" / "model"));
  if (!std::filesystem::exists(shared / "parity" / "README.md"))
    GTEST_SKIP() << "no parity cases at " << shared << ": " << seen.size() << " families read";
  for (const auto& entry : std::filesystem::directory_iterator(shared / "parity")) {
    const Path folder = entry.path() / "model";
    if (!std::filesystem::exists(folder / "config.json")) continue;
    SCOPED_TRACE(folder.string());
    seen.insert(expect_pieces_as_whole(folder));
  }
  for (const auto& family : families().names()) {
    if (family == "phi3") continue;  // the how-to's, registered at run time
    EXPECT_TRUE(seen.contains(family)) << family;
  }
}

}  // namespace
}  // namespace moe::models::families_with_state_test
