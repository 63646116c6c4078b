"""Makes the parity cases of this folder that are not copied: tiny models with random weights, and what transformers computes of them.

    python3 make_cases.py [NAME…]    # transformers 5.23, torch 2.13, safetensors; writes beside this file

Everything is computed in float32. Gradients get the names and shapes of the checkpoint by going through the code that saves
it: they stand in a copy of the model in place of the weights.
"""

import copy
import json
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

HERE = pathlib.Path(__file__).parent
COMMON = dict(vocab_size=61, hidden_size=24, intermediate_size=16, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=32, attn_implementation="eager")


def randomise(model, seed):
    """All weights random, also norms and biases, so that a forgotten term shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1 and "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.5 if parameter.dim() == 1 or "embed" in name or "gate.weight" in name
                                         else 1.2 / parameter.shape[-1] ** 0.5))


def saved(model, **options):
    """The tensors of a checkpoint of `model`."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, **options)
        out = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            out |= load_file(path)
        return out


def make(name, model, ids, mask, storage, note, **save_options):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(storage).save_pretrained(folder / "model", **save_options)
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)
    # Read back, because casting a model casts the frequencies of its rotary positions too.
    model = type(model).from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.tensor(ids)
    valid = torch.ones_like(ids).bool() if mask is None else torch.tensor(mask).bool()

    routings = []
    hooks = []
    for block in model.model.layers:
        gate = getattr(block.mlp, "gate", None)
        if gate is not None:
            hooks.append(gate.register_forward_hook(lambda module, inputs, outputs: routings.append(
                torch.nn.functional.linear(inputs[0].detach(), module.weight.detach()))))
    logits = torch.zeros(*ids.shape, model.config.vocab_size)
    rows, total, targets = [], 0.0, 0
    for b in range(ids.shape[0]):  # row by row: no padding enters
        routings.clear()
        row = ids[b][valid[b]]
        out = model(row[None]).logits[0]
        logits[b, valid[b]] = out.detach()
        total = total + torch.nn.functional.cross_entropy(out[:-1], row[1:], reduction="sum")
        targets += len(row) - 1
        rows.append(list(routings))
    for hook in hooks:
        hook.remove()
    loss = total / targets
    loss.backward()

    expected = {"logits": logits, "loss": loss.detach()}
    margin = float("inf")
    for layer in range(len(rows[0])):
        E, K = model.config.num_local_experts, model.config.num_experts_per_tok
        scores = torch.zeros(*ids.shape, E)
        for b in range(ids.shape[0]):
            scores[b, valid[b]] = rows[b][layer].reshape(-1, E)
        best, experts = scores.softmax(-1).topk(K)
        order = scores.softmax(-1).sort(-1, descending=True).values
        margin = min(margin, (order[..., K - 1] - order[..., K])[valid].min().item())
        weights = best / best.sum(-1, keepdim=True)
        experts[~valid], weights[~valid] = -1, 0
        prefix = f"layers.{layer}."
        expected[prefix + "router_logits"] = scores.reshape(-1, E)
        expected[prefix + "experts"] = experts.reshape(-1, K)
        expected[prefix + "weights"] = weights.reshape(-1, K)
    assert margin > 1e-3, f"{name}: a routing decision is too close to a tie: {margin}"

    gradients = copy.deepcopy(model)
    with torch.no_grad():
        for (_, mine), (_, theirs) in zip(gradients.named_parameters(), model.named_parameters()):
            mine.copy_(theirs.grad)
    expected |= {"grad." + key: value for key, value in saved(gradients).items()}
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    tokens = {"input_ids": ids.tolist()} | ({} if mask is None else {"attention_mask": valid.long().tolist()})
    (folder / "tokens.json").write_text(json.dumps(tokens) + "\n")
    (folder / "case.json").write_text(json.dumps({"family": model.config.model_type, "odd": note}, indent=1) + "\n")


def mixtral_window_bf16(name, ids):
    model = MixtralForCausalLM(MixtralConfig(**COMMON, head_dim=6, num_local_experts=4, num_experts_per_tok=2,
                                             sliding_window=4, rope_theta=10000.0))
    randomise(model, 1)  # no routing decision is close to a tie
    make(name, model, ids, None, torch.bfloat16,
         "bfloat16 storage in shards, sliding window 4 shorter than the rows", max_shard_size="12KB")


def llama_tied(name, ids):
    model = LlamaForCausalLM(LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                         hidden_act="gelu"))
    randomise(model, 2)
    mask = [[1] * 9, [0] * 3 + [1] * 6, [1] * 5 + [0] * 4]
    make(name, model, ids, mask, torch.float32,
         "dense: grouped queries, biases everywhere, tied embeddings, exact GELU; rows padded left and right")


CASES = {case.__name__: case for case in (mixtral_window_bf16, llama_tied)}


def main(names):
    unknown = [name for name in names if name not in CASES]
    if unknown:
        sys.exit(f"error: [golden] expected names of cases ({', '.join(CASES)}), got '{unknown[0]}'. Correct it.")
    torch.set_num_threads(1)
    for name in names or CASES:
        torch.manual_seed(4)
        CASES[name](name, torch.randint(0, 61, (3, 9)).tolist())


if __name__ == "__main__":
    main(sys.argv[1:])
