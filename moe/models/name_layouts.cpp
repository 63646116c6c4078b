// Layouts of other programs: views and copies, both ways.
#include <ATen/ops/cat.h>

#include <moe/base/error.h>
#include <moe/models/name_map.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfLayouts = "models/names";

/// Two equal parts of `dimension`, one behind another -> taken in turn, or back.
Tensor in_turn(const Tensor& values, int64_t dimension, bool back) {
  const int64_t at = dimension < 0 ? dimension + values.dim() : dimension;
  check(at >= 0 && at < values.dim() && values.size(at) % 2 == 0, kPlaceOfLayouts,
        "expected two equal parts along dimension ", dimension, ", got the shape ", values.sizes(),
        ". Correct the family's rules.");
  const int64_t half = values.size(at) / 2;
  const auto split = back ? std::vector<int64_t>{half, 2} : std::vector<int64_t>{2, half};
  return values.unflatten(at, split).transpose(at, at + 1).flatten(at, at + 1);
}

/// The rows of each part in `heads` heads.
struct Heads {
  int64_t heads;
  std::vector<int64_t> parts;

  int64_t rows_of_a_head() const {
    int64_t out = 0;
    for (const int64_t rows : parts) out += rows;
    return out;
  }
  void check_rows(const Tensor& values) const {
    check(values.dim() > 0 && values.size(0) == heads * rows_of_a_head(), kPlaceOfLayouts,
          "expected ", heads, " heads of ", rows_of_a_head(), " rows, got the shape ",
          values.sizes(), ". Correct the family's rules.");
  }
  Tensor to_theirs(const Tensor& ours) const {
    check_rows(ours);
    std::vector<Tensor> by_head;
    int64_t first = 0;
    for (const int64_t rows : parts) {
      by_head.push_back(ours.narrow(0, first, heads * rows).unflatten(0, {heads, rows}));
      first += heads * rows;
    }
    return at::cat(by_head, 1).flatten(0, 1);
  }
  Tensor to_ours(const Tensor& theirs) const {
    check_rows(theirs);
    const Tensor by_head = theirs.unflatten(0, {heads, rows_of_a_head()});
    std::vector<Tensor> by_part;
    int64_t first = 0;
    for (const int64_t rows : parts) {
      by_part.push_back(by_head.narrow(1, first, rows).flatten(0, 1));
      first += rows;
    }
    return at::cat(by_part);
  }
};

}  // namespace

Layout transposition() {
  return {.to_theirs = [](const Tensor& ours) { return ours.transpose(-1, -2); },
          .to_ours = [](const Tensor& theirs, at::IntArrayRef) { return theirs.transpose(-1, -2); },
          .rows_of_one = [](at::IntArrayRef sizes) { return sizes.size() > 2 ? 1 : 0; }};
}

Layout interleaved_rows(int64_t dimension) {
  return {.to_theirs = [dimension](const Tensor& ours) { return in_turn(ours, dimension, false); },
          .to_ours = [dimension](const Tensor& theirs,
                                 at::IntArrayRef) { return in_turn(theirs, dimension, true); },
          .rows_of_one =
              [dimension](at::IntArrayRef sizes) {
                const auto dims = static_cast<int64_t>(sizes.size());
                return (dimension < 0 ? dimension + dims : dimension) > 0 ? 1 : 0;
              }};
}

Layout flattened() {
  return {
      .to_theirs = [](const Tensor& ours) { return ours.flatten(0, 1); },
      .to_ours = [](const Tensor& theirs, at::IntArrayRef sizes) { return theirs.reshape(sizes); },
      .rows_of_one = [](at::IntArrayRef sizes) { return sizes[1]; }};
}

Layout with_ones(std::vector<int64_t> places) {
  return {
      .to_theirs =
          [places = std::move(places)](const Tensor& ours) {
            Tensor out = ours;
            for (const int64_t place : places) out = out.unsqueeze(place);
            return out;
          },
      .to_ours = [](const Tensor& theirs, at::IntArrayRef sizes) { return theirs.reshape(sizes); }};
}

Layout heads_split(int64_t heads, std::vector<int64_t> parts) {
  const Heads rows{heads, std::move(parts)};
  return {
      .to_theirs = [rows](const Tensor& ours) { return rows.to_theirs(ours); },
      .to_ours = [rows](const Tensor& theirs, at::IntArrayRef) { return rows.to_ours(theirs); }};
}

}  // namespace moe::models
