"""One model in other spellings: config.json of older files and with less in it, weights in bfloat16."""

import copy
import json

import torch
from safetensors.torch import load_file, save_file

SELECTION = ("e_score_correction_bias", "expert_bias", "layer_scalar", "per_expert_scale")
# Files that lack these are refused.
SIZES = ("architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size", "num_hidden_layers",
         "num_attention_heads", "num_experts_per_tok", "num_experts", "num_local_experts", "n_routed_experts", "moe_topk")


def narrowed(model):
    """Rounds the model's weights to bfloat16; selection biases stay as they are."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if not name.endswith(SELECTION):
                tensor.copy_(tensor.bfloat16().float())


def saved_narrow(path):
    """Writes the weights of a file, which are narrowed ones, as bfloat16; selection biases stay as they are."""
    tensors = {key: value if key.endswith(SELECTION) else value.bfloat16() for key, value in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def published(config):
    """The dialect of files written before transformers 5."""
    rope = config.get("rope_parameters")
    if rope is not None and not any(isinstance(value, dict) for value in rope.values()):
        rope = dict(config.pop("rope_parameters"))
        for key in ("rope_theta", "partial_rotary_factor"):
            if key in rope:
                config[key] = rope.pop(key)
        kind = rope.pop("rope_type", "default")
        config["rope_scaling"] = None if kind == "default" and not rope else {"type": kind} | rope
        if config["model_type"] in ("gpt_oss", "mistral4") and kind == "default":  # null would mean the scaling of published models
            config["rope_scaling"] = {"rope_type": "default"}
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    return config


def thinned(r, config, cls):
    """`config` without some of the keys that say what their absence says."""
    def meaning(settings):
        out = cls.from_dict(copy.deepcopy(settings)).to_dict()
        return json.dumps({k: v for k, v in out.items() if k not in ("dtype", "torch_dtype", "transformers_version")}, sort_keys=True, default=str)
    try:
        whole = meaning(config)
    except Exception:  # noqa: BLE001: only from_pretrained reads what the class wrote
        return config
    for key in sorted(config):
        if key in SIZES or r.random() < 0.5:
            continue
        less = {k: v for k, v in config.items() if k != key}
        try:
            if meaning(less) == whole:
                config = less
        except Exception:  # noqa: BLE001: the class needs it
            pass
    return config
