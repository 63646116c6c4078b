// How long the program's threads spin while they wait, as libgomp itself reports it.
#include <cstdlib>
#include <optional>

#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"

namespace moe::test {

namespace {

/// A variable of the environment set, or taken away, for as long as this lives.
class WithVariable {
 public:
  WithVariable(const char* name, const char* value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    value ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~WithVariable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }
  WithVariable(const WithVariable&) = delete;
  WithVariable& operator=(const WithVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// What libgomp prints of the settings it works with.
ProgramResult settings(const char* wait_policy, const char* spin_count) {
  const WithVariable show("OMP_DISPLAY_ENV", "verbose"), policy("OMP_WAIT_POLICY", wait_policy),
      count("GOMP_SPINCOUNT", spin_count);
  return run_program({"inspect", "--list", "dispatcher"});
}

TEST(Waiting, ThreadsSpinShortlyUnlessTheUserSaysOtherwise) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers start where the program would choose";
#endif
  const ProgramResult chosen = settings(nullptr, nullptr);
  EXPECT_EQ(chosen.status, 0);
  EXPECT_PRED2(contains, chosen.out, "all_to_all");
  EXPECT_PRED2(contains, chosen.err, "GOMP_SPINCOUNT = '1000'");
  EXPECT_PRED2(contains, settings("passive", nullptr).err, "GOMP_SPINCOUNT = '0'");
  EXPECT_PRED2(contains, settings("active", nullptr).err, "GOMP_SPINCOUNT = '30000000000'");
  EXPECT_PRED2(contains, settings(nullptr, "77").err, "GOMP_SPINCOUNT = '77'");
}

}  // namespace

}  // namespace moe::test
