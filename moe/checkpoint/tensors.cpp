// E experts, L experts on this rank.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/checkpoint/tensors.h>
#include <moe/formats/safetensors.h>
#include <moe/parallel/gather_named.h>
#include <moe/parallel/gradients.h>

namespace moe::checkpoint {

namespace {

constexpr int64_t kExpertsPerFile = 16;
constexpr std::string_view kSuffix = ".safetensors";

std::string group_file(const std::string& prefix, const std::string& name, int64_t first,
                       int64_t last) {
  char range[64];
  std::snprintf(range, sizeof range, "%04ld-%04ld", static_cast<long>(first),
                static_cast<long>(last));
  return concat(prefix, '.', name, '.', range, kSuffix);
}

/// The stack of all ranks' experts, on every rank.
Tensor gather_experts(const Tensor& stack, parallel::Communicator& group) {
  if (group.size() == 1) return stack;
  Tensor counts = at::zeros({group.size()}, at::kLong);
  counts[group.rank()] = stack.size(0);
  group.all_reduce(counts);
  const int64_t* first = counts.const_data_ptr<int64_t>();
  return group.all_gather_v(stack.contiguous(), {first, first + group.size()});
}

/// A part of a tensor as some file holds it: experts first .. first + tensor.size(0), or all of it.
struct Piece {
  Tensor tensor;
  int64_t first = 0;
};

/// What the files of a checkpoint hold, by tensor name.
std::map<std::string, std::vector<Piece>> read_pieces(const Path& folder,
                                                      const std::string& prefix) {
  std::map<std::string, std::vector<Piece>> pieces;
  for (const auto& [file_name, file] : check_sizes(folder).files) {
    if (file_name.rfind(prefix + '.', 0) != 0 || !file_name.ends_with(kSuffix)) continue;
    const auto opened = formats::SafetensorsFile::open(folder / file_name);
    const auto& metadata = opened.metadata();
    const auto first = metadata.find("first_expert");
    for (const auto& name : opened.names())
      pieces[name].push_back(
          {opened.tensor(name),
           first == metadata.end() ? 0 : std::strtoll(first->second.c_str(), nullptr, 10)});
  }
  for (auto& [name, parts] : pieces)
    std::sort(parts.begin(), parts.end(),
              [](const Piece& a, const Piece& b) { return a.first < b.first; });
  return pieces;
}

/// Why the pieces are not `name`'s tensor, or "" when they are. `total` is E for stacks of experts.
std::string mismatch(const std::vector<Piece>& pieces, const Tensor& target,
                     std::optional<int64_t> total) {
  int64_t next = 0;
  for (const auto& piece : pieces) {
    const bool rest_fits =
        piece.tensor.dim() == target.dim() &&
        (target.dim() == 0 || piece.tensor.sizes().slice(1) == target.sizes().slice(1));
    if (!rest_fits || (total && piece.first != next))
      return concat("expected the shape of ", target.sizes(), ", found ", piece.tensor.sizes(),
                    " from expert ", piece.first);
    next += piece.tensor.dim() > 0 ? piece.tensor.size(0) : 1;
  }
  const int64_t expected = total.value_or(target.dim() > 0 ? target.size(0) : 1);
  if ((!total && pieces.size() != 1) || next != expected)
    return concat("expected ", expected, " on dimension 0, found ", next);
  return "";
}

/// Copies experts [first, first + L) of the pieces.
void copy_experts(const std::vector<Piece>& pieces, Tensor target, int64_t first) {
  for (const auto& piece : pieces) {
    const int64_t begin = std::max(first, piece.first);
    const int64_t end = std::min(first + target.size(0), piece.first + piece.tensor.size(0));
    if (begin < end)
      target.slice(0, begin - first, end - first)
          .copy_(piece.tensor.slice(0, begin - piece.first, end - piece.first));
  }
}

}  // namespace

void add_tensors(Publication* publication, const std::string& prefix, const NamedTensors& tensors,
                 parallel::Communicator& group) {
  NamedTensors shared, single;
  for (const auto& [name, tensor] : tensors) {
    if (parallel::single_expert(name)) {
      single.emplace_back(name, tensor.detach());
      continue;
    }
    if (!parallel::is_expert_parameter(name)) {
      shared.emplace_back(name, tensor.detach());
      continue;
    }
    const Tensor stack = gather_experts(tensor.detach(), group);
    if (!publication) continue;
    for (int64_t first = 0; first < stack.size(0); first += kExpertsPerFile) {
      const int64_t end = std::min(first + kExpertsPerFile, stack.size(0));
      publication->add(group_file(prefix, name, first, end - 1),
                       [&, &name = name](OutputFile& out) {
                         formats::write_safetensors(out, {{name, stack.slice(0, first, end)}},
                                                    {{"first_expert", std::to_string(first)}});
                       });
    }
  }
  single = parallel::gather_named(single, group);
  if (publication && !single.empty())
    publication->add(concat(prefix, ".experts", kSuffix),
                     [&](OutputFile& out) { formats::write_safetensors(out, single); });
  if (publication)
    publication->add(concat(prefix, kSuffix),
                     [&](OutputFile& out) { formats::write_safetensors(out, shared); });
}

void load_tensors(const Path& folder, const std::string& prefix, const NamedTensors& tensors,
                  parallel::Communicator& group) {
  const at::NoGradGuard no_grad;
  auto pieces = read_pieces(folder, prefix);
  std::vector<std::string> problems;
  std::vector<std::function<void()>> copies;
  for (const auto& [name, target] : tensors) {
    const auto found = pieces.find(name);
    if (found == pieces.end()) {
      problems.push_back(concat("missing: ", name, ' ', target.sizes()));
      continue;
    }
    const bool stacked = parallel::is_expert_parameter(name) && !parallel::single_expert(name);
    const auto total = stacked ? std::optional(target.size(0) * group.size()) : std::nullopt;
    const std::string problem = mismatch(found->second, target, total);
    if (!problem.empty()) problems.push_back(concat("of another shape: ", name, ": ", problem));
    copies.push_back([stacked, target = target, parts = found->second, rank = group.rank()] {
      Tensor destination = target;
      if (stacked)
        copy_experts(parts, destination, rank * destination.size(0));
      else
        destination.copy_(parts.front().tensor);
    });
    pieces.erase(found);
  }
  for (const auto& [name, parts] : pieces) {
    // Experts of their own are other ranks' business.
    if (group.size() > 1 && parallel::single_expert(name)) continue;
    problems.push_back(concat("unknown: ", name, ' ', parts.front().tensor.sizes()));
  }
  check(problems.empty(), "checkpoint", "expected the tensors of this model in ", folder.string(),
        ", found ", problems.size(),
        " differences. Use the configuration the checkpoint was made with.",
        indented_list(problems));
  for (const auto& copy : copies) copy();
}

}  // namespace moe::checkpoint
