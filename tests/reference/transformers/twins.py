"""Plain programs of the families that transformers has no class of (Arctic, DeepSeekMoE 16B, Grok-1), and how far bfloat16 drifts.

    python3 twins.py CASE [--moe build/release/moe]

CASE is a folder of shared/parity. Prints how far the twin, or else the class of transformers, is in float32 from the case's logits,
and how far logits in bfloat16 are from those of float32, of `moe forward` and of the twin or class, of the largest. In the twins norms
and softmax run in float32, products in the type asked for, as in the classes. B batch, S sequence, H heads.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from torch.nn.functional import gelu, silu


sys.path.insert(0, str(pathlib.Path(__file__).parent))


class Twin:
    def __init__(self, folder, dtype):
        self.c = json.loads((folder / "config.json").read_text())
        self.w = {k: v.to(dtype) for k, v in load_file(folder / "model.safetensors").items()}
        self.kind = self.c["model_type"]

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T

    def norm(self, x, name):
        weight = self.w[name + (".scale" if self.kind == "grok-1" else ".weight")]
        wide = x.float()
        wide = wide * (wide.square().mean(-1, keepdim=True) + self.c["rms_norm_eps"]).rsqrt()
        return (weight.float() * wide).to(x.dtype) if self.kind == "grok-1" else weight * wide.to(x.dtype)

    def attention(self, x, name):
        c, (S, D) = self.c, x.shape
        H, KV = c["num_attention_heads"], c["num_key_value_heads"]
        W = D // H
        q, k, v = (self.linear(x, f"{name}.{letter}_proj").view(S, -1, W).transpose(0, 1) for letter in "qkv")
        angle = torch.arange(S)[:, None] * c["rope_theta"] ** (-torch.arange(0, W, 2).float() / W)
        cos, sin = (torch.cat([f(angle)] * 2, -1).to(x.dtype) for f in (torch.cos, torch.sin))
        q, k = (t * cos + torch.cat([-t[..., W // 2:], t[..., :W // 2]], -1) * sin for t in (q, k))
        k, v = (t.repeat_interleave(H // KV, 0) for t in (k, v))
        scores = q @ k.transpose(1, 2) * c.get("attn_output_multiplier", W**-0.5)
        if "max_attn_value" in c:
            scores = c["max_attn_value"] * torch.tanh(scores / c["max_attn_value"])
        scores = scores.masked_fill(~torch.ones(S, S).tril().bool(), float("-inf"))
        mixed = scores.float().softmax(-1).to(x.dtype) @ v
        return self.linear(mixed.transpose(0, 1).reshape(S, D), name + ".o_proj")

    def experts(self, x, gate, expert, renormalise):
        weights, ids = self.linear(x, gate).float().softmax(-1).topk(self.c["num_experts_per_tok"])
        if renormalise:
            weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for e in ids.unique().tolist():
            rows, slots = (ids == e).nonzero(as_tuple=True)
            out.index_add_(0, rows, expert(x[rows], e) * weights[rows, slots, None].to(x.dtype))
        return out

    def gated(self, x, name, gate, up, down, activation=silu):
        return self.linear(activation(self.linear(x, f"{name}.{gate}")) * self.linear(x, f"{name}.{up}"), f"{name}.{down}")

    def arctic(self, x, i):
        name = f"model.layers.{i}"
        a = x + self.attention(self.norm(x, name + ".input_layernorm"), name + ".self_attn")
        r = self.gated(self.norm(a, name + ".residual_layernorm"), name + ".residual_mlp", "w1", "w3", "w2")
        moe = name + ".block_sparse_moe"
        return a + r + self.experts(self.norm(x, name + ".post_attention_layernorm"), moe + ".gate",
                                    lambda rows, e: self.gated(rows, f"{moe}.experts.{e}", "w1", "w3", "w2"), True)

    def deepseek(self, x, i):
        name = f"model.layers.{i}"
        x = x + self.attention(self.norm(x, name + ".input_layernorm"), name + ".self_attn")
        n, mlp = self.norm(x, name + ".post_attention_layernorm"), name + ".mlp"
        names = ("gate_proj", "up_proj", "down_proj")
        if i < self.c["first_k_dense_replace"]:
            return x + self.gated(n, mlp, *names)
        return x + self.experts(n, mlp + ".gate", lambda rows, e: self.gated(rows, f"{mlp}.experts.{e}", *names), False) \
            + self.gated(n, mlp + ".shared_experts", *names)

    def grok(self, x, i):
        name = f"model.layers.{i}"
        x = x + self.norm(self.attention(self.norm(x, name + ".pre_attn_norm"), name + ".attn"), name + ".post_attn_norm")
        moe = name + ".moe_block"
        out = self.experts(self.norm(x, name + ".pre_moe_norm"), moe + ".gate",
                           lambda rows, e: self.gated(rows, f"{moe}.experts.{e}", "linear", "linear_v", "linear_1", tanh_gelu), False)
        return x + self.norm(out, name + ".post_moe_norm")

    def logits(self, ids):
        block = {"arctic": self.arctic, "deepseek": self.deepseek, "grok-1": self.grok}[self.kind]
        x = self.w["model.embed_tokens.weight"][ids] * self.c.get("embedding_multiplier_scale", 1)
        for i in range(self.c["num_hidden_layers"]):
            x = block(x, i)
        return self.linear(self.norm(x, "model.norm"), "lm_head") * self.c.get("output_multiplier_scale", 1)


def tanh_gelu(x):
    return gelu(x, approximate="tanh")


def of_transformers(folder, tokens, valid, dtype):
    """Logits of its class, a row alone."""
    import transformers
    from faults import PLAIN, same_tables
    transformers.utils.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(folder)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=dtype, **PLAIN).eval()
    if config.is_encoder_decoder:
        same_tables(config.model_type.replace("-", "_"), model)
        return torch.cat([model(input_ids=row[mask][None], decoder_input_ids=decoder[None], use_cache=False).logits[0].float()
                          for row, mask, decoder in zip(tokens["input_ids"], valid, tokens["decoder_input_ids"])])
    return torch.cat([model(row[mask][None], use_cache=False).logits[0].float() for row, mask in zip(tokens["input_ids"], valid)])


def apart(a, b):
    return ((a.float() - b.float()).abs().max() / b.float().abs().max()).item()


def run(program, case, dtype):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.safetensors"
        subprocess.run([program, "forward", case / "model", "--tokens", case / "tokens.json", "--out", out, "--dtype", dtype], check=True,
                       stdout=subprocess.DEVNULL)
        return load_file(out)["logits"].float()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", type=pathlib.Path)
    parser.add_argument("--moe", default="build/release/moe")
    o = parser.parse_args()
    tokens = {k: torch.tensor(v) for k, v in json.loads((o.case / "tokens.json").read_text()).items()}
    ids = tokens["input_ids"]
    valid = tokens.get("attention_mask", torch.ones_like(ids)).bool()

    kind = json.loads((o.case / "model" / "config.json").read_text())["model_type"]
    with torch.no_grad(), tempfile.TemporaryDirectory() as plain:
        if kind in ("arctic", "deepseek", "grok-1"):
            def reference(dtype):
                model = Twin(o.case / "model", dtype)
                return torch.cat([model.logits(row[mask]).float() for row, mask in zip(ids, valid)])
        else:
            # Quantised weights as numbers, which bfloat16 may not have: both sides start from the same.
            subprocess.run([o.moe, "convert", o.case / "model", plain + "/model", "--to", "huggingface", "--dtype", "float32"], check=True,
                           stdout=subprocess.DEVNULL)

            def reference(dtype):
                return of_transformers(plain + "/model", tokens, valid, dtype)
        wide, narrow = reference(torch.float32), reference(torch.bfloat16)
    expected, ours = load_file(o.case / "expected.safetensors")["logits"], run(o.moe, o.case, "bfloat16")
    if "decoder_input_ids" in tokens:
        expected, ours = expected.flatten(0, 1), ours.flatten(0, 1)
    else:
        expected, ours = expected[valid], ours[valid]
    print(f"| {o.case.name} | {apart(wide, expected):.1e} | {apart(ours, expected):.1e} | {apart(narrow, wide):.1e} |")


if __name__ == "__main__":
    main()
