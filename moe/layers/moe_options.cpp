#include <moe/layers/moe_options.h>

namespace moe::layers {

bool is_present(const SharedSpec& shared) {
  if (shared.kind != "dense") return true;
  const Value* hidden = shared.options.find("d_ff");
  const auto* number = hidden ? hidden->as<int64_t>() : nullptr;
  return number && *number != 0;
}

void MoELayerOptions::resolve() {
  router.resolve();
  expert.resolve();
  for (auto& term : balance) term.resolve();
  if (is_present(shared)) shared.resolve();
}

}  // namespace moe::layers
