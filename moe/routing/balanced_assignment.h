#pragma once
// T tokens, E experts.

#include <cstdint>
#include <vector>

namespace moe::routing {

/// How near to the best an assignment gets, and when it gives up getting nearer.
struct AuctionRule {
  /// Step of a bid, as a share of the typical distance between a token's best score and its mean.
  double epsilon = 0.02;
  /// Bids a token, on average; the tokens left then take the best expert that has room.
  int64_t bids_per_token = 200;
};

/// One expert for each token, so that every expert gets floor(T/E) or ceil(T/E) tokens and the sum
/// of their scores is within T * epsilon * typical distance of the largest there is (unless bids
/// run out). The experts that most tokens like best get the larger share; ties go to the lowest id.
///
/// Bertsekas' auction for the transportation problem (Bertsekas and Castanon 1989), with epsilon
/// scaling: a token bids for the expert with the largest score less price, and raises the price of
/// the cheapest of its places by how much better that was than the second, plus epsilon; whoever
/// held the place bids again. Ends for any scores (T, E), row by row: a NaN counts as worse
/// than any of the token's other scores, infinities as large numbers. The same for the same scores,
/// on any machine's number of threads.
std::vector<int64_t> balanced_assignment(const float* scores_TE, int64_t tokens, int64_t experts,
                                         const AuctionRule& rule = {});

}  // namespace moe::routing
