"""What transformers 5.24 does otherwise than the authors' programs and published files, undone: see compare.py."""

import types

import torch
import transformers
from safetensors.torch import load_file, save_file

CLASSES = {"mistral4": lambda: transformers.models.mistral4.modeling_mistral4.Mistral4ForCausalLM,
           "gemma4": lambda: transformers.Gemma4ForCausalLM}


PLAIN = dict(attn_implementation="eager", experts_implementation="eager")  # libtorch's grouped products refuse narrow widths


def reference(name, config):
    """A model of the family."""
    if name in CLASSES:
        return CLASSES[name]()._from_config(config, **PLAIN)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    return auto.from_config(config, **PLAIN)


def long_factors(model):
    """Phi-3.5: the class takes the short factors for any length; the authors' code takes the long ones beyond the original length."""
    rotary = model.model.rotary_emb
    if getattr(rotary, "mended", False):
        return
    rotary.mended, plain, lengths = True, rotary.rope_init_fn, []
    if model.config.rope_parameters["rope_type"] != "longrope":
        return
    rotary.rope_init_fn = lambda config: plain(config, seq_len=lengths[-1])
    rotary.register_forward_pre_hook(lambda module, args, kwargs: lengths.append(
        int((kwargs["position_ids"] if "position_ids" in kwargs else args[1]).max()) + 1), with_kwargs=True)


def all_experts(model):
    """NLLB: the experts take the mask of first choices for numbers of experts; here each takes the tokens that have a weight for it."""
    def forward(self, hidden, mask, weights):
        out = torch.zeros_like(hidden)
        for e in range(self.num_experts):
            tokens = weights[:, e].nonzero()[:, 0]
            if len(tokens):
                out = out.index_add(0, tokens, self[f"expert_{e}"](hidden[tokens]) * weights[tokens, e, None] * (1 - self.moe_token_dropout))
        return out
    for module in model.modules():
        if type(module).__name__ == "NllbMoeExperts":
            module.forward = types.MethodType(forward, module)


def same_tables(name, model):
    """Without a tied head the classes have an input table for the encoder and one for the decoder; published files have one."""
    if name in ("switch_transformers", "nllb_moe"):
        base = model.model if name == "nllb_moe" else model
        for stack in (base.encoder, base.decoder):
            stack.embed_tokens.weight = base.shared.weight


def mended(name, model):
    if name == "phimoe":
        long_factors(model)
    if name == "nllb_moe":
        all_experts(model)
    return model


def mended_files(name, folder, model):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    c = model.config
    if name == "longcat_flash":  # experts without parameters have some
        tensors = {k: v for k, v in tensors.items()
                   if not (".experts." in k and int(k.split(".experts.")[1].split(".")[0]) >= c.n_routed_experts)}
    if name == "minimax":
        tensors = {k: v for k, v in tensors.items() if not k.endswith(("slope_rate", "query_decay", "key_decay", "diagonal_decay"))}
    if name == "kimi_linear":
        def renamed(key):
            parts = key.split(".")
            dense = len(parts) > 3 and parts[1] == "layers" and c.mlp_layer_types[int(parts[2])] == "dense"
            return key.replace("block_sparse_moe", "mlp") if dense else key
        tensors = {renamed(k): v for k, v in tensors.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})
