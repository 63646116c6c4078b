#pragma once
// UTF-8 in pieces.

#include <string>
#include <string_view>

#include <moe/base/utf8.h>

namespace moe::data {

/// Text that arrives byte by byte, handed on in whole characters. Ill-formed bytes become U+FFFD.
class Utf8Stream {
 public:
  /// The characters that `bytes` completes; what is incomplete waits.
  std::string push(std::string_view bytes);
  /// What waits, as U+FFFD; the stream is empty afterwards.
  std::string flush();

 private:
  std::string waiting_;
};

}  // namespace moe::data
