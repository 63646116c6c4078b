// Messages of errors are fit to be shown, whatever they quote.

#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/base/error.h>

namespace moe {
namespace {

TEST(Error, QuotedTextCannotDriveATerminal) {
  const auto message = test::message_of([] { fail("place", "got '\x1b[31m\a\x7f\r\n\t'."); });
  EXPECT_EQ(message, "[place] got '\\x1b[31m\\x07\\x7f\\x0d\\x0a\\x09'.");
  // U+009B begins a control sequence as ESC [ does.
  EXPECT_EQ(fit_to_show("\xc2\x9b!"), "\\xc2\\x9b!");
}

TEST(Error, BytesThatAreNoTextAreSpelledOut) {
  EXPECT_EQ(fit_to_show("a\xff\xc3 é ğ 猫 🙂"), "a\\xff\\xc3 é ğ 猫 🙂");
  EXPECT_EQ(fit_to_show("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

TEST(Error, ListsKeepTheirLines) {
  const std::string list = "[place] expected a, got:" + indented_list({"one", "two"});
  EXPECT_EQ(Error(list).what(), list);
  EXPECT_EQ(fit_to_show("a\n b\n  c"), "a\\x0a b\n  c");
}

TEST(Error, LongMessagesLoseTheirMiddle) {
  for (const std::string part : {"x", "é", "猫", "\n  item", "\xff"}) {
    std::string text = "[place] ";
    while (text.size() < 100'000) text += part;
    const std::string once = fit_to_show(text + " the end.");
    EXPECT_LE(once.size(), 8000u);
    EXPECT_GE(once.size(), 7900u);
    EXPECT_EQ(once, fit_to_show(once)) << part;
    EXPECT_TRUE(once.ends_with(" the end."));
  }
}

TEST(Error, NoSuggestionForWhatIsNoSlip) {
  EXPECT_EQ(did_you_mean(std::string(1'000'000, 'x'), {"steps"}), "");
  EXPECT_EQ(did_you_mean("stepz", {"steps"}), " Did you mean 'steps'?");
}

}  // namespace
}  // namespace moe
