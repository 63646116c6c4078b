#include <moe/base/error.h>
#include <report/page.h>
#include <report/render.h>
#include <report/sections.h>

namespace moe::report {

std::string render(const ReportData& data) {
  const std::string course = optimisation(data), inside = layers(data);
  std::vector<std::pair<std::string, std::string>> sections = {{"learning", "Learning"},
                                                               {"experts", "Experts"}};
  if (!inside.empty()) sections.emplace_back("layer", "Inside a layer");
  if (!course.empty()) sections.emplace_back("optimisation", "Optimisation");
  sections.emplace_back("about", "The run");
  return page(data.title, sections,
              concat(summary(data), learning(data), experts(data), inside, course, about(data)));
}

}  // namespace moe::report
