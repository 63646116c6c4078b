#include <moe/base/error.h>
#include <moe/data/tokenizer.h>

namespace moe::data {

std::vector<int64_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<int64_t> out;
  out.reserve(text.size());
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

std::string ByteTokenizer::decode(std::span<const int64_t> tokens) const {
  std::string out;
  out.reserve(tokens.size());
  for (const int64_t token : tokens) {
    if (token < 0 || token > 255)
      fail("data/tokenizer", "expected byte tokens in [0, 255], got ", token,
           ". Use the tokenizer of the model.");
    out += static_cast<char>(token);
  }
  return out;
}

std::shared_ptr<const Tokenizer> ByteTokenizer::without_special() const {
  return std::make_shared<ByteTokenizer>();
}

namespace {

/// Every token by itself.
class TokenByToken final : public TokenStream {
 public:
  explicit TokenByToken(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(int64_t token) override { return tokenizer_.decode({&token, 1}); }
  std::string flush() override { return ""; }

 private:
  const Tokenizer& tokenizer_;
};

}  // namespace

std::unique_ptr<TokenStream> Tokenizer::stream(std::span<const int64_t> /*before*/) const {
  return std::make_unique<TokenByToken>(*this);
}

std::map<std::string, std::string> Tokenizer::published_files() const {
  std::string json = tokenizer_json();
  if (json.empty()) return {};
  return {{kTokenizerFile, std::move(json)}};
}

std::string token_text(const Tokenizer& tokenizer, int64_t token) {
  const auto stream = tokenizer.stream({&token, 1});  // behind itself it is not at the front
  const std::string text = stream->push(token) + stream->flush();
  return text.empty() ? tokenizer.decode({&token, 1}) : text;
}

std::shared_ptr<const Tokenizer> make_tokenizer(const std::string& kind) {
  if (kind == "byte") return std::make_shared<ByteTokenizer>();
  const bool is_path =
      kind.ends_with(".json") || kind.ends_with(".model") || kind.ends_with(".tiktoken");
  check<ConfigError>(is_path, "data/tokenizer",
                     "expected the tokenizer byte or the path of a tokenizer.json, got '", kind,
                     "'.", did_you_mean(kind, {"byte"}));
  std::error_code error;
  check<ConfigError>(std::filesystem::is_regular_file(kind, error), "data/tokenizer",
                     "expected a tokenizer.json, found no file at '", kind,
                     "'. Correct the path, or make one with `moe tokenize --train`.");
  return read_tokenizer(kind);
}

}  // namespace moe::data
