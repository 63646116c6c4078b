"""What random settings of several families have in common: heads, rotary positions, experts, kinds of layers."""

ROWS = 29  # the longest row of tokens


def rope(r, width, kinds=("linear", "dynamic", "yarn", "llama3", "longrope"), theta=(20.0, 100.0, 1e4), share=None):
    """rope_parameters for heads of which `width` numbers turn."""
    out = dict(rope_type="default", rope_theta=r.choice(theta))
    if share is not None:
        out["partial_rotary_factor"] = share
    if r.random() < 0.4:
        return out
    out["rope_type"] = kind = r.choice(kinds)
    factor = r.choice((1.0, 2.0, 3.5, 8.0))
    if kind != "longrope" or r.random() < 0.5:
        out["factor"] = factor
    if kind in ("yarn", "llama3", "longrope"):
        out["original_max_position_embeddings"] = r.choice((4, 8, 16, 40))
    if kind == "yarn":
        for key, values in (("attention_factor", (0.7, 1.3)), ("beta_fast", (4.0, 16.0, 32)), ("beta_slow", (0.5, 1, 2.0)),
                            ("truncate", (True, False)), ("mscale", (0.6, 1.0)), ("mscale_all_dim", (0.3, 1.0))):
            if r.random() < (0.2 if key == "attention_factor" else 0.5):
                out[key] = r.choice(values)
    if kind == "llama3":
        out |= dict(low_freq_factor=r.choice((0.5, 1.0)), high_freq_factor=r.choice((1.5, 4.0)))
    if kind == "longrope":
        for key in ("short_factor", "long_factor"):
            out[key] = [round(r.uniform(1, 4), 2) for _ in range(width // 2)]
        if r.random() < 0.3:
            out["attention_factor"] = r.choice((0.8, 1.2))
    return out


def base(r, layers=(2, 3), eps="rms_norm_eps", act="hidden_act", width=(16, 24)):
    out = dict(vocab_size=r.choice((17, 23, 40)), hidden_size=r.choice(width), num_hidden_layers=r.choice(layers),
               max_position_embeddings=r.choice((64, 128)), tie_word_embeddings=r.random() < 0.4,
               pad_token_id=None, bos_token_id=r.choice((None, 1)), eos_token_id=r.choice((None, 2)))
    out[eps] = r.choice((1e-6, 1e-5, 0.01, 0.2))
    out[act] = r.choice(("silu", "silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "relu2"))
    return out


def attention(r, o, head_dim=True, heads=(2, 4), share=None, kinds=None, theta=(20.0, 100.0, 1e4)):
    o["num_attention_heads"] = H = r.choice(heads)
    o["num_key_value_heads"] = r.choice([k for k in (1, 2, 4) if H % k == 0])
    W = o["hidden_size"] // H
    if head_dim:
        W = r.choice((4, 6, 8, 12))
        o["head_dim"] = W
    turning = W if share is None else int(W * share)
    if kinds is None:
        kinds = ("linear", "dynamic", "yarn", "llama3", "longrope") if turning > 2 else ("linear", "yarn", "llama3", "longrope")
    o["rope_parameters"] = p = rope(r, turning, kinds, theta, share)
    if p["rope_type"] == "dynamic":
        o["max_position_embeddings"] = r.choice((6, 12, 64))
        p["factor"] = max(p["factor"], 2.0)
    if p["rope_type"] == "llama3":
        p["original_max_position_embeddings"] = min(p["original_max_position_embeddings"], 40)
    return o


def flags(r, *names, p=0.5):
    return {name: r.random() < p for name in names}


def window(r, p=0.5):
    return r.choice((1, 3, 5, 100)) if r.random() < p else None


def experts(r, o, E="num_experts", K="num_experts_per_tok", width="moe_intermediate_size", most=6, least=2):
    o[E] = r.choice([e for e in (2, 4, 6) if least <= e <= most])
    o[K] = r.randint(1, o[E])
    o[width] = r.choice((5, 8, 12))
    return o


def groups(r, o, E="n_routed_experts", two=True):
    """n_group and topk_group: groups scored by their best two need two; enough experts must be left."""
    if r.random() < 0.5:
        o |= dict(n_group=1, topk_group=1)
        return o
    o[E] = r.choice((6, 8))
    o["n_group"] = n = r.choice((2,) if o[E] == 8 and not two else (2, o[E] // 2))
    o["topk_group"] = kept = r.randint(1, n)
    o["num_experts_per_tok"] = r.randint(1, kept * (o[E] // n))
    return o


def deepseek_mixture(r, o, shared=(1, 2), K=None):
    experts(r, o, "n_routed_experts")
    o["n_shared_experts"] = r.choice(shared)
    o |= flags(r, "norm_topk_prob") | dict(routed_scaling_factor=r.choice((1.0, 2.5, 0.7)))
    return groups(r, o)


def dense_and_sparse(r, o):
    return [r.choice(("dense", "sparse")) for _ in range(o["num_hidden_layers"])]


def layer_types(r, o, other, least=0):
    kinds = [r.choice(("full_attention", other)) for _ in range(o["num_hidden_layers"])]
    if least and other not in kinds:
        kinds[0] = other
    return kinds
