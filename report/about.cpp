#include <moe/base/error.h>
#include <report/html.h>
#include <report/sections.h>

namespace moe::report {

namespace {

std::string entry(const std::string& name, const std::string& value) {
  return value.empty() ? ""
                       : concat("<div><dt>", name, "</dt><dd>", escaped(value), "</dd></div>\n");
}

std::string machine(const ReportData& data) {
  const auto& m = data.machine;
  return concat(
      "<dl class=\"facts\">\n", entry("Machine", concat(m.cpu, ", ", plural(m.threads, "thread"))),
      entry("moe.cpp", m.version), entry("Written", m.date), entry("Numbers", data.run.dtype),
      entry("Seed", std::to_string(data.run.seed)), entry("Folder", data.run.folder),
      data.study ? entry("Held-out text",
                         concat(data.study->tokens, " tokens, read by the checkpoint of step ",
                                data.study->step))
                 : "",
      "</dl>\n");
}

std::string configuration(const RunFacts& run, const std::string& name) {
  if (run.config.empty()) return "";
  return concat("<details><summary>", name, "</summary><pre tabindex=\"0\"><code>",
                escaped(run.config), "</code></pre></details>\n");
}

std::string notes(const ReportData& data) {
  if (data.notes.empty()) return "";
  std::string items;
  for (const auto& note : data.notes) items += concat("<li>", escaped(note), "</li>\n");
  return concat("<div class=\"missing\"><h3>Not in this report</h3><ul>\n", items, "</ul></div>\n");
}

const char* const kGlossary =
    R"(<details><summary>What the words mean</summary><dl class="glossary">
<dt>load</dt><dd>share of the (token, expert) pairs of a step that an expert took. Even is 1 / E.</dd>
<dt>busiest</dt><dd>the largest load over the mean load of the layer's experts.</dd>
<dt>entropy of load</dt><dd>−Σ p ln p of the loads over ln E: 1 when even, 0 when one expert takes all.</dd>
<dt>dropped pairs</dt><dd>(token, expert) pairs that no expert computed, because the expert was full.</dd>
<dt>unused for long</dt><dd>experts that got no token in any step of the last tenth of the log.</dd>
<dt>knows the domain</dt><dd>mutual information of expert and domain over the entropy of the domain: 1 when every
expert serves one domain, 0 when all serve all alike. p is the share of random deals of the domains to the rows of
text that reach it.</dd>
<dt>settled by token, by position</dt><dd>mutual information of the expert with the token's id, or its place in the
sequence, over the entropy of the expert.</dd>
<dt>lift</dt><dd>how often two experts are chosen by one token, over how often independent choices would.</dd>
<dt>machine</dt><dd>where this page was written. After <code>moe train</code> and <code>moe compare</code> that is where
the run was trained; after <code>moe analyze</code> it may be another.</dd>
<dt>dense twin</dt><dd>the same model with every mixture replaced by one feed-forward block as wide as what a token
meets there: equal active FLOPs, equal data in equal order.</dd>
</dl></details>
)";

}  // namespace

std::string about(const ReportData& data) {
  return section(
      "about", "The run",
      concat(notes(data), machine(data), configuration(data.run, "Configuration (TOML)"),
             data.twin ? configuration(*data.twin, "Configuration of the dense twin (TOML)") : "",
             kGlossary));
}

}  // namespace moe::report
