#include <algorithm>

#include <moe/base/error.h>
#include <moe/data/images.h>
#include <moe/data/loader.h>

namespace moe::data {

namespace {

class TextData final : public Dataset {
 public:
  explicit TextData(std::shared_ptr<const Corpus> corpus) : corpus_(std::move(corpus)) {}

  std::shared_ptr<const BatchSource> training(int64_t rows, uint64_t seed) const override {
    return std::make_shared<Loader>(corpus_, LoaderOptions{.batch = rows, .seed = seed});
  }
  std::vector<EvalSet> evaluation(int64_t rows, int64_t max_batches) const override {
    std::vector<EvalSet> out;
    const auto& domains = corpus_->domains();
    for (size_t i = 0; i < domains.size(); ++i)
      if (!domains[i].valid.empty())
        out.push_back(
            {domains[i].name, std::make_shared<EvalPass>(domains[i].valid, corpus_->sequence(),
                                                         rows, max_batches, static_cast<int64_t>(i),
                                                         static_cast<int64_t>(domains.size()))});
    return out;
  }
  DataTraits traits() const override {
    return {.vocabulary = corpus_->tokenizer()->vocabulary(), .sequence = corpus_->sequence()};
  }
  std::shared_ptr<const Tokenizer> tokenizer() const override { return corpus_->tokenizer(); }

 private:
  std::shared_ptr<const Corpus> corpus_;
};

}  // namespace

std::shared_ptr<const Dataset> open_data(const DataOptions& options, int64_t threads) {
  options.validate("data");
  check_domains(options);
  const auto is_text = [](const DomainOptions& domain) { return domain.is_text(); };
  if (std::ranges::all_of(options.domains, is_text))
    return std::make_shared<TextData>(std::make_shared<const Corpus>(options, threads));
  check<ConfigError>(std::ranges::none_of(options.domains, is_text), "data",
                     "expected domains of text or domains of images, got both. Train on one kind.");
  return std::make_shared<ImageData>(options);
}

}  // namespace moe::data
