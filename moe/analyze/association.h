#pragma once
// How much the experts of a layer tell about something else of a token: its id, its place. E
// experts, L labels. No tensors.

#include <moe/analyze/count_table.h>

namespace moe::analyze {

/// I(expert; label) of a random pair, in nats, and what it is a share of.
struct Association {
  double information = 0;
  /// `information` less its bias for small samples: about (filled cells - rows - columns + 1) / 2N
  /// nats of N pairs (Miller 1955). At least 0.
  double corrected = 0;
  double expert_entropy = 0, label_entropy = 0;
  /// information / H(expert), in [0, 1]: how far the label settles the expert.
  double of_expert = 0;
  /// information / H(label), in [0, 1]: how far the expert settles the label.
  double of_label = 0;
};

/// Of a table of experts (rows) against labels (columns). All zero for a table without counts.
Association association(const CountTable& counts_EL);

}  // namespace moe::analyze
