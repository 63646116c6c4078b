// A checkpoint's tensors into a model's parameters: read once, checked and copied while they are in
// a core's cache, by all threads. No shape letters: tensors of any shape.
#include <algorithm>
#include <atomic>
#include <numeric>
#include <optional>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <c10/util/accumulate.h>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/base/memory_advice.h>
#include <moe/formats/finite.h>
#include <moe/models/hugging_face.h>
#include <moe/models/stored_weights.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfFillingWeights = "models/hugging_face";
/// What one step reads at most, unless rows belong together: a level-2 cache holds it.
constexpr int64_t kPartBytes = int64_t{1} << 20;

void check_types(const TensorMap& map, const StoredWeights& weights, std::string_view source) {
  std::vector<std::string> wrong;
  for (const auto& tensor : map.tensors())
    if (const auto type = weights.dtype(tensor.name); type && !is_plain(*type))
      wrong.push_back(concat('\'', tensor.name, "' is ", c10::toString(*type)));
  if (!wrong.empty())
    fail(kPlaceOfFillingWeights,
         "expected tensors in float32, bfloat16, float16 or float64, or quantised as "
         "quantization_config in config.json says, in ",
         source, ", got ", wrong.size(), " of other types. Fetch the model in one of these.",
         indented_list(wrong));
}

/// How a tensor of a checkpoint comes into ours.
enum class FillWay {
  kView,     // ours is the mapped file
  kNumbers,  // number by number, in the order of the file
  kRows,     // rows of dimension 0, which are rearranged or computed
};

struct TensorPlan {
  const ForeignTensor& foreign;
  FillWay way;
  at::ScalarType type;  // of ours
  int64_t count = 0;    // numbers, or rows
  int64_t count_at_once = 1;
  Tensor numbers = {};  // ours as a vector: kNumbers
  int64_t not_finite = 0;
};

struct StoredPart {
  size_t plan;
  int64_t first, count;
};

class WeightFiller {
 public:
  WeightFiller(const Parameters& ours, const StoredWeights& weights, at::ScalarType dtype)
      : ours_(ours), weights_(weights), dtype_(dtype) {}

  /// Gives ours their memory; nothing is read yet.
  void add(const ForeignTensor& tensor) {
    const Parameter& first = ours_[tensor.pieces.front().parameter];
    TensorPlan plan{.foreign = tensor, .way = FillWay::kRows, .type = type_in(first, dtype_)};
    const auto stored = weights_.dtype(tensor.name);
    const bool one_piece = stored && tensor.pieces.size() == 1 && tensor.steps.empty();
    if (tensor.is_parameter() && first.tensor.is_meta() && stored == plan.type &&
        weights_.gives_view(tensor.name)) {
      set_memory(first.tensor, weights_.tensor(tensor.name, plan.type));
      plan.way = FillWay::kView;
    } else if (const Tensor target = one_piece ? target_of(tensor.pieces[0]) : Tensor();
               one_piece && target.is_contiguous()) {
      plan.way = FillWay::kNumbers;
      plan.numbers = target.view({-1});
    }
    for (const auto& piece : tensor.pieces) target_of(piece);
    divide(plan, stored.value_or(plan.type));
    plans_.push_back(std::move(plan));
  }

  /// Reads and fills all that was added.
  void run() {
    std::vector<std::atomic<int64_t>> not_finite(plans_.size());
    std::atomic<size_t> next = 0;
    // Parts begin in the order of the file.
    at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
      const at::NoGradGuard no_grad;
      for (size_t i = next++; i < parts_.size(); i = next++)
        not_finite[parts_[i].plan] += fill(parts_[i]);
    });
    for (size_t p = 0; p < plans_.size(); ++p) {
      plans_[p].not_finite = not_finite[p];
      weights_.release(plans_[p].foreign.name);  // pages that two parts share
    }
  }

  void warn_of_what_is_not_finite(std::string_view source) const {
    std::vector<std::string> found;
    for (const auto& plan : plans_)
      if (plan.not_finite > 0)
        found.push_back(concat('\'', plan.foreign.name, "': ", plan.not_finite, " of ",
                               c10::multiply_integers(plan.foreign.shape)));
    if (!found.empty())
      log::warn(concat("weights of ", source,
                       " hold numbers that are not finite (NaN or infinity), in ", found.size(),
                       " tensors; so will results that meet them.", indented_list(found)));
  }

 private:
  /// The parameter's memory, made where there is none.
  Tensor memory_of(size_t parameter) {
    const Parameter& ours = ours_[parameter];
    if (ours.tensor.is_meta()) {
      const Tensor memory = at::empty(ours.tensor.sizes(), type_in(ours, dtype_));
      prefer_huge_pages(memory.mutable_data_ptr(), memory.nbytes());
      set_memory(ours.tensor, memory);
    }
    return ours.tensor.detach();
  }
  Tensor target_of(const ForeignTensor::Piece& piece) {
    return piece_of(piece, memory_of(piece.parameter));
  }

  void divide(TensorPlan& plan, at::ScalarType stored) {
    const auto& shape = plan.foreign.shape;
    auto bytes = static_cast<int64_t>(c10::elementSize(stored));
    const int64_t numbers = c10::multiply_integers(shape);
    if (numbers == 0) return;
    plan.count = plan.way != FillWay::kRows ? numbers : shape.empty() ? 1 : shape[0];
    if (plan.way == FillWay::kRows) {
      bytes *= numbers / plan.count;
      plan.count_at_once =
          std::min(plan.count, std::lcm(std::max<int64_t>(1, plan.foreign.rows_at_once()),
                                        weights_.rows_at_once(plan.foreign.name)));
      bytes *= plan.count_at_once;
    }
    const int64_t step = plan.count_at_once * std::max<int64_t>(1, kPartBytes / bytes);
    for (int64_t first = 0; first < plan.count; first += step)
      parts_.push_back({plans_.size(), first, std::min(step, plan.count - first)});
  }

  /// How many of its numbers are not finite.
  int64_t fill(const StoredPart& part) const {
    const TensorPlan& plan = plans_[part.plan];
    const std::string& name = plan.foreign.name;
    if (plan.way == FillWay::kRows) {
      const Tensor values = weights_.rows(name, plan.type, part.first, part.count);
      const int64_t found = formats::count_not_finite(values);
      from_foreign(
          plan.foreign, values, [&](size_t p) { return ours_[p].tensor; }, part.first);
      weights_.release_rows(name, part.first, part.count);
      return found;
    }
    const Tensor values = weights_.numbers(name, part.first, part.count);
    const int64_t found = formats::count_not_finite(values);
    if (plan.way == FillWay::kNumbers) plan.numbers.narrow(0, part.first, part.count).copy_(values);
    weights_.release_numbers(name, part.first, part.count);
    return found;
  }

  const Parameters& ours_;
  const StoredWeights& weights_;
  at::ScalarType dtype_;
  std::vector<TensorPlan> plans_;
  std::vector<StoredPart> parts_;
};

/// A tensor that only repeats a parameter must hold the same numbers.
void check_tied(const std::string& name, const StoredWeights& weights, const Parameter& ours) {
  const auto type = ours.tensor.scalar_type();
  const int64_t rows = ours.tensor.dim() > 0 ? ours.tensor.size(0) : 1;
  const int64_t bytes =
      std::max<int64_t>(1, static_cast<int64_t>(ours.tensor.nbytes()) / std::max<int64_t>(1, rows));
  const int64_t unit = weights.rows_at_once(name);
  const int64_t step = unit * std::max<int64_t>(1, kPartBytes / bytes / unit);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    const Tensor mine = ours.tensor.dim() > 0 ? ours.tensor.narrow(0, first, count) : ours.tensor;
    check(at::equal(weights.rows(name, type, first, count).to(type), mine), kPlaceOfFillingWeights,
          "expected '", name, "' to repeat '", ours.name,
          "', as config.json says (tie_word_embeddings), got other numbers. Correct the flag.");
    weights.release_rows(name, first, count);
  }
}

}  // namespace

void fill_from_weights(const torch::nn::Module& model, const TensorMap& map,
                       const StoredWeights& weights, at::ScalarType dtype,
                       std::string_view source) {
  const at::NoGradGuard no_grad;
  map.check_tensors(weights.shapes(), source);
  check_types(map, weights, source);
  std::map<std::string_view, const ForeignTensor*> foreign;
  for (const auto& tensor : map.tensors()) foreign[tensor.name] = &tensor;
  const Parameters ours = tensors_of(model);
  WeightFiller filler(ours, weights, dtype);
  for (const auto& name : weights.names())  // in the order of their bytes
    if (const auto found = foreign.find(name); found != foreign.end()) filler.add(*found->second);
  filler.run();
  for (const auto& name : weights.names())
    if (const auto parameter = map.tied_to(name)) check_tied(name, weights, ours[*parameter]);
  filler.warn_of_what_is_not_finite(source);
}

}  // namespace moe::models
