#include <moe/layers/moe_options.h>

namespace moe::layers {

bool is_present(const FeedForwardSpec& shared) {
  if (shared.kind != "dense") return true;
  const Value* const d_ff = shared.options.find("d_ff");
  const int64_t* const number = d_ff ? d_ff->as<int64_t>() : nullptr;
  return number && *number > 0;
}

void MoELayerOptions::resolve() {
  router.resolve();
  expert.resolve();
  for (auto& term : balance) term.resolve();
  if (is_present(shared)) shared.resolve();
}

}  // namespace moe::layers
