// N images, C channels, H height, W width.
#include <algorithm>

#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/data/images.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfImages = "data/images";
constexpr int64_t kValuesOfPixel = 256;

formats::IdxArray open_idx(const std::string& path, const char* what) {
  std::error_code error;
  check<ConfigError>(std::filesystem::is_regular_file(path, error), kPlaceOfImages,
                     "expected an idx file of ", what, ", got '", path,
                     "', which is none. Correct the path.");
  return formats::read_idx(MappedFile::open(path));
}

ImageDomain open_domain_of_images(const DomainOptions& options) {
  ImageDomain out{.name = options.name, .train = {}, .valid = {}};
  out.train = std::make_shared<LabelledImages>(options.train, options.train_labels);
  if (!options.valid.empty())
    out.valid = std::make_shared<LabelledImages>(options.valid, options.valid_labels);
  return out;
}

std::vector<ImageDomain> open_domains(const DataOptions& options) {
  std::vector<ImageDomain> out;
  std::vector<int64_t> sizes;
  for (const auto& domain : options.domains) {
    out.push_back(open_domain_of_images(domain));
    sizes.push_back(out.back().train->count());
    for (const auto& images : {out.back().train, out.back().valid})
      check<ConfigError>(!images || images->image_shape() == out.front().train->image_shape(),
                         kPlaceOfImages, "expected images of one shape (channels, height, width), ",
                         at::IntArrayRef(out.front().train->image_shape()), " as in '",
                         options.domains[0].train, "', got others in the domain '", domain.name,
                         "'. Name files of the same shape.");
  }
  const auto weights = domain_weights(options, sizes);
  for (size_t i = 0; i < out.size(); ++i) out[i].weight = weights[i];
  return out;
}

/// One number a channel.
std::vector<double> per_channel(const std::vector<double>& given, int64_t channels,
                                const char* name) {
  if (given.size() == 1) return std::vector<double>(static_cast<size_t>(channels), given[0]);
  check<ConfigError>(static_cast<int64_t>(given.size()) == channels, kPlaceOfImages,
                     "expected one number in data.images.", name, ", or one for each of ", channels,
                     " channels, got ", given.size(), ". Correct the list.");
  return given;
}

/// Training batches of `data`.
class ImageSource final : public BatchSource {
 public:
  ImageSource(std::shared_ptr<const ImageData> data, int64_t rows, uint64_t seed)
      : data_(std::move(data)), rows_(rows), seed_(seed), choice_(weights_of(*data_)) {
    check_batch_rows(rows);
  }

  Batch batch(int64_t step, int64_t micro, int64_t accumulation, RowRange rows) const override {
    check_place(step, micro, accumulation);
    check_rows(rows, rows_);
    const int64_t first = first_token_of_row({step, micro, accumulation, rows_, 1}, rows.begin);
    const RandomStream stream({.seed = seed_, .step = static_cast<uint64_t>(step)}, Purpose::kData);
    std::vector<ImageData::Pick> picks;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const auto number = static_cast<uint64_t>(micro * rows_ + row);
      const size_t domain = choice_.domain(stream, number);
      const LabelledImages& images = *data_->domains()[domain].train;
      picks.push_back({&images, DomainChoice::place(stream, number, images.count()),
                       static_cast<int64_t>(domain)});
    }
    return data_->batch_of(picks, first);
  }
  int64_t rows() const override { return rows_; }
  int64_t tokens() const override { return rows_; }

 private:
  static std::vector<double> weights_of(const ImageData& data) {
    std::vector<double> out;
    for (const auto& domain : data.domains()) out.push_back(domain.weight);
    return out;
  }

  std::shared_ptr<const ImageData> data_;
  int64_t rows_;
  uint64_t seed_;
  DomainChoice choice_;
};

/// One pass over the validation images of a domain.
class ImagePass final : public EvalSource {
 public:
  ImagePass(std::shared_ptr<const ImageData> data, size_t domain, int64_t rows, int64_t max_batches)
      : data_(std::move(data)),
        images_(*data_->domains()[domain].valid),
        domain_(static_cast<int64_t>(domain)),
        rows_(rows) {
    check_batch_rows(rows);
    batches_ = (images_.count() - 1) / rows + 1;
    if (max_batches >= 0) batches_ = std::min(batches_, max_batches);
  }

  int64_t batches() const override { return batches_; }
  int64_t rows() const override { return rows_; }
  Batch batch(int64_t index, RowRange rows) const override {
    check(index >= 0 && index < batches_, kPlaceOfImages, "expected a batch in [0, ", batches_,
          "), got ", index, ". Ask for one that there is.");
    check_rows(rows, rows_);
    const int64_t begin = std::min(index * rows_ + rows.begin, images_.count());
    const int64_t end = std::min(index * rows_ + rows.end, images_.count());
    std::vector<ImageData::Pick> picks;
    for (int64_t n = begin; n < end; ++n) picks.push_back({&images_, n, domain_});
    return data_->batch_of(picks, begin);
  }

 private:
  std::shared_ptr<const ImageData> data_;
  const LabelledImages& images_;
  int64_t domain_, rows_, batches_ = 0;
};

}  // namespace

LabelledImages::LabelledImages(const std::string& pixels, const std::string& labels)
    : pixels_(open_idx(pixels, "images")), labels_(open_idx(labels, "labels")) {
  check(pixels_.shape.size() == 3 || pixels_.shape.size() == 4, kPlaceOfImages,
        "expected images (N, H, W) or (N, C, H, W) in '", pixels, "', got ", pixels_.shape.size(),
        " dimensions. Name the file of the images.");
  check(labels_.shape.size() == 1, kPlaceOfImages, "expected labels (N,) in '", labels, "', got ",
        labels_.shape.size(), " dimensions. Name the file of the classes.");
  check(labels_.shape[0] == pixels_.shape[0], kPlaceOfImages, "expected a label for each of the ",
        pixels_.shape[0], " images of '", pixels, "', got ", labels_.shape[0], " in '", labels,
        "'. Name files that belong together.");
  classes_ = int64_t{*std::ranges::max_element(labels_.values)} + 1;
}

std::vector<int64_t> LabelledImages::image_shape() const {
  const auto& shape = pixels_.shape;
  return shape.size() == 3 ? std::vector<int64_t>{1, shape[1], shape[2]}
                           : std::vector<int64_t>{shape[1], shape[2], shape[3]};
}

std::span<const uint8_t> LabelledImages::pixels(int64_t n) const {
  const size_t bytes = pixels_.values.size() / static_cast<size_t>(count());
  return pixels_.values.subspan(static_cast<size_t>(n) * bytes, bytes);
}

ImageData::ImageData(const DataOptions& options) : domains_(open_domains(options)) {
  options.images.validate("data.images");
  const int64_t channels = domains_.front().train->image_shape()[0];
  const auto mean = per_channel(options.images.mean, channels, "mean");
  const auto deviation = per_channel(options.images.std, channels, "std");
  for (size_t c = 0; c < mean.size(); ++c)
    for (int64_t pixel = 0; pixel < kValuesOfPixel; ++pixel)
      value_of_.push_back(static_cast<float>(
          (static_cast<double>(pixel) / (kValuesOfPixel - 1) - mean[c]) / deviation[c]));
}

Batch ImageData::batch_of(const std::vector<Pick>& picks, int64_t first) const {
  const auto shape = domains_.front().train->image_shape();
  const auto N = static_cast<int64_t>(picks.size());
  Batch out;
  out.inputs.pixels_NCHW = at::empty({N, shape[0], shape[1], shape[2]}, at::kFloat);
  out.targets = at::empty({N}, at::kLong);
  TokenList& about = out.inputs.tokens;
  about.domains_T = at::empty({N}, at::kLong);
  about.num_domains = static_cast<int64_t>(domains_.size());
  about.first_token = first;
  auto* value = out.inputs.pixels_NCHW.mutable_data_ptr<float>();
  auto* target = out.targets.mutable_data_ptr<int64_t>();
  auto* domain_of = about.domains_T.mutable_data_ptr<int64_t>();
  const auto channel = static_cast<size_t>(shape[1] * shape[2]);
  for (const auto& [images, number, domain] : picks) {
    const auto pixels = images->pixels(number);
    for (size_t i = 0; i < pixels.size(); ++i)
      *value++ = value_of_[i / channel * kValuesOfPixel + pixels[i]];
    *target++ = images->label(number);
    *domain_of++ = domain;
  }
  return out;
}

std::shared_ptr<const BatchSource> ImageData::training(int64_t rows, uint64_t seed) const {
  return std::make_shared<ImageSource>(shared_from_this(), rows, seed);
}

std::vector<EvalSet> ImageData::evaluation(int64_t rows, int64_t max_batches) const {
  std::vector<EvalSet> out;
  for (size_t i = 0; i < domains_.size(); ++i)
    if (domains_[i].valid)
      out.push_back({domains_[i].name,
                     std::make_shared<ImagePass>(shared_from_this(), i, rows, max_batches)});
  return out;
}

DataTraits ImageData::traits() const {
  const auto shape = domains_.front().train->image_shape();
  DataTraits out{.channels = shape[0], .height = shape[1], .width = shape[2]};
  for (const auto& domain : domains_)
    for (const auto& images : {domain.train, domain.valid})
      if (images) out.classes = std::max(out.classes, images->classes());
  return out;
}

}  // namespace moe::data
