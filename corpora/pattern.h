#pragma once
// Sentence patterns of the story grammars.
//
//   [one|two|three]   one of the alternatives, drawn; they nest and may be empty
//   {name}            a slot of the story, looked up with kind '{'
//   <stem>            a word to conjugate, looked up with kind '<'
//
// Everything else stands for itself.

#include <functional>
#include <string>
#include <string_view>

#include <corpora/draw.h>

namespace moe::corpora {

/// Gives the text of a slot. The answer is itself a pattern and is expanded in turn.
using Slots = std::function<std::string(char kind, std::string_view name)>;

/// The pattern with every choice drawn and every slot filled. Throws Error for an unbalanced
/// bracket.
std::string expand(std::string_view pattern, Draw& draw, const Slots& slots);

}  // namespace moe::corpora
