#include <moe/balance/term.h>

namespace moe::balance {

void Term::end_step(const StepStatistics&) {}

namespace kinds {
#define X(name, help) TermRegistry::Entry make_##name();
#include <moe/balance/losses.def>
#undef X
}  // namespace kinds

TermRegistry& terms() {
  static TermRegistry* const registry = [] {
    auto* made = new TermRegistry("balance term");
#define X(name, help) made->add(#name, help, kinds::make_##name());
#include <moe/balance/losses.def>
#undef X
    return made;
  }();
  return *registry;
}

}  // namespace moe::balance
