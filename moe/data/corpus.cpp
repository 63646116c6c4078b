#include <algorithm>

#include <moe/data/corpus.h>
#include <moe/data/domain_choice.h>
#include <moe/data/json_lines.h>
#include <moe/data/token_file.h>
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
                     "', got an empty file. Name another.");
  return file;
}

/// How many of `count` come before the last `share` of them.
int64_t first_part(auto count, double share) {
  return static_cast<int64_t>(static_cast<double>(count) * (1 - share));
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

/// `text` in two at about (1 - valid_share) of it, between lines of JSON, between documents, or, of
/// a text that is one document, between characters.
std::pair<std::string_view, std::string_view> split_text(std::string_view text,
                                                         const DomainOptions& options,
                                                         const DataOptions& data) {
  if (options.valid_share == 0) return {text, {}};
  if (options.format != "text") return split_lines(text, options.valid_share);
  const auto parts = split_head(text, options.valid_share, data.split_unit == "characters");
  if (data.packing.documents == "file") return parts;
  size_t cut = 0;  // where the document begins that would be in both parts
  for (const auto& document : divide_documents(text, data.packing)) {
    const auto begin = static_cast<size_t>(document.whole.data() - text.data());
    if (begin > parts.first.size()) break;
    cut = begin;
  }
  return {text.substr(0, cut), text.substr(cut)};
}

Domain open_domain(const DomainOptions& options, const DataOptions& data,
                   const Tokenizer& tokenizer, const DocumentLayout& layout) {
  check<ConfigError>(options.is_text(), kPlaceOfCorpus, "expected text in the domain '",
                     options.name, "', got images (format ", options.format,
                     "). Name a run or data of text.");
  const int64_t least = data.sequence + 1;
  Domain out{.name = options.name, .train = {}, .valid = {}, .weight = 0};
  const auto read = [&](const std::shared_ptr<const MappedFile>& file, std::string_view text,
                        const char* split, int64_t least_tokens) {
    Tokens tokens = read_tokens(file, text, options.format, tokenizer, layout);
    check_length(tokens, split, options, file->path().string(), least_tokens);
    return tokens;
  };
  if (options.path.empty()) {
    const auto train = open_text(options, options.train, least);
    out.train = read(train, text_of(*train), "training", least);
    if (options.valid.empty()) return out;
    const auto valid = open_text(options, options.valid, 2);
    out.valid = read(valid, text_of(*valid), "validation", 2);
    return out;
  }
  const auto file = open_text(options, options.path, least);
  if (options.format == "tokens") {
    const Tokens all = read_tokens(file, text_of(*file), options.format, tokenizer, layout);
    const int64_t cut = first_part(all.size(), options.valid_share);
    // Between documents, where there are any.
    const int64_t end = all.has_documents() && cut < all.size() ? all.document_begin(cut) : cut;
    out.train = all.part(0, end);
    check_length(out.train, "training", options, options.path, least);
    if (options.valid_share > 0) out.valid = all.part(end, all.size());
    if (options.valid_share > 0) check_length(out.valid, "validation", options, options.path, 2);
    return out;
  }
  const auto [train, valid] = split_text(text_of(*file), options, data);
  out.train = read(file, train, "training", least);
  if (options.valid_share > 0) out.valid = read(file, valid, "validation", 2);
  return out;
}

}  // namespace

Tokens read_tokens(const std::shared_ptr<const MappedFile>& file, std::string_view text,
                   const std::string& format, const Tokenizer& tokenizer,
                   const DocumentLayout& layout) {
  check_one_of(kPlaceOfCorpus, "format", format, text_formats());
  if (format == "text") return tokens_of_documents(file, text, tokenizer, layout);
  if (format == "tokens") {
    const Tokens tokens = read_token_file(file, tokenizer);
    if (!layout.apart()) return tokens.without_documents();
    check<ConfigError>(tokens.has_documents(), kPlaceOfCorpus,
                       "expected documents in the token file '", file->path().string(),
                       "' for data.packing.attention = \"document\", got one stream. Write it with "
                       "`moe data tokenize --documents`.");
    return tokens;
  }
  const std::string_view all = text_of(*file);
  const auto before = all.substr(0, static_cast<size_t>(text.data() - all.data()));
  const int64_t first_line = 1 + std::ranges::count(before, '\n');
  const auto& read = format == "jsonl_text" ? read_json_texts : read_prompt_completion;
  return read(text, tokenizer, file->path().string(), first_line, layout);
}

Corpus::Corpus(const DataOptions& options, int64_t threads)
    : tokenizer_(make_tokenizer(options.tokenizer)), sequence_(options.sequence) {
  options.validate("data");
  check_domains(options);
  options.packing.validate("data.packing");
  const DocumentLayout layout = make_layout(options.packing, *tokenizer_, threads);
  for (const auto& domain : options.domains) {
    const auto tokenizer = domain.special ? tokenizer_ : tokenizer_->without_special();
    domains_.push_back(open_domain(domain, options, *tokenizer, layout));
  }
  std::vector<int64_t> sizes;
  for (const auto& domain : domains_) sizes.push_back(domain.train.size());
  const auto weights = domain_weights(options, sizes);
  for (size_t i = 0; i < domains_.size(); ++i) domains_[i].weight = weights[i];
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
  size_t cut = 0;
  if (by_characters) {
    size_t characters = 0;
    for (size_t i = 0; i < text.size(); i += next_utf8(text.substr(i)).length) ++characters;
    for (auto left = static_cast<size_t>(first_part(characters, share)); left > 0; --left)
      cut += next_utf8(text.substr(cut)).length;
  } else {
    cut = static_cast<size_t>(first_part(text.size(), share));
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
