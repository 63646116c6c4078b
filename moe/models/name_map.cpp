#include <algorithm>
#include <ranges>
#include <set>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <c10/util/accumulate.h>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/models/name_map.h>
#include <moe/models/name_pattern.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfNames = "models/names";

}  // namespace

NameRule same(std::string theirs, std::string ours) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours)}}};
}

NameRule stacked(std::string theirs, std::string ours, int64_t matrix) {
  check(theirs.find("{e}") != theirs.npos, kPlaceOfNames, "expected {e} in '", theirs,
        "', found none. Say where the expert's number stands.");
  return {.theirs = std::move(theirs), .ours = {{std::move(ours), matrix}}};
}

NameRule part(std::string theirs, std::string ours, int64_t matrix) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours), matrix}}};
}

NameRule fused(std::string theirs, std::vector<OurPart> ours) {
  return {.theirs = std::move(theirs), .ours = std::move(ours)};
}

NameRule arranged(NameRule rule, Layout layout) {
  rule.layouts.push_back(std::move(layout));
  return rule;
}

NameRule transposed(NameRule rule) {
  return arranged(std::move(rule), transposition());
}

NameRule tied(std::string theirs, std::string ours) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours)}}, .kind = NameRule::Kind::kTied};
}

NameRule ignored(std::string theirs, std::string beside) {
  return {
      .theirs = std::move(theirs), .kind = NameRule::Kind::kIgnored, .beside = std::move(beside)};
}

bool ForeignTensor::is_parameter() const {
  return pieces.size() == 1 && steps.empty() && !pieces[0].expert && pieces[0].rows == kAllRows;
}

Tensor piece_of(const ForeignTensor::Piece& piece, const Tensor& parameter) {
  Tensor out = piece.expert ? parameter.select(0, *piece.expert) : parameter;
  return piece.rows == kAllRows ? out : out.narrow(piece.outputs, piece.first_row, piece.rows);
}

Tensor to_foreign(const ForeignTensor& tensor, const std::function<Tensor(size_t)>& ours) {
  std::vector<Tensor> pieces;
  for (const auto& piece : tensor.pieces) pieces.push_back(piece_of(piece, ours(piece.parameter)));
  Tensor out = pieces.size() == 1 ? pieces[0] : at::cat(pieces, tensor.pieces[0].outputs);
  for (const auto& step : tensor.steps) out = step.layout.to_theirs(out);
  return out;
}

int64_t ForeignTensor::rows_at_once() const {
  int64_t rows = 1;
  for (const auto& step : steps)
    rows *= step.layout.rows_of_one ? step.layout.rows_of_one(step.sizes) : 0;
  return rows > 0 || shape.empty() ? rows : shape[0];
}

namespace {

/// Rows of a tensor in our layout: those from `first` on.
struct RowsOfOurs {
  Tensor values;
  int64_t first = 0;
};

/// Undoes the layouts for rows of a foreign tensor.
RowsOfOurs laid_as_ours(const ForeignTensor& tensor, const Tensor& values, int64_t first_row) {
  RowsOfOurs out{values, first_row};
  const bool whole = values.sizes() == tensor.shape;
  for (const auto& step : tensor.steps | std::views::reverse) {
    auto sizes = step.sizes;
    if (!whole) {
      const int64_t rows = step.layout.rows_of_one(step.sizes);
      sizes[0] = out.values.size(0) / rows;
      out.first /= rows;
    }
    out.values = step.layout.to_ours(out.values, sizes);
  }
  return out;
}

}  // namespace

void from_foreign(const ForeignTensor& tensor, const Tensor& values,
                  const std::function<Tensor(size_t)>& ours, int64_t first_row) {
  const at::NoGradGuard no_grad;
  const auto [rows, first] = laid_as_ours(tensor, values, first_row);
  int64_t begin = 0;  // of the piece, along its outputs
  for (const auto& piece : tensor.pieces) {
    Tensor target = piece_of(piece, ours(piece.parameter));
    if (target.dim() == 0) {
      target.copy_(rows);
      continue;
    }
    const int64_t outputs = target.size(piece.outputs), end = begin + outputs;
    if (piece.outputs > 0) {
      target.narrow(0, first, rows.size(0)).copy_(rows.narrow(piece.outputs, begin, outputs));
    } else if (const int64_t from = std::max(begin, first),
               to = std::min(end, first + rows.size(0));
               from < to) {
      target.narrow(0, from - begin, to - from).copy_(rows.narrow(0, from - first, to - from));
    }
    begin = end;
  }
}

std::optional<size_t> TensorMap::tied_to(const std::string& name) const {
  const auto found = tied_.find(name);
  return found == tied_.end() ? std::nullopt : std::optional(found->second);
}

bool TensorMap::ignores(std::string_view name) const {
  return std::ranges::any_of(ignored_,
                             [&](const auto& pattern) { return glob_match(pattern, name); });
}

void TensorMap::check_tensors(const TensorShapes& shapes, std::string_view source) const {
  std::vector<std::string> wrong;
  std::set<std::string_view> known;
  const auto expect_shape = [&](const std::string& name, const std::vector<int64_t>& shape) {
    known.insert(name);
    const auto found = shapes.find(name);
    if (found != shapes.end() && found->second != shape)
      wrong.push_back(concat("'", name, "' has the shape ", c10::IntArrayRef(found->second),
                             " instead of ", c10::IntArrayRef(shape)));
    return found != shapes.end();
  };
  for (const auto& tensor : tensors_)
    if (!expect_shape(tensor.name, tensor.shape))
      wrong.push_back(concat("'", tensor.name, "' is missing"));
  for (const auto& [name, shape] : tied_shapes_) expect_shape(name, shape);
  for (const auto& [name, shape] : shapes)
    if (!known.contains(name) && !ignores(name)) wrong.push_back(concat("'", name, "' is unknown"));
  if (!wrong.empty())
    fail(kPlaceOfNames, "expected the tensors that config.json describes in ", source, ", got ",
         wrong.size(), " that differ. Check that configuration and weights belong together.",
         indented_list(wrong));
}

}  // namespace moe::models
