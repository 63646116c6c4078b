// E experts, L experts on this rank.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/checkpoint/tensors.h>
#include <moe/formats/safetensors.h>
#include <moe/parameters/materialise.h>

namespace moe::checkpoint {

namespace {

constexpr int64_t kExpertsPerFile = 16;
constexpr std::string_view kSuffix = ".safetensors";

/// Experts on one another: split into files of some experts each.
bool is_stack(const ParameterInfo& info) {
  return info.part == Part::kExperts && info.per_expert && !info.expert;
}

/// At least four digits.
std::string digits(int64_t number) {
  const std::string text = std::to_string(number);
  return std::string(text.size() < 4 ? 4 - text.size() : 0, '0') + text;
}

std::string range_file(const std::string& prefix, const std::string& name, int64_t first,
                       int64_t last) {
  return concat(prefix, '.', name, '.', digits(first), '-', digits(last), kSuffix);
}

/// A part of a tensor as some file holds it: experts first .. first + tensor.size(0), or all of it.
struct Piece {
  Tensor tensor;
  int64_t first = 0;
};

/// A tensor as the files of a checkpoint hold it.
struct Stored {
  std::vector<Piece> parts;
  bool of_single_expert = false;  // it stands where single experts' tensors go
};

/// What the files of single experts are called, before the number of the rank that wrote one.
std::string single_stem(const std::string& prefix) {
  return prefix + ".experts";
}

/// Where the tensors of this rank's single experts go: of one rank that has all, or of several.
std::string single_file(const std::string& prefix, const parallel::Layout& layout, bool of_one) {
  return concat(single_stem(prefix), of_one ? "" : "-" + digits(layout.world->rank()), kSuffix);
}

bool is_single_file(const std::string& prefix, const std::string& file) {
  const std::string stem = single_stem(prefix);
  return file == concat(stem, kSuffix) || file.starts_with(stem + '-');
}

std::map<std::string, Stored> read_pieces(const Path& folder, const std::string& prefix) {
  std::map<std::string, Stored> out;
  for (const auto& [file_name, file] : check_sizes(folder).files) {
    if (file_name.rfind(prefix + '.', 0) != 0 || !file_name.ends_with(kSuffix)) continue;
    const auto opened = formats::SafetensorsFile::open(folder / file_name);
    const auto& metadata = opened.metadata();
    const auto first = metadata.find("first_expert");
    for (const auto& name : opened.names()) {
      auto& stored = out[name];
      stored.of_single_expert = is_single_file(prefix, file_name);
      stored.parts.push_back(
          {opened.tensor(name),
           first == metadata.end() ? 0 : std::strtoll(first->second.c_str(), nullptr, 10)});
    }
  }
  for (auto& [name, stored] : out)
    std::sort(stored.parts.begin(), stored.parts.end(),
              [](const Piece& a, const Piece& b) { return a.first < b.first; });
  return out;
}

/// Why the pieces are not the tensor `target` is a part of, with `total` on dimension 0, or "" when
/// they are.
std::string mismatch(const std::vector<Piece>& pieces, const Tensor& target, int64_t total) {
  int64_t next = 0;
  for (const auto& piece : pieces) {
    const bool rest_fits =
        piece.tensor.dim() == target.dim() &&
        (target.dim() == 0 || piece.tensor.sizes().slice(1) == target.sizes().slice(1));
    if (!rest_fits || piece.first != next)
      return concat("expected the shape of ", target.sizes(), ", found ", piece.tensor.sizes(),
                    piece.first > 0 ? concat(" from expert ", piece.first) : "");
    next += piece.tensor.dim() > 0 ? piece.tensor.size(0) : 1;
  }
  return next == total ? "" : concat("expected ", total, " on dimension 0, found ", next);
}

void give_memory(const Tensor& target) {
  if (target.is_meta())
    set_memory(target, at::empty(target.sizes(), target.options().device(at::kCPU)));
}

/// Copies numbers [first, first + target.size(0)) of dimension 0 of the pieces.
void copy_pieces(const std::vector<Piece>& pieces, const Tensor& target, int64_t first) {
  for (const auto& piece : pieces) {
    const int64_t begin = std::max(first, piece.first);
    const int64_t end = std::min(first + target.size(0), piece.first + piece.tensor.size(0));
    if (begin < end)
      target.slice(0, begin - first, end - first)
          .copy_(piece.tensor.slice(0, begin - piece.first, end - piece.first));
  }
}

/// How a tensor is filled from what a checkpoint holds of it.
struct Filling {
  std::string problem;  // why it cannot be, or ""
  std::function<void()> copy;
};

Filling filling_of(const Parameter& target, const std::vector<Piece>& pieces) {
  const auto& [name, tensor, info] = target;
  Filling out;
  if (is_of_any_length(target)) {
    const Tensor& whole = pieces.front().tensor;
    if (pieces.size() != 1 || whole.dim() != tensor.dim())
      out.problem = concat("expected ", tensor.dim(), " dimensions, found ", whole.sizes());
    out.copy = [tensor = tensor, whole] {
      give_memory(tensor);
      tensor.resize_(whole.sizes()).copy_(whole);
    };
    return out;
  }
  out.problem = mismatch(pieces, tensor, tensor.dim() > 0 ? whole_rows(target) : 1);
  out.copy = [tensor = tensor, pieces, info = info] {
    give_memory(tensor);
    if (tensor.dim() == 0) {
      Tensor(tensor).copy_(pieces.front().tensor);
      return;
    }
    for (const auto& run : runs_of(info, tensor.size(0)))
      copy_pieces(pieces, tensor.narrow(0, run.row, run.count), run.first);
  };
  return out;
}

/// This rank's own rows of a tensor; of a stack in files that end where a multiple of
/// kExpertsPerFile comes.
void add_rows(FolderWriter& writer, const std::string& prefix, const Parameter& parameter) {
  const auto& [name, tensor, info] = parameter;
  for (const auto& run : runs_of(info, own_rows(parameter))) {
    const int64_t begin = info.sharded ? run.first : 0, end = begin + run.count;
    for (int64_t first = begin, next = end; first < end; first = next) {
      next = is_stack(info) ? std::min(end, (first / kExpertsPerFile + 1) * kExpertsPerFile) : end;
      const Tensor rows = tensor.detach().slice(0, run.row + first - begin, run.row + next - begin);
      writer.add(range_file(prefix, name, first, next - 1), [&, &name = name](OutputFile& out) {
        formats::write_safetensors(out, {{name, rows}}, {{"first_expert", std::to_string(first)}});
      });
    }
  }
}

/// What to do about the tensors that a checkpoint lacks.
std::string remedy_for(const Path& folder, bool lacks_state_alone) {
  return lacks_state_alone
             ? concat(
                   "They are made from what the configuration names, which the version that wrote "
                   "the checkpoint read each time. `moe convert ",
                   folder.string(),
                   " NEW --to native --read-sources` writes a model that has them; to train on, "
                   "start anew.")
             : "Use the configuration the checkpoint was made with.";
}

}  // namespace

bool is_of_any_length(const Parameter& tensor) {
  const auto& [name, values, info] = tensor;
  return info.role == Role::kState && !info.sharded && values.dim() > 0 && values.size(0) == 0;
}

void add_tensors(FolderWriter& writer, const std::string& prefix, const Parameters& tensors,
                 const parallel::Layout& layout) {
  formats::NamedTensors shared, single, here;
  bool shares_single = layout.experts->size() > 1;
  for (const auto& parameter : tensors) {
    const auto& [name, tensor, info] = parameter;
    if (info.expert) shares_single |= info.only_here;
    const bool writes = info.only_here || (info.is_local() ? layout.first_copy() : layout.leads());
    if (!writes || (info.sharded && own_rows(parameter) == 0)) continue;
    const bool is_part =
        info.sharded && (own_rows(parameter) < info.whole || !info.numbers.empty());
    if (is_stack(info) || is_part)
      add_rows(writer, prefix, parameter);
    else
      (info.expert ? single : info.only_here ? here : shared).emplace_back(name, tensor.detach());
  }
  const auto add = [&](const std::string& file, const formats::NamedTensors& named) {
    writer.add(file, [&](OutputFile& out) { formats::write_safetensors(out, named); });
  };
  if (!single.empty()) add(single_file(prefix, layout, !shares_single), single);
  if (!here.empty()) add(concat(prefix, ".rank-", digits(layout.world->rank()), kSuffix), here);
  if (layout.leads()) add(concat(prefix, kSuffix), shared);
}

void load_tensors(const Path& folder, const std::string& prefix, const Parameters& tensors,
                  const parallel::Layout& layout, Missing missing) {
  const at::NoGradGuard no_grad;
  auto pieces = read_pieces(folder, prefix);
  std::vector<std::string> problems;
  std::vector<std::function<void()>> copies;
  bool lacks_state_alone = true;
  for (const auto& target : tensors) {
    const auto found = pieces.find(target.name);
    if (found != pieces.end()) {
      const Filling filling = filling_of(target, found->second.parts);
      if (!filling.problem.empty()) {
        problems.push_back(concat("of another shape: ", target.name, ": ", filling.problem));
        lacks_state_alone = false;
      }
      copies.push_back(filling.copy);
      pieces.erase(found);
    } else if (is_of_any_length(target) && missing == Missing::kMakeAnew && target.info.start) {
      copies.push_back([&target] {
        give_memory(target.tensor);
        target.info.start(target.tensor, RandomStream(0, target.name));
      });
    } else {
      problems.push_back(concat("missing: ", target.name, ' ', target.tensor.sizes()));
      lacks_state_alone &= is_of_any_length(target);
    }
  }
  for (const auto& [name, stored] : pieces) {
    // Experts of their own are other ranks' business.
    if (layout.experts->size() > 1 && stored.of_single_expert) continue;
    problems.push_back(concat("unknown: ", name, ' ', stored.parts.front().tensor.sizes()));
    lacks_state_alone = false;
  }
  if (!problems.empty())
    fail("checkpoint", "expected the tensors of this model in ", folder.string(), ", found ",
         problems.size(), " differences. ", remedy_for(folder, lacks_state_alone),
         indented_list(problems));
  for (const auto& copy : copies) copy();
}

}  // namespace moe::checkpoint
