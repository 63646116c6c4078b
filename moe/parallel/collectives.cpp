// R rows, D width.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/parallel/collectives.h>

namespace moe::parallel {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// One exchange of rows, and, once its backward pass has begun, that of their gradients.
class Journey {
 public:
  explicit Journey(RowRoute route) : route_(std::move(route)) {}

  void start(const Tensor& rows_RD) {
    const at::NoGradGuard no_grad;
    type_ = rows_RD.scalar_type();
    const Tensor travelling = encoded_rows(rows_RD.contiguous(), route_.format);
    if (route_.errors && route_.format != RowFormat::kFull)
      route_.errors->add(route_.entry, rows_RD, decoded_rows(travelling, type_, route_.format));
    under_way_ = route_.group->start_all_to_all_v(travelling, route_.send, route_.receive);
  }

  Tensor arrive() {
    check(under_way_.pending(), "parallel/collectives",
          "expected rows that are under way and were not waited for yet, got others. Start them, "
          "and wait once.");
    return decoded_rows(under_way_.wait(), type_, route_.format);
  }

  /// The way back, anew for each backward pass.
  std::shared_ptr<Journey> begin_back() {
    RowRoute route = route_;
    std::swap(route.send, route.receive);
    route.entry.is_backward = true;
    back_ = std::make_shared<Journey>(std::move(route));
    return back_;
  }
  const std::shared_ptr<Journey>& back() const { return back_; }

 private:
  RowRoute route_;
  at::ScalarType type_ = at::kFloat;
  Started under_way_;
  std::shared_ptr<Journey> back_;
};

namespace {

/// A holder, because autograd's context keeps no plain C++ objects.
struct HeldJourney : torch::CustomClassHolder {
  explicit HeldJourney(std::shared_ptr<Journey> held) : journey(std::move(held)) {}
  std::shared_ptr<Journey> journey;
};

void hold(AutogradContext* context, const std::shared_ptr<Journey>& journey) {
  context->saved_data["journey"] =
      c10::IValue::make_capsule(c10::make_intrusive<HeldJourney>(journey));
}

std::shared_ptr<Journey> held(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<HeldJourney>(context->saved_data["journey"].toCapsule())
      ->journey;
}

/// Ends where the rows have set out. Its output is a ticket without numbers, which carries the
/// graph from here to `Arrival`; the gradient of a ticket is the ticket of the gradients.
struct Departure : torch::autograd::Function<Departure> {
  static Tensor forward(AutogradContext* context, const Tensor& rows_RD,
                        const std::shared_ptr<Journey>& journey) {
    hold(context, journey);
    journey->start(rows_RD);
    return at::empty({0}, rows_RD.options());
  }
  static variable_list backward(AutogradContext* context, variable_list tickets);
};

struct Arrival : torch::autograd::Function<Arrival> {
  static Tensor forward(AutogradContext* context, const Tensor& /*ticket*/,
                        const std::shared_ptr<Journey>& journey) {
    hold(context, journey);
    return journey->arrive();
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {Departure::apply(gradients[0], held(context)->begin_back()), Tensor()};
  }
};

variable_list Departure::backward(AutogradContext* context, variable_list tickets) {
  return {Arrival::apply(tickets[0], held(context)->back()), Tensor()};
}

}  // namespace

RowsUnderWay::RowsUnderWay(Tensor ticket, std::shared_ptr<Journey> journey)
    : ticket_(std::move(ticket)), journey_(std::move(journey)) {}

Tensor RowsUnderWay::wait() {
  return Arrival::apply(ticket_, journey_);
}

RowsUnderWay start_rows(const Tensor& rows_RD, const RowRoute& route) {
  const auto journey = std::make_shared<Journey>(route);
  return {Departure::apply(rows_RD, journey), journey};
}

Tensor all_to_all_rows(const Tensor& rows_RD, const std::vector<int64_t>& send,
                       const std::vector<int64_t>& receive,
                       const std::shared_ptr<Communicator>& group) {
  return start_rows(rows_RD, {.send = send, .receive = receive, .group = group}).wait();
}

}  // namespace moe::parallel
