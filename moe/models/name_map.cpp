#include <algorithm>
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
constexpr const char* kExpertNumber = "{e}";

/// Checks and counts what each of our parameters is covered by.
class Coverage {
 public:
  explicit Coverage(const Parameters& ours)
      : ours_(ours), pieces_(ours.size()), numbers_(ours.size()) {}

  void add(const ForeignTensor& tensor) {
    if (!names_.insert(tensor.name).second)
      wrong_.push_back(concat("two rules make '", tensor.name, "'"));
    for (const auto& piece : tensor.pieces) {
      const auto& [name, values, info] = ours_[piece.parameter];
      if (!pieces_[piece.parameter].emplace(piece.expert.value_or(-1), piece.first_row).second)
        wrong_.push_back(
            concat("'", name, "' is filled twice, the second time by '", tensor.name, "'"));
      numbers_[piece.parameter] += piece_of(piece, values).numel();
    }
  }

  void refuse_gaps() {
    for (size_t p = 0; p < ours_.size(); ++p) {
      const int64_t all = ours_[p].tensor.numel();
      if (numbers_[p] != all)
        wrong_.push_back(
            concat("of '", ours_[p].name, "' ", numbers_[p], " of ", all, " numbers are filled"));
    }
    if (!wrong_.empty())
      fail(kPlaceOfNames,
           "expected every parameter of ours to be filled once by the family's names, got ",
           wrong_.size(), " that are not. Correct the family's rules.", indented_list(wrong_));
  }

 private:
  const Parameters& ours_;
  std::vector<std::set<std::pair<int64_t, int64_t>>> pieces_;
  std::vector<int64_t> numbers_;
  std::set<std::string> names_;
  std::vector<std::string> wrong_;
};

/// The dimension of the outputs of one matrix or bias, that of the experts left out.
int64_t outputs_of(const Parameter& ours, bool of_one_expert) {
  const int64_t dims = ours.tensor.dim() - (of_one_expert ? 1 : 0);
  const bool is_vector =
      dims < 2 || ours.info.role == Role::kBias || ours.info.role == Role::kScale;
  return std::max<int64_t>(0, is_vector ? dims - 1 : dims - 2);
}

ForeignTensor::Piece piece_for(const OurPart& part, size_t number, const Parameter& ours,
                               std::optional<int64_t> expert) {
  ForeignTensor::Piece out{
      .parameter = number, .expert = expert, .outputs = outputs_of(ours, expert.has_value())};
  if (part.matrix == kAllRows) return out;
  const auto& fused = ours.info.fused;
  check(part.matrix >= 0 && part.matrix < static_cast<int64_t>(fused.size()), kPlaceOfNames,
        "expected a matrix of the ", fused.size(), " that stand on one another in '", ours.name,
        "', got number ", part.matrix, ". Correct the family's rules.");
  for (int64_t m = 0; m < part.matrix; ++m) out.first_row += fused[static_cast<size_t>(m)];
  out.rows = fused[static_cast<size_t>(part.matrix)];
  return out;
}

}  // namespace

NameRule same(std::string theirs, std::string ours) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours)}}};
}

NameRule stacked(std::string theirs, std::string ours, int64_t matrix) {
  check(theirs.find(kExpertNumber) != theirs.npos, kPlaceOfNames, "expected ", kExpertNumber,
        " in '", theirs, "', found none. Say where the expert's number stands.");
  return {.theirs = std::move(theirs), .ours = {{std::move(ours), matrix}}};
}

NameRule part(std::string theirs, std::string ours, int64_t matrix) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours), matrix}}};
}

NameRule fused(std::string theirs, std::vector<OurPart> ours) {
  return {.theirs = std::move(theirs), .ours = std::move(ours)};
}

NameRule transposed(NameRule rule) {
  rule.transposed = !rule.transposed;
  return rule;
}

NameRule tied(std::string theirs, std::string ours) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours)}}, .kind = NameRule::Kind::kTied};
}

NameRule ignored(std::string theirs) {
  return {.theirs = std::move(theirs), .kind = NameRule::Kind::kIgnored};
}

bool ForeignTensor::is_parameter() const {
  return pieces.size() == 1 && !transposed && !pieces[0].expert && pieces[0].rows == kAllRows;
}

Tensor piece_of(const ForeignTensor::Piece& piece, const Tensor& parameter) {
  Tensor out = piece.expert ? parameter.select(0, *piece.expert) : parameter;
  return piece.rows == kAllRows ? out : out.narrow(piece.outputs, piece.first_row, piece.rows);
}

Tensor to_foreign(const ForeignTensor& tensor, const std::function<Tensor(size_t)>& ours) {
  std::vector<Tensor> pieces;
  for (const auto& piece : tensor.pieces) pieces.push_back(piece_of(piece, ours(piece.parameter)));
  const Tensor whole = pieces.size() == 1 ? pieces[0] : at::cat(pieces, tensor.pieces[0].outputs);
  return tensor.transposed ? whole.transpose(-1, -2) : whole;
}

void from_foreign(const ForeignTensor& tensor, const Tensor& values,
                  const std::function<Tensor(size_t)>& ours) {
  const at::NoGradGuard no_grad;
  const Tensor whole = tensor.transposed ? values.transpose(-1, -2) : values;
  int64_t row = 0;
  for (const auto& piece : tensor.pieces) {
    Tensor target = piece_of(piece, ours(piece.parameter));
    const int64_t rows = target.dim() > 0 ? target.size(piece.outputs) : 1;
    target.copy_(tensor.pieces.size() == 1 ? whole : whole.narrow(piece.outputs, row, rows));
    row += rows;
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

void TensorMap::check_tensors(const std::map<std::string, std::vector<int64_t>>& shapes,
                              std::string_view source) const {
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

TensorMap NameMap::fill_in(const Parameters& ours) const {
  TensorMap out;
  std::map<std::string, size_t> number_of;
  for (size_t p = 0; p < ours.size(); ++p) number_of[ours[p].name] = p;
  Coverage coverage(ours);
  const auto find = [&](const std::string& name) {
    const auto found = number_of.find(name);
    check(found != number_of.end(), kPlaceOfNames, "expected a parameter '", name,
          "' of ours beside the others of its rule, found none. Correct the family's rules.");
    return found->second;
  };
  // The numbers {i} of a rule are those its first part matches.
  const auto add = [&](const NameRule& rule, const Numbers& numbers,
                       std::optional<int64_t> expert) {
    ForeignTensor tensor{.name = put_numbers(rule.theirs, numbers),
                         .shape = {},
                         .transposed = rule.transposed,
                         .pieces = {}};
    for (const auto& part : rule.ours) {
      const size_t number = find(put_numbers(part.name, numbers));
      tensor.pieces.push_back(piece_for(part, number, ours[number], expert));
    }
    coverage.add(tensor);
    tensor.shape =
        to_foreign(tensor, [&](size_t p) { return ours[p].tensor.to(at::kMeta); }).sizes().vec();
    out.tensors_.push_back(std::move(tensor));
  };
  for (size_t p = 0; p < ours.size(); ++p) {
    for (const auto& rule : rules_) {
      if (rule.kind == NameRule::Kind::kIgnored) continue;
      auto numbers = match_numbers(rule.ours.front().name, ours[p].name);
      if (!numbers) continue;
      if (rule.kind == NameRule::Kind::kTied) {
        const auto name = put_numbers(rule.theirs, *numbers);
        out.tied_[name] = p;
        out.tied_shapes_[name] = ours[p].tensor.sizes().vec();
        continue;
      }
      if (rule.theirs.find(kExpertNumber) == rule.theirs.npos || numbers->contains("e")) {
        add(rule, *numbers, std::nullopt);
        continue;
      }
      for (int64_t e = 0; e < ours[p].tensor.size(0); ++e) {
        (*numbers)["e"] = ours[p].info.first_expert + e;
        add(rule, *numbers, e);
      }
    }
  }
  for (const auto& rule : rules_)
    if (rule.kind == NameRule::Kind::kIgnored) out.ignored_.push_back(rule.theirs);
  coverage.refuse_gaps();
  return out;
}

}  // namespace moe::models
