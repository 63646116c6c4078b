#include <chrono>

#include <moe/base/log.h>
#include <report/html.h>
#include <report/render.h>
#include <report/write.h>

namespace moe::report {

void write_report(const Path& folder, const Path& out, const GatherOptions& options) {
  const std::string page = render(gather(folder, options));
  write_file_atomically(real_files(), out, [&](OutputFile& file) { file.write(bytes_of(page)); });
}

bool try_write_report(const Path& folder) {
  const Path out = folder / "report.html";
  try {
    const auto begin = std::chrono::steady_clock::now();
    write_report(folder, out);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    log::info(concat("report: ", out.string(), " (", fixed(seconds, 1), " s)"));
    return true;
  } catch (const std::exception& error) {
    log::warn(concat("the run's files are complete, but its report could not be written: ",
                     error.what()));
    return false;
  }
}

}  // namespace moe::report
