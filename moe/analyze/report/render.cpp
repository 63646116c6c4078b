#include <moe/analyze/report/assets.h>
#include <moe/analyze/report/html.h>
#include <moe/analyze/report/render.h>
#include <moe/analyze/report/sections.h>
#include <moe/base/error.h>

namespace moe::analyze::report {

namespace {

std::string head(const ReportData& data) {
  return concat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // The page says itself that it loads nothing.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
      escaped(data.title), " · moe.cpp</title>\n<style>\n", kStyle, "</style>\n</head>\n");
}

std::string navigation(const ReportData& data, bool has_layers, bool has_course) {
  const auto link = [](const char* id, const char* name) {
    return concat("<a href=\"#", id, "\">", name, "</a>");
  };
  return concat("<nav class=\"bar\" aria-label=\"Sections\"><span class=\"links\">",
                link("learning", "Learning"), link("experts", "Experts"),
                has_layers ? link("layer", "Inside a layer") : "",
                has_course ? link("optimisation", "Optimisation") : "", link("about", "The run"),
                "</span><button type=\"button\" id=\"theme\" aria-label=\"Colours: as the system\" "
                "title=\"light, dark, or as the system\">◐</button></nav>\n");
}

}  // namespace

std::string render(const ReportData& data) {
  const std::string course = optimisation(data), inside = layers(data);
  return concat(head(data), "<body>\n<a class=\"skip\" href=\"#learning\">To the charts</a>\n",
                navigation(data, !inside.empty(), !course.empty()), "<main>\n", summary(data),
                learning(data), experts(data), inside, course, about(data),
                "</main>\n<div id=\"tip\" role=\"status\" aria-live=\"polite\" hidden></div>\n"
                "<script>\n",
                kScript, "</script>\n</body>\n</html>\n");
}

}  // namespace moe::analyze::report
