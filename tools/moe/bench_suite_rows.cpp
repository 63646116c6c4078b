// T tokens, D width, F hidden units, E experts, K choices.
#include "tools/moe/bench_suite_rows.h"

#include <algorithm>

namespace moe::tools {

namespace {

struct Shape {
  int64_t T, D, F, E, K;
};

class Rows {
 public:
  explicit Rows(int64_t smaller) : smaller_(smaller) {}

  void add(const std::string& group, const Shape& s, const std::string& mode,
           const std::string& dtype, const std::string& routing = "learned",
           std::vector<ops::cpu::InstructionSet> sets = {}) {
    const auto less = [&](int64_t n, int64_t least) { return std::max(least, n / smaller_); };
    LayerBench layer;
    layer.mode = mode;
    layer.dtype = dtype;
    layer.routing = routing;
    layer.tokens = less(s.T, 1);
    layer.d_model = less(s.D, 8);
    layer.d_ff = less(s.F, 8);
    layer.experts = less(s.E, s.K);
    layer.top_k = s.K;
    rows_.push_back({group, layer, std::move(sets)});
  }
  std::vector<SuiteRow> take() { return std::move(rows_); }

 private:
  int64_t smaller_;
  std::vector<SuiteRow> rows_;
};

const std::vector<std::string> kDtypes = {"float32", "bfloat16"};

void add_table(Rows& rows, const std::string& group, bool full) {
  // Modes that the shape is made for come first; the other ones are for `full`.
  const auto add = [&](const Shape& s, bool forward_too, bool train) {
    for (const char* mode : {"train", "forward"})
      for (const auto& dtype : kDtypes)
        if (std::string_view(mode) == "train" ? train : (forward_too || full || !train))
          rows.add(group, s, mode, dtype);
  };
  add({4096, 512, 1024, 8, 2}, false, true);
  add({4096, 512, 1024, 64, 2}, false, true);
  add({4096, 512, 512, 64, 6}, false, true);
  add({4096, 256, 512, 512, 1}, true, true);
  add({8192, 256, 256, 2048, 1}, true, true);
  add({256, 512, 1024, 8, 2}, false, true);
  // Widths of Mixtral and of Qwen1.5-MoE; training the first takes 13 GB of weights and gradients.
  add({512, 4096, 14336, 8, 2}, true, false);
  add({1, 2048, 1408, 60, 4}, true, false);
  add({8, 2048, 1408, 60, 4}, true, false);
}

void add_skew(Rows& rows, bool full) {
  const std::vector<Shape> shapes = {{4096, 512, 1024, 64, 2}, {4096, 256, 512, 512, 1}};
  for (const auto& shape : shapes)
    for (const char* mode : {"train", "forward"})
      for (const auto& dtype : kDtypes)
        for (const char* routing : {"balanced", "zipf", "one"})
          if (full || (std::string_view(mode) == "train" && dtype == "float32"))
            rows.add("skew", shape, mode, dtype, routing);
}

void add_scaling(Rows& rows, bool full) {
  const std::vector<int64_t> few = {1, 8, 64, 512, 2048};
  for (const auto& dtype : kDtypes)
    for (int64_t experts = 1; experts <= 4096; experts *= 2)
      if (full || std::find(few.begin(), few.end(), experts) != few.end())
        rows.add("scaling", {4096, 256, 512, experts, std::min<int64_t>(2, experts)}, "train",
                 dtype);
}

void add_sets(Rows& rows, bool full) {
  std::vector<ops::cpu::InstructionSet> sets;
  for (const auto set : ops::cpu::available_instruction_sets())
    if (full ||
        (set != ops::cpu::InstructionSet::kLibtorch && set != ops::cpu::InstructionSet::kPortable))
      sets.push_back(set);
  if (sets.empty()) sets = {ops::cpu::InstructionSet::kPortable};
  for (const int64_t experts : {8, 64})
    for (const auto& dtype : kDtypes)
      if (full || experts == 8)
        rows.add("sets", {4096, 512, 1024, experts, 2}, "train", dtype, "learned", sets);
}

}  // namespace

std::vector<std::string> suite_groups() {
  return {"table", "skew", "scaling", "sets", "paths"};
}

std::vector<SuiteRow> suite_rows(const std::vector<std::string>& groups, bool full,
                                 int64_t smaller) {
  Rows rows(smaller);
  for (const auto& group : groups) {
    if (group == "table" || group == "paths") add_table(rows, group, full);
    if (group == "skew") add_skew(rows, full);
    if (group == "scaling") add_scaling(rows, full);
    if (group == "sets") add_sets(rows, full);
  }
  return rows.take();
}

}  // namespace moe::tools
