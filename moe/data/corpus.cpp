#include <algorithm>

#include <moe/base/files.h>
#include <moe/data/corpus.h>
#include <moe/data/prompt_completion.h>
#include <moe/data/utf8.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfCorpus = "data/corpus";

std::string_view text_of(const MappedFile& file) {
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::shared_ptr<const MappedFile> open_text(const DomainOptions& domain, const std::string& path,
                                            int64_t least) {
  std::error_code error;
  const bool is_file = std::filesystem::is_regular_file(path, error);
  check<ConfigError>(is_file, kPlaceOfCorpus, "expected a file of text for the domain '",
                     domain.name, "', got '", path, "', which is none. Correct the path; at least ",
                     least, " tokens are needed.");
  auto file = MappedFile::open(path);
  check<ConfigError>(!file->bytes().empty(), kPlaceOfCorpus, "expected at least ", least,
                     " tokens of text for the domain '", domain.name, "' in '", path,
                     "', got an empty file.");
  return file;
}

/// The tokens of `text`, a part of `file`.
Tokens tokens_of(std::string_view text, const std::shared_ptr<const MappedFile>& file,
                 const DomainOptions& domain, const Tokenizer& tokenizer) {
  if (domain.format == "jsonl_prompt_completion") {
    const auto before =
        text_of(*file).substr(0, static_cast<size_t>(text.data() - text_of(*file).data()));
    return read_prompt_completion(text, tokenizer, file->path().string(),
                                  1 + std::ranges::count(before, '\n'));
  }
  return tokens_of_text(file, text, tokenizer);
}

void check_length(const Tokens& tokens, const char* split, const DomainOptions& domain,
                  const std::string& path, int64_t least) {
  check<ConfigError>(tokens.size() >= least, kPlaceOfCorpus, "expected at least ", least, " ",
                     split, " tokens for the domain '", domain.name, "' in '", path, "', got ",
                     tokens.size(), ". Give more text, lower data.sequence or change the split.");
}

/// Lines of `text` up to about the first (1 - share) of its bytes, and the rest: JSON lines are not
/// cut.
std::pair<std::string_view, std::string_view> split_lines(std::string_view text, double share) {
  const size_t cut = split_head(text, share, false).first.size();
  const size_t line_end = text.rfind('\n', cut == 0 ? 0 : cut - 1);
  const size_t begin = line_end == std::string_view::npos ? 0 : line_end + 1;
  return {text.substr(0, begin), text.substr(begin)};
}

Domain open_domain(const DomainOptions& options, const DataOptions& data,
                   const Tokenizer& tokenizer) {
  const int64_t least = data.sequence + 1;
  Domain out{.name = options.name, .train = {}, .valid = {}, .weight = 0};
  if (options.path.empty()) {
    const auto train = open_text(options, options.train, least);
    out.train = tokens_of(text_of(*train), train, options, tokenizer);
    check_length(out.train, "training", options, options.train, least);
    if (options.valid.empty()) return out;
    const auto valid = open_text(options, options.valid, 2);
    out.valid = tokens_of(text_of(*valid), valid, options, tokenizer);
    check_length(out.valid, "validation", options, options.valid, 2);
    return out;
  }
  const auto file = open_text(options, options.path, least);
  const std::string_view text = text_of(*file);
  const auto [train, valid] =
      options.valid_share == 0 ? std::pair{text, std::string_view()}
      : options.format == "text"
          ? split_head(text, options.valid_share, data.split_unit == "characters")
          : split_lines(text, options.valid_share);
  out.train = tokens_of(train, file, options, tokenizer);
  check_length(out.train, "training", options, options.path, least);
  if (options.valid_share > 0) {
    out.valid = tokens_of(valid, file, options, tokenizer);
    check_length(out.valid, "validation", options, options.path, 2);
  }
  return out;
}

void set_weights(std::vector<Domain>& domains, const DataOptions& options) {
  double sum = 0;
  for (size_t i = 0; i < domains.size(); ++i) {
    domains[i].weight = options.weights == "size"    ? static_cast<double>(domains[i].train.size())
                        : options.weights == "equal" ? 1.0
                                                     : options.domains[i].weight;
    sum += domains[i].weight;
  }
  check<ConfigError>(sum > 0, kPlaceOfCorpus,
                     "expected a positive weight for some domain with data.weights = \"given\", "
                     "got none. Set weight.");
  for (auto& domain : domains) domain.weight /= sum;
}

}  // namespace

Corpus::Corpus(const DataOptions& options)
    : tokenizer_(make_tokenizer(options.tokenizer)), sequence_(options.sequence) {
  options.validate("data");
  check<ConfigError>(!options.domains.empty(), kPlaceOfCorpus,
                     "expected at least one domain, got none. Add an entry to data.domains.");
  for (const auto& domain : options.domains) {
    domain.validate("data.domains");
    const bool is_new =
        std::ranges::none_of(domains_, [&](const Domain& d) { return d.name == domain.name; });
    check<ConfigError>(is_new, kPlaceOfCorpus, "expected different names of the domains, got '",
                       domain.name, "' twice. Rename one.");
    domains_.push_back(open_domain(domain, options, *tokenizer_));
  }
  set_weights(domains_, options);
}

const Domain& Corpus::domain(std::string_view name) const {
  std::vector<std::string> names;
  for (const auto& domain : domains_) {
    if (domain.name == name) return domain;
    names.push_back(domain.name);
  }
  fail<ConfigError>(kPlaceOfCorpus, "expected one of the domains ", join(names), ", got '", name,
                    "'.", did_you_mean(name, names));
}

int64_t Corpus::train_tokens() const {
  int64_t sum = 0;
  for (const auto& domain : domains_) sum += domain.train.size();
  return sum;
}

std::pair<std::string_view, std::string_view> split_head(std::string_view text, double share,
                                                         bool by_characters) {
  const auto first_part = [&](size_t count) {
    return static_cast<size_t>(static_cast<double>(count) * (1 - share));
  };
  size_t cut = 0;
  if (by_characters) {
    size_t characters = 0;
    for (size_t i = 0; i < text.size(); i += next_utf8(text.substr(i)).length) ++characters;
    for (size_t left = first_part(characters); left > 0; --left)
      cut += next_utf8(text.substr(cut)).length;
  } else {
    cut = first_part(text.size());
    // Back to where a character begins; more than three steps back it is no UTF-8, and any cut is
    // as good.
    const auto inside = [&](size_t i) {
      return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
    };
    size_t begin = cut;
    while (begin > 0 && cut - begin < 3 && inside(begin)) --begin;
    if (!inside(begin)) cut = begin;
  }
  return {text.substr(0, cut), text.substr(cut)};
}

}  // namespace moe::data
