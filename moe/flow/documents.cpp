// B batch, S sequence.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cummax.h>
#include <ATen/ops/ones_like.h>

#include <moe/base/error.h>
#include <moe/flow/documents.h>

namespace moe {

Documents documents_of(const Tensor& document_BS) {
  check(document_BS.dim() == 2 && document_BS.scalar_type() == at::kLong, "flow/documents",
        "expected int64 numbers of documents of shape (B, S), got ", document_BS.scalar_type(), ' ',
        document_BS.sizes(), ". Give every token its document's number.");
  const int64_t S = document_BS.size(1);
  if (document_BS.numel() == 0) return {};
  const Tensor change_BS = document_BS.diff(1, 1);
  check(change_BS.ge(0).all().item<bool>(), "flow/documents",
        "expected numbers of documents that never fall in a row, got one behind a larger one. "
        "Number the documents of a row in their order.");
  if (change_BS.eq(0).all().item<bool>()) return {};
  const Tensor begins_BS =
      at::cat({at::ones_like(document_BS.narrow(1, 0, 1)), change_BS.ne(0).to(at::kLong)}, 1);
  const Tensor place_S = at::arange(S, document_BS.options());
  const Tensor begin_BS = std::get<0>((begins_BS * place_S).cummax(1));
  return {place_S - begin_BS, document_BS};
}

}  // namespace moe
