// Granite 3 MoE (IBM 2024), as transformers keeps it.
#include <moe/models/granite_family.h>

namespace moe::models {

namespace granitemoe {

DecoderOptions options(const HfConfig& c) {
  return granite_decoder(c, 0);
}

NameMap names(const DecoderOptions& o) {
  return granite_names(o);
}

Table config(const DecoderOptions& o) {
  return granite_config(o, "GraniteMoeForCausalLM", "granitemoe");
}

}  // namespace granitemoe

MOE_FAMILY(granitemoe)

}  // namespace moe::models
