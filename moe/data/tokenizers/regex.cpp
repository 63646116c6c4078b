#define PCRE2_CODE_UNIT_WIDTH 8
#include <algorithm>
#include <array>
#include <pcre2.h>

#include <moe/base/error.h>
#include <moe/data/tokenizers/regex.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

constexpr size_t kLongestPattern = 16384;
constexpr uint32_t kMostSteps = 10'000'000;  // of one search from one place
constexpr uint32_t kMostHeapKib = 65536;
/// What a search has looked at. PCRE2's own limit counts the ways back from one place alone, and no
/// characters that a repetition passes over.
struct SearchSteps {
  size_t place = 0;
  bool compares_groups = false;
  bool used_up = false;
};

/// Called before each part of a pattern that is tried: the characters since the last call were
/// looked at, and those of a group that \1 may have been compared with.
int count_steps(pcre2_callout_block* block, void* data) {
  auto& steps = *static_cast<SearchSteps*>(data);
  const size_t here = block->current_position;
  auto passed = static_cast<int64_t>(here > steps.place ? here - steps.place : steps.place - here);
  if (steps.compares_groups) passed += static_cast<int64_t>(here - block->start_match);
  steps.place = here;
  if (TextWork::spend(1 + passed)) return 0;
  steps.used_up = true;
  return PCRE2_ERROR_CALLOUT;
}

/// What a thread searches with.
struct RegexScratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32768, 8u << 20, nullptr);
  SearchSteps steps;

  RegexScratch() {
    pcre2_set_match_limit(context, kMostSteps);
    pcre2_set_heap_limit(context, kMostHeapKib);
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_callout(context, count_steps, &steps);
  }
  ~RegexScratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;
};

std::string regex_error_text(int code) {
  std::array<PCRE2_UCHAR, 200> text = {};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Compiled {
  explicit Compiled(pcre2_code* made) : code(made) {}
  ~Compiled() { pcre2_code_free(code); }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  pcre2_code* code;
  std::string where;
  bool compares_groups = false;
};

Regex::Regex(std::string_view pattern, const std::string& where) {
  check(pattern.size() <= kLongestPattern, "data/tokenizer", "expected a pattern of at most ",
        kLongestPattern, " bytes at ", where, ", got ", pattern.size(), ". Write a shorter one.");
  const std::string theirs = pcre2_pattern(pattern);
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context, 100);
  int error = 0;
  size_t at = 0;
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(theirs.data()), theirs.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT,
      &error, &at, context);
  pcre2_compile_context_free(context);
  if (!code)
    fail("data/tokenizer", "expected a regular expression at ", where, ", got ",
         formats::in_quotes(pattern), ": ", regex_error_text(error), ". Correct the pattern.");
  auto made = std::make_shared<Compiled>(code);
  made->where = where;
  uint32_t groups = 0;
  pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &groups);
  made->compares_groups = groups > 0;
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without a compiler for the machine it is slower
  compiled_ = std::move(made);
}

std::optional<RegexMatch> Regex::search(std::string_view text, size_t from) const {
  thread_local RegexScratch scratch;
  scratch.steps = {from, compiled_->compares_groups, false};
  const TextWork work(text.size());
  const int found =
      pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                  PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (scratch.steps.used_up)
    fail("data/tokenizer", "expected the pattern at ", compiled_->where,
         " to look at a text in work in proportion to its length, got more than ",
         TextWork::kStepsOfByte, " steps a byte. Write a pattern that tries fewer ways.");
  if (found < 0)
    fail("data/tokenizer", "expected the pattern at ", compiled_->where,
         " to match in bounded work, got: ", regex_error_text(found),
         ". Write a pattern that tries fewer ways.");
  const size_t* places = pcre2_get_ovector_pointer(scratch.data);
  // \K in a lookahead can end a match before it begins.
  return RegexMatch{places[0], std::max(places[0], places[1])};
}

}  // namespace moe::data
