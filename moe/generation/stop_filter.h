#pragma once
// Ends a stream of bytes before the first stop string. No tensors.

#include <string>
#include <string_view>
#include <vector>

namespace moe::generation {

/// Bytes in, bytes out, until one of the stop strings has come in whole. What could be the
/// beginning of one is held back, so nothing of a stop string is ever handed on, however the bytes
/// arrive. Of several stop strings the one that is complete first counts, and of those that end
/// together the longest.
class StopFilter {
 public:
  /// Throws ConfigError for an empty stop string.
  explicit StopFilter(std::vector<std::string> stops);

  /// What is certain to stand before any stop string. Bytes behind one are dropped.
  std::string push(std::string_view bytes);
  /// The bytes held back, for the end of the stream.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  /// Length of the longest end of `held_` that begins a stop string.
  size_t possible_stop() const;

  std::vector<std::string> stops_;  // longest first
  std::string held_;
  bool stopped_ = false;
};

}  // namespace moe::generation
