#pragma once
// What a program tells the system of its memory. Advice: it costs or saves time, and changes
// nothing else.

#include <cstddef>

namespace moe {

/// [data, data + bytes), not touched yet, is better had in pages of megabytes, where the system has
/// them: reading a file of weights into fresh pages of 4 KiB takes three times as long. No page
/// outside the range is touched.
void prefer_huge_pages(void* data, size_t bytes);

}  // namespace moe
