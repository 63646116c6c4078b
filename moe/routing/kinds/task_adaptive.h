#pragma once

#include <string>

#include <moe/routing/option_fields.h>
#include <moe/routing/router.h>

namespace moe {

/// Softmax top-k of logits that the token's task has a say in.
struct TaskAdaptiveRouter {
  int64_t tasks = 0;
  std::string form = "blend";
  bool renormalise = true;
  std::string softmax = "before";
  double scale = 1;
  std::string weight_on = "output";

  template <class Visitor>
  void fields(Visitor& v) {
    v("tasks", tasks,
      "tasks, at least as many as the data has domains; a token's task is its domain; 0: none");
    v("form", form,
      "\"blend\": each task's own router is mixed in, by a learned share; \"embedding\": a learned "
      "vector for each task is added to the token");
    routing::softmax_fields(*this, v);
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("task_adaptive", *this); }
};

}  // namespace moe
