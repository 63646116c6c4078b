#pragma once
// The generators behind corpora.h: each draws one document, with no newline at its end and no blank
// line in it.

#include <string>

#include <corpora/draw.h>

namespace moe::corpora {

/// A story of one paragraph. No sentence that names both a child and the story's object (what it is
/// about) occurs on both sides of the split: pairs (child, object) are held out.
std::string english_story(Draw& draw);
/// The same for Turkish, told in the past (-DI), by hearsay (-mIş) or in the present (-Iyor).
std::string turkish_story(Draw& draw);
/// One worked exercise. Pairs of operands are held out, whatever the operation and order.
std::string arithmetic_exercise(Draw& draw);
/// A short program in a subset of Python and what it prints. Programs are held out up to the names
/// of variables.
std::string program_with_output(Draw& draw);

}  // namespace moe::corpora
