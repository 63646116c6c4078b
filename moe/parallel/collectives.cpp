// R rows, D width.

#include <torch/csrc/autograd/custom_function.h>

#include <moe/parallel/collectives.h>

namespace moe::parallel {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the backward pass of an exchange needs; a holder, because autograd's context keeps no plain
/// C++ objects.
struct Route : torch::CustomClassHolder {
  std::vector<int64_t> send, receive;
  std::shared_ptr<Communicator> group;
};

class AllToAllRows : public torch::autograd::Function<AllToAllRows> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& rows_RD,
                        const c10::intrusive_ptr<Route>& route) {
    context->saved_data["route"] = c10::IValue::make_capsule(route);
    return route->group->all_to_all_v(rows_RD.contiguous(), route->send, route->receive);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto route =
        c10::static_intrusive_pointer_cast<Route>(context->saved_data["route"].toCapsule());
    return {all_to_all_rows(gradients[0], route->receive, route->send, route->group), Tensor()};
  }
};

}  // namespace

Tensor all_to_all_rows(const Tensor& rows_RD, const std::vector<int64_t>& send,
                       const std::vector<int64_t>& receive,
                       const std::shared_ptr<Communicator>& group) {
  auto route = c10::make_intrusive<Route>();
  route->send = send;
  route->receive = receive;
  route->group = group;
  return AllToAllRows::apply(rows_RD, route);
}

}  // namespace moe::parallel
