// E experts, K choices per token.
#include <algorithm>

#include <moe/balance/convert.h>
#include <moe/base/error.h>

namespace moe::balance {

namespace {

constexpr const char* kPlaceOfConvert = "balance/convert";

[[noreturn]] void refuse_kind(const std::string& convention, const ForeignTerm& term) {
  fail<ConfigError>(kPlaceOfConvert, "expected a term that ", convention, " has, got '", term.kind,
                    "' with convention = \"", convention,
                    "\". Set convention = \"own\", with the coefficient of our formula.");
}

void need_form(const std::string& convention, const ForeignTerm& term, const char* key,
               const char* form) {
  check<ConfigError>(term.form == form, kPlaceOfConvert, "expected ", key, " = \"", form,
                     "\" with convention = \"", convention, "\" and top_k=", term.top_k, ", got \"",
                     term.form, "\", which is not its formula. Set ", key, " = \"", form, "\".");
}

/// Our coefficient for one of theirs.
double factor_from(const std::string& convention, const ForeignTerm& term) {
  const auto E = static_cast<double>(term.num_experts), K = static_cast<double>(term.top_k),
             layers = static_cast<double>(term.layers);
  const bool is_switch = term.kind == "switch", is_z = term.kind == "z_loss";
  if (is_z) need_form(convention, term, "form", "logsumexp");
  // With one choice, the first is all.
  const auto need_counts = [&](const char* counts) {
    if (term.top_k > 1) need_form(convention, term, "counts", counts);
  };
  if (convention == "transformers" || convention == "flaxformer") {
    if (is_z) return 1 / layers;
    if (!is_switch) refuse_kind(convention, term);
    need_counts("all");
    return K / layers;
  }
  if (convention == "megatron") {
    if (is_switch) need_counts("all");
    if (is_switch || is_z || term.kind == "sequence") return 1;
  }
  if (convention == "deepspeed" && is_switch) {
    need_counts(term.top_k == 2 ? "first" : "all");
    return 1;
  }
  if (convention == "tutel" && term.kind == "importance") {
    check<ConfigError>(term.num_experts > 1, kPlaceOfConvert,
                       "expected at least 2 experts for the sample variance of tutel, got ",
                       term.num_experts, ". Set convention = \"own\".");
    return E / (E - 1) / 2;
  }
  if (convention == "mesh_tensorflow" && is_z) return 1;
  if ((convention == "tutel" || convention == "mesh_tensorflow" || convention == "gshard") &&
      is_switch) {
    need_counts("first");
    return convention == "gshard" ? 1 / (E * E) : 1;
  }
  refuse_kind(convention, term);
}

}  // namespace

const std::vector<std::string>& conventions() {
  static const std::vector<std::string> names = {kOwnConvention,    "transformers", "flaxformer",
                                                 "megatron",        "deepspeed",    "tutel",
                                                 "mesh_tensorflow", "gshard"};
  return names;
}

double coefficient_from(const std::string& convention, const ForeignTerm& term) {
  check_one_of(kPlaceOfConvert, "convention", convention, conventions());
  check(term.num_experts >= 1 && term.top_k >= 1 && term.layers >= 1, kPlaceOfConvert,
        "expected num_experts, top_k and layers of at least 1, got ", term.num_experts, ", ",
        term.top_k, " and ", term.layers, ". Correct them.");
  if (convention == kOwnConvention) return term.coefficient;
  return term.coefficient * factor_from(convention, term);
}

}  // namespace moe::balance
