#!/usr/bin/env python3
"""Encoding speed on one core against the Python package `tokenizers`, for vocabularies of many sizes and kinds, and whether the
ids are the same. Prints a table of MB/s, ours / theirs / ratio.

  compare_tokenizers.py --data FOLDER [--program build/release/moe] [--sizes 32000,64000,128000,200000] [--kinds gpt2,llama3]
                        [--texts english,turkish,chinese,code] [--bytes 500000] [--rounds 3] [--words] [--out rows.jsonl]

FOLDER holds the texts (--text NAME=FILE[,FILE] names others). One byte-level vocabulary, one of characters after "▁" and one
with "##" are trained on these texts by `tokenizers` at the largest size, into a temporary folder; smaller ones are their first
tokens (which is what training to a smaller size gives), and the kinds differ in how they divide text. Unigram takes the pieces
of the second with scores by rank.

Both encode on one thread and are timed in turn by the processor time of that thread, so that what else runs on the machine
counts for neither. Theirs gets the form that suits it best: the text whole or in pieces of about 10 kB, encode_batch_fast or
encode. Ours begins each time with an empty cache of words (behind one run that is not counted), theirs keeps its own. --words times one word of 50, 100 and 200 kB
instead."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
try:
    import tokenizers
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
except ImportError:
    sys.exit("skipped: this python has no `tokenizers`")

TEXTS = {"english": ["medical/medquad_nih.txt", "legal/cfpb_regulations.txt", "latex/open_logic_text.txt"],
         "turkish": ["turkish/wiki_train.txt"], "chinese": ["chinese/cmrc2018_wiki.txt"], "code": ["code/googletest_cpp.txt"]}
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = CL100K.replace("{1,3}", "")
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
DEEPSEEK_V3 = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
               r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
DEEPSEEK_LLM = [
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕＡ-Ｚａ-ｚ]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+"]


def splits(patterns, *between):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns] + list(between)
                                   + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


BYTE_LEVEL = {
    "gpt2": lambda: (None, pre_tokenizers.ByteLevel(add_prefix_space=False), False),
    "llama3": lambda: (None, splits([CL100K]), True),
    "qwen": lambda: (normalizers.NFC(), splits([QWEN]), False),
    "deepseek_v3": lambda: (None, splits(DEEPSEEK_V3), False),
    "deepseek_llm": lambda: (None, splits(DEEPSEEK_LLM, pre_tokenizers.Digits(individual_digits=True)), False),
    "o200k": lambda: (None, splits([O200K]), False),
}
KINDS = [*BYTE_LEVEL, "metaspace", "unigram", "wordpiece"]


def arguments():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--program", default=str(here / "../../build/release/moe"))
    parser.add_argument("--sizes", default="32000,64000,128000,200000")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--texts", default=",".join(TEXTS))
    parser.add_argument("--text", action="append", default=[], help="NAME=FILE[,FILE]")
    parser.add_argument("--bytes", type=int, default=500_000, help="of each text that are encoded")
    parser.add_argument("--train-bytes", type=int, default=6_000_000, help="of each text to train on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=pathlib.Path, help="folder of the trained vocabularies, used again where they are there")
    parser.add_argument("--words", action="store_true", help="one long word instead of the texts")
    parser.add_argument("--out", help="file of JSON lines to write")
    return parser.parse_args()


def read_texts(options):
    files = {name: [options.data / f for f in TEXTS[name]] for name in options.texts.split(",") if name in TEXTS}
    for each in options.text:
        name, _, rest = each.partition("=")
        files[name] = [pathlib.Path(f) for f in rest.split(",")]
    return {name: "\n".join(f.read_text(encoding="utf-8") for f in list_) for name, list_ in files.items()}


def pieces_of(text, size):
    out, part, length = [], [], 0
    for line in text.splitlines(keepends=True):
        part.append(line)
        length += len(line)
        if length >= size:
            out.append("".join(part))
            part, length = [], 0
    return out + (["".join(part)] if part else [])


def trained(kind, texts, size, limit, keep):
    """The largest vocabulary of a kind, as the `model` of its tokenizer.json."""
    path = keep / f"{kind}_{size}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))["model"]
    common = dict(vocab_size=size, min_frequency=1, show_progress=False)
    if kind == "bytes":
        out = Tokenizer(models.BPE())
        out.pre_tokenizer = splits([CL100K])
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    elif kind == "metaspace":
        out = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        out.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(special_tokens=["<unk>"] + [f"<0x{b:02X}>" for b in range(256)], **common)
    else:
        out = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        out.normalizer = normalizers.BertNormalizer()
        out.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(special_tokens=["[UNK]"], **common)
    out.train_from_iterator((p for t in texts.values() for p in pieces_of(t[:limit], 10_000)), trainer)
    out.save(str(path))
    return json.loads(path.read_text(encoding="utf-8"))["model"]


def first_tokens(model, size):
    out = dict(model)
    out["vocab"] = {token: i for token, i in model["vocab"].items() if i < size}
    if "merges" in model:
        out["merges"] = [m for m in model["merges"] if model["vocab"]["".join(m)] < size]
    return out


def tokenizer_json(kind, size, models_by_kind):
    """The text of a tokenizer.json."""
    if kind in BYTE_LEVEL:
        normalizer, words, ignore_merges = BYTE_LEVEL[kind]()
        out = Tokenizer(models.BPE())
        out.pre_tokenizer, out.decoder = words, decoders.ByteLevel()
        if normalizer:
            out.normalizer = normalizer
        model = first_tokens(models_by_kind["bytes"], size) | {"ignore_merges": ignore_merges}
    elif kind in ("metaspace", "unigram"):
        out = Tokenizer(models.BPE())
        out.pre_tokenizer = pre_tokenizers.Metaspace()
        out.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                         decoders.Strip(" ", 1, 0)])
        model = first_tokens(models_by_kind["metaspace"], size)
        if kind == "unigram":
            import math
            order = sorted(model["vocab"], key=model["vocab"].get)
            scores = [[t, 0.0 if i == 0 else -20.0 if i < 257 else -math.log(i)] for i, t in enumerate(order)]
            model = {"type": "Unigram", "unk_id": 0, "vocab": scores, "byte_fallback": True}
    else:
        out = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
        out.normalizer, out.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        out.decoder = decoders.WordPiece()
        model = first_tokens(models_by_kind["wordpiece"], size)
    document = json.loads(out.to_str())
    document["model"] = model
    return json.dumps(document, ensure_ascii=False)


def their_seconds(tokenizer, forms):
    """The least processor time over the forms."""
    best = None
    for call in forms:
        begin = time.process_time()
        call(tokenizer)
        spent = time.process_time() - begin
        best = spent if best is None else min(best, spent)
    return best


def our_seconds(program, text_file, tokenizer_file, rounds=1):
    out = subprocess.run([program, "bench", "tokenize", text_file, "--tokenizer", tokenizer_file, "--repeat", str(rounds),
                          "--warmup", "1", "--json"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["cold"]["cpu_ms"] / 1e3


def our_ids(program, tokenizer_file, pieces):
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in pieces)
    out = subprocess.run([program, "tokenize", tokenizer_file, "--no-special"], input=lines, capture_output=True, text=True,
                         encoding="utf-8", check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def processor():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def compare(options, name, text, pieces, tokenizer_file, theirs, our):
    text_file = pathlib.Path(tokenizer_file).with_name("text.txt")
    text_file.write_text(text, encoding="utf-8", newline="")
    forms = [lambda t: t.encode_batch_fast(pieces, add_special_tokens=False),
             lambda t: [t.encode(p, add_special_tokens=False) for p in pieces]]
    their_ids = [e.ids for e in theirs.encode_batch_fast(pieces, add_special_tokens=False)]  # also their warm-up
    ours, other = [], []
    for _ in range(options.rounds):
        ours.append(our_seconds(options.program, str(text_file), tokenizer_file))
        other.append(their_seconds(theirs, forms))
    size = len(text.encode())
    mine, yours = (size / statistics.median(x) / 1e6 for x in (ours, other))
    return {"text": name, "bytes": size, "ours": mine, "theirs": yours, "ratio": mine / yours, "same_ids": their_ids == our,
            "tokens": sum(map(len, their_ids))}


def summary(rows):
    """A line a vocabulary: ours / theirs (ratio) for each text."""
    texts = list(dict.fromkeys(r["text"] for r in rows))
    lines = ["| kind | vocabulary | " + " | ".join(texts) + " |", "|---|---:|" + "---:|" * len(texts)]
    for key in dict.fromkeys((r["kind"], r["vocabulary"]) for r in rows):
        cells = {r["text"]: f"{r['ours']:.1f} / {r['theirs']:.2f} ({r['ratio']:.1f})" for r in rows
                 if (r["kind"], r["vocabulary"]) == key}
        lines.append(f"| {key[0]} | {key[1]:,} | " + " | ".join(cells.get(t, "–") for t in texts) + " |")
    return "\n".join(lines)


def main():
    options = arguments()
    sizes = [int(s) for s in options.sizes.split(",")]
    texts = read_texts(options)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or pathlib.Path(temporary)
        keep.mkdir(parents=True, exist_ok=True)
        kinds = options.kinds.split(",")
        needed = {"bytes" if k in BYTE_LEVEL else "metaspace" if k == "unigram" else k for k in kinds}
        models_by_kind = {k: trained(k, texts, max(sizes), options.train_bytes, keep) for k in sorted(needed)}
        print(f"{processor()}, one thread, processor time, tokenizers {tokenizers.__version__}, "
              f"median of {options.rounds} rounds in turn, {time.strftime('%Y-%m-%d')}\n")
        print("| kind | vocabulary | text | ours, MB/s | theirs, MB/s | ratio | same ids |\n|---|---:|---|---:|---:|---:|---|")
        for kind in kinds:
            for size in sizes:
                file = os.path.join(temporary, "tokenizer.json")
                pathlib.Path(file).write_text(tokenizer_json(kind, size, models_by_kind), encoding="utf-8")
                theirs = Tokenizer.from_file(file)
                inputs = {n: t.encode()[:options.bytes].decode(errors="ignore") for n, t in texts.items()}
                if options.words:
                    inputs = {f"{k} kB": "abcdefghij" * (100 * k) for k in (50, 100, 200)}
                pieces = {n: [t] if options.words else pieces_of(t, 10_000) for n, t in inputs.items()}
                ids = iter(our_ids(options.program, file, [p for list_ in pieces.values() for p in list_]))
                for name, text in inputs.items():
                    ours = [next(ids) for _ in pieces[name]]
                    row = {"kind": kind, "vocabulary": theirs.get_vocab_size()} | compare(options, name, text, pieces[name], file,
                                                                                         theirs, ours)
                    rows.append(row)
                    print(f"| {kind} | {row['vocabulary']:,} | {name} | {row['ours']:.1f} | {row['theirs']:.2f} | "
                          f"{row['ratio']:.1f} | {'yes' if row['same_ids'] else 'NO'} |", flush=True)
    if options.out:
        pathlib.Path(options.out).write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    print("\nMB/s, ours / theirs (ratio):\n\n" + summary(rows))
    slower = sum(r["ratio"] < 1 for r in rows)
    different = sum(not r["same_ids"] for r in rows)
    print(f"\n{len(rows)} rows, {slower} slower than theirs, {different} with other ids")


main()
