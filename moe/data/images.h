#pragma once
// Images with classes. N images, C channels, H height, W width.

#include <memory>
#include <string>
#include <vector>

#include <moe/data/batch.h>
#include <moe/data/domain_choice.h>
#include <moe/formats/idx.h>

namespace moe::data {

/// Images as their files hold them, and the class of each. Immutable and thread-safe.
class LabelledImages {
 public:
  /// Maps the idx files at `pixels`, (N, H, W) or (N, C, H, W), and `labels`, (N,); compressed ones
  /// are unpacked into memory. Throws moe::Error for files that are none or do not belong together.
  LabelledImages(const std::string& pixels, const std::string& labels);

  int64_t count() const { return labels_.shape[0]; }
  /// {C, H, W}
  std::vector<int64_t> image_shape() const;
  /// The C·H·W bytes of image n.
  std::span<const uint8_t> pixels(int64_t n) const;
  int64_t label(int64_t n) const { return labels_.values[static_cast<size_t>(n)]; }
  /// The largest class plus 1.
  int64_t classes() const { return classes_; }

 private:
  formats::IdxArray pixels_, labels_;
  int64_t classes_ = 0;
};

/// The images of a domain.
struct ImageDomain {
  std::string name;
  std::shared_ptr<const LabelledImages> train;
  std::shared_ptr<const LabelledImages> valid;  // null: none
  double weight = 0;                            // share of the images of a batch
};

/// The images of a run, all of one shape. Pixels become (pixel / 255 - mean) / std, float32. A
/// batch names the domain of each image (inputs.tokens.domains_T) and the global number of its
/// first image (inputs.tokens.first_token).
class ImageData final : public Dataset, public std::enable_shared_from_this<ImageData> {
 public:
  /// Throws ConfigError for files that are missing or that differ in the shape of an image, and for
  /// means or deviations that are not one a channel.
  explicit ImageData(const DataOptions& options);

  /// Images drawn evenly from domains drawn by weight; image r of micro-batch m is image m * rows +
  /// r of the step.
  std::shared_ptr<const BatchSource> training(int64_t rows, uint64_t seed) const override;
  /// The validation images of each domain that has any, in the order of their files.
  std::vector<EvalSet> evaluation(int64_t rows, int64_t max_batches) const override;
  DataTraits traits() const override;
  std::string unit() const override { return "images"; }

  const std::vector<ImageDomain>& domains() const { return domains_; }
  /// An image with its domain's number.
  struct Pick {
    const LabelledImages* images;
    int64_t number, domain;
  };
  /// The batch of `picks`, whose first has the global number `first`.
  Batch batch_of(const std::vector<Pick>& picks, int64_t first) const;

 private:
  std::vector<ImageDomain> domains_;
  std::vector<float> value_of_;  // (C, 256): what each pixel becomes
};

}  // namespace moe::data
