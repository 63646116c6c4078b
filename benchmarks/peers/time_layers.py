#!/usr/bin/env python3
"""Times MoE layers of PyTorch and transformers against `moe bench layer` on the same shapes: contestants take turns, so that
whatever else the machine does falls on all alike. Prints medians and ratios; --out writes them as lines of JSON, which
`moe bench report` and benchmarks/write_results.py read.

  time_layers.py [--program build/release/moe] [--out peers.jsonl] [--only 4096x512x1024]

Peers: a loop over the experts, sorted rows through torch._grouped_mm, padded batches through bmm, transformers' Mixtral block
(eager and grouped_mm), and torch's dense SwiGLU block of K F hidden units, the cost that a user compares with. What is not
installed, or would take too long or too much memory, is skipped and named."""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import time

MOST_WAIT = 0.03  # a sample whose threads waited longer for a core is taken again
# T, D, F, E, K, modes
SHAPES = [
    (4096, 512, 1024, 8, 2, ("train",)),
    (4096, 512, 1024, 64, 2, ("train",)),
    (4096, 512, 512, 64, 6, ("train",)),
    (4096, 256, 512, 512, 1, ("train", "forward")),
    (8192, 256, 256, 2048, 1, ("train", "forward")),
    (256, 512, 1024, 8, 2, ("train",)),
    (512, 4096, 14336, 8, 2, ("forward",)),
    (1, 2048, 1408, 60, 4, ("forward",)),
    (8, 2048, 1408, 60, 4, ("forward",)),
]


def arguments():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(here, "../../build/release/moe"))
    parser.add_argument("--out", help="file of JSON lines to write")
    parser.add_argument("--only", default="", help="shapes whose TxDxF/E/K begins so")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--modes", default="train,forward")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=40, help="for one shape, mode and type; three rounds are made in any case")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--smaller", type=int, default=1, help="divide all sizes: to try this script")
    return parser.parse_args()


def waited():
    """Seconds that this process's threads were ready to run and had no core."""
    total = 0
    for path in glob.glob("/proc/self/task/*/schedstat"):
        try:
            total += int(open(path).read().split()[1])
        except (OSError, IndexError, ValueError):
            pass  # the thread ended
    return total * 1e-9


def available_memory():
    for line in open("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 60


class Ours:
    """`moe bench layer --requests`: one sample a line."""

    def __init__(self, options, case):
        command = [options.program, "bench", "layer", "--requests", "--warmup", "2", "--threads", str(options.threads)]
        for name, value in case.flags().items():
            command += [f"--{name}", str(value)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: [peers] expected samples from {' '.join(command)}, got none (its message stands above).")
        self.ready = json.loads(line)

    def sample(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["ms"], answer.get("cpu_wait", 0)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Case:
    def __init__(self, shape, mode, dtype):
        self.T, self.D, self.F, self.E, self.K = shape
        self.mode, self.dtype = mode, dtype
        self.train = mode == "train"

    def name(self):
        return f"{self.T}x{self.D}x{self.F}/{self.E}/{self.K}"

    def flags(self):
        return {"tokens": self.T, "d-model": self.D, "d-ff": self.F, "experts": self.E, "top-k": self.K, "mode": self.mode,
                "dtype": self.dtype}

    def fields(self):
        return {**{key.replace("-", "_"): value for key, value in self.flags().items()}, "routing": "learned"}

    def weight_bytes(self):
        return 3 * self.E * self.D * self.F * (2 if self.dtype == "bfloat16" else 4)


class Weights:
    """Leaves that all peers of a case share."""

    def __init__(self, case):
        type_ = getattr(torch, case.dtype)
        generator = torch.Generator().manual_seed(1)

        def normal(*size, scale):
            out = torch.empty(size, dtype=type_)
            for part in out.view(size[0], -1):  # row by row: no second copy in float32
                part.copy_(torch.randn(part.shape, generator=generator) * scale)
            return out

        self.router = normal(case.E, case.D, scale=0.02).requires_grad_(case.train)
        self.w_in = normal(case.E, 2 * case.F, case.D, scale=case.D**-0.5).requires_grad_(case.train)
        self.w_out = normal(case.E, case.D, case.F, scale=case.F**-0.5).requires_grad_(case.train)
        self.x = normal(case.T, case.D, scale=1).requires_grad_(case.train)
        self.gradient = normal(case.T, case.D, scale=1)


def route(case, w, x):
    probabilities = torch.softmax(fn.linear(x, w.router).float(), -1)
    weights, experts = probabilities.topk(case.K, -1)
    return (weights / weights.sum(-1, keepdim=True)).to(x.dtype), experts


def swiglu(pre):
    gate, up = pre.chunk(2, -1)
    return fn.silu(gate) * up


def torch_loop(case, w):
    """One Linear pair an expert, as most code has it."""
    w_in = [part.requires_grad_(case.train) for part in w.w_in.detach().unbind()]
    w_out = [part.requires_grad_(case.train) for part in w.w_out.detach().unbind()]

    def forward(x):
        weights, experts = route(case, w, x)
        out = torch.zeros_like(x)
        for e in range(case.E):
            token, choice = torch.where(experts == e)
            if token.numel():
                y = fn.linear(swiglu(fn.linear(x[token], w_in[e])), w_out[e])
                out.index_add_(0, token, y * weights[token, choice].unsqueeze(1))
        return out

    return forward, [w.router, *w_in, *w_out]


def sorted_rows(case, experts):
    order = experts.flatten().argsort(stable=True)
    counts = torch.bincount(experts.flatten(), minlength=case.E)
    return order, order // case.K, counts


def torch_sorted(case, w):
    """Rows sorted by expert through torch._grouped_mm."""

    def forward(x):
        weights, experts = route(case, w, x)
        order, token, counts = sorted_rows(case, experts)
        ends = counts.cumsum(0).to(torch.int32)
        hidden = swiglu(torch._grouped_mm(x[token], w.w_in.transpose(1, 2), offs=ends))
        y = torch._grouped_mm(hidden, w.w_out.transpose(1, 2), offs=ends)
        return torch.zeros_like(x).index_add_(0, token, y * weights.flatten()[order].unsqueeze(1))

    return forward, [w.router, w.w_in, w.w_out]


def torch_padded(case, w):
    """Every expert padded to the busiest one, as batches."""

    def forward(x):
        weights, experts = route(case, w, x)
        order, token, counts = sorted_rows(case, experts)
        expert = experts.flatten()[order]
        place = torch.arange(order.numel()) - (counts.cumsum(0) - counts)[expert]
        rows = x.new_zeros(case.E, int(counts.max()), case.D).index_put((expert, place), x[token])
        y = torch.bmm(swiglu(torch.bmm(rows, w.w_in.transpose(1, 2))), w.w_out.transpose(1, 2))[expert, place]
        return torch.zeros_like(x).index_add_(0, token, y * weights.flatten()[order].unsqueeze(1))

    return forward, [w.router, w.w_in, w.w_out]


def torch_dense(case, w):
    """The block of K F hidden units."""
    rows = case.K * case.F
    w_in = w.w_in.detach().reshape(-1, case.D)[: 2 * rows].clone().requires_grad_(case.train)
    w_out = w.w_out.detach()[: case.K].transpose(0, 1).reshape(case.D, rows).clone().requires_grad_(case.train)
    return lambda x: fn.linear(swiglu(fn.linear(x, w_in)), w_out), [w_in, w_out]


def transformers_block(implementation):
    def make(case, w):
        config = transformers.MixtralConfig(hidden_size=case.D, intermediate_size=case.F, num_local_experts=case.E,
                                            num_experts_per_tok=case.K, router_jitter_noise=0.0)
        config._experts_implementation = implementation  # a block made alone would run eager whatever is asked for
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
        with torch.device("meta"):
            block = MixtralSparseMoeBlock(config)
        block.gate.weight = torch.nn.Parameter(w.router.detach(), case.train)
        block.experts.gate_up_proj = torch.nn.Parameter(w.w_in.detach(), case.train)
        block.experts.down_proj = torch.nn.Parameter(w.w_out.detach(), case.train)
        block.train(case.train)

        def forward(x):
            out = block(x.unsqueeze(0))
            return (out[0] if isinstance(out, tuple) else out).squeeze(0)

        return forward, list(block.parameters())

    return make


def contestants(case):
    """(name, block, maker) and (name, reason) of those left out."""
    chosen, left_out = [("torch dense", "dense", torch_dense)], []

    def add(name, maker, reason=""):
        left_out.append((name, reason)) if reason else chosen.append((name, "layer", maker))

    add("torch loop", torch_loop)
    add("torch grouped_mm", torch_sorted, "" if hasattr(torch, "_grouped_mm") else "this torch has no _grouped_mm")
    # The busiest expert has perhaps three times the even share.
    busiest = min(case.T, max(8, 3 * case.T * case.K // case.E))
    padded = case.E * busiest * (case.D + 3 * case.F) * 4 * (3 if case.train else 1)
    add("torch padded", torch_padded, "" if padded < 6 << 30 else f"padding takes about {padded >> 30} GiB")
    for name in ("eager", "grouped_mm"):
        reason = "transformers is not installed" if transformers is None else ""
        if name == "eager" and case.train and case.E > 64:
            reason = reason or "training is quadratic in E"
        add(f"transformers {name}", transformers_block(name), reason)
    return chosen, left_out


class Peer:
    def __init__(self, case, weights, name, block, maker):
        self.case, self.w, self.name, self.block = case, weights, name, block
        self.forward, self.parameters = maker(case, weights)

    def once(self):
        if not self.case.train:
            with torch.no_grad():
                self.forward(self.w.x)
            return
        self.w.x.grad = None
        for parameter in self.parameters:
            parameter.grad = None
        self.forward(self.w.x).backward(self.w.gradient)

    def sample(self):
        before, begin = waited(), time.perf_counter()
        self.once()
        seconds = time.perf_counter() - begin
        out = 1e3 * seconds, max(0.0, waited() - before) / seconds / torch.get_num_threads()
        for parameter in (*self.parameters, self.w.x):  # the next contestant needs the memory
            parameter.grad = None
        return out


def rounds(options, players):
    """Samples of each player, in turn."""
    taken = [[] for _ in players]
    begin = time.perf_counter()
    for number in range(options.repeat):
        if number >= 3 and time.perf_counter() - begin > options.seconds:
            break
        for player, samples in zip(players, taken):
            for _ in range(3):
                time.sleep(0.02)  # threads of the one before may still spin
                sample = player.sample()
                if sample[1] <= MOST_WAIT:
                    break
            samples.append(sample)
    return taken


def run(options, case, write):
    # Ours is made in float32 before it is cast; gradients are as large as weights; peers share theirs.
    passes, weight = 2 if case.train else 1, case.weight_bytes()
    ours_bytes = max(passes, 3 if case.dtype == "bfloat16" else 1) * weight
    wanted = ours_bytes + 1.3 * passes * weight + (1 << 30)
    if wanted > available_memory():
        reason = f"wants {int(wanted) >> 20} MiB of memory, {available_memory() >> 20} MiB are left"
        print(f"  everything skipped: {reason}")
        write({"peers_skipped": "all", "reason": reason, **case.fields()})
        return
    chosen, left_out = contestants(case)
    for name, reason in left_out:
        print(f"  {name:24} skipped: {reason}")
        write({"peers_skipped": name, "reason": reason, **case.fields()})
    weights = Weights(case)
    peers = [Peer(case, weights, *one) for one in chosen]
    right = None  # what the first layer computes; others must compute the same
    for peer in list(peers):
        try:
            peer.sample()
            with torch.no_grad():
                out = peer.forward(weights.x).float()
            if peer.block == "layer":
                right = out if right is None else right
                off = ((out - right).norm() / right.norm()).item()
                if not off < 0.05:
                    raise ValueError(f"its output differs by {100 * off:.0f} % from the first layer's")
        except Exception as error:  # a peer that cannot run this is no reason to stop
            print(f"  {peer.name:24} skipped: {type(error).__name__}: {str(error).splitlines()[0]}")
            write({"peers_skipped": peer.name, "reason": str(error).splitlines()[0], **case.fields()})
            peers.remove(peer)
    ours = Ours(options, case)
    try:
        taken = rounds(options, [ours, *peers])
    finally:
        ours.close()
    median = [statistics.median(ms for ms, _ in samples) for samples in taken]
    wait = [statistics.mean(wait for _, wait in samples) for samples in taken]
    bound = ours.ready.get("bound_ms")
    print(f"  {'moe.cpp':24} {median[0]:10.2f} ms   wait {100 * wait[0]:.1f} %"
          + (f"   {median[0] / bound:.2f} x bound" if bound else ""))
    for peer, ms, share in zip(peers, median[1:], wait[1:]):
        print(f"  {peer.name:24} {ms:10.2f} ms   wait {100 * share:.1f} %   ours / it {median[0] / ms:.2f}")
        write({"peer": peer.name, "block": peer.block, **case.fields(), "median_ms": ms, "ours_ms": median[0],
               "ratio": median[0] / ms, "cpu_wait": share, "ours_cpu_wait": wait[0], "samples": len(taken[0]),
               "threads": options.threads, "instruction_set": ours.ready.get("instruction_set"), "bound_ms": bound, **VERSIONS})


options = arguments()
try:
    import torch
    import torch.nn.functional as fn
except ImportError:
    sys.exit("skipped: this python has no `torch` (make setup puts one into .venv: .venv/bin/python3)")
try:
    import transformers
except ImportError:
    transformers = None
    print("transformers skipped: this python has none (pip install transformers)")
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__ if transformers else None}
if not os.path.exists(options.program):
    sys.exit(f"error: [peers] expected the program at '{options.program}', found none. Run: make build")
torch.set_num_threads(options.threads)
print(f"torch {torch.__version__}, transformers {VERSIONS['transformers']}, {options.threads} threads; medians, in turn")
lines = open(options.out, "w", encoding="utf-8") if options.out else None


def write_line(line):
    if lines:
        lines.write(json.dumps(line) + "\n")
        lines.flush()


for *sizes, modes in SHAPES:
    T, D, F, E, K = (max(least, size // options.smaller) for size, least in zip(sizes, (1, 8, 8, sizes[4], sizes[4])))
    for mode in modes:
        for dtype in options.dtypes.split(","):
            case = Case((T, D, F, E, sizes[4]), mode, dtype)
            if not case.name().startswith(options.only) or mode not in options.modes.split(","):
                continue
            print(f"\n{case.name()} {mode} {dtype}", flush=True)
            run(options, case, write_line)
