#include <charconv>
#include <sstream>

#include <moe/base/value.h>
#include <moe/checkpoint/tensors.h>
#include <moe/checkpoint/together.h>
#include <moe/train/state.h>

namespace moe::train {

namespace {

/// Visits every entry of a record by name, so that writing and reading cannot differ.
template <class Record, class Visitor>
void visit(Record& record, Visitor&& v) {
  v("step", record.step);
  v("tokens", record.tokens);
  v("seconds", record.seconds);
  v("last_loss", record.last_loss);
  v("last_evaluation", record.last_evaluation);
  v("best_loss", record.best_loss);
  v("best_step", record.best_step);
  v("evaluations_since_best", record.evaluations_since_best);
  v("bad_steps", record.bad_steps);
  v("bad_until", record.bad_until);
  v("data_shift", record.data_shift);
}

template <class Number>
Number parse(const std::string& key, const std::string& text) {
  Number value{};
  const auto end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  check(result.ec == std::errc() && result.ptr == end, "train/checkpoint",
        "expected a number for '", key, "' in the manifest, got '", text,
        "'. The checkpoint is damaged: use another.");
  return value;
}

const std::string& entry(const std::map<std::string, std::string>& metadata,
                         const std::string& key) {
  const auto found = metadata.find(key);
  check(found != metadata.end(), "train/checkpoint", "expected '", key,
        "' in the manifest, found none. The checkpoint is no run's: train anew.");
  return found->second;
}

}  // namespace

std::map<std::string, std::string> RunRecord::to_metadata() const {
  std::map<std::string, std::string> out;
  visit(*this, [&](const char* key, auto value) { out[key] = Value(value).text(); });
  std::string list;
  for (const int64_t steps : unused_steps) list += std::to_string(steps) + ' ';
  out["unused_steps"] = list;
  return out;
}

RunRecord RunRecord::from_metadata(const std::map<std::string, std::string>& metadata) {
  RunRecord record;
  visit(record, [&]<class Number>(const char* key, Number& value) {
    value = parse<Number>(key, entry(metadata, key));
  });
  std::istringstream list(entry(metadata, "unused_steps"));
  for (std::string word; list >> word;)
    record.unused_steps.push_back(parse<int64_t>("unused_steps", word));
  return record;
}

void save_checkpoint(const Path& folder, const CheckpointTexts& texts,
                     const torch::nn::Module& model, const Optimizer& optimizer,
                     const RunRecord& record, const parallel::Layout& layout, FileSystem& files) {
  const auto write = [&](checkpoint::FolderWriter& writer) {
    if (layout.leads())
      for (const auto& [name, text] : texts)
        writer.add(name, [&text = text](OutputFile& out) { out.write(bytes_of(text)); });
    checkpoint::add_tensors(writer, "model", tensors_of(model), layout);
    checkpoint::add_tensors(writer, "optimizer", optimizer.state(), layout);
  };
  checkpoint::publish_together(folder, *layout.world, write, record.to_metadata(), files);
}

RunRecord load_checkpoint(const Path& folder, const torch::nn::Module& model,
                          const Optimizer& optimizer, const parallel::Layout& layout) {
  const RunRecord record = RunRecord::from_metadata(checkpoint::read_manifest(folder).metadata);
  checkpoint::load_tensors(folder, "model", tensors_of(model), layout);
  checkpoint::load_tensors(folder, "optimizer", optimizer.state(), layout);
  return record;
}

}  // namespace moe::train
