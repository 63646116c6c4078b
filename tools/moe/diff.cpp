// moe diff A B: where two dumps first differ.

#include <cstdio>

#include <moe/analyze/dump_difference.h>

#include "tools/moe/common.h"

namespace moe::tools {

namespace {

struct DiffCommand {
  std::string a, b;
  analyze::Tolerance tolerance;
  bool json = false;
};

void setup_diff(CLI::App& app, DiffCommand& o) {
  app.add_option("A", o.a, "a safetensors file, e.g. of moe forward")->required();
  app.add_option("B", o.b, "another, to compare with")->required();
  app.add_option("--absolute", o.tolerance.absolute, "difference that is none")
      ->capture_default_str();
  app.add_option("--relative", o.tolerance.relative, "the same as a share of B")
      ->capture_default_str();
  add_json(app, o.json);
}

Json difference_json(const analyze::TensorDifference& tensor) {
  if (!tensor.mismatch.empty()) return {{"name", tensor.name}, {"mismatch", tensor.mismatch}};
  return {{"name", tensor.name},
          {"elements", tensor.elements},
          {"beyond", tensor.beyond},
          {"largest", tensor.largest},
          {"index", tensor.index},
          {"a", tensor.a},
          {"b", tensor.b}};
}

/// Ends with 1 when something differs, so that scripts need not read.
int run_diff(const DiffCommand& o) {
  const auto found = analyze::compare_dumps(o.a, o.b, o.tolerance);
  if (o.json) {
    Json tensors = Json::array();
    for (const auto& tensor : found.tensors) tensors.push_back(difference_json(tensor));
    print_json({{"same", !found.first},
                {"first", found.first ? Json(found.tensors[*found.first].name) : Json()},
                {"tensors", std::move(tensors)}});
    return found.first ? 1 : 0;
  }
  for (const auto& tensor : found.tensors) {
    if (!tensor.mismatch.empty())
      std::printf("%-40s %s\n", tensor.name.c_str(), tensor.mismatch.c_str());
    else
      std::printf("%-40s largest %.3g at %lld (%.8g, %.8g); beyond %s of %s\n", tensor.name.c_str(),
                  tensor.largest, static_cast<long long>(tensor.index), tensor.a, tensor.b,
                  grouped(tensor.beyond).c_str(), grouped(tensor.elements).c_str());
  }
  if (found.first)
    std::printf("first difference: %s\n", found.tensors[*found.first].name.c_str());
  else
    std::printf("no difference\n");
  std::fflush(stdout);
  return found.first ? 1 : 0;
}

}  // namespace

void add_diff(CLI::App& program, Session& session) {
  add_command<DiffCommand>(
      program, session,
      {"diff", "Where two dumps of tensors first differ, in the order of a forward pass.",
       "echo '{\"input_ids\": [[79, 110, 99, 101]]}' > ids.json && moe forward out/demo/moe "
       "--tokens ids.json --out a.safetensors && moe diff a.safetensors a.safetensors   # after "
       "make "
       "demo",
       setup_diff, run_diff});
}

}  // namespace moe::tools
