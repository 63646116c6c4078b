#pragma once
// Weights as a model's authors gave them out, before anybody converted them.

#include <optional>
#include <string>

#include <moe/base/files.h>

namespace moe::formats {

/// A layout that is known and not read.
struct VendorLayout {
  /// What was found, for messages.
  std::string found;
  /// What to do instead, a sentence.
  std::string remedy;
};

/// The layout of the weights in `folder` where it is one that is known: Mistral's and Meta's
/// (params.json, consolidated.*), grok-1's JAX tensors. Looks at names alone, since reading a
/// pickle can run code.
std::optional<VendorLayout> vendor_layout_in(const Path& folder);

/// Those, or PyTorch's pickles beside config.json (*.bin, *.pt, *.pth), which transformers reads.
std::optional<VendorLayout> unread_layout_in(const Path& folder);

}  // namespace moe::formats
