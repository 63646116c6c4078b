#!/usr/bin/env python3
"""Times the Python package `tokenizers` on what `moe bench tokenize` encodes, on one thread: a whole file at once, and the same
file in lines of about 10 kB, which suits it better. Prints one JSON document.
  time_tokenizers.py TEXT TOKENIZER.json [REPEAT]"""
import json
import os
import statistics
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
try:
    from tokenizers import Tokenizer, __version__
except ImportError:
    sys.exit("skipped: this python has no `tokenizers`")


def pieces(text, size=10_000):
    out, part, length = [], [], 0
    for line in text.splitlines(keepends=True):
        part.append(line)
        length += len(line)
        if length >= size:
            out.append("".join(part))
            part, length = [], 0
    return out + ["".join(part)]


def speed(tokenizer, texts, repeat):
    size = sum(len(text.encode()) for text in texts)
    seconds, tokens = [], 0
    for _ in range(repeat + 1):
        begin = time.perf_counter()
        tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
        seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds[1:])
    return {"median_ms": median * 1e3, "megabytes_per_second": size / median / 1e6, "tokens": tokens}


text = open(sys.argv[1], encoding="utf-8", newline="").read()
tokenizer = Tokenizer.from_file(sys.argv[2])
repeat = int(sys.argv[3]) if len(sys.argv) > 3 else 3
print(json.dumps({"whole": speed(tokenizer, [text], repeat), "lines": speed(tokenizer, pieces(text), repeat),
                  "tokenizers": __version__, "repeat": repeat}))
