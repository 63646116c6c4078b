#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k of logits that grow by how well an expert suits the token's likely domain.
struct DomainAwareRouter {
  int64_t domains = 4;
  bool labels = false;
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";

  template <class Visitor>
  void fields(Visitor& v) {
    v("domains", domains,
      "domains that the classifier tells apart: at least those of the data where it learns from "
      "labels (balance term domain_classifier)");
    v("labels", labels,
      "a token whose domain the data names is of that domain; false: the classifier always says");
    routing::softmax_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("domain_aware", *this); }
};

}  // namespace moe
