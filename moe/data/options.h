#pragma once
// What a run reads: domains, how each is split, and how often each is drawn.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <moe/base/fields.h>

namespace moe::data {

/// What the files of a domain of text may hold.
inline std::vector<std::string> text_formats() {
  return {"text", "jsonl_text", "jsonl_prompt_completion", "tokens"};
}

/// What the files of any domain may hold.
inline std::vector<std::string> data_formats() {
  auto out = text_formats();
  out.push_back("idx");
  return out;
}

/// One source of data. Text: either `train` (and, if there is any, `valid`), or `path` and the
/// share of it that validates. Images: `train` and `train_labels`, and, if there are any, `valid`
/// and `valid_labels`.
struct DomainOptions {
  std::string name = {};
  std::string train = {};
  std::string valid = {};
  std::string train_labels = {};
  std::string valid_labels = {};
  std::string path = {};
  double valid_share = 0.1;
  double weight = 0;
  std::string format = "text";
  bool special = true;

  template <class Visitor>
  void fields(Visitor& v) {
    v("name", name, "name of the domain in metrics and reports");
    v("train", train, "file to train on");
    v("valid", valid, "file to validate on; may be left out");
    v("train_labels", train_labels, "idx: the classes of the images of train");
    v("valid_labels", valid_labels, "idx: the classes of the images of valid");
    v("path", path, "one file of text for both, instead of train and valid");
    v("valid_share", valid_share, "share of `path` that validates, in [0, 1)");
    v("weight", weight, "relative frequency in a batch, for data.weights = \"given\"");
    v("format", format,
      "text | jsonl_text (one {\"text\"} a line) | jsonl_prompt_completion (one {\"prompt\", "
      "\"completion\"} a line, prompts not trained on) | tokens (written by `moe data tokenize`) | "
      "idx (images in bytes, plain or compressed with gzip)");
    v("special", special,
      "text that reads like a special token (<|endoftext|>) is that token; false: it is the text "
      "that it is, as text of strangers should be");
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
    check<ConfigError>(special || (is_text() && format != "tokens"), place,
                       "expected special = false with text only, got it for the domain '", name,
                       "' of format ", format,
                       is_text() ? ", which is encoded. Write the file with `moe data tokenize "
                                   "--no-special`."
                                 : ". Leave it out.");
    validate_labels(place);
  }

  bool is_text() const { return format != "idx"; }

 private:
  void validate_labels(const std::string& place) const {
    if (is_text()) {
      check<ConfigError>(train_labels.empty() && valid_labels.empty(), place,
                         "expected no labels for the domain '", name, "' of format ", format,
                         ", got '", train_labels.empty() ? valid_labels : train_labels,
                         "'. Set format = \"idx\" or leave them out.");
      return;
    }
    check<ConfigError>(path.empty(), place, "expected train and train_labels for the images of '",
                       name, "', got path. Name the two files.");
    check<ConfigError>(!train_labels.empty(), place, "expected train_labels beside train for '",
                       name, "', got none. Name the file of the classes.");
    check<ConfigError>(valid.empty() == valid_labels.empty(), place,
                       "expected both valid and valid_labels for '", name,
                       "', or neither, got one. Name the other.");
  }
};

/// How pixels become numbers: (pixel / 255 - mean) / std.
struct ImageOptions {
  std::vector<double> mean = {0};
  std::vector<double> std = {1};

  template <class Visitor>
  void fields(Visitor& v) {
    v("mean", mean, "subtracted from pixels in [0, 1]: one number, or one a channel");
    v("std", std, "what the difference is divided by: one number, or one a channel");
  }

  void validate(const std::string& place) const {
    check<ConfigError>(
        !mean.empty() && !std.empty(), place,
        "expected a number for mean and for std, got none. Give one, or one a channel.");
    for (const double value : mean)
      check<ConfigError>(std::isfinite(value), place, "expected finite means, got ", value,
                         ". Correct it.");
    for (const double value : std)
      check<ConfigError>(std::isfinite(value) && value > 0, place,
                         "expected standard deviations above 0, got ", value, ". Correct it.");
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
  ImageOptions images = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("tokenizer", tokenizer, "byte, or the path of a tokenizer.json; of text");
    v("sequence", sequence, "tokens of one row of a batch of text");
    v("domains", domains, "sources of text, or of images");
    v("split", split, "how `path` is split: head (the first part trains, the rest validates)");
    v("split_unit", split_unit,
      "what valid_share counts: bytes | characters (both cut between characters)");
    v("weights", weights,
      "how often a domain is drawn: size (of its training data) | equal | given");
    v("packing", packing, "documents of text and how they lie in rows");
    v("images", images, "how pixels become numbers");
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
