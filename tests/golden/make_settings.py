"""Makes the cases of settings/: tiny models of families with settings that other cases leave at their defaults, and the logits
transformers computes.

    python3 make_settings.py [NAME…]    # transformers 5.24, torch 2.13, safetensors; writes into settings/

A case is config.json, expected.safetensors with `logits` (B, S, V), 0 at padding, and weights.json with the names and shapes of the
tensors; {0,2} in a name stands for one tensor with 0 and one with 2. tokens.json beside the cases is that of all.

No case stores its weights: they are numbers that tests/models/settings_case.h computes to the same bits. With u uniform in [-1, 1)
(`uniform`), vectors named *weight, which scale what is normalised, are 1 + u / 4, other vectors u / 4, all else 2 u / sqrt(last
dimension). The salt of a case is the first with which no choice of experts or keys is close to a tie.
"""

import itertools
import json
import pathlib
import re
import shutil
import sys
import tempfile

import torch
import transformers as t
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

HERE = pathlib.Path(__file__).parent / "settings"
V = 17
MARGIN = 1e-3
COMMON = dict(vocab_size=V, hidden_size=16, intermediate_size=12, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=64, attn_implementation="eager")
MASK = [[1] * 11, [0] * 2 + [1] * 9, [1] * 7 + [0] * 4]


def linear(model_type, **options):
    return t.AutoModelForCausalLM.from_config(t.AutoConfig.for_model(model_type, **(COMMON | options)), attn_implementation="eager")


def published(config):
    """The dialect of files written before transformers 5."""
    rope = dict(config.pop("rope_parameters", None) or {})
    config["torch_dtype"] = config.pop("dtype", "float32")
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    kind = rope.pop("rope_type", "default")
    config["rope_scaling"] = None if kind == "default" else {"type": kind} | rope
    return config


def qwen2_windows():
    return linear("qwen2", num_hidden_layers=3, use_sliding_window=True, max_window_layers=1, sliding_window=3,
                  rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=100.0)), published


def qwen3_llama3():
    return linear("qwen3", head_dim=8, attention_bias=True, tie_word_embeddings=True,
                  rope_parameters=dict(rope_type="llama3", factor=8.0, rope_theta=50.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                       original_max_position_embeddings=16)), None


def mistral_yarn():
    return linear("mistral", head_dim=12, sliding_window=4, hidden_act="gelu_new",
                  rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=30.0, beta_fast=3.0, beta_slow=0.5,
                                       original_max_position_embeddings=16)), published


def llama_dynamic():
    return linear("llama", max_position_embeddings=6, rope_parameters=dict(rope_type="dynamic", factor=3.0, rope_theta=100.0)), published


def mixtral_top1():
    return linear("mixtral", num_local_experts=3, num_experts_per_tok=1, hidden_act="gelu", tie_word_embeddings=True), published


def qwen2_moe_windows():
    return linear("qwen2_moe", num_hidden_layers=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
                  shared_expert_intermediate_size=10, use_sliding_window=True, sliding_window=3, max_window_layers=3, qkv_bias=False,
                  norm_topk_prob=True), lambda c: {k: v for k, v in c.items() if k != "layer_types"}


def qwen3_moe_dense_layers():
    return linear("qwen3_moe", num_hidden_layers=4, num_experts=4, num_experts_per_tok=3, moe_intermediate_size=8, head_dim=6,
                  use_sliding_window=True, sliding_window=4, decoder_sparse_step=2, mlp_only_layers=[1], attention_bias=True,
                  rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=30.0, original_max_position_embeddings=16,
                                       attention_factor=1.3)), None


def olmoe_bias():
    return linear("olmoe", num_experts=4, num_experts_per_tok=2, attention_bias=True, clip_qkv=0.6, norm_topk_prob=True), None


def flex_olmo_bias():
    return linear("flex_olmo", num_experts=4, num_experts_per_tok=2, attention_bias=True, norm_topk_prob=True, pad_token_id=None), published


def dbrx(norm):
    config = t.DbrxConfig(d_model=16, n_heads=4, n_layers=2, max_seq_len=64, vocab_size=V,
                          attn_config=dict(kv_n_heads=2, clip_qkv=0.9, rope_theta=10000.0),
                          ffn_config=dict(ffn_hidden_size=8, moe_num_experts=4, moe_top_k=2, moe_normalize_expert_weights=norm,
                                          ffn_act_fn={"name": "gelu"}))
    return t.DbrxForCausalLM._from_config(config, attn_implementation="eager"), None


def dbrx_raw_weights():
    return dbrx(None)


def dbrx_second_norm():
    return dbrx(2.0)


def phimoe_beyond():
    model = linear("phimoe", num_local_experts=4, lm_head_bias=False, attention_bias=True, router_jitter_noise=0.2,
                   rope_parameters=dict(rope_type="longrope", rope_theta=100.0, original_max_position_embeddings=8,
                                        short_factor=[1.0, 1.5], long_factor=[3.0, 2.0], short_mscale=1.1, long_mscale=1.3))
    rotary = model.model.rotary_emb
    plain = rotary.rope_init_fn
    # The class computes the short factors for any length; the authors' code takes the long ones beyond the original length.
    rotary.lengths = []
    rotary.rope_init_fn = lambda config: plain(config, seq_len=rotary.lengths[-1])
    rotary.register_forward_pre_hook(lambda module, args, kwargs: module.lengths.append(
        int((kwargs.get("position_ids") if "position_ids" in kwargs else args[1]).max()) + 1), with_kwargs=True)
    return model, published


def llama4_two_choices():
    return linear("llama4_text", num_hidden_layers=4, head_dim=6, intermediate_size_mlp=10, num_local_experts=3, num_experts_per_tok=2,
                  interleave_moe_layer_step=2, use_qk_norm=False, attention_chunk_size=3, attn_scale=0.2, floor_scale=4,
                  attention_bias=True, no_rope_layers=[], hidden_act="gelu",
                  rope_parameters=dict(rope_type="llama3", factor=8.0, rope_theta=50.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                       original_max_position_embeddings=16)), published


def gpt_oss_defaults():
    def edit(config):
        for key in ("rope_parameters", "layer_types"):
            config.pop(key)
        config["experts_per_token"] = config.pop("num_experts_per_tok")
        return config
    return linear("gpt_oss", num_hidden_layers=3, head_dim=6, num_local_experts=4, num_experts_per_tok=2, attention_bias=False,
                  sliding_window=3, swiglu_alpha=1.2, swiglu_limit=0.8), edit


def gpt2_by_layer():
    config = t.GPT2Config(vocab_size=V, n_positions=16, n_embd=16, n_layer=3, n_head=4, n_inner=20, scale_attn_by_inverse_layer_idx=True)
    return t.GPT2LMHeadModel._from_config(config, attn_implementation="eager"), None


def latent(model_type, **options):
    """Latent attention, DeepSeek's experts with selection biases."""
    options = COMMON | dict(num_key_value_heads=4, num_hidden_layers=3, moe_intermediate_size=8, n_routed_experts=6, num_experts_per_tok=2,
                            kv_lora_rank=8, q_lora_rank=9, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5) | options
    if model_type == "mistral4":  # no automatic class knows it alone
        model = t.models.mistral4.modeling_mistral4.Mistral4ForCausalLM._from_config(t.Mistral4Config(**options),
                                                                                     attn_implementation="eager")
    else:
        model = linear(model_type, **options)
    return model


YARN = dict(rope_type="yarn", rope_theta=50.0, factor=8.0, original_max_position_embeddings=8, beta_fast=4.0, beta_slow=1.0, mscale=0.9,
            mscale_all_dim=0.4)


def deepseek_v2_biases():
    return latent("deepseek_v2", attention_bias=True, mlp_bias=True, first_k_dense_replace=1, n_group=3, topk_group=2,
                  topk_method="group_limited_greedy", routed_scaling_factor=1.7, n_shared_experts=2, rope_parameters=YARN), published


def deepseek_v3_halves():
    yarn = dict(rope_type="yarn", rope_theta=50.0, factor=4.0, original_max_position_embeddings=16, mscale_all_dim=1.0)
    return latent("deepseek_v3", q_lora_rank=None, rope_interleave=False, norm_topk_prob=False, n_group=3, topk_group=2, v_head_dim=13,
                  first_k_dense_replace=0, tie_word_embeddings=True, hidden_act="gelu", rope_parameters=yarn), published


def glm4_moe_lite_groups():
    return latent("glm4_moe_lite", mlp_layer_types=["sparse", "dense", "sparse"], n_group=2, topk_group=1, attention_bias=True,
                  rope_interleave=False, n_shared_experts=2), None


def mistral4_groups():
    return latent("mistral4", q_lora_rank=None, n_group=3, topk_group=2, norm_topk_prob=False, first_k_dense_replace=1,
                  routed_scaling_factor=1.4, rope_parameters=YARN | dict(llama_4_scaling_beta=0.3, original_max_position_embeddings=4)), None


def deepseek_v32_yarn():
    return latent("deepseek_v32", index_n_heads=5, index_head_dim=6, index_topk=3, n_group=2, topk_group=1, first_k_dense_replace=2,
                  attention_bias=True, rope_parameters=YARN), published


def glm_moe_dsa_shared():
    return latent("glm_moe_dsa", num_hidden_layers=5, index_n_heads=5, index_head_dim=4, index_topk=4, first_k_dense_replace=1,
                  indexer_types=["full", "shared", "full", "shared", "shared"]), None


def longcat_flash_biases():
    return latent("longcat_flash", num_layers=2, ffn_hidden_size=12, expert_ffn_hidden_size=8, zero_expert_num=3, moe_topk=3, head_dim=4,
                  attention_bias=True, routed_scaling_factor=2.5, rope_parameters=dict(rope_type="default", rope_theta=50.0)), published


CASES = {case.__name__: case for case in (
    qwen2_windows, qwen3_llama3, mistral_yarn, llama_dynamic, mixtral_top1, qwen2_moe_windows, qwen3_moe_dense_layers, olmoe_bias,
    flex_olmo_bias, dbrx_raw_weights, dbrx_second_norm, phimoe_beyond, llama4_two_choices, gpt_oss_defaults, gpt2_by_layer,
    deepseek_v2_biases, deepseek_v3_halves, glm4_moe_lite_groups, mistral4_groups, deepseek_v32_yarn, glm_moe_dsa_shared,
    longcat_flash_biases)}


def forget_lengths(model):
    """Positions of dynamic scaling turn as they did for the longest text so far, otherwise."""
    rotary = getattr(model.base_model, "rotary_emb", None)
    if hasattr(rotary, "original_max_seq_len"):
        rotary.max_seq_len_cached = rotary.original_max_seq_len
        rotary.inv_freq = rotary.original_inv_freq.clone()


def uniform(name, salt, count):
    """`count` float64 in [-1, 1): the upper 24 bits of splitmix64 at h, h + 1, …; h is FNV-1a of "NAME/SALT", all in 64 bits."""
    h = 0xcbf29ce484222325
    for byte in f"{name}/{salt}".encode():
        h = (h ^ byte) * 0x100000001b3 % 2**64

    def signed(number):
        return (number + 2**63) % 2**64 - 2**63

    def shifted(z, bits):  # zeros come in from the left
        return (z >> bits) & (2**(64 - bits) - 1)

    z = torch.arange(count) + signed(h + 0x9e3779b97f4a7c15)  # int64 wraps around
    z = (z ^ shifted(z, 30)) * signed(0xbf58476d1ce4e5b9)
    z = (z ^ shifted(z, 27)) * signed(0x94d049bb133111eb)
    return shifted(z ^ shifted(z, 31), 40).double() / 2**23 - 1


def weights(shapes, salt):
    def tensor(name, shape):
        u = uniform(name, salt, torch.Size(shape).numel())
        if len(shape) > 1:
            u = u * (2 / shape[-1]**0.5)
        else:
            u = u / 4 + (1 if name.endswith("weight") else 0)
        return u.float().reshape(shape)
    return {name: tensor(name, shape) for name, shape in shapes.items()}


def folded(shapes):
    """`shapes` with names that differ in numbers alone put together."""
    groups = {}
    for name, shape in shapes.items():
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append((numbers, shape))
    out = {}
    for pattern, members in sorted(groups.items()):
        axes = [sorted(set(axis)) for axis in zip(*(numbers for numbers, _ in members))]
        for axis in axes:
            pattern = pattern.replace("*", f"{{{','.join(map(str, axis))}}}" if len(axis) > 1 else str(axis[0]), 1)
        assert sorted(numbers for numbers, _ in members) == [list(n) for n in itertools.product(*axes)], pattern
        assert all(shape == members[0][1] for _, shape in members), pattern
        out[pattern] = members[0][1]
    return out


class Choices(TorchFunctionMode):
    """Watches the choices of the largest: how close they come to a tie, and whether they depend on the token."""

    def __init__(self):
        super().__init__()
        self.margin, self.call, self.seen = float("inf"), 0, {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in (torch.topk, torch.Tensor.topk):
            self.watch(args[0], args[1] if len(args) > 1 else kwargs["k"])
        elif func is torch.Tensor.max and kwargs.get("dim") == -1:
            self.watch(args[0], 1)
        return out

    def watch(self, scores, k):
        scores = scores.detach().reshape(-1, scores.shape[-1])
        if k >= scores.shape[-1]:
            return
        order = scores.sort(-1, descending=True)
        some = order.values[:, k] > -1e30  # what masks leave to choose from
        self.margin = min([self.margin, *(order.values[:, k - 1] - order.values[:, k])[some].tolist()])
        self.seen.setdefault(self.call, set()).update(tuple(sorted(row)) for row in order.indices[:, :k].tolist())
        self.call += 1

    def clear(self):
        return self.margin > MARGIN and all(len(chosen) > 1 for chosen in self.seen.values())


def logits_of(model, ids, valid, choices):
    logits = torch.zeros(*ids.shape, V)
    with torch.no_grad(), choices:
        for b in range(ids.shape[0]):  # row by row: no padding enters
            forget_lengths(model)
            choices.call = 0
            logits[b, valid[b]] = model(ids[b][valid[b]][None], use_cache=False).logits[0]
    assert logits.isfinite().all() and logits[valid].std(0).min() > 0.1, "the logits do not depend on the tokens"
    return logits


def make(name, case):
    model, edit = case()
    model = model.float().eval()
    ids = torch.randint(0, V, (3, 11), generator=torch.Generator().manual_seed(4))
    valid = torch.tensor(MASK).bool()
    with tempfile.TemporaryDirectory() as saved:
        saved = pathlib.Path(saved)
        model.save_pretrained(saved)
        # The first checkpoints of GPT-2 name their tensors so.
        shapes = {key.removeprefix("transformer.") if name == "gpt2_by_layer" else key: list(value.shape)
                  for key, value in load_file(saved / "model.safetensors").items()}
        for salt in range(1000):
            save_file(weights(shapes, salt), saved / "model.safetensors", metadata={"format": "pt"})
            read, how = type(model).from_pretrained(saved, config=model.config, attn_implementation="eager", output_loading_info=True)
            assert not any(how.values()), how
            model.load_state_dict(read.state_dict())
            choices = Choices()
            logits = logits_of(model, ids, valid, choices)
            if choices.clear():
                break
        else:
            sys.exit(f"error: [golden] expected a salt below 1000 without ties for {name}, got none. Change its settings.")
        config = json.loads((saved / "config.json").read_text())
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(edit(config) if edit else config, indent=1) + "\n")
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(shape)}" for key, shape in folded(shapes).items())
    (folder / "weights.json").write_text(f'{{"salt": {salt}, "shapes": {{\n{lines}}}}}\n')
    save_file({"logits": logits}, folder / "expected.safetensors")
    (HERE / "tokens.json").write_text(json.dumps({"input_ids": ids.tolist(), "attention_mask": MASK}) + "\n")
    print(f"{name}: salt {salt}, no choice closer to a tie than {choices.margin:.1e}")


if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in CASES]
    if unknown:
        sys.exit(f"error: [golden] expected names of cases ({', '.join(CASES)}), got '{unknown[0]}'. Correct it.")
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        make(name, CASES[name])
