#pragma once

#include <memory>

#include <moe/parallel/chunks.h>
#include <moe/parallel/row_format.h>

namespace moe::parallel {

/// How rows travel between the ranks that share the experts of a layer.
struct ExchangeSettings {
  RowFormat format = RowFormat::kFull;
  /// One object for all layers of a rank; null: all rows at once.
  std::shared_ptr<Chunks> chunks = {};
};

}  // namespace moe::parallel
