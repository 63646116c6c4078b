"""Holds `moe` against transformers on random settings of each family: forward, routing, gradients, export and back.

    python3 compare.py [--moe build/release/moe] [--count 10] [--first 0] [--keep DIR] [--generation] [--bfloat16] [--table FILE] [FAMILY…]

Needs torch, transformers and safetensors. Case N of a family is the same every time: `--first N --count 1 --keep DIR` leaves
its directory behind. For each case a tiny model of transformers gets random weights, is saved, and is read by `moe forward`:
logits within 2e-5 of the largest, chosen experts and their weights, gradients within 1e-4 of the largest of their tensor. Then
`moe convert` writes it again, as it was and through a checkpoint of ours; transformers must read both without a new warning,
as the same bits, and compute the same. --generation: `moe generate` writes what transformers writes greedily (generation.py).
--bfloat16: how far logits of bfloat16 runs are from those of float32, here and in transformers. --table: the figures by family.
"""

import argparse
import copy
import json
import logging
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import traceback
import warnings

import torch
import transformers
from safetensors.torch import load_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from draws import ROWS  # noqa: E402
from faults import PLAIN, mended, mended_files, reference  # noqa: E402
from generation import compare_generation  # noqa: E402
from random_models import CASES, ENCODER_DECODERS, fill_apart, forget_lengths  # noqa: E402
from spellings import published, saved_narrow, thinned  # noqa: E402

LENGTHS = (ROWS, 17, 6, 1)


def tokens_of(r, V, avoid, family, together=False):
    generator = torch.Generator().manual_seed(r.randrange(2**31))
    lengths = LENGTHS[:1] if together else LENGTHS
    ids = torch.randint(0, V, (len(lengths), ROWS), generator=generator)
    if avoid is not None:
        ids[ids == avoid] = (avoid + 3) % V
    valid = torch.zeros_like(ids).bool()
    for row, length in enumerate(lengths):
        if row % 2:
            valid[row, ROWS - length:] = True
        else:
            valid[row, :length] = True
    out = {"input_ids": ids, "attention_mask": valid}
    if family in ENCODER_DECODERS:
        decoder = torch.randint(0, V, (len(lengths), 9), generator=generator)
        if avoid is not None:
            decoder[decoder == avoid] = (avoid + 3) % V
        out["decoder_input_ids"] = decoder
    return out


class Routers:
    """What the routers of a model said: per call ids (T, K) and weights (T, K)."""

    def __init__(self, model):
        self.calls = []
        for module in model.modules():
            if "Router" in type(module).__name__ or type(module).__name__.endswith(("TopKGating", "Gate")):
                module.register_forward_hook(self.hear)

    def hear(self, module, inputs, outputs):
        if not isinstance(outputs, tuple):
            return
        ids = [o for o in outputs if torch.is_tensor(o) and o.dtype == torch.int64 and o.dim() == 2]
        if len(ids) != 1:
            return
        weights = [o for o in outputs if torch.is_tensor(o) and o.is_floating_point() and o.shape == ids[0].shape]
        self.calls.append((ids[0].detach(), weights[-1].detach() if weights else None))


def compute(model, tokens, gradients=True):
    """logits (B, S, V), the loss, and what the routers said of each row, which is computed alone."""
    routers = Routers(model)
    ids, valid = tokens["input_ids"], tokens["attention_mask"]
    decoder = tokens.get("decoder_input_ids")
    V = model.get_output_embeddings().weight.shape[0]
    logits = torch.zeros(*(decoder if decoder is not None else ids).shape, V)
    total, targets, said = 0.0, 0, []
    model.zero_grad()
    with torch.set_grad_enabled(gradients):
        for b in range(ids.shape[0]):
            forget_lengths(model)
            routers.calls.clear()
            row = ids[b][valid[b]]
            if decoder is not None:
                out = model(input_ids=row[None], decoder_input_ids=decoder[b][None], use_cache=False).logits[0]
                logits[b], row = out.detach().float(), decoder[b]
            else:
                out = model(row[None], use_cache=False).logits[0]
                logits[b, valid[b]] = out.detach().float()
            said.append(list(routers.calls))
            total = total + torch.nn.functional.cross_entropy(out[:-1], row[1:], reduction="sum")
            targets += len(row) - 1
        loss = total / targets
        if gradients:
            loss.backward()
    return logits, loss.detach(), said


def gradients_of(model, folder, name):
    """The gradients under the names of the checkpoint, NaN where there is none."""
    shell = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in shell.buffers():
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
        for (_, mine), (_, theirs) in zip(shell.named_parameters(), model.named_parameters()):
            mine.copy_(theirs.grad if theirs.grad is not None else torch.full_like(mine, float("nan")))
    shell.save_pretrained(folder)
    mended_files(name, folder, shell)
    return load_file(folder / "model.safetensors")


def moe(program, *arguments):
    done = subprocess.run([program, *map(str, arguments), "--threads", "1"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"moe {arguments[0]} left with {done.returncode}: {done.stderr.strip()[:1500]}")


def apart(a, b):
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-30)).item() if b.numel() else 0.0


def compare_forward(model, tokens, folder, ours, name, problems):
    logits, loss, said = compute(model, tokens)
    if not logits.isfinite().all():
        raise RuntimeError("the reference is not finite")
    worst = apart(ours["logits"], logits)
    if not worst <= 2e-5:
        problems.append(f"logits differ by {worst:.2g}")
    if not apart(ours["loss"], loss) <= 2e-5:
        problems.append(f"loss {ours['loss'].item()} instead of {loss.item()}")
    compare_routing(said, tokens, ours, name, problems)
    theirs = gradients_of(model, folder, name)
    largest = max(g.nan_to_num().abs().max().item() for g in theirs.values())
    worst_gradient = 0.0
    for key, value in theirs.items():
        got = ours.pop("grad." + key, None)
        if value.isnan().any():
            if got is not None and got.abs().max() > 0:
                problems.append(f"grad.{key} is there, they have none")
        elif got is None:
            problems.append(f"grad.{key} is missing")
        elif got.shape != value.shape:
            problems.append(f"grad.{key} has shape {list(got.shape)} instead of {list(value.shape)}")
        else:
            off = (got - value).abs().max().item()
            worst_gradient = max(worst_gradient, off / (value.abs().max().item() + 1e-2 * largest))
            if not off <= 1e-4 * value.abs().max().item() + 1e-6 * largest:
                problems.append(f"grad.{key} differs by {off:.2g} of {value.abs().max().item():.2g}")
    problems += [f"{key} is not theirs" for key in ours if key.startswith("grad.")]
    return logits, worst, worst_gradient


def compare_routing(said, tokens, ours, name, problems):
    if name in ENCODER_DECODERS or name in ("jetmoe", "llama4"):
        return
    layers = sorted({int(key.split(".")[1]) for key in ours if key.startswith("layers.")})
    valid = tokens["attention_mask"]
    for b, calls in enumerate(said):
        if not calls:
            return
        if len(calls) != len(layers):
            problems.append(f"{len(layers)} routers instead of {len(calls)}")
            return
        for layer, (ids, weights) in zip(layers, calls):
            mine = ours[f"layers.{layer}.experts"].view(*valid.shape, -1)[b][valid[b]]
            order, other = mine.argsort(-1), ids.argsort(-1)
            if mine.shape != ids.shape or not torch.equal(mine.gather(1, order), ids.gather(1, other)):
                problems.append(f"layer {layer}, row {b}: other experts")
                return
            if weights is not None and name not in ("gemma4",):
                w = ours[f"layers.{layer}.weights"].view(*valid.shape, -1)[b][valid[b]].gather(1, order)
                if not apart(w, weights.gather(1, other)) <= 5e-5:
                    problems.append(f"layer {layer}, row {b}: other weights")
                    return


def drifts(program, model, tokens, source, work, logits):
    """How far the logits of a run in bfloat16 are from `logits`, here and in transformers, of the largest."""
    moe(program, "forward", source, "--tokens", work / "tokens.json", "--out", work / "narrow.safetensors", "--dtype", "bfloat16")
    ours = load_file(work / "narrow.safetensors")["logits"].float()
    theirs = compute(copy.deepcopy(model).bfloat16(), tokens, gradients=False)[0]
    return apart(ours, logits), apart(theirs, logits)


class Listener(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def read(cls, folder, listener):
    """(model, warnings) of a directory."""
    listener.said.clear()
    model, info = cls.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **PLAIN)
    said = [f"{what}: {sorted(map(str, names))[:5]}" for what, names in info.items() if names]
    return model.eval(), set(said + [line.replace(str(folder), "") for line in listener.said])


def compare_exports(program, source, work, cls, name, tokens, logits, listener, problems):
    before = load_file(source / "model.safetensors")
    known = set() if name == "longcat_flash" else read(cls, source, listener)[1]
    moe(program, "convert", source, work / "again", "--to", "huggingface")
    moe(program, "convert", source, work / "native", "--to", "native")
    moe(program, "convert", work / "native", work / "back", "--to", "huggingface", "--family", name)
    for folder in (work / "again", work / "back"):
        after = load_file(folder / "model.safetensors")
        for key in sorted(before.keys() | after.keys()):
            if key not in before or key not in after:
                if not (folder.name == "back" and key not in after and ("identity" in key or "rotary" in key)):
                    problems.append(f"{folder.name}: {key} is {'missing' if key in before else 'new'}")
            elif folder.name == "again" and before[key].dtype != after[key].dtype or not torch.equal(before[key].float(), after[key].float()):
                problems.append(f"{folder.name}: {key} has other bits")
        if name == "longcat_flash":  # the class wants tensors of experts that have none
            continue
        try:
            model, said = read(cls, folder, listener)
        except Exception as error:  # noqa: BLE001
            problems.append(f"{folder.name}: transformers does not read it: {type(error).__name__}: {str(error)[:300]}")
            continue
        problems += [f"{folder.name}: it said {line[:300]}" for line in said - known]
        if name in ENCODER_DECODERS and not model.config.tie_word_embeddings:  # the class looks for three tables
            continue
        model = mended(name, model)
        with torch.no_grad():
            worst = apart(compute(model, tokens, gradients=False)[0], logits)
        if not worst <= 2e-6:
            problems.append(f"{folder.name}: transformers computes other logits: {worst:.2g}")


def one_case(o, name, number, work, listener):
    r = random.Random(f"{name}/{number}")
    kind, options = CASES[name](r)
    config = CONFIG_MAPPING[kind](**copy.deepcopy(options))
    torch.manual_seed(number)
    model = mended(name, reference(name, config).float().eval())
    pad = getattr(config, "pad_token_id", None)
    together = getattr(config, "moe_eval_capacity_token_fraction", 1) < 1  # rows that are read together depend on each other
    tokens = tokens_of(r, config.vocab_size, pad, name, together)
    def use():
        compute(model, tokens, gradients=False)

    narrow = r.random() < 0.3
    if not fill_apart(name, model, number, use, 1e-4, narrow):
        return {}, []  # nothing to compare
    source = work / "model"
    model.save_pretrained(source)
    (source / "generation_config.json").unlink(missing_ok=True)
    mended_files(name, source, model)
    if narrow:
        saved_narrow(source / "model.safetensors")
    settings = json.loads((source / "config.json").read_text())
    if r.random() < 0.5:
        settings = thinned(r, settings, type(config))
    if r.random() < 0.5 and name not in ("cohere2_moe", "mistral4"):  # whose classes know the newer dialect alone
        settings = published(settings)
    (source / "config.json").write_text(json.dumps(settings, indent=1))
    (work / "tokens.json").write_text(json.dumps({k: v.long().tolist() for k, v in tokens.items()}))
    moe(o.moe, "forward", source, "--tokens", work / "tokens.json", "--out", work / "out.safetensors", "--routing", "--grads", "--dtype", "float32")
    problems, figures = [], {}
    ours = load_file(work / "out.safetensors")
    logits, figures["logits"], figures["gradients"] = compare_forward(model, tokens, work / "gradients", ours, name, problems)
    if o.bfloat16:
        figures["bfloat16"], figures["theirs"] = drifts(o.moe, model, tokens, source, work, logits)
    if not o.forward:
        compare_exports(o.moe, source, work, type(model), name, tokens, logits, listener, problems)
    if o.generation:
        figures["generation"] = compare_generation(o.moe, name, number, work / "generation", problems)
    return figures, problems


def row_of(name, count, bad, figures):
    """A row of the table: worst logits and gradients, tokens written alike, median drifts of bfloat16."""
    def of(key):
        return [f[key] for f in figures if key in f]
    def shown(values, how, form):
        return form.format(how(values)) if values else "-"
    return (f"| {name} | {count} | {bad} | {shown(of('logits'), max, '{:.1e}')} | {shown(of('gradients'), max, '{:.1e}')} "
            f"| {shown(of('generation'), sum, '{}')} | {shown(of('bfloat16'), statistics.median, '{:.1e}')} "
            f"| {shown(of('theirs'), statistics.median, '{:.1e}')} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--moe", default="build/release/moe")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--forward", action="store_true", help="leave the exports out")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--generation", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("families", nargs="*")
    o = parser.parse_args()
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.disable_progress_bar()
    root = logging.getLogger("transformers")
    root.handlers.clear()
    root.propagate = False
    listener = Listener()
    root.addHandler(listener)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    wrong, rows = 0, ["| family | cases | wrong | logits | gradients | tokens written alike | bfloat16 | transformers' bfloat16 |", "|---|---|---|---|---|---|---|---|"]
    for name in o.families or CASES:
        all_figures, bad = [], 0
        for number in range(o.first, o.first + o.count):
            work = pathlib.Path(tempfile.mkdtemp())
            try:
                figures, problems = one_case(o, name, number, work, listener)
                all_figures.append(figures)
            except Exception as error:  # noqa: BLE001
                problems = [str(error) if isinstance(error, RuntimeError) else traceback.format_exc(limit=-4)]
            if problems:
                bad += 1
                print(f"{name} {number}:", *problems[:6], *([f"and {len(problems) - 6} more"] if len(problems) > 6 else []), sep="\n  ", flush=True)
            if o.keep:
                shutil.copytree(work, o.keep / f"{name}_{number}", dirs_exist_ok=True)
            shutil.rmtree(work)
        wrong += bad
        rows.append(row_of(name, o.count, bad, all_figures))
        print(rows[-1], flush=True)
        if o.table:
            o.table.write_text("\n".join(rows) + "\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
