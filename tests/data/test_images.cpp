// Images with classes: what is read, what batches hold, and what is refused. N images.
#include <fstream>
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/data/corpus.h>
#include <moe/data/images.h>

#include "tests/data/numbers.h"
#include "tests/support/gzip.h"
#include "tests/support/idx.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::data {
namespace {

class ImageFiles : public testing::Test {
 protected:
  /// `count` images of 2 x 3 pixels, pixel p of image n being 10 n + p + base, of class n mod
  /// `classes`.
  DomainOptions domain(const std::string& name, int count, int base, int classes, int valid = 0) {
    write(name, count, base, classes);
    DomainOptions out{.name = name, .train = path(name), .train_labels = path(name + ".labels")};
    out.format = "idx";
    if (valid == 0) return out;
    write(name + ".valid", valid, base + 1, classes);
    out.valid = path(name + ".valid");
    out.valid_labels = path(name + ".valid.labels");
    return out;
  }
  void write(const std::string& name, int count, int base, int classes) {
    std::string pixels, labels;
    for (int n = 0; n < count; ++n) {
      for (int p = 0; p < 6; ++p) pixels += static_cast<char>(10 * n + p + base);
      labels += static_cast<char>(n % classes);
    }
    const auto size = static_cast<uint32_t>(count);
    write_file(name, test::idx_of({size, 2, 3}, pixels));
    write_file(name + ".labels", test::gzip_of(test::idx_of({size}, labels)));
  }
  void write_file(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  std::string path(const std::string& name) { return folder_ / name; }

  test::TemporaryFolder folder_;
};

/// The first pixel of each image, as it stands in the file.
std::vector<int64_t> first_pixels(const Batch& batch) {
  return numbers_of((batch.inputs.pixels_NCHW.flatten(1).select(1, 0) * 255).round());
}

TEST_F(ImageFiles, SaysWhatItHolds) {
  const auto data = open_data({.domains = {domain("a", 7, 0, 4, 5)}}, 1);
  const DataTraits traits = data->traits();
  EXPECT_EQ(traits.channels, 1);
  EXPECT_EQ(traits.height, 2);
  EXPECT_EQ(traits.width, 3);
  EXPECT_EQ(traits.classes, 4);
  EXPECT_EQ(traits.vocabulary, 0);
  EXPECT_EQ(data->unit(), "images");
  EXPECT_FALSE(data->tokenizer());
  EXPECT_EQ(data->training(6, 1)->tokens(), 6);
}

TEST_F(ImageFiles, NumbersStayBelow2To63OrAreRefused) {
  const auto source = open_data({.domains = {domain("a", 7, 0, 4)}}, 1)->training(1 << 24, 1);
  EXPECT_ERROR(source->batch(int64_t{1} << 40, 0, int64_t{1} << 18, {0, 1}),
               "expected fewer than 2^63 tokens up to step 1099511627776");
  EXPECT_EQ(source->batch((int64_t{1} << 38) - 1, 0, 1, {5, 6}).inputs.tokens.first_token,
            (int64_t{1} << 62) - (int64_t{1} << 24) + 5);
}

TEST_F(ImageFiles, EvaluationShowsEveryImageOnceInOrder) {
  const auto data = open_data({.domains = {domain("a", 7, 0, 4, 5)}}, 1);
  const auto sets = data->evaluation(2, -1);
  ASSERT_EQ(sets.size(), 1u);
  EXPECT_EQ(sets[0].name, "a");
  ASSERT_EQ(sets[0].source->batches(), 3);
  std::vector<int64_t> pixels, classes;
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t rank = 0; rank < 2; ++rank) {
      const Batch batch = sets[0].source->batch(i, rank_rows(2, rank, 2));
      ASSERT_EQ(batch.inputs.pixels_NCHW.sizes().slice(1), (at::IntArrayRef{1, 2, 3}));
      EXPECT_EQ(batch.inputs.tokens.first_token, static_cast<int64_t>(pixels.size()));
      for (const int64_t pixel : first_pixels(batch)) pixels.push_back(pixel);
      for (const int64_t label : numbers_of(batch.targets)) classes.push_back(label);
    }
  EXPECT_EQ(pixels, (std::vector<int64_t>{1, 11, 21, 31, 41}));
  EXPECT_EQ(classes, (std::vector<int64_t>{0, 1, 2, 3, 0}));
  EXPECT_EQ(data->evaluation(2, 1)[0].source->batches(), 1);
  EXPECT_EQ(open_data({.domains = {domain("b", 7, 0, 4)}}, 1)->evaluation(2, -1).size(), 0u);
  EXPECT_THROW(sets[0].source->batch(3, {0, 1}), Error);
  EXPECT_THROW(sets[0].source->batch(0, {0, 3}), Error);
}

TEST_F(ImageFiles, PixelsAreScaledAndNormalised) {
  const auto options = domain("a", 20, 7, 4, 5);
  const auto plain =
      open_data({.domains = {options}}, 1)->evaluation(5, -1)[0].source->batch(0, {0, 5});
  const at::Tensor& pixels = plain.inputs.pixels_NCHW;
  EXPECT_EQ(pixels.scalar_type(), at::kFloat);
  EXPECT_FLOAT_EQ(pixels[0][0][0][0].item<float>(), 8.0f / 255);
  EXPECT_FLOAT_EQ(pixels[4][0][1][2].item<float>(), 53.0f / 255);
  const auto normalised =
      open_data({.domains = {options}, .images = {.mean = {0.25}, .std = {0.5}}}, 1)
          ->evaluation(5, -1)[0]
          .source->batch(0, {0, 5});
  EXPECT_LT((normalised.inputs.pixels_NCHW - (pixels - 0.25) / 0.5).abs().max().item<double>(),
            1e-6);
}

TEST_F(ImageFiles, ChannelsHaveTheirOwnNumbers) {
  // Two images of 2 channels and 1 x 2 pixels.
  write_file("c", test::idx_of({2, 2, 1, 2}, {0, 51, 102, static_cast<char>(153), 10, 20, 30, 40}));
  write_file("c.labels", test::idx_of({2}, {0, 1}));
  DomainOptions options{.name = "c", .train = path("c"), .train_labels = path("c.labels")};
  options.format = "idx";
  options.valid = options.train;
  options.valid_labels = options.train_labels;
  const auto data =
      open_data({.domains = {options}, .images = {.mean = {0, 0.5}, .std = {1, 0.1}}}, 1);
  EXPECT_EQ(data->traits().channels, 2);
  const at::Tensor pixels = data->evaluation(2, -1)[0].source->batch(0, {0, 2}).inputs.pixels_NCHW;
  EXPECT_NEAR(pixels[0][0][0][1].item<float>(), 0.2, 1e-6);
  EXPECT_NEAR(pixels[0][1][0][0].item<float>(), -1, 1e-5);
  EXPECT_NEAR(pixels[0][1][0][1].item<float>(), 1, 1e-5);
  EXPECT_ERROR(open_data({.domains = {options}, .images = {.mean = {0, 0, 0}}}, 1),
               "one for each of 2 channels, got 3");
}

TEST_F(ImageFiles, TrainingDependsOnSeedStepAndRowAlone) {
  const auto data = open_data({.domains = {domain("a", 20, 0, 4), domain("b", 10, 3, 2)}}, 1);
  const auto source = data->training(8, 7);
  const Batch whole = source->batch(5, 0, 1, {0, 8});
  const auto same = [](const Batch& a, const Batch& b) {
    return at::equal(a.inputs.pixels_NCHW, b.inputs.pixels_NCHW) && at::equal(a.targets, b.targets);
  };
  EXPECT_TRUE(same(data->training(8, 7)->batch(5, 0, 1, {0, 8}), whole));
  EXPECT_FALSE(same(data->training(8, 8)->batch(5, 0, 1, {0, 8}), whole));
  EXPECT_FALSE(same(source->batch(6, 0, 1, {0, 8}), whole));
  EXPECT_EQ(whole.inputs.tokens.first_token, 5 * 8);

  // In two micro-batches, each on three ranks.
  const auto halves = data->training(4, 7);
  std::vector<at::Tensor> pixels, classes;
  for (int64_t micro = 0; micro < 2; ++micro)
    for (int64_t rank = 0; rank < 3; ++rank) {
      const Batch part = halves->batch(5, micro, 2, rank_rows(4, rank, 3));
      EXPECT_EQ(part.inputs.tokens.first_token, 40 + micro * 4 + rank_rows(4, rank, 3).begin);
      pixels.push_back(part.inputs.pixels_NCHW);
      classes.push_back(part.targets);
    }
  EXPECT_TRUE(at::equal(at::cat(pixels), whole.inputs.pixels_NCHW));
  EXPECT_TRUE(at::equal(at::cat(classes), whole.targets));
  EXPECT_EQ(source->batch(0, 0, 1, {2, 2}).targets.size(0), 0);
  EXPECT_THROW(source->batch(0, 0, 1, {0, 9}), Error);
}

TEST_F(ImageFiles, TrainingReachesEveryImageEvenly) {
  const auto data = open_data({.domains = {domain("a", 20, 0, 4), domain("b", 10, 3, 2)}}, 1);
  const Batch batch = data->training(30000, 1)->batch(0, 0, 1, {0, 30000});
  std::map<int64_t, int> seen;
  for (const int64_t pixel : first_pixels(batch)) ++seen[pixel];
  ASSERT_EQ(seen.size(), 30u);
  for (const auto& [pixel, times] : seen) EXPECT_NEAR(times, 1000, 150) << pixel;
  const TokenList& about = batch.inputs.tokens;
  EXPECT_EQ(about.num_domains, 2);
  const auto domains = numbers_of(about.domains_T), classes = numbers_of(batch.targets),
             pixels = first_pixels(batch);
  for (size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(domains[i], pixels[i] % 10 == 3);
    const int64_t number = pixels[i] / 10;
    EXPECT_EQ(classes[i], number % (domains[i] == 1 ? 2 : 4));
  }
}

TEST_F(ImageFiles, WhatDoesNotFitIsRefused) {
  const auto good = domain("a", 7, 0, 4, 5);
  const auto refuses = [&](auto change, const std::string& part) {
    DataOptions options{.domains = {good}};
    change(options);
    EXPECT_ERROR(open_data(options, 1), part);
  };
  refuses([](auto& o) { o.domains[0].train_labels = ""; },
          "expected train_labels beside train for 'a'");
  refuses([](auto& o) { o.domains[0].valid_labels = ""; }, "both valid and valid_labels");
  refuses([](auto& o) { o.domains[0].format = "text"; }, "expected no labels for the domain 'a'");
  refuses(
      [](auto& o) {
        o.domains[0].path = std::exchange(o.domains[0].train, "");
        o.domains[0].valid = o.domains[0].valid_labels = "";
      },
      "expected train and train_labels");
  refuses([](auto& o) { o.domains[0].train += "x"; }, "expected an idx file of images, got '");
  refuses([](auto& o) { o.domains[0].train_labels = o.domains[0].train; }, "expected labels (N,)");
  refuses([](auto& o) { o.domains[0].train = o.domains[0].train_labels; },
          "expected images (N, H, W) or (N, C, H, W)");
  refuses([](auto& o) { o.domains[0].valid_labels = o.domains[0].train_labels; },
          "expected a label for each of the 5 images");
  refuses([](auto& o) { o.images.std = {0}; }, "standard deviations above 0");
  refuses([](auto& o) { o.images.mean = {}; }, "a number for mean and for std");
  refuses([](auto& o) { o.domains.push_back(o.domains[0]); }, "different names");
  refuses([](auto& o) { o.domains.push_back({.name = "t", .train = o.domains[0].train}); },
          "got both");
  refuses([](auto& o) { o.domains = {}; }, "at least one domain");
  write_file("wide", test::idx_of({2, 2, 4}, std::string(16, 'x')));
  write_file("wide.labels", test::idx_of({2}, {0, 1}));
  refuses(
      [&](auto& o) {
        o.domains.push_back(
            {.name = "w", .train = path("wide"), .train_labels = path("wide.labels")});
        o.domains[1].format = "idx";
      },
      "expected images of one shape (channels, height, width), [1, 2, 3]");
  EXPECT_ERROR(Corpus({.domains = {good}}), "expected text in the domain 'a', got images");
}

TEST(Digits, AreReadAsTheyAre) {
  const std::string folder = std::string(MOE_SHARED_DIR) + "/data/mnist/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  DomainOptions digits{.name = "digits",
                       .train = folder + "train-images-idx3-ubyte.gz",
                       .valid = folder + "t10k-images-idx3-ubyte.gz",
                       .train_labels = folder + "train-labels-idx1-ubyte.gz",
                       .valid_labels = folder + "t10k-labels-idx1-ubyte.gz"};
  digits.format = "idx";
  const auto data = open_data({.domains = {digits}}, 1);
  EXPECT_EQ(data->traits().classes, 10);
  EXPECT_EQ(data->traits().height, 28);
  EXPECT_EQ(data->traits().width, 28);
  const auto test = data->evaluation(100, -1)[0].source;
  EXPECT_EQ(test->batches(), 100);
  const Batch batch = test->batch(0, {0, 10});
  EXPECT_EQ(numbers_of(batch.targets), (std::vector<int64_t>{7, 2, 1, 0, 4, 1, 4, 9, 5, 9}));
  const at::Tensor training = data->training(2000, 1)->batch(0, 0, 1, {0, 2000}).inputs.pixels_NCHW;
  EXPECT_NEAR(training.mean().item<double>(), 0.1307, 0.002);
  EXPECT_NEAR(training.std().item<double>(), 0.3081, 0.002);
}

}  // namespace
}  // namespace moe::data
