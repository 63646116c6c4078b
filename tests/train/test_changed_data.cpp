// Files that a run reads, between a stop and a resume: content is guarded, places are free.
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <moe/config/toml.h>
#include <moe/formats/safetensors.h>
#include <moe/parallel/threads.h>
#include <moe/routing/kinds/hash.h>
#include <moe/train/sources.h>

#include "tests/support/idx.h"
#include "tests/support/message_of.h"
#include "tests/support/tiny_bpe.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

std::string content_of(const std::string& path) {
  return read_file(real_files(), path, 1u << 26);
}

void put(const Path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

/// A run of 6 steps that was stopped after 3.
class ChangedData : public testing::Test {
 protected:
  void SetUp() override {
    options_ = tiny_run(folder_.path());
    options_.train.steps = 6;
    options_.train.eval_every = 0;
  }
  Path run() const { return folder_ / "run"; }
  void start() { train::Run(options_, run()).start({.max_steps = 3}); }
  std::string refusal(bool allow = false) {
    return message_of([&] { train::Run(options_, run()).resume({.allow_changed_data = allow}); });
  }
  Path checkpoint() const { return *checkpoint::latest_checkpoint(run() / "checkpoints"); }

  TemporaryFolder folder_;
  train::RunOptions options_;
};

TEST_F(ChangedData, IsRefusedByName) {
  start();
  const std::string train = options_.data.domains[0].train, valid = options_.data.domains[1].valid;
  const std::string of_train = content_of(train), of_valid = content_of(valid);
  std::string flipped = of_train;
  flipped[flipped.size() / 2] ^= 1;
  for (const std::string& other : {flipped, of_train + "x", "x" + of_train, of_train.substr(1)}) {
    put(train, other);
    const std::string message = refusal();
    EXPECT_PRED2(contains, message,
                 concat("data.domains[0].train: was ", of_train.size(), " bytes"));
    EXPECT_PRED2(contains, message, concat("is ", other.size(), " bytes"));
    EXPECT_PRED2(contains, message, "step-000003 was trained on, got other content for 1 setting.");
    EXPECT_PRED2(contains, message, "--allow-changed-data");
  }
  put(valid, of_valid + "x");
  EXPECT_PRED2(contains, refusal(), "for 2 settings.");
  EXPECT_PRED2(contains, refusal(), "\n  data.domains[1].valid: was");
  put(train, of_train);
  put(valid, of_valid);
  EXPECT_EQ(refusal(), "");
}

TEST_F(ChangedData, IsRefusedInAnotherPlaceToo) {
  start();
  const std::string here = options_.data.domains[0].train, there = folder_ / "there";
  put(there, content_of(here) + "x");
  options_.data.domains[0].train = there;
  EXPECT_PRED2(contains, refusal(), "('" + there + "')");
  // Two files of a domain in place of one are other data as well.
  options_.data.domains[0].train = "";
  options_.data.domains[0].valid = "";
  options_.data.domains[0].path = here;
  EXPECT_PRED2(contains, refusal(), "data.domains[0].path: named no file");
  EXPECT_PRED2(contains, refusal(), "names no file now");
}

TEST_F(ChangedData, GoesOnWhenAllowedAndIsTheDataFromThenOn) {
  start();
  put(options_.data.domains[0].train, content_of(options_.data.domains[0].train) + "and more");
  EXPECT_NE(refusal(), "");
  testing::internal::CaptureStderr();
  const auto summary =
      train::Run(options_, run()).resume({.max_steps = 5, .allow_changed_data = true});
  EXPECT_PRED2(contains, testing::internal::GetCapturedStderr(),
               "with other data than before:\n  data.domains[0].train: was");
  EXPECT_EQ(summary.record.step, 5);
  EXPECT_EQ(refusal(), "");
}

TEST_F(ChangedData, MovedFilesAreTheSameRun) {
  start();
  train::Run(options_, folder_ / "whole").start();
  for (auto& domain : options_.data.domains)
    for (std::string* path : {&domain.train, &domain.valid}) {
      std::filesystem::rename(*path, *path + ".moved");
      *path += ".moved";
    }
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(tensor_files(run()), tensor_files(folder_ / "whole"));
}

TEST_F(ChangedData, AFileThatIsGoneIsNamedAsBefore) {
  start();
  std::filesystem::remove(options_.data.domains[0].train);
  EXPECT_PRED2(contains, refusal(), "expected a file of text for the domain 'english'");
}

TEST_F(ChangedData, EveryRankLooks) {
  start();
  put(options_.data.domains[0].train, content_of(options_.data.domains[0].train) + "x");
  const std::string message = message_of([&] {
    parallel::run_ranks(2, [&](const std::shared_ptr<parallel::Communicator>& group) {
      train::Run(options_, run()).resume({.group = group});
    });
  });
  EXPECT_PRED2(contains, message, "data.domains[0].train: was");
}

TEST_F(ChangedData, ACheckpointThatDoesNotSayIsWarnedOf) {
  testing::internal::CaptureStderr();
  train::check_same_sources(options_, train::record_sources(options_), folder_.path(), {});
  EXPECT_PRED2(contains, testing::internal::GetCapturedStderr(), "does not say what its data held");
}

TEST(ChangedImages, AndTheirLabelsAreRefusedByName) {
  const TemporaryFolder folder;
  train::RunOptions options;
  data::DomainOptions domain;
  domain.name = "digits";
  domain.format = "idx";
  for (auto [path, name] : {std::pair{&domain.train, "a"}, {&domain.valid, "b"}}) {
    *path = folder / name;
    put(*path, idx_of({2, 1, 1}, "xy"));
  }
  for (auto [path, name] : {std::pair{&domain.train_labels, "c"}, {&domain.valid_labels, "d"}}) {
    *path = folder / name;
    put(*path, idx_of({2}, std::string("\0\1", 2)));
  }
  options.data.domains = {domain};
  const auto before = train::record_sources(options);
  EXPECT_EQ(before.size(), 4u);
  put(folder / data::kSourcesFile, data::write_source_records(before));
  const auto refusal = [&] {
    return message_of([&] {
      train::check_same_sources(options, train::record_sources(options), folder.path(), {});
    });
  };
  EXPECT_EQ(refusal(), "");
  put(domain.train_labels, idx_of({2}, std::string("\1\0", 2)));
  EXPECT_PRED2(contains, refusal(), "data.domains[0].train_labels: was");
  put(domain.valid, idx_of({2, 1, 1}, "yx"));
  EXPECT_PRED2(contains, refusal(), "data.domains[0].valid: was");
  // Labels may move as images may.
  std::filesystem::rename(folder / "d", folder / "moved");
  options.data.domains[0].valid_labels = folder / "moved";
  EXPECT_FALSE(contains(refusal(), "valid_labels"));
}

/// The table made of them is in the checkpoint.
TEST_F(ChangedData, CountsOfARouterAreReadOnce) {
  const auto write_counts = [&](const std::string& name, int64_t first) {
    formats::write_safetensors(real_files(), folder_ / name,
                               {{"counts", at::arange(first, first + 256, at::kLong)}});
  };
  const auto use_counts = [&](const std::string& name) {
    HashRouter router;
    router.table = "balanced";
    router.counts_file = folder_ / name;
    change_model(options_, [&](auto& model) {
      model.uniform.moe.router = router;
      model.uniform.moe.balance = {};
    });
  };
  write_counts("counts", 1);
  use_counts("counts");
  start();
  train::Run(options_, folder_ / "whole").start();
  write_counts("counts", 2);
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(tensor_files(run()), tensor_files(folder_ / "whole"));
}

/// A run on the tokenizer DIR/t.json.
class MovedTokenizer : public ChangedData {
 protected:
  void SetUp() override {
    ChangedData::SetUp();
    put(folder_ / "t.json", data::write_tokenizer_json(tiny_bpe(mixed_text(), 350)));
    options_.data.tokenizer = folder_ / "t.json";
    change_model(options_, [](auto& model) { model.vocabulary = 350; });
    start();
  }
};

TEST_F(MovedTokenizer, IsTheSameRun) {
  train::Run(options_, folder_ / "whole").start();
  std::filesystem::rename(folder_ / "t.json", folder_ / "renamed.json");
  options_.data.tokenizer = folder_ / "renamed.json";
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(tensor_files(run()), tensor_files(folder_ / "whole"));
  const Table written = config::read_toml((run() / "config.toml").string());
  EXPECT_EQ(*written.find("data")->as<Table>()->find("tokenizer")->as<std::string>(),
            options_.data.tokenizer);
}

TEST_F(MovedTokenizer, IsReadFromTheCheckpointWhereItIsGone) {
  train::Run(options_, folder_ / "whole").start();
  std::filesystem::remove(folder_ / "t.json");
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(tensor_files(run()), tensor_files(folder_ / "whole"));
}

TEST_F(MovedTokenizer, RemediesWorkWhenAppliedAndOtherTokensAreRefused) {
  const std::string remedy = "Set data.tokenizer to " + (checkpoint() / "tokenizer.json").string();
  // Another vocabulary of the same and of another size, and bytes.
  std::string other;
  for (int i = 0; i < 200; ++i) other += "to be or not to be ";
  for (const int64_t vocabulary : {350, 360, 340}) {
    put(folder_ / "t.json", data::write_tokenizer_json(tiny_bpe(mixed_text() + other, vocabulary)));
    EXPECT_PRED2(contains, refusal(), "which differs. " + remedy) << vocabulary;
    EXPECT_PRED2(contains, refusal(true), "which differs. " + remedy) << vocabulary;
  }
  options_.data.tokenizer = "byte";
  EXPECT_PRED2(contains, refusal(), "got 'byte', which differs. " + remedy);
  options_.data.tokenizer = checkpoint() / "tokenizer.json";
  EXPECT_EQ(refusal(), "");
}

TEST_F(ChangedData, ARunOfBytesTakesNoTokenizer) {
  start();
  put(folder_ / "t.json", data::write_tokenizer_json(tiny_bpe(mixed_text(), 256)));
  options_.data.tokenizer = folder_ / "t.json";
  EXPECT_PRED2(contains, refusal(), "Set data.tokenizer to byte.");
  options_.data.tokenizer = "byte";
  EXPECT_EQ(refusal(), "");
}

}  // namespace
}  // namespace moe::test
