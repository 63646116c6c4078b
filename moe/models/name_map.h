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

/// How the numbers of a tensor stand in the other program's, both ways. Nothing but views and
/// copies: values and gradients go the same way.
struct Layout {
  std::function<Tensor(const Tensor& ours)> to_theirs;
  /// `sizes` are those of the tensor that to_theirs was given.
  std::function<Tensor(const Tensor& theirs, at::IntArrayRef sizes)> to_ours;
  /// So many rows (indices of dimension 0) of theirs are one row of ours, of these sizes, and
  /// nothing else; 0, or no function, where rows cannot be told apart so.
  std::function<int64_t(at::IntArrayRef sizes)> rows_of_one = {};
};

/// (…, outputs, inputs) -> (…, inputs, outputs).
Layout transposition();
/// The two halves of `dimension` taken in turn: gate 0, up 0, gate 1, up 1, … where ours are all
/// gates, then all ups (gpt-oss; -1 for its biases).
Layout interleaved_rows(int64_t dimension = -2);
/// Dimensions 0 and 1 as one: experts under one another, (E, I, D) -> (E·I, D) (DBRX).
Layout flattened();
/// Dimensions of size 1 at these places of theirs, rising: {1} for (C, K) -> (C, 1, K), {0} for
/// (E) -> (1, E), {0, 1, 3} for (N) -> (1, 1, N, 1).
Layout with_ones(std::vector<int64_t> places);
/// Rows (dimension 0) of several parameters head by head: `parts[j]` rows of parameter j in each of
/// `heads` heads, where ours are parameter after parameter. fused(…) puts ours under one another.
Layout heads_split(int64_t heads, std::vector<int64_t> parts);

/// Foreign tensors and ours under patterns of names, in which {i} stands for a number, the same in
/// both. A number {e} that only the foreign name has counts along dimension 0 of ours: a stack of
/// experts.
struct NameRule {
  enum class Kind { kStored, kTied, kIgnored };

  std::string theirs;
  std::vector<OurPart> ours = {};
  std::vector<Layout> layouts = {};  // from ours to theirs, one after another
  Kind kind = Kind::kStored;
  std::string beside = {};  // of kIgnored: a name that must be there too
};

/// Their tensor is our parameter.
NameRule same(std::string theirs, std::string ours);
/// Their tensors, one an expert {e}, are our stack, or its matrix number `matrix`: kGate or kUp.
NameRule stacked(std::string theirs, std::string ours, int64_t matrix = kAllRows);
/// Their tensor is matrix number `matrix` of our parameter.
NameRule part(std::string theirs, std::string ours, int64_t matrix);
/// Their tensor is several of our parameters on one another, along the outputs.
NameRule fused(std::string theirs, std::vector<OurPart> ours);
/// The same under another layout, applied behind those that the rule has: arranged(transposed(r),
/// flattened()) transposes ours and flattens what comes of it.
NameRule arranged(NameRule rule, Layout layout);
/// The same with (inputs, outputs) where we have (outputs, inputs).
NameRule transposed(NameRule rule);
/// Their tensor, which checkpoints may leave out, holds the same as our parameter, which another
/// rule fills.
NameRule tied(std::string theirs, std::string ours);
/// Their tensors, which checkpoints may leave out, change nothing; `*` stands for any text. With
/// `beside` only in a checkpoint that has a tensor of that name: "model.layers.46.*" beside
/// "model.layers.46.eh_proj.weight" is a layer that predicts a further token.
NameRule ignored(std::string theirs, std::string beside = "");

/// A tensor of theirs made of pieces of ours, one on another along the outputs.
struct ForeignTensor {
  struct Piece {
    size_t parameter = 0;  // its number among ours
    std::optional<int64_t> expert = {};
    int64_t first_row = 0, rows = kAllRows;
    int64_t outputs = 0;  // the dimension of the rows, counted without that of the experts
  };

  /// A layout, and the sizes of what it is given.
  struct Step {
    Layout layout;
    std::vector<int64_t> sizes;
  };

  std::string name;
  std::vector<int64_t> shape;
  std::vector<Step> steps = {};
  std::vector<Piece> pieces = {};

  /// Our whole parameter as it stands.
  bool is_parameter() const;
  /// Rows (indices of dimension 0) come into ours by themselves in multiples of so many; all of
  /// them where a layout mixes them.
  int64_t rows_at_once() const;
};

/// Shapes of the tensors of a checkpoint.
using TensorShapes = std::map<std::string, std::vector<int64_t>>;

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
  void check_tensors(const TensorShapes& shapes, std::string_view source) const;

 private:
  friend class NameMap;

  std::vector<ForeignTensor> tensors_;
  std::map<std::string, size_t> tied_;
  TensorShapes tied_shapes_;
  std::vector<std::string> ignored_;
};

/// The piece of `ours` (tensors in the order of the parameters of the map: values, or gradients) as
/// a view.
Tensor piece_of(const ForeignTensor::Piece& piece, const Tensor& parameter);
/// The foreign tensor made from ours; a view where it is one piece.
Tensor to_foreign(const ForeignTensor& tensor, const std::function<Tensor(size_t parameter)>& ours);
/// Copies a foreign tensor into ours, casting; or of its rows those from `first_row` on, which are
/// a multiple of rows_at_once like their number, or go to the end.
void from_foreign(const ForeignTensor& tensor, const Tensor& values,
                  const std::function<Tensor(size_t parameter)>& ours, int64_t first_row = 0);

/// The names of a family: rules, each for many tensors.
class NameMap {
 public:
  NameMap(std::initializer_list<NameRule> rules) : rules_(rules) {}
  void add(NameRule rule) { rules_.push_back(std::move(rule)); }
  /// The rules of another map, and its other ways.
  void add(NameMap other);

  /// `other` is another way to store the parameters that its rules fill: where a checkpoint has its
  /// tensors, it takes the place of the rules above that fill the same parameters. Several ways are
  /// tried in the order given; one whose names and shapes the checkpoint has all comes first, then
  /// one of which it has any name. Without a checkpoint the rules above stand.
  void otherwise(NameMap other);

  /// Checkpoints may write `to` where names begin with `from`: the language model of a multimodal
  /// directory. The beginning that finds most names is taken, the family's own among equals.
  void prefix(std::string from, std::string to);

  /// The map for these tensors of a model, which need no memory, as the checkpoint stores them.
  /// Throws moe::Error unless every one of ours is covered exactly once and no foreign name comes
  /// twice; rules that fit none of ours are passed over.
  TensorMap fill_in(const Parameters& ours, const TensorShapes& checkpoint = {}) const;

 private:
  std::vector<NameRule> rules_;
  std::vector<NameMap> others_;
  std::vector<std::pair<std::string, std::string>> prefixes_;
};

}  // namespace moe::models
