#pragma once
// What a run reads: domains, how each is split, and how often each is drawn.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <moe/base/fields.h>

namespace moe::data {

/// What the files of a domain may hold.
inline std::vector<std::string> data_formats() {
  return {"text", "jsonl_text", "jsonl_prompt_completion", "tokens"};
}

/// One source of text. Either `train` (and, if there is any, `valid`), or `path` and the share of
/// it that validates.
struct DomainOptions {
  std::string name = {};
  std::string train = {};
  std::string valid = {};
  std::string path = {};
  double valid_share = 0.1;
  double weight = 0;
  std::string format = "text";

  template <class Visitor>
  void fields(Visitor& v) {
    v("name", name, "name of the domain in metrics and reports");
    v("train", train, "file to train on");
    v("valid", valid, "file to validate on; may be left out");
    v("path", path, "one file for both, instead of train and valid");
    v("valid_share", valid_share, "share of `path` that validates, in [0, 1)");
    v("weight", weight, "relative frequency in a batch, for data.weights = \"given\"");
    v("format", format,
      "text | jsonl_text (one {\"text\"} a line) | jsonl_prompt_completion (one {\"prompt\", "
      "\"completion\"} a line, prompts not trained on) | tokens (written by `moe data tokenize`)");
  }

  void validate(const std::string& place) const {
    check<ConfigError>(!name.empty(), place, "expected a name for the domain, got none. Set name.");
    check<ConfigError>(path.empty() != train.empty(), place,
                       "expected either path or train for the domain '", name, "', got ",
                       path.empty() ? "neither" : "both", ". Set one of them.");
    check<ConfigError>(path.empty() || valid.empty(), place,
                       "expected no valid beside path for the domain '", name, "', got '", valid,
                       "'. Name the other file train.");
    check<ConfigError>(valid_share >= 0 && valid_share < 1, place,
                       "expected valid_share in [0, 1) for the domain '", name, "', got ",
                       valid_share, ". Correct it.");
    check<ConfigError>(weight >= 0 && weight < 1e12, place,
                       "expected weight in [0, 1e12) for the domain '", name, "', got ", weight,
                       ". Correct it.");
    const auto formats = data_formats();
    check<ConfigError>(std::ranges::find(formats, format) != formats.end(), place,
                       "expected the format of the domain '", name, "' to be one of ",
                       join(formats), ", got '", format, "'.", did_you_mean(format, formats));
  }
};

/// Where documents end in a text, and how they lie in the rows of a batch. JSON lines hold a
/// document each; a file of tokens keeps the documents and ends it was written with.
struct PackingOptions {
  std::string documents = "file";
  std::string separator = {};
  bool end_of_text = false;
  std::string attention = "stream";

  template <class Visitor>
  void fields(Visitor& v) {
    v("documents", documents,
      "what is one document of a text file: file | blank_line (up to lines without text) | line | "
      "separator (up to packing.separator)");
    v("separator", separator, "the string behind each document, for documents = \"separator\"");
    v("end_of_text", end_of_text,
      "put the tokenizer's end-of-text token behind each document, in place of what separates "
      "them, so that models learn to end");
    v("attention", attention,
      "stream: documents are read as one text | document: no position sees another document, "
      "positions count from each one's beginning, and no first token is predicted");
  }

  void validate(const std::string& place) const {
    check_one_of(place, "documents", documents, {"file", "blank_line", "line", "separator"});
    check_one_of(place, "attention", attention, {"stream", "document"});
    check<ConfigError>((documents == "separator") == !separator.empty(), place,
                       "expected separator with documents = \"separator\" and with nothing else, "
                       "got documents = \"",
                       documents, "\" and ", separator.empty() ? "no separator" : "a separator",
                       ". Set both or neither.");
  }
};

struct DataOptions {
  std::string tokenizer = "byte";
  int64_t sequence = 256;
  std::vector<DomainOptions> domains = {};
  std::string split = "head";
  std::string split_unit = "bytes";
  std::string weights = "size";
  PackingOptions packing = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("tokenizer", tokenizer, "byte, or the path of a tokenizer.json");
    v("sequence", sequence, "tokens of one row of a batch");
    v("domains", domains, "sources of text");
    v("split", split, "how `path` is split: head (the first part trains, the rest validates)");
    v("split_unit", split_unit,
      "what valid_share counts: bytes | characters (both cut between characters)");
    v("weights", weights,
      "how often a domain is drawn: size (of its training data) | equal | given");
    v("packing", packing, "documents and how they lie in rows");
  }

  void validate(const std::string& place) const {
    check_one_of(place, "split", split, {"head"});
    check_one_of(place, "split_unit", split_unit, {"bytes", "characters"});
    check_one_of(place, "weights", weights, {"size", "equal", "given"});
    check<ConfigError>(sequence >= 1 && sequence <= (int64_t{1} << 24), place,
                       "expected sequence in [1, 16777216], got ", sequence, ". Correct it.");
  }
};

}  // namespace moe::data
