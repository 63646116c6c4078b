#pragma once
// A study as one HTML page.

#include <string>

#include <moe/study/summary.h>

namespace moe::report::study {

/// Loss against steps: the best rows of the group in colours, with names, the others faint. ""
/// where nothing was evaluated twice.
std::string loss_curves(const moe::study::StudySummary& summary, const std::string& group);
/// Max over mean load against steps, the same way, the soonest even rows first. "" without layers
/// that route.
std::string load_curves(const moe::study::StudySummary& summary, const std::string& group);
/// A mean with its interval as a dot with whiskers on [low, high], for a cell of a table.
std::string whiskers(const moe::study::Figure& figure, double low, double high);
/// Loads of layers as bars, busiest expert first; the dashed line is the mean.
std::string load_bars(const std::vector<std::vector<double>>& loads);

/// The whole page. It loads nothing and holds no script of its own.
std::string render(const moe::study::StudySummary& summary);

}  // namespace moe::report::study
