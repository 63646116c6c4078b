#pragma once
// Names of tensors in another program's checkpoints, and where the same numbers stand in ours. No
// shape letters: tensors of any shape pass through.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <moe/parameters/list.h>

namespace moe::models {

/// The matrices of a gated feed-forward block's w_in, in their order.
inline constexpr int64_t kGate = 0, kUp = 1;
inline constexpr int64_t kAllRows = -1;

/// One of our parameters, or one of the matrices that stand on one another in it
/// (ParameterInfo::fused).
struct OurPart {
  std::string name;
  int64_t matrix = kAllRows;
};

/// Foreign tensors and ours under patterns of names, in which {i} stands for a number, the same in
/// both. A number {e} that only the foreign name has counts along dimension 0 of ours: a stack of
/// experts.
struct NameRule {
  enum class Kind { kStored, kTied, kIgnored };

  std::string theirs;
  std::vector<OurPart> ours = {};
  bool transposed = false;
  Kind kind = Kind::kStored;
};

/// Their tensor is our parameter.
NameRule same(std::string theirs, std::string ours);
/// Their tensors, one an expert {e}, are our stack, or its matrix number `matrix`: kGate or kUp.
NameRule stacked(std::string theirs, std::string ours, int64_t matrix = kAllRows);
/// Their tensor is matrix number `matrix` of our parameter.
NameRule part(std::string theirs, std::string ours, int64_t matrix);
/// Their tensor is several of our parameters on one another, along the outputs.
NameRule fused(std::string theirs, std::vector<OurPart> ours);
/// The same with (inputs, outputs) where we have (outputs, inputs).
NameRule transposed(NameRule rule);
/// Their tensor, which checkpoints may leave out, holds the same as our parameter, which another
/// rule fills.
NameRule tied(std::string theirs, std::string ours);
/// Their tensors, which checkpoints may leave out, change nothing; `*` stands for any text.
NameRule ignored(std::string theirs);

/// A tensor of theirs made of pieces of ours, one on another along the outputs.
struct ForeignTensor {
  struct Piece {
    size_t parameter = 0;  // its number among ours
    std::optional<int64_t> expert = {};
    int64_t first_row = 0, rows = kAllRows;
    int64_t outputs = 0;  // the dimension of the rows, counted without that of the experts
  };

  std::string name;
  std::vector<int64_t> shape;
  bool transposed = false;
  std::vector<Piece> pieces;

  /// Our whole parameter as it stands.
  bool is_parameter() const;
};

/// A name map filled in for one model.
class TensorMap {
 public:
  /// In the order of our parameters.
  const std::vector<ForeignTensor>& tensors() const { return tensors_; }
  /// Our parameter (by number) that a tensor only repeats; none for other names.
  std::optional<size_t> tied_to(const std::string& name) const;
  bool ignores(std::string_view name) const;

  /// Throws moe::Error listing what is unknown, missing or of another shape among the tensors of a
  /// checkpoint.
  void check_tensors(const std::map<std::string, std::vector<int64_t>>& shapes,
                     std::string_view source) const;

 private:
  friend class NameMap;

  std::vector<ForeignTensor> tensors_;
  std::map<std::string, size_t> tied_;
  std::map<std::string, std::vector<int64_t>> tied_shapes_;
  std::vector<std::string> ignored_;
};

/// The piece of `ours` (tensors in the order of the parameters of the map: values, or gradients) as
/// a view.
Tensor piece_of(const ForeignTensor::Piece& piece, const Tensor& parameter);
/// The foreign tensor made from ours; a view where it is one piece.
Tensor to_foreign(const ForeignTensor& tensor, const std::function<Tensor(size_t parameter)>& ours);
/// Copies a foreign tensor into ours, casting.
void from_foreign(const ForeignTensor& tensor, const Tensor& values,
                  const std::function<Tensor(size_t parameter)>& ours);

/// The names of a family: rules, each for many tensors.
class NameMap {
 public:
  NameMap(std::initializer_list<NameRule> rules) : rules_(rules) {}
  void add(NameRule rule) { rules_.push_back(std::move(rule)); }

  /// The map for these tensors of a model, which need no memory. Throws moe::Error unless every one
  /// of ours is covered exactly once and no foreign name comes twice; rules that fit none of ours
  /// are passed over.
  TensorMap fill_in(const Parameters& ours) const;

 private:
  std::vector<NameRule> rules_;
};

}  // namespace moe::models
