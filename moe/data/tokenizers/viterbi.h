#pragma once
// The likeliest division of a text into pieces with scores (Kudo 2018, the unigram language model).

#include <string_view>
#include <vector>

#include <moe/data/tokenizers/byte_trie.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

/// A stretch of text as one piece; kNone for a character that no piece covers.
struct ViterbiPiece {
  size_t begin, end;
  uint32_t id;
};

/// The pieces with the largest sum of scores, in order; of equal sums what the shorter beginning
/// gave. `score(id, bytes)`, a double, of a piece, `unknown` of a character that is no piece.
/// Scalar is the type that sums are kept in, which decides near ties: double as the crate
/// `tokenizers` has it, float as SentencePiece. Linear in the length of the text.
template <class Scalar, class Score>
std::vector<ViterbiPiece> best_pieces(const ByteTrie& pieces, std::string_view text, Scalar unknown,
                                      Score&& score) {
  struct Node {
    Scalar score = 0;
    size_t begin = SIZE_MAX;  // of the piece that ends here
    uint32_t id = ByteTrie::kNone;
  };
  std::vector<Node> ends(text.size() + 1);
  for (size_t i = 0; i < text.size();) {
    const Scalar here = ends[i].score;
    const size_t character = first_code_point(text.substr(i)).length;
    bool covered = false;
    const auto offer = [&](size_t length, uint32_t id, Scalar sum) {
      Node& node = ends[i + length];
      if (node.begin == SIZE_MAX || sum > node.score) node = {sum, i, id};
    };
    pieces.prefixes(text.substr(i), [&](size_t length, uint32_t id) {
      offer(length, id, static_cast<Scalar>(score(id, length)) + here);
      covered |= length == character;
    });
    if (!covered) offer(character, ByteTrie::kNone, unknown + here);
    i += character;
  }
  std::vector<ViterbiPiece> out;
  for (size_t end = text.size(); end > 0; end = ends[end].begin)
    out.push_back({ends[end].begin, end, ends[end].id});
  return {out.rbegin(), out.rend()};
}

}  // namespace moe::data
