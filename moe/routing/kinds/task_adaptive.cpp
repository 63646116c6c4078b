// T tokens, D model width, E experts, K choices per token, M tasks.
#include <ATen/TensorOperators.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/task_adaptive.h>
#include <moe/routing/labels.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void TaskAdaptiveRouter::validate(const std::string&) const {
  const char* place = "routing/task_adaptive";
  check<ConfigError>(tasks >= 0, place, "expected tasks >= 0, got ", tasks,
                     ". Give the number of the data's domains.");
  check_one_of(place, "form", form, {"blend", "embedding"});
  routing::SoftmaxRule::of(*this).validate(place);
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr const char* kPlaceOfTaskAdaptive = "routing/task_adaptive";

/// What is learned of tasks, beside their routers.
struct Tasks final : Module {
  Tasks(int64_t M, int64_t D, bool blend, const at::TensorOptions& tensors) : Module(tensors) {
    if (blend)
      sensitivity_M = add_parameter("sensitivity", {M}, {.role = Role::kBias});
    else
      embedding_MD = add_parameter("embedding", {M, D}, {.role = Role::kBias});
  }

  Tensor sensitivity_M, embedding_MD;
};

/// SoftmaxRule on logits that depend on the token's task m, its label in context.tokens.domains_T:
///
///   blend:      l = (1 - s) W x + s W_m x,  s = sigmoid(sensitivity_m)
///   embedding:  l = W (x + v_m)
///
/// A token without a label, or of a call without any, has l = W x. W_m alone (s = 1) are the gates
/// of multi-gate mixtures (Ma et al. 2018); a gate that sees the task's vector beside the token is
/// task-aware gating (Gupta et al. 2022).
///
/// Parameters: "weight" (E, D), W; with blend "task_weight" (E, M D), the W_m side by side, and
/// "tasks.sensitivity" (M), which starts at 0: s = 1/2; with embedding "tasks.embedding" (M, D), v,
/// which starts at 0.
class TaskAdaptive final : public Router {
 public:
  TaskAdaptive(const RouterShape& shape, const TaskAdaptiveRouter& options)
      : Router(shape),
        rule_(SoftmaxRule::of(options)),
        tasks_(options.tasks),
        blend_(options.form == "blend") {
    const int64_t D = shape.d_model, E = shape.num_experts, M = tasks_;
    weight_ED_ = add_parameter("weight", {E, D}, {.role = Role::kScores, .per_expert = true});
    if (M > 0) {
      if (blend_)
        task_weight_ =
            add_parameter("task_weight", {E, M * D}, {.role = Role::kScores, .per_expert = true});
      learned_ = register_module("tasks", std::make_shared<Tasks>(M, D, blend_, tensors()));
    }
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), kPlaceOfTaskAdaptive,
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const Tensor task_T = labels_of(context, x_TD.size(0), tasks_, kPlaceOfTaskAdaptive, "tasks");
    return choose_by_softmax(logits(x_TD, task_T), shape_.top_k, rule_, context);
  }

 private:
  Tensor logits(const Tensor& x_TD, const Tensor& task_T) const {
    if (!task_T.defined() || tasks_ == 0) return wide_linear(x_TD, weight_ED_);
    const Tensor known_T1 = task_T.ge(0).unsqueeze(1), some_T = task_T.clamp_min(0);
    const auto type = wide_type(x_TD, weight_ED_);
    if (!blend_) {
      const Tensor task_TD = learned_->embedding_MD.to(type).index_select(0, some_T);
      const Tensor shift_TD = at::where(known_T1, task_TD, at::zeros_like(task_TD));
      return wide_linear(x_TD.to(type) + shift_TD, weight_ED_);
    }
    const int64_t T = x_TD.size(0), D = shape_.d_model, E = shape_.num_experts, M = tasks_;
    const Tensor base_TE = wide_linear(x_TD, weight_ED_);
    const Tensor all_TEM = wide_linear(x_TD, task_weight_.reshape({E * M, D})).view({T, E, M});
    const Tensor own_TE =
        at::gather(all_TEM, 2, some_T.view({T, 1, 1}).expand({T, E, 1})).squeeze(2);
    const Tensor s_T1 =
        at::sigmoid(learned_->sensitivity_M.to(type)).index_select(0, some_T).unsqueeze(1);
    return at::where(known_T1, (1 - s_T1) * base_TE + s_T1 * own_TE, base_TE);
  }

  SoftmaxRule rule_;
  int64_t tasks_;
  bool blend_;
  Tensor weight_ED_, task_weight_;
  std::shared_ptr<Tasks> learned_;
};

}  // namespace

MOE_KIND(routers, task_adaptive, TaskAdaptive, TaskAdaptiveRouter)

}  // namespace moe::routing
