#include <algorithm>
#include <cmath>

#include <moe/analyze/loss_difference.h>
#include <moe/base/error.h>
#include <moe/base/text.h>
#include <moe/layers/moe_layer.h>
#include <report/html.h>
#include <report/sections.h>

namespace moe::report {

namespace {

/// "8" or "8 to 16".
template <class Of>
std::string range_of(const std::vector<const MoELayer::Impl*>& layers, const Of& of) {
  const auto [low, high] = std::minmax_element(layers.begin(), layers.end(),
                                               [&](auto* a, auto* b) { return of(*a) < of(*b); });
  const int64_t from = of(**low), to = of(**high);
  return from == to ? grouped(from) : grouped(from) + " to " + grouped(to);
}

std::string architecture(const RunFacts& run) {
  if (!run.model) return "A model";
  const auto blocks = run.model->blocks();
  std::vector<const MoELayer::Impl*> mixtures;
  for (const auto& block : blocks)
    if (const auto* layer = block->feed_forward().mixture()) mixtures.push_back(layer);
  const std::string stack = plural(static_cast<int64_t>(blocks.size()), "layer");
  if (mixtures.empty()) return concat("A dense model of ", stack);
  return concat(
      "A model of ", stack, ", ",
      mixtures.size() == blocks.size()
          ? "each"
          : concat(grouped(static_cast<int64_t>(mixtures.size())), " of them"),
      " a mixture of ",
      range_of(mixtures, [](const auto& layer) { return layer.options().num_experts; }),
      " experts of which ",
      range_of(mixtures,
               [](const auto& layer) {
                 return static_cast<int64_t>(std::llround(layer.router().active_experts()));
               }),
      " are active for a token (router ", escaped(mixtures.front()->options().router.kind), ")");
}

std::string names_of(std::vector<std::string> domains) {
  if (domains.empty()) return "";
  if (domains.size() > 6) return concat(" of ", domains.size(), " domains");
  for (auto& name : domains) name = concat("<q>", escaped(name), "</q>");
  std::string out = " of " + domains.front();
  for (size_t i = 1; i < domains.size(); ++i)
    out += (i + 1 == domains.size() ? " and " : ", ") + domains[i];
  return out;
}

std::string below_or_above(double difference) {
  return concat(fixed(std::abs(difference), 4), difference < 0 ? " below" : " above");
}

/// How far the best loss is from the twin's, where both were measured at the same steps, and at the
/// same time.
std::string against_twin(const RunFacts& run, const RunFacts& twin) {
  const auto ours = run.log.loss_points(), theirs = twin.log.loss_points();
  const double at_steps = analyze::difference_at_equal_steps(ours, theirs),
               at_time = analyze::difference_at_equal_time(ours, theirs);
  std::string out =
      std::isfinite(at_steps)
          ? concat(", <b>", below_or_above(at_steps),
                   "</b> its dense twin of equal active FLOPs at equal steps")
          : ", and its dense twin of equal active FLOPs was not evaluated at any of the same steps";
  return out + (std::isfinite(at_time)
                    ? concat(" and ", below_or_above(at_time), " it at equal wall time")
                    : "; at equal wall time it was not measured (the slower of the two had no "
                      "evaluation before the last one of the other)");
}

std::string lead(const ReportData& data) {
  const auto& run = data.run;
  const int64_t steps = run.log.last_step();
  std::string out = concat("<p class=\"lead\">", architecture(run));
  if (steps > 0)
    out += concat(", trained for ", plural(steps, "step"),
                  run.tokens() > 0 ? concat(" on ", compact(static_cast<double>(run.tokens())), ' ',
                                            run.unit(), names_of(run.domains))
                                   : "");
  out += ". ";
  const auto best = run.best();
  if (best)
    out += concat("Its best validation loss is <b>", fixed(best->loss, 4), "</b>", run.loss_unit(),
                  ", at step ", grouped(best->step));
  else
    out += "Nothing was evaluated: there is no validation loss";
  const auto other = data.twin ? data.twin->best() : std::nullopt;
  if (best && other) out += against_twin(run, *data.twin);
  return out + ".</p>\n";
}

std::string state_of(const RunFacts& run) {
  const int64_t steps = run.log.last_step();
  if (steps == 0) return "<span class=\"badge wait\">no step logged yet</span>";
  if (run.planned_steps > steps)
    return concat("<span class=\"badge wait\">ended after ", grouped(steps), " of ",
                  grouped(run.planned_steps), " steps</span>");
  return concat("<span class=\"badge\">", plural(steps, "step"), ", complete</span>");
}

std::string tiles(const ReportData& data) {
  const auto& run = data.run;
  std::string out = "<dl class=\"tiles\">\n";
  if (const auto best = run.best())
    out +=
        tile("Validation loss", fixed(best->loss, 4),
             concat(run.loss_unit().empty() ? "" : "nats a token · ", escaped(run.best_metrics())));
  if (run.counts) {
    const auto& c = *run.counts;
    out +=
        tile("Parameters", compact(static_cast<double>(c.total)),
             concat(compact(static_cast<double>(c.active)), " active a token (",
                    percent(static_cast<double>(c.active) / static_cast<double>(c.total), 0), ")"));
    out += tile("Forward FLOPs a token", compact(static_cast<double>(c.flops_per_token)),
                concat("attention over ", grouped(run.model->traits().context_length), " tokens"));
  }
  if (const double rate = run.tokens_per_second(); std::isfinite(rate))
    out += tile(
        "Speed", compact(rate),
        concat(run.unit(), "/s, median",
               std::isfinite(run.seconds()) ? " · " + clock_text(run.seconds()) + " in all" : ""));
  double busiest = 0, unused = 0;
  for (const auto& view : layer_views(data))
    if (view.last) {
      busiest = std::max(busiest, view.last->max_over_mean);
      unused += view.last->unused;
    }
  if (busiest > 0)
    out += tile(
        "Busiest expert", fixed(busiest, 2) + "×",
        concat("the mean load, last step",
               std::isnan(unused) ? ""
               : unused > 0 ? " · " + plural(static_cast<int64_t>(unused), "expert") + " unused"
                            : " · none unused"));
  return out + "</dl>\n";
}

template <class Value>
std::string row(const std::string& name, const RunFacts& a, const RunFacts& b, const Value& value) {
  return concat("<tr><th scope=\"row\">", name, "</th><td>", value(a), "</td><td>", value(b),
                "</td></tr>\n");
}

std::string comparison(const ReportData& data) {
  if (!data.twin) return "";
  const auto &a = data.run, &b = *data.twin;
  const auto count = [](auto member) {
    return [member](const RunFacts& run) {
      return run.counts ? grouped((*run.counts).*member) : std::string("–");
    };
  };
  using models::ModelCounts;
  return concat(
      "<table class=\"numbers compare\"><caption>The MoE model and its dense twin</caption><thead>"
      "<tr><th scope=\"col\"></th><th scope=\"col\"><i class=\"key moe\"></i>MoE</th>"
      "<th scope=\"col\"><i class=\"key dense\"></i>dense twin</th></tr></thead><tbody>\n",
      row("Best validation loss", a, b,
          [](const RunFacts& run) {
            const auto best = run.best();
            return best ? fixed(best->loss, 4) : std::string("–");
          }),
      row("Parameters", a, b, count(&ModelCounts::total)),
      row("Active a token", a, b, count(&ModelCounts::active)),
      row("Forward FLOPs a token", a, b, count(&ModelCounts::flops_per_token)),
      row(concat(a.unit() == "tokens" ? "Tokens" : "Images", " a second, median"), a, b,
          [](const RunFacts& run) { return compact(run.tokens_per_second()); }),
      row("Wall time", a, b,
          [](const RunFacts& run) {
            return std::isfinite(run.seconds()) ? clock_text(run.seconds()) : std::string("–");
          }),
      "</tbody></table>\n");
}

std::string seeds(const ReportData& data) {
  if (data.seeds.size() < 2) return "";
  std::string rows;
  double sum = 0;
  for (const auto& pair : data.seeds) {
    sum += pair.difference;
    rows += concat("<tr><th scope=\"row\">", escaped(pair.name), "</th><td>", fixed(pair.moe, 4),
                   "</td><td>", fixed(pair.dense, 4), "</td><td>",
                   signed_number(pair.difference, 4), "</td></tr>\n");
  }
  return concat(
      "<table class=\"numbers compare\"><caption>Best validation losses by seed; the charts show "
      "the first</caption><thead><tr><th scope=\"col\"></th><th scope=\"col\">MoE</th>"
      "<th scope=\"col\">dense twin</th><th scope=\"col\">MoE − dense, equal "
      "steps</th></tr></thead>"
      "<tbody>\n",
      rows, "<tr class=\"total\"><th scope=\"row\">mean</th><td></td><td></td><td>",
      signed_number(sum / static_cast<double>(data.seeds.size()), 4),
      "</td></tr></tbody></table>\n");
}

}  // namespace

std::string summary(const ReportData& data) {
  return concat("<header class=\"top\">\n<p class=\"eyebrow\">moe.cpp · report of a run ",
                state_of(data.run), "</p>\n<h1>", escaped(data.title), "</h1>\n", lead(data),
                "</header>\n", tiles(data), "<div class=\"pair\">", comparison(data),
                domain_table(data), seeds(data), "</div>\n");
}

}  // namespace moe::report
