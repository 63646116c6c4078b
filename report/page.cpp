#include <moe/base/error.h>
#include <report/assets.h>
#include <report/html.h>
#include <report/page.h>

namespace moe::report {

namespace {

std::string head(const std::string& title) {
  return concat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // Nothing external is loaded.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
      escaped(title), " · moe.cpp</title>\n<style>\n", kStyle, "</style>\n</head>\n");
}

}  // namespace

std::string page(const std::string& title,
                 const std::vector<std::pair<std::string, std::string>>& sections,
                 const std::string& content) {
  std::string links;
  for (const auto& [id, name] : sections)
    links += concat("<a href=\"#", id, "\">", escaped(name), "</a>");
  return concat(head(title), "<body>\n<a class=\"skip\" href=\"#",
                sections.empty() ? "" : sections.front().first, "\">To the charts</a>\n",
                "<nav class=\"bar\" aria-label=\"Sections\"><span class=\"links\">", links,
                "</span><button type=\"button\" id=\"theme\" aria-label=\"Colours: as the system\" "
                "title=\"light, dark, or as the system\">◐</button></nav>\n<main>\n",
                content,
                "</main>\n<div id=\"tip\" role=\"status\" aria-live=\"polite\" hidden></div>\n"
                "<script>\n",
                kScript, "</script>\n</body>\n</html>\n");
}

}  // namespace moe::report
