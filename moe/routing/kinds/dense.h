#pragma once

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Dense soft gating (Jacobs et al. 1991): every expert, weighted by softmax.
struct DenseRouter {
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    routing::bias_field(*this, v);
  }
  operator RouterSpec() const { return spec_of<RouterSpec>("dense", *this); }
};

}  // namespace moe
