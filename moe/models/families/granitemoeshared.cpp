// Granite MoE with a shared block beside the experts (IBM 2025), as transformers keeps it.
#include <moe/models/granite_family.h>

namespace moe::models {

namespace granitemoeshared {

DecoderOptions options(const HfConfig& c) {
  return granite_decoder(c, c.count("shared_intermediate_size", 0));
}

NameMap names(const DecoderOptions& o) {
  return granite_names(o);
}

Table config(const DecoderOptions& o) {
  Table out = granite_config(o, "GraniteMoeSharedForCausalLM", "granitemoeshared");
  out.set("shared_intermediate_size", DecoderParts(o).shared.d_ff);
  return out;
}

}  // namespace granitemoeshared

MOE_FAMILY(granitemoeshared)

}  // namespace moe::models
