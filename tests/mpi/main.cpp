// A test program that mpirun starts: all ranks run the same tests in the same order.
//   test_mpi [options of googletest]
//   test_mpi --fault leave|throw|stuck|busy   what the rest of a job does about its last rank

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <thread>

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "tests/mpi/mpi_program.h"

namespace moe::test {
namespace {

using namespace std::chrono_literals;

std::optional<parallel::Mpi>& held() {
  static std::optional<parallel::Mpi> mpi;
  return mpi;
}

/// What a program does: works on, until an exception.
void work() {
  const auto group = mpi().world();
  while (true) {
    at::Tensor values = at::ones({10});
    group->all_reduce(values);
    std::this_thread::sleep_for(10ms);
  }
}

void be_faulty(const std::string& fault) {
  if (fault == "leave") return;
  if (fault == "throw") throw Error("[test] expected paper, got none. Fill the tray.");
  if (fault == "stuck") std::this_thread::sleep_for(60s);
  if (fault == "busy") ::raise(SIGKILL);
}

int run_fault(const std::string& fault) {
  mpi().set_limits({.timeout = fault == "stuck" ? 1.0 : 20.0, .silence = 4});
  const bool faulty = mpi().rank() == mpi().size() - 1;
  try {
    if (faulty) {
      be_faulty(fault);
      return 0;
    }
    // A rank that computes for long does not come to a collective that would tell it.
    if (fault == "busy") std::this_thread::sleep_for(60s);
    work();
  } catch (const Error& error) {
    const bool says = fault == "leave" || mpi().fail(error.what());
    if (says) std::cerr << mpi().name() << " says: " << error.what() << "\n";
    if (fault != "leave") mpi().end(3);
  }
  return 0;
}

}  // namespace

parallel::Mpi& mpi() {
  return *held();
}

}  // namespace moe::test

int main(int argc, char** argv) {
  auto& mpi = moe::test::held();
  // Small parts, so that there are many; but for the test of large ones.
  moe::parallel::MpiOptions options;
  if (!std::getenv("MOE_TEST_LARGE_MESSAGES")) options.message_bytes = 65536;
  mpi.emplace(options);
  int status = 0;
  if (argc == 3 && std::strcmp(argv[1], "--fault") == 0) {
    status = moe::test::run_fault(argv[2]);
  } else {
    testing::InitGoogleTest(&argc, argv);
    status = RUN_ALL_TESTS();
  }
  mpi.reset();
  return status;
}
