// Rules of names against the tensors of one model and, where there is one, of a checkpoint.
#include <algorithm>
#include <set>

#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/models/name_map.h>
#include <moe/models/name_pattern.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfFilling = "models/names";
constexpr const char* kExpertNumber = "{e}";
/// The largest published models have some 10^5.
constexpr int64_t kMostTensors = int64_t{1} << 19;

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
      fail(kPlaceOfFilling,
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
  check(part.matrix >= 0 && part.matrix < static_cast<int64_t>(fused.size()), kPlaceOfFilling,
        "expected a matrix of the ", fused.size(), " that stand on one another in '", ours.name,
        "', got number ", part.matrix, ". Correct the family's rules.");
  for (int64_t m = 0; m < part.matrix; ++m) out.first_row += fused[static_cast<size_t>(m)];
  out.rows = fused[static_cast<size_t>(part.matrix)];
  return out;
}

/// How names begin in the family's rules, and in a checkpoint.
struct Beginning {
  std::string ours, theirs;

  std::string of(const std::string& name) const {
    return name.starts_with(ours) ? theirs + name.substr(ours.size()) : name;
  }
};

/// What rules make of a model's tensors.
struct FilledRules {
  std::vector<ForeignTensor> tensors;
  std::map<std::string, size_t> tied;
  std::vector<std::string> ignored;
};

class RuleFiller {
 public:
  RuleFiller(const Parameters& ours, const TensorShapes& checkpoint)
      : ours_(ours), checkpoint_(checkpoint) {
    for (size_t p = 0; p < ours.size(); ++p) {
      number_of_[ours[p].name] = p;
      meta_.push_back(ours[p].tensor.detach().to(at::kMeta));
    }
  }

  FilledRules fill(const std::vector<NameRule>& rules, const Beginning& beginning) const {
    FilledRules out;
    for (size_t p = 0; p < ours_.size(); ++p)
      for (const auto& rule : rules) fill(out, rule, p, beginning);
    for (const auto& rule : rules) {
      if (rule.kind != NameRule::Kind::kIgnored || !is_beside(rule, beginning)) continue;
      out.ignored.push_back(rule.theirs);
      if (auto name = beginning.of(rule.theirs); name != rule.theirs)
        out.ignored.push_back(std::move(name));
    }
    return out;
  }

  /// Names of the checkpoint that the rules make, those of experts aside.
  int64_t found(const std::vector<NameRule>& rules, const Beginning& beginning) const {
    int64_t out = 0;
    for (const auto& parameter : ours_)
      for (const auto& rule : rules) {
        if (rule.kind != NameRule::Kind::kStored || counts_experts(rule)) continue;
        if (const auto numbers = match_numbers(rule.ours.front().name, parameter.name))
          out += checkpoint_.contains(beginning.of(put_numbers(rule.theirs, *numbers))) ? 1 : 0;
      }
    return out;
  }

 private:
  static bool counts_experts(const NameRule& rule) {
    return rule.theirs.find(kExpertNumber) != rule.theirs.npos;
  }

  /// Whether the tensor that an ignored one stands beside is there, or may be.
  bool is_beside(const NameRule& rule, const Beginning& beginning) const {
    return rule.beside.empty() || checkpoint_.empty() || checkpoint_.contains(rule.beside) ||
           checkpoint_.contains(beginning.of(rule.beside));
  }

  void fill(FilledRules& out, const NameRule& rule, size_t p, const Beginning& beginning) const {
    if (rule.kind == NameRule::Kind::kIgnored) return;
    auto numbers = match_numbers(rule.ours.front().name, ours_[p].name);
    if (!numbers) return;
    if (rule.kind == NameRule::Kind::kTied) {
      out.tied[beginning.of(put_numbers(rule.theirs, *numbers))] = p;
    } else if (!counts_experts(rule) || numbers->contains("e")) {
      out.tensors.push_back(tensor_of(rule, *numbers, std::nullopt, beginning));
    } else {
      const int64_t experts = meta_[p].size(0);
      const auto made = static_cast<int64_t>(out.tensors.size());
      check(experts <= kMostTensors - made, kPlaceOfFilling, "expected at most ", kMostTensors,
            " tensors in a checkpoint, got ", experts, " experts of '", ours_[p].name, "' behind ",
            made, ". Check config.json.");
      for (int64_t e = 0; e < experts; ++e) {
        (*numbers)["e"] = ours_[p].info.number_of(e);
        out.tensors.push_back(tensor_of(rule, *numbers, e, beginning));
      }
    }
  }

  /// The numbers {i} of a rule are those that its first part matches.
  ForeignTensor tensor_of(const NameRule& rule, const Numbers& numbers,
                          std::optional<int64_t> expert, const Beginning& beginning) const {
    ForeignTensor out;
    out.name = beginning.of(put_numbers(rule.theirs, numbers));
    for (const auto& part : rule.ours) {
      const size_t number = find(put_numbers(part.name, numbers));
      out.pieces.push_back(piece_for(part, number, ours_[number], expert));
    }
    Tensor values = to_foreign(out, [&](size_t p) { return meta_[p]; });
    for (const auto& layout : rule.layouts) {
      out.steps.push_back({layout, values.sizes().vec()});
      values = layout.to_theirs(values);
    }
    out.shape = values.sizes().vec();
    return out;
  }

  size_t find(const std::string& name) const {
    const auto found = number_of_.find(name);
    check(found != number_of_.end(), kPlaceOfFilling, "expected a parameter '", name,
          "' of ours beside the others of its rule, found none. Correct the family's rules.");
    return found->second;
  }

  const Parameters& ours_;
  const TensorShapes& checkpoint_;
  std::map<std::string, size_t> number_of_;
  std::vector<Tensor> meta_;
};

/// How much of `tensors` a checkpoint has.
enum class Fit { kNone, kSomeNames, kAll };

template <class Tensors>
Fit fit(const Tensors& tensors, const TensorShapes& checkpoint) {
  bool any = false, all = true;
  for (const ForeignTensor& tensor : tensors) {
    const auto found = checkpoint.find(tensor.name);
    any |= found != checkpoint.end();
    all &= found != checkpoint.end() && found->second == tensor.shape;
  }
  return !any ? Fit::kNone : all ? Fit::kAll : Fit::kSomeNames;
}

/// Puts `other` in the place of what fills the same parameters, where the checkpoint is so.
void replace_if_stored(FilledRules& now, FilledRules other, const TensorShapes& checkpoint) {
  std::set<size_t> parameters;
  for (const auto& tensor : other.tensors)
    for (const auto& piece : tensor.pieces) parameters.insert(piece.parameter);
  const auto is_replaced = [&](const ForeignTensor& tensor) {
    return std::ranges::any_of(
        tensor.pieces, [&](const auto& piece) { return parameters.contains(piece.parameter); });
  };
  std::vector<std::reference_wrapper<const ForeignTensor>> replaced;
  for (const auto& tensor : now.tensors)
    if (is_replaced(tensor)) replaced.emplace_back(tensor);
  if (fit(other.tensors, checkpoint) <= fit(replaced, checkpoint)) return;
  std::erase_if(now.tensors, is_replaced);
  std::ranges::move(other.tensors, std::back_inserter(now.tensors));
  now.tied.merge(other.tied);
  std::ranges::move(other.ignored, std::back_inserter(now.ignored));
}

}  // namespace

void NameMap::add(NameMap other) {
  std::ranges::move(other.rules_, std::back_inserter(rules_));
  std::ranges::move(other.others_, std::back_inserter(others_));
  std::ranges::move(other.prefixes_, std::back_inserter(prefixes_));
}

void NameMap::otherwise(NameMap other) {
  auto further = std::move(other.others_);
  others_.push_back(std::move(other));
  std::ranges::move(further, std::back_inserter(others_));
}

void NameMap::prefix(std::string from, std::string to) {
  prefixes_.emplace_back(std::move(from), std::move(to));
}

TensorMap NameMap::fill_in(const Parameters& ours, const TensorShapes& checkpoint) const {
  const at::NoGradGuard no_grad;
  const RuleFiller filler(ours, checkpoint);
  Beginning beginning;
  if (!checkpoint.empty() && !prefixes_.empty()) {
    int64_t most = filler.found(rules_, beginning);
    for (const auto& [from, to] : prefixes_)
      if (const auto found = filler.found(rules_, {from, to}); found > most) {
        most = found;
        beginning = {from, to};
      }
  }
  auto filled = filler.fill(rules_, beginning);
  if (!checkpoint.empty())
    for (const auto& other : others_)
      replace_if_stored(filled, filler.fill(other.rules_, beginning), checkpoint);
  std::ranges::stable_sort(filled.tensors, {}, [](const ForeignTensor& tensor) {
    return tensor.pieces.front().parameter;
  });
  Coverage coverage(ours);
  for (const auto& tensor : filled.tensors) coverage.add(tensor);
  coverage.refuse_gaps();

  TensorMap out;
  for (const auto& [name, p] : filled.tied) out.tied_shapes_[name] = ours[p].tensor.sizes().vec();
  out.tensors_ = std::move(filled.tensors);
  out.tied_ = std::move(filled.tied);
  out.ignored_ = std::move(filled.ignored);
  return out;
}

}  // namespace moe::models
