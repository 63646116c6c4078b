#!/usr/bin/env python3
"""Writes docs/results.md from what `moe bench suite --out` and benchmarks/peers/time_layers.py --out wrote.
  write_results.py BENCH.jsonl [PEERS.jsonl] > out/results.md && mv out/results.md docs/results.md
Goals stand beside the figures; a row without a goal is there for the shape of things."""
import json
import pathlib
import sys

USAGE = "error: [results] expected files of JSON lines with one that `moe bench suite --out` wrote, {}. " \
        "Run: benchmarks/write_results.py BENCH.jsonl [PEERS.jsonl]"
WORK = ("tokens", "d_model", "d_ff", "experts", "top_k", "mode", "dtype", "routing")


def read(paths):
    head, rows, peers, left_out = None, [], [], []
    for path in paths:
        try:
            lines = [json.loads(line) for line in open(path, encoding="utf-8") if line.endswith("\n")]
        except (OSError, ValueError) as error:
            sys.exit(USAGE.format(f"could not read '{path}': {error}"))
        for line in lines:
            if "suite" in line:
                head = line["suite"]
            elif "peer" in line:
                peers.append(line)
            elif "peers_skipped" in line:
                left_out.append(line)
            else:
                rows.append(line)
    if head is None:
        sys.exit(USAGE.format("found none"))
    return head, rows, peers, left_out


def same(a, b):
    return all(a.get(name) == b.get(name) for name in WORK)


def shape(row):
    return f"{row['tokens']}·{row['d_model']}·{row['d_ff']}, {row['experts']}, {row['top_k']}"


def ms(value):
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def ratio(a, b):
    return a / b if a is not None and b else None


def times(value):
    return "–" if value is None else f"{value:.2f}"


def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


def verdict(checks):
    """[(what, value, limit)] -> 'bound ≤ 1.2: met'."""
    return "; ".join(f"{what} ≤ {limit}: " + ("not measured" if value is None else "met" if value <= limit else "**missed**")
                     for what, value, limit in checks)


def goals(row, over_bound, over_torch_dense, intel):
    """What the project set out to reach for a row of the table."""
    work = tuple(row[name] for name in WORK[:5])
    training, forward = row["mode"] == "train", row["mode"] == "forward"
    if work == (4096, 512, 1024, 8, 2) and training:
        dense = 1.0 if intel else 0.8 if row["dtype"] == "float32" else 0.9
        return [("bound", over_bound, 1.2), ("torch dense", over_torch_dense, dense)]
    if row["experts"] == 64 and training:
        return [("bound", over_bound, 1.3), ("torch dense", over_torch_dense, 1.0)]
    if row["experts"] in (512, 2048) and row["top_k"] == 1:
        return [("bound", over_bound, 1.6)]
    if work == (256, 512, 1024, 8, 2) and training:
        return [("bound", over_bound, 1.5)]
    if work == (512, 4096, 14336, 8, 2) and forward:
        return [("bound", over_bound, 1.2)]
    return []


def layer_rows(rows, peers, intel):
    out = []
    for row in rows:
        if row["group"] != "table":
            continue
        name = [shape(row), row["mode"], row["dtype"]]
        if "skipped" in row:
            out.append(name + ["not run: " + row["skipped"]] + [""] * 7)
            continue
        layer = row["layer"]
        bound = layer.get("bound_ms")
        mine = [peer for peer in peers if same(peer, row)]
        dense = min((peer for peer in mine if peer["block"] == "dense"), key=lambda peer: peer["median_ms"], default=None)
        best = min((peer for peer in mine if peer["block"] != "dense"), key=lambda peer: peer["median_ms"], default=None)
        over_bound = ratio(layer["median_ms"], bound)
        over_torch_dense = ratio(dense["ours_ms"], dense["median_ms"]) if dense else None
        out.append(name + [ms(layer["median_ms"]), ms(bound), times(over_bound), times(row.get("over_dense")),
                           f"{ms(dense['median_ms'])} ({times(over_torch_dense)})" if dense else "–",
                           f"{ms(best['median_ms'])} {best['peer']} ({times(ratio(best['ours_ms'], best['median_ms']))})"
                           if best else "–", f"{100 * layer['cpu_wait']:.1f} %" if "cpu_wait" in layer else "–",
                           verdict(goals(row, over_bound, over_torch_dense, intel))])
    return out


def scaling_rows(rows):
    limits = {8: 1.05, 64: 1.15, 512: 1.6}
    out = []
    for row in (row for row in rows if row["group"] == "scaling"):
        if "skipped" in row:
            out.append([f"{row['experts']} ({row['top_k']})", row["dtype"], "not run: " + row["skipped"], "", "", "", ""])
            continue
        time, over = row["layer"]["median_ms"], row["over_dense"]
        goal = [("dense", over, limits[row["experts"]])] if row["experts"] in limits else []
        out.append([f"{row['experts']} ({row['top_k']})", row["dtype"], ms(time), times(over),
                    times(ratio(time, row["layer"].get("bound_ms"))), f"{1e3 * row['tokens'] / time:,.0f}", verdict(goal)])
    return out


def skew_rows(rows):
    return [[shape(row), row["mode"], row["dtype"], row["routing"], f"{100 * row['busiest_share']:.1f} %",
             row["experts_used"], ms(row["layer"]["median_ms"]),
             times(ratio(row["layer"]["median_ms"], row["layer"].get("bound_ms"))), times(row["over_dense"])]
            for row in rows if row["group"] == "skew" and "skipped" not in row]


def set_rows(rows, intel):
    mine = [row for row in rows if row["group"] == "sets" and "skipped" not in row]
    name = lambda row: row["layer"]["instruction_set"]
    time = lambda row: row["layer"]["median_ms"]
    out = []
    for row in mine:
        beside = [other for other in mine if same(other, row)]
        share = min(map(time, beside)) / time(row)
        wide = min((time(other) for other in beside if name(other).startswith("avx512")), default=None)
        text = ""
        if name(row) == "avx2" and row["dtype"] == "float32" and wide:
            goal = 0.45 if intel else 0.85
            text = f"≥ {100 * goal:.0f} % of AVX-512: " + ("met" if wide / time(row) >= goal else "**missed**")
        if name(row) == "avx2" and row["dtype"] == "bfloat16":
            single = [other for other in mine if name(other) == "avx2" and same(other, {**row, "dtype": "float32"})]
            if single:
                text = "as fast as float32: " + ("met" if time(row) <= time(single[0]) else "**missed**")
        out.append([shape(row), row["dtype"], name(row), ms(time(row)), f"{row['layer']['gflops']:.0f}", f"{100 * share:.0f} %",
                    text])
    return out


head, rows, peers, left_out = read(sys.argv[1:])
vendor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("vendor_id")), "unknown")
intel = "Intel" in head["cpu"] or vendor == "GenuineIntel"
limits = head["limits"]
peer = peers[0] if peers else {}
print(f"""# Results

{head['date']}, {head['cpu']}, {head['threads']} threads, kernels {head['instruction_set']}, moe.cpp {head['version']}\
{f", torch {peer['torch']}, transformers {peer['transformers']}" if peer else ""}. Written by `benchmarks/write_results.py`; how to take them
anew:

```
make bench FULL=1 OUT=out/bench                                           # out/bench/bench.jsonl and bench.html
.venv/bin/python3 benchmarks/peers/time_layers.py --out out/bench/peers.jsonl    # with transformers, where it is installed
benchmarks/write_results.py out/bench/bench.jsonl out/bench/peers.jsonl > docs/results.md
```

Medians; contestants take turns; a sample whose threads waited more than 3 % of its time for a core is taken again. Shapes are
T·D·F, E, K. "Bound" is the larger of arithmetic (experts and router at the measured peak) and memory (weights of the experts in
use at the measured bandwidth, once forward, three times in training). "Dense" is our own block of K·F hidden units. Peers were
timed in turn with ours in a run of their own: in brackets ours over theirs.

Limits of the machine, measured in the same run: float32 {limits['float32_gflops']:.0f} GFLOP/s, bfloat16 {limits['bfloat16_gflops']:.0f} GFLOP/s, int8
{limits['int8_gops']:.0f} GOP/s, read {limits['read_gb_s']:.1f} GB/s.

## Layers
""")
print(table(["T·D·F, E, K", "mode", "type", "ms", "bound, ms", "over bound", "over dense", "torch dense, ms", "best peer, ms",
             "cpu wait", "goal"], layer_rows(rows, peers, intel)))
print("## Ever more experts\n\nT = 4096, D = 256, F = 512, training, against our own dense block of K·F.\n")
print(table(["E (K)", "type", "ms", "over dense", "over bound", "tokens/s", "goal"], scaling_rows(rows)))
print("## Crowded experts\n")
print(table(["T·D·F, E, K", "mode", "type", "routing", "busiest expert", "experts used", "ms", "over bound", "over dense"],
            skew_rows(rows)))
print("## Instruction sets\n\nTraining, in turn.\n")
print(table(["T·D·F, E, K", "type", "kernels", "ms", "GFLOP/s", "speed of the fastest", "goal"], set_rows(rows, intel)))
if left_out:
    print("## Peers left out\n")
    reasons = sorted({f"- {line['peers_skipped']} at {shape(line)}, {line['mode']} {line['dtype']}: {line['reason']}"
                      for line in left_out})
    print("\n".join(reasons))

# Results of trainings are written by hand: they are kept.
KEPT = "<!-- What follows is kept by benchmarks/write_results.py. -->"
published = pathlib.Path(__file__).resolve().parent.parent / "docs/results.md"
if published.exists() and KEPT in (text := published.read_text(encoding="utf-8")):
    print("\n" + text[text.index(KEPT):], end="")
