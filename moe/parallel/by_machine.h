#pragma once
// Exchanges that go inside machines first. M machines, S ranks of the group on each.

#include <memory>

#include <moe/parallel/communicator.h>

namespace moe::parallel {

/// The group, whose exchanges of rows (all_to_all_v) go in two steps, as in Tutel's hierarchical
/// all-to-all (Hwang et al. 2022): first inside each machine, every rank to the one that has the
/// receiver's place there; then between machines, among the ranks of one place. A rank then sends M
/// - 1 messages to other machines instead of (M - 1) S, each S times as large; as many bytes cross
/// machines, more move inside them. Results are those of the group; its other calls are the
/// group's own.
///
/// Exchanges that are under way may be waited for in any order: what was started first crosses
/// first. One that is waited for sends all that were started on their way between machines, so
/// that these travel while its rank computes.
///
/// Machines are those of Communicator::machine. With one machine, or with one rank on each, it is
/// the group itself. All ranks call it; throws ConfigError where machines have different numbers of
/// the group's ranks.
std::shared_ptr<Communicator> by_machine(std::shared_ptr<Communicator> group);

}  // namespace moe::parallel
