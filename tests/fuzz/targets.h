#pragma once
// What fuzzing does with one input. libFuzzer calls a target with inputs of its own making (the
// preset `fuzz`), every ordinary test run with the seeds and with what was found before
// (test_replay.cpp). A target throws BrokenProperty when the code under test does not keep a
// promise; crashes, hangs and large allocations are the fuzzer's and the sanitizers' to see.

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <moe/base/error.h>

namespace moe::fuzz {

using Bytes = std::span<const std::byte>;

#define X(name) void name(Bytes input);
#include "tests/fuzz/targets.def"
#undef X

/// Deliberately no moe::Error, which targets catch.
class BrokenProperty : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    throw BrokenProperty(concat(parts...));
}

inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Cuts what stands before the first `separator` off the front of `rest`.
inline std::string_view take_until(std::string_view& rest, char separator) {
  const size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

/// A message is "[place] …" on one line, then lines indented by two spaces; no other control
/// characters, which could drive a terminal; and short enough to read.
inline void require_documented_shape(const Error& error) {
  const std::string_view text = error.what();
  require(text.size() <= 8192, "a message of ", text.size(), " bytes: ", text.substr(0, 200));
  const size_t close = text.find("] ");
  require(text.starts_with('[') && close != text.npos && close >= 2 && close + 2 < text.size(),
          "a message without place: ", text);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n')
      require(text.substr(i + 1, 2) == "  ", "a line that is not indented: ", text);
    else
      require(byte >= 0x20 && byte != 0x7f, "a control character: ", text);
  }
}

/// Whether `call` returned; a moe::Error must have the documented shape, anything else passes
/// through.
template <class Call>
bool accepts(Call&& call) {
  try {
    call();
    return true;
  } catch (const Error& error) {
    require_documented_shape(error);
    return false;
  }
}

}  // namespace moe::fuzz
