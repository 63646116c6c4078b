#include <algorithm>

#include <moe/base/error.h>
#include <moe/base/threads.h>
#include <moe/data/documents.h>

namespace moe::data {

namespace {

/// Text that one thread encodes in a turn, and that all of them hold at once, each.
constexpr size_t kTurnBytes = size_t{1} << 16;
constexpr size_t kBatchBytes = size_t{1} << 22;
constexpr int64_t kMostThreads = 4096;

/// Lines with text, without their ends; `joined`: neighbours are one.
std::vector<std::string_view> bodies_of_lines(std::string_view text, bool joined) {
  std::vector<std::string_view> out;
  bool open = false;  // the line before this one has text
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool blank = line.find_first_not_of(" \t\r\v\f") == line.npos;
    if (!blank && open && joined)
      out.back() = {out.back().data(), line.data() + line.size()};
    else if (!blank)
      out.push_back(line);
    open = !blank;
    begin = end + 1;
  }
  return out;
}

std::vector<std::string_view> bodies_between(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  return out;
}

/// The first of `texts` behind `begin` that does not fit into `bytes` any more.
size_t end_of_turn(const std::vector<std::string_view>& texts, size_t begin, size_t end,
                   size_t bytes) {
  size_t sum = 0, i = begin;
  while (i < end && (i == begin || sum + texts[i].size() <= bytes)) sum += texts[i++].size();
  return i;
}

}  // namespace

std::vector<TextDocument> divide_documents(std::string_view text, const PackingOptions& packing) {
  std::vector<std::string_view> bodies;
  if (packing.documents == "separator")
    bodies = bodies_between(text, packing.separator);
  else if (packing.documents != "file")
    bodies = bodies_of_lines(text, packing.documents == "blank_line");
  else if (!text.empty())
    bodies = {text};
  std::vector<TextDocument> out;
  out.reserve(bodies.size());
  const char* begin = text.data();
  for (size_t i = 0; i < bodies.size(); ++i) {
    const char* end = i + 1 < bodies.size() ? bodies[i + 1].data() : text.data() + text.size();
    out.push_back({bodies[i], {begin, end}});
    begin = end;
  }
  return out;
}

DocumentLayout make_layout(const PackingOptions& packing, const Tokenizer& tokenizer,
                           int64_t threads) {
  DocumentLayout out{.packing = packing, .threads = threads};
  if (!packing.end_of_text) return out;
  out.end_of_text = tokenizer.end_of_text();
  check<ConfigError>(out.end_of_text.has_value(), "data/documents",
                     "expected a tokenizer with an end-of-text token for "
                     "data.packing.end_of_text, got '",
                     tokenizer.name(),
                     "', which has none. Train one with `moe tokenize --train --special "
                     "'<|endoftext|>'`, or set it to false.");
  return out;
}

Tokens join_documents(const std::vector<std::string_view>& texts,
                      const std::function<EncodedDocument(size_t index)>& encode,
                      int64_t vocabulary, bool with_marks, const DocumentLayout& layout) {
  TokensBuilder builder(vocabulary);
  const size_t batch_bytes =
      kBatchBytes * static_cast<size_t>(std::clamp<int64_t>(layout.threads, 1, kMostThreads));
  for (size_t begin = 0; begin < texts.size();) {
    const size_t end = end_of_turn(texts, begin, texts.size(), batch_bytes);
    std::vector<size_t> turns = {begin};
    while (turns.back() < end) turns.push_back(end_of_turn(texts, turns.back(), end, kTurnBytes));
    std::vector<EncodedDocument> documents(end - begin);
    in_parallel(static_cast<int64_t>(turns.size()) - 1, layout.threads, [&](int64_t turn, size_t) {
      const auto at = static_cast<size_t>(turn);
      for (size_t i = turns[at]; i < turns[at + 1]; ++i) documents[i - begin] = encode(i);
    });
    for (const auto& [ids, untrained] : documents) {
      if (layout.apart()) builder.begin_document();
      const std::span<const int64_t> all = ids;
      if (with_marks) {
        builder.append(all.first(untrained), false);
        builder.append(all.subspan(untrained), true);
      } else {
        builder.append(all);
      }
    }
    begin = end;
  }
  return std::move(builder).finish();
}

Tokens tokens_of_documents(std::shared_ptr<const void> owner, std::string_view text,
                           const Tokenizer& tokenizer, const DocumentLayout& layout) {
  const auto& end_of_text = layout.end_of_text;
  if (layout.packing.documents == "file" && !layout.apart() && !end_of_text)
    return tokens_of_text(std::move(owner), text, tokenizer, layout.threads);
  if (layout.packing.documents == "file" && !tokenizer.is_bytes()) {
    TokensBuilder builder(tokenizer.vocabulary());
    if (layout.apart()) builder.begin_document();
    tokenizer.encode_in_parts(text, layout.threads,
                              [&](std::span<const int64_t> ids) { builder.append(ids); });
    if (end_of_text) builder.append(std::span(&*end_of_text, 1));
    return std::move(builder).finish();
  }
  const auto documents = divide_documents(text, layout.packing);
  if (tokenizer.is_bytes()) {
    if (!layout.apart()) return {std::move(owner), text};
    std::vector<int64_t> starts;
    for (const auto& document : documents) starts.push_back(document.whole.data() - text.data());
    return {std::move(owner), documents.empty() ? std::string_view() : text, std::move(starts)};
  }
  std::vector<std::string_view> texts;
  texts.reserve(documents.size());
  for (const auto& document : documents)
    texts.push_back(end_of_text ? document.body : document.whole);
  const auto encode = [&](size_t index) {
    EncodedDocument out{tokenizer.encode(texts[index])};
    if (end_of_text) out.ids.push_back(*end_of_text);
    return out;
  };
  return join_documents(texts, encode, tokenizer.vocabulary(), false, layout);
}

}  // namespace moe::data
