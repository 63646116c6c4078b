#include <algorithm>

#include <moe/base/log.h>
#include <moe/data/source_record.h>
#include <moe/formats/checksum.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfSources = "data/sources";

using nlohmann::json;

std::string content_text(const SourceRecord& record) {
  return concat(record.bytes, " bytes with the checksum ", formats::checksum_text(record.checksum),
                record.sampled ? " of samples" : "", " ('", record.path, "')");
}

}  // namespace

SourcePaths source_paths(const DataOptions& options) {
  SourcePaths out;
  for (size_t i = 0; i < options.domains.size(); ++i) {
    const DomainOptions& domain = options.domains[i];
    for (const auto& [key, path] : {std::pair{"path", &domain.path},
                                    {"train", &domain.train},
                                    {"valid", &domain.valid},
                                    {"train_labels", &domain.train_labels},
                                    {"valid_labels", &domain.valid_labels}})
      if (!path->empty()) out.emplace(concat("data.domains[", i, "].", key), *path);
  }
  return out;
}

SourceRecord record_source(const std::string& path, const SourceSampling& sampling) {
  check(sampling.pieces >= 2 && sampling.piece_bytes >= 1 &&
            sampling.pieces <= sampling.whole / sampling.piece_bytes,
        kPlaceOfSources, "expected at least two pieces that fit into ", sampling.whole,
        " bytes, got ", sampling.pieces, " of ", sampling.piece_bytes, ". Correct them.");
  SourceRecord out;
  out.path = path;
  formats::Checksum checksum;
  if (real_files().size(path) <= sampling.whole) {
    // The size is that of what was read, whatever others write meanwhile.
    real_files().read(path, [&](std::span<const std::byte> part) {
      out.bytes += part.size();
      checksum.update(part);
    });
  } else {
    const auto file = MappedFile::open(path);
    const auto bytes = file->bytes();
    out.bytes = bytes.size();
    out.sampled = true;
    const uint64_t room = out.bytes - std::min<uint64_t>(out.bytes, sampling.piece_bytes);
    const uint64_t gaps = sampling.pieces - 1;
    for (uint64_t i = 0; i <= gaps; ++i) {
      // room · i / gaps, in parts that do not leave 64 bits.
      const uint64_t begin = room / gaps * i + room % gaps * i / gaps;
      const uint64_t end = begin + (out.bytes - room);
      checksum.update(bytes.first(static_cast<size_t>(end)).subspan(static_cast<size_t>(begin)));
      file->release(static_cast<size_t>(begin), static_cast<size_t>(end));
    }
  }
  out.checksum = checksum.value();
  return out;
}

std::string write_source_records(const SourceRecords& records) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const auto& [setting, record] : records)
    out[setting] = {{"path", record.path},
                    {"bytes", record.bytes},
                    {"checksum", formats::checksum_text(record.checksum)},
                    {"sampled", record.sampled}};
  // A path may hold bytes that are no UTF-8; it is shown, and not opened again.
  return out.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
}

SourceRecords parse_source_records(std::string_view text, const std::string& source) {
  const std::string name = concat('\'', source, '\'');
  const json document = formats::parse_strict_json(text, kPlaceOfSources, name);
  SourceRecords out;
  for (const auto& item : document.items()) {
    const json& entry = item.value();
    const auto has = [&](const char* key, bool (json::*is)() const noexcept) {
      return entry.is_object() && entry.contains(key) && (entry[key].*is)();
    };
    const bool fits = has("path", &json::is_string) && has("bytes", &json::is_number_unsigned) &&
                      has("checksum", &json::is_string) && has("sampled", &json::is_boolean);
    const auto checksum =
        fits ? formats::parse_checksum(entry["checksum"].get_ref<const std::string&>())
             : std::nullopt;
    if (!checksum)
      fail(kPlaceOfSources, "expected path, bytes, checksum and sampled of the source ",
           formats::in_quotes(item.key()), " in ", name,
           ", got something else. The checkpoint is damaged: use another.");
    SourceRecord& record = out[item.key()];
    record.path = entry["path"].get<std::string>();
    record.bytes = entry["bytes"].get<uint64_t>();
    record.checksum = *checksum;
    record.sampled = entry["sampled"].get<bool>();
  }
  return out;
}

std::optional<SourceRecords> read_source_records(const Path& checkpoint) {
  constexpr uint64_t kLargestRecords = uint64_t{1} << 26;
  const Path file = checkpoint / kSourcesFile;
  if (!real_files().exists(file)) return std::nullopt;
  return parse_source_records(read_file(real_files(), file, kLargestRecords), file.string());
}

std::vector<std::string> source_differences(const SourceRecords& was, const SourceRecords& is) {
  std::vector<std::string> out;
  for (const auto& [setting, record] : was) {
    const auto now = is.find(setting);
    if (now == is.end())
      out.push_back(concat(setting, ": was ", content_text(record), ", names no file now"));
    else if (!record.same_content(now->second))
      out.push_back(
          concat(setting, ": was ", content_text(record), ", is ", content_text(now->second)));
  }
  for (const auto& [setting, record] : is)
    if (!was.contains(setting))
      out.push_back(concat(setting, ": named no file, is ", content_text(record)));
  return out;
}

void warn_of_changed_sources(const DataOptions& options, const Path& checkpoint) {
  const auto records = read_source_records(checkpoint);
  if (!records) return;
  SourceRecords was, is;
  for (const auto& [setting, path] : source_paths(options)) {
    std::error_code error;
    const auto record = records->find(setting);
    if (record == records->end() || !std::filesystem::is_regular_file(path, error)) continue;
    was.insert(*record);
    is.emplace(setting, record_source(path));
  }
  if (const auto changed = source_differences(was, is); !changed.empty())
    log::warn(concat("the data is not what ", checkpoint.string(),
                     " was trained on:", indented_list(changed)));
}

}  // namespace moe::data
