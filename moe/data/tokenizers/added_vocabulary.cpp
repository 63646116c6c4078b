#include <algorithm>

#include <moe/data/tokenizers/added_vocabulary.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

bool word_before(std::string_view text, size_t end) {
  if (end == 0) return false;
  const size_t last = last_code_point(text.substr(0, end));
  return is_a(first_code_point(text.substr(last)).code, kWord);
}

bool word_behind(std::string_view text, size_t begin) {
  return begin < text.size() && is_a(first_code_point(text.substr(begin)).code, kWord);
}

/// Where the white space begins that ends at `end`; not before `least`.
size_t space_begin(std::string_view text, size_t end, size_t least) {
  while (end > least) {
    const size_t last = last_code_point(text.substr(0, end));
    if (!is_a(first_code_point(text.substr(last)).code, kSpace)) break;
    end = last;
  }
  return std::max(end, least);
}

size_t space_end(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const auto [code, length] = first_code_point(text.substr(begin));
    if (!is_a(code, kSpace)) break;
    begin += length;
  }
  return begin;
}

}  // namespace

AddedVocabulary::AddedVocabulary(std::span<const AddedToken> tokens,
                                 std::span<const std::string> texts)
    : tokens_(tokens.begin(), tokens.end()) {
  std::vector<std::pair<std::string_view, uint32_t>> words;
  for (size_t i = 0; i < texts.size(); ++i) words.emplace_back(texts[i], static_cast<uint32_t>(i));
  trie_ = ByteTrie(std::move(words));
}

void AddedVocabulary::divide(std::string_view text, bool begins, Take take) const {
  size_t done = 0;
  size_t space_from = 0, space_to = 0;  // a run of white space that has been looked through
  const auto hand_on = [&](size_t begin, size_t end, std::optional<uint32_t> id) {
    take(text.substr(begin, end - begin), id, begins && begin == 0);
  };
  for (size_t i = 0; i < text.size();) {
    const auto found = trie_.may_begin(text[i]) ? trie_.longest(text.substr(i)) : ByteTrie::Found();
    if (found.length == 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[found.value];
    size_t begin = i, end = i + found.length;
    i = end;
    if (token.single_word && (word_before(text, begin) || word_behind(text, end))) continue;
    if (token.lstrip) begin = space_begin(text, begin, done);  // behind what rstrip took
    if (token.rstrip) {
      if (end < space_from || end > space_to) space_from = end, space_to = space_end(text, end);
      end = space_to;
    }
    if (done < begin) hand_on(done, begin, std::nullopt);
    if (begin < end) hand_on(begin, end, token.id);
    done = end;
  }
  if (done < text.size()) hand_on(done, text.size(), std::nullopt);
}

}  // namespace moe::data
