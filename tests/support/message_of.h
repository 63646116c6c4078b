#pragma once
// The message of the moe::Error that a call throws, for tests of what people get to read.

#include <string>

#include <moe/base/error.h>

namespace moe::test {

/// The message, or "" when nothing was thrown. Any other exception passes through.
template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace moe::test

/// The call must throw a moe::Error whose message contains `part`.
#define EXPECT_ERROR(call, part) \
  EXPECT_PRED2(::moe::test::contains, ::moe::test::message_of([&] { call; }), part)
