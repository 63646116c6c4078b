"""Tiny models of transformers with random weights, no choice of which is close to a tie."""

import torch
from torch.overrides import TorchFunctionMode

from families import FIRST
from faults import same_tables
from later_families import LATER
from spellings import SELECTION, narrowed

CASES = FIRST | LATER
ENCODER_DECODERS = ("nllb_moe", "switch_transformers")


def fill(model, generator):
    """All weights random, also norms and biases, so that a forgotten term shows."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name in dict(model.named_buffers()) and not name.endswith(SELECTION):
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            last = name.rsplit(".", 1)[-1]
            if tensor.dim() == 1 and last in ("weight", "layer_scalar", "per_expert_scale"):
                tensor.copy_(1 + 0.2 * noise)
            elif tensor.dim() == 1 or last in ("A_log", "e_score_correction_bias", "expert_bias") or last.endswith("_bias"):
                tensor.copy_(0.3 * noise)
            else:
                tensor.copy_(noise * (1.2 if "router" in name or "gate.weight" in name else 1.0) / tensor.shape[-1]**0.5 * 1.3)


def forget_lengths(model):
    """Positions of dynamic scaling turn as they did for the longest text so far, otherwise."""
    for rotary in model.modules():
        if hasattr(rotary, "original_max_seq_len") and hasattr(rotary, "original_inv_freq"):
            rotary.max_seq_len_cached = rotary.original_max_seq_len
            rotary.inv_freq = rotary.original_inv_freq.clone()


class Ties(TorchFunctionMode):
    """How close choices of the largest come to a tie."""

    def __init__(self):
        super().__init__()
        self.margin = float("inf")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.topk, torch.Tensor.topk):
            scores, k = args[0].detach(), args[1] if len(args) > 1 else kwargs["k"]
            if k < scores.shape[-1]:
                best = scores.reshape(-1, scores.shape[-1]).topk(k + 1).values
                best = best[best[:, k] > -1e30]  # what masks leave to choose from
                if len(best):
                    self.margin = min(self.margin, (best[:, k - 1] - best[:, k]).min().item())
        return func(*args, **kwargs)


def fill_apart(name, model, number, use, least, narrow=False):
    """Fills `model` so that in `use()` no choice of the largest is nearer to another than `least`; whether that can be had.

    `use` may return a further distance that must be more. `narrow`: of numbers that bfloat16 has, selection biases apart."""
    for salt in range(40):
        fill(model, torch.Generator().manual_seed(100 * number + salt))
        same_tables(name, model)
        if narrow:
            narrowed(model)
        with Ties() as ties:
            further = use()
        if min(ties.margin, float("inf") if further is None else further) > least:
            return True
    return False
