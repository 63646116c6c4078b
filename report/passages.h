#pragma once

#include <moe/data/tokenizer.h>
#include <report/data.h>

namespace moe::report {

/// Row `row` of `rows`, at most `tokens` of it, as text and choices; at most four choices a token.
Passage passage_of(const analyze::RoutedRows& rows, int64_t row, const data::Tokenizer& tokenizer,
                   const std::string& domain, int64_t tokens);

/// Tokens of a passage so that `passages` of them hold a bounded number of choices over all MoE
/// layers: 32 to 240.
int64_t passage_length(const analyze::RoutedRows& rows, int64_t passages);

/// The text that each token begins: see Passage::text_T.
std::vector<std::string> texts_of(const data::Tokenizer& tokenizer,
                                  const std::vector<int64_t>& ids);

}  // namespace moe::report
