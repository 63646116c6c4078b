#pragma once

#include <cstdint>

namespace moe::analyze {

/// t with P(|T| <= t) = `confidence` for Student's T with `degrees` >= 1 of freedom: 12.706, 4.303,
/// 3.182, … for 0.95. To about 14 digits, in time that grows with `degrees`. Throws moe::Error for
/// a confidence outside (0, 1) and for degrees below 1.
double student_t(double confidence, int64_t degrees);

}  // namespace moe::analyze
