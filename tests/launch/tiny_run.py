"""A run of a few small steps in float64, and mpirun to start it with. Standard library only."""
import array
import json
import math
import os
import random
import socket
import struct
import subprocess

HOST = socket.gethostname()
TOLERANCE = 1e-10
TIMES = {"seconds", "tokens_per_second"}

# Everything that could depend on who has which rows: capacity, a bias that balances without a loss, a z-loss, dropout,
# clipping, accumulation, evaluation. Six experts: over one, two and three ranks.
CONFIG = """
[model]
d_model = 16
layers = 2
heads = 2
context_length = 16
dropout = 0.1

[model.moe]
num_experts = 6
top_k = 2
expert = {{kind = "gated", d_ff = 16}}
router = {{kind = "sigmoid", bias_rate = 0.01}}
capacity = {{factor = 1.0}}
dispatcher = "all_to_all"
balance = [{{kind = "switch", coefficient = 0.01}}, {{kind = "z_loss", coefficient = 0.001}}]

[data]
sequence = 16
domains = [
  {{name = "words", train = "{folder}/words.train", valid = "{folder}/words.valid"}},
  {{name = "sums", train = "{folder}/sums.train", valid = "{folder}/sums.valid"}},
]

[train]
steps = {steps}
batch = 6
accumulation = 2
dtype = "float64"
threads = 1
log_every = 1
eval_every = 10
eval_batches = 2
checkpoint_every = {checkpoint_every}
optimizer = {{clip = 0.1}}
schedule = {{warmup = 3}}
tensorboard = {{enabled = false}}

[parallel]
silence = {silence}
"""


def differences(found, expected, place=""):
    """Where two values of JSON differ by more than rounding."""
    if isinstance(expected, dict):
        if found.keys() != expected.keys():
            return [f"{place}: {sorted(found)} for {sorted(expected)}"]
        return [text for key in expected if key not in TIMES
                for text in differences(found[key], expected[key], f"{place}.{key}")]
    if isinstance(expected, list):
        if len(found) != len(expected):
            return [f"{place}: {len(found)} entries for {len(expected)}"]
        return [text for i, value in enumerate(expected) for text in differences(found[i], value, f"{place}[{i}]")]
    if isinstance(expected, float):
        return [] if math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=1e-12) else [f"{place}: {found} for {expected}"]
    return [] if found == expected else [f"{place}: {found} for {expected}"]


def write_run(folder, steps=20, checkpoint_every=10, silence=12):
    """The configuration's path; the data beside it."""
    draw = random.Random(3)
    words = ["expert", "router", "token", "gate", "layer", "rank", "sum", "row", "the", "a", "of", "to"]
    for part, size in (("train", 3000), ("valid", 600)):
        (folder / f"words.{part}").write_text(" ".join(draw.choice(words) for _ in range(size)) + "\n")
        sums = ((draw.randrange(100), draw.randrange(100)) for _ in range(size // 2))
        (folder / f"sums.{part}").write_text("".join(f"{a} + {b} = {a + b}\n" for a, b in sums))
    path = folder / "run.toml"
    path.write_text(CONFIG.format(folder=folder, steps=steps, checkpoint_every=checkpoint_every, silence=silence))
    return path


def environment():
    """Of mpirun: as root, as in containers, and without OpenMP threads that spin."""
    return dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_WAIT_POLICY="passive",
                PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe")


def mpirun_words(mpirun, ranks):
    return [mpirun, "--oversubscribe", "-n", str(ranks)]


def run(words, seconds=240):
    return subprocess.run([str(word) for word in words], env=environment(), capture_output=True, text=True,
                          timeout=seconds, check=False)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def newest_checkpoint(folder):
    return max((folder / "checkpoints").glob("step-*[0-9]"))


def tensors(checkpoint):
    """Every tensor of a checkpoint by the part that it is of (model, optimizer) and its name: its type, its sizes and its bytes.
    Experts that ranks wrote into files of their own stand together, in the order of their numbers."""
    pieces = {}
    for path in sorted(checkpoint.rglob("*.safetensors")):
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + size])
        first = int(header.pop("__metadata__", {}).get("first_expert", 0))
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            piece = (first, entry["dtype"], entry["shape"], data[8 + size + begin:8 + size + end])
            pieces.setdefault((path.name.split(".")[0], name), []).append(piece)
    out = {}
    for key, parts in pieces.items():
        parts.sort(key=lambda part: part[0])
        shape = list(parts[0][2])
        if len(parts) > 1:
            shape[0] = sum(part[2][0] for part in parts)
        out[key] = ((parts[0][1], tuple(shape)), b"".join(part[3] for part in parts))
    return out


def numbers(kind, data):
    codes = {"F64": "d", "F32": "f", "I64": "q", "I32": "i", "U8": "B", "BOOL": "B"}
    out = array.array(codes[kind[0]])
    out.frombytes(data)
    return out


def differences_of_runs(found, expected):
    """Where two runs differ by more than rounding: in their metrics but for times, in the tensors of their last checkpoints."""
    out = differences(metrics(found), metrics(expected))
    a, b = tensors(newest_checkpoint(found)), tensors(newest_checkpoint(expected))
    out += [f"{name} on one side only" for name in a.keys() ^ b.keys()]
    for name in a.keys() & b.keys():
        (kind, data), (kind_expected, data_expected) = a[name], b[name]
        if kind != kind_expected:
            out.append(f"{name}: {kind} for {kind_expected}")
            continue
        apart = max((abs(x - y) for x, y in zip(numbers(kind, data), numbers(kind, data_expected))), default=0)
        if not apart < TOLERANCE:
            out.append(f"{name}: {apart} apart")
    return out


def named(rank):
    """Pattern of a line of moe's or, where mpirun was quicker, of mpirun's that names a rank that died."""
    return rf"rank {rank} (on|with PID \d+ on node) {HOST} "
