"""Random settings of each family, as transformers' configurations take them: FIRST[NAME](r) gives (model_type, options).

Sizes are as small as they can be while every setting still changes the logits: heads unlike hidden / heads, windows
and original lengths shorter than the rows, norms with an epsilon that counts.
"""

from draws import attention, base, deepseek_mixture, dense_and_sparse, experts, flags, groups, layer_types, rope, window


def llama(r):
    o = attention(r, base(r)) | dict(intermediate_size=r.choice((12, 20))) | flags(r, "attention_bias", "mlp_bias")
    return "llama", o


def mistral(r):
    return "mistral", attention(r, base(r)) | dict(intermediate_size=20, sliding_window=window(r))


def qwen_windows(r, o, kinds=True):
    o |= dict(use_sliding_window=r.random() < 0.7, sliding_window=r.choice((3, 5, 100)), max_window_layers=r.choice((0, 1, 2, 28)))
    if kinds and r.random() < 0.4:
        o["layer_types"] = layer_types(r, o, "sliding_attention") if o["use_sliding_window"] else ["full_attention"] * o["num_hidden_layers"]
    return o


def qwen2(r):
    return "qwen2", qwen_windows(r, attention(r, base(r), head_dim=False) | dict(intermediate_size=20))


def qwen3(r):
    return "qwen3", qwen_windows(r, attention(r, base(r)) | dict(intermediate_size=20) | flags(r, "attention_bias"))


def gpt2(r):
    H = r.choice((2, 4))
    return "gpt2", dict(vocab_size=r.choice((17, 40)), n_positions=r.choice((32, 64)), n_embd=16, n_layer=r.choice((2, 3)), n_head=H,
                        n_inner=r.choice((None, 20)), activation_function=r.choice(("gelu_new", "gelu", "relu", "silu")),
                        layer_norm_epsilon=r.choice((1e-5, 0.1)), tie_word_embeddings=r.random() < 0.6,
                        bos_token_id=None, eos_token_id=None) | flags(r, "scale_attn_weights", "scale_attn_by_inverse_layer_idx",
                                                                      "reorder_and_upcast_attn")


def mixtral(r):
    o = experts(r, attention(r, base(r)), "num_local_experts", width="intermediate_size")
    return "mixtral", o | dict(sliding_window=window(r))


def qwen_sparse(r, o):
    return o | dict(decoder_sparse_step=r.choice((1, 1, 2)), mlp_only_layers=[i for i in range(3) if r.random() < 0.2], intermediate_size=14)


def qwen2_moe(r):
    o = experts(r, attention(r, base(r), head_dim=False))
    o |= flags(r, "norm_topk_prob", "qkv_bias") | dict(shared_expert_intermediate_size=r.choice((6, 10)))
    return "qwen2_moe", qwen_sparse(r, qwen_windows(r, o))


def qwen3_moe(r):
    o = experts(r, attention(r, base(r))) | flags(r, "norm_topk_prob", "attention_bias")
    o |= dict(use_sliding_window=r.random() < 0.5, sliding_window=r.choice((3, 100)))
    return "qwen3_moe", qwen_sparse(r, o)


def olmoe(r):
    o = experts(r, attention(r, base(r), head_dim=False), width="intermediate_size")
    return "olmoe", o | flags(r, "norm_topk_prob", "attention_bias") | dict(clip_qkv=r.choice((None, 0.5, 1.5)))


def flex_olmo(r):
    o = experts(r, attention(r, base(r), head_dim=False), width="intermediate_size")
    return "flex_olmo", o | flags(r, "norm_topk_prob", "attention_bias")


def dbrx(r):
    H = r.choice((2, 4))
    E = r.choice((2, 4, 6))
    theta = r.choice((50.0, 1e4))
    return "dbrx", dict(d_model=16, n_heads=H, n_layers=2, max_seq_len=64, vocab_size=r.choice((17, 40)),
                        tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=theta),
                        attn_config=dict(kv_n_heads=r.choice((1, 2)), clip_qkv=r.choice((8.0, 0.9)), rope_theta=theta),
                        ffn_config=dict(ffn_hidden_size=r.choice((8, 12)), moe_num_experts=E, moe_top_k=r.randint(1, E),
                                        moe_normalize_expert_weights=r.choice((None, 1.0, 2.0)),
                                        ffn_act_fn={"name": r.choice(("silu", "gelu", "relu"))}))


def jetmoe(r):
    o = experts(r, base(r, act="activation_function"), "num_local_experts", width="intermediate_size", most=4)
    o["kv_channels"] = W = r.choice((4, 6, 8))
    o["num_key_value_heads"] = r.choice((1, 2, 3))
    o["rope_parameters"] = dict(rope_type="default", rope_theta=r.choice((20.0, 1e4)))
    return "jetmoe", o


def phimoe(r):
    o = experts(r, attention(r, base(r), head_dim=False, kinds=("longrope",)), "num_local_experts", width="intermediate_size")
    o["num_experts_per_tok"] = 2
    p = o["rope_parameters"]
    if p["rope_type"] == "longrope":
        p |= dict(short_mscale=r.choice((1.1, 0.9)), long_mscale=r.choice((1.3, 1.0)))
    return "phimoe", o | flags(r, "attention_bias", "lm_head_bias") | dict(router_jitter_noise=r.choice((0.01, 0.2)), sliding_window=window(r))


def granite(r, o):
    return o | dict(embedding_multiplier=r.choice((1.0, 12.0)), logits_scaling=r.choice((1.0, 6.0)), residual_multiplier=r.choice((1.0, 0.22)),
                    attention_multiplier=r.choice((1.0, 0.125))) | flags(r, "attention_bias")


def granitemoe(r):
    o = experts(r, attention(r, base(r), head_dim=False), "num_local_experts", width="intermediate_size")
    return "granitemoe", granite(r, o)


def granitemoeshared(r):
    o = granite(r, experts(r, attention(r, base(r), head_dim=False), "num_local_experts", width="intermediate_size"))
    return "granitemoeshared", o | dict(shared_intermediate_size=r.choice((0, 10)))


def granitemoehybrid(r):
    o = granite(r, experts(r, attention(r, base(r), head_dim=False), "num_local_experts", width="intermediate_size"))
    if r.random() < 0.2:
        o |= dict(num_local_experts=0, num_experts_per_tok=0)
    o["shared_intermediate_size"] = 10
    expand = r.choice((1, 2))
    heads = r.choice((2, 4))
    o |= dict(mamba_expand=expand, mamba_n_heads=heads, mamba_d_head=expand * o["hidden_size"] // heads, mamba_n_groups=r.choice((1, 2)),
              mamba_d_state=r.choice((4, 6)), mamba_d_conv=r.choice((2, 4)), mamba_chunk_size=r.choice((4, 8, 256)))
    o |= flags(r, "mamba_conv_bias", "mamba_proj_bias")
    o["position_embedding_type"] = r.choice(("rope", "nope", None))
    if r.random() < 0.3:
        o["time_step_limit"] = (0.3, 0.9)
    o["layer_types"] = [r.choice(("linear_attention", "full_attention")) for _ in range(o["num_hidden_layers"])]
    return "granitemoehybrid", o


def latent(r, o, q_rank=True, kinds=("linear", "dynamic", "yarn", "llama3"), turning=(4, 6)):
    o["num_attention_heads"] = o["num_key_value_heads"] = r.choice((2, 4))
    o |= dict(kv_lora_rank=r.choice((6, 8)), q_lora_rank=r.choice((None, 9) if q_rank else (9,)), qk_nope_head_dim=r.choice((4, 6)),
              qk_rope_head_dim=r.choice(turning), v_head_dim=r.choice((5, 8, 14)))
    o["rope_parameters"] = p = rope(r, o["qk_rope_head_dim"], kinds)
    if p["rope_type"] == "dynamic":
        o["max_position_embeddings"] = r.choice((6, 12, 64))
        p["factor"] = max(p["factor"], 2.0)
    return o


def deepseek_v2(r):
    o = latent(r, base(r)) | dict(intermediate_size=14, first_k_dense_replace=r.choice((0, 1)))
    experts(r, o, "n_routed_experts")
    o |= dict(n_shared_experts=r.choice((1, 2)), routed_scaling_factor=r.choice((1.0, 1.7)), topk_method="greedy")
    if r.random() < 0.5:
        o["topk_method"] = "group_limited_greedy"
        groups(r, o, two=False)
    return "deepseek_v2", o | flags(r, "attention_bias", "mlp_bias")


def deepseek_v3(r):
    o = deepseek_mixture(r, latent(r, base(r))) | dict(intermediate_size=14, first_k_dense_replace=r.choice((0, 1, 2)))
    return "deepseek_v3", o | flags(r, "attention_bias", "rope_interleave")


def indexed(r, o):
    return o | dict(index_n_heads=r.choice((7, 9)), index_head_dim=r.choice((6, 8)), index_topk=r.choice((3, 8, 64)))


def deepseek_v32(r):
    o = deepseek_mixture(r, indexed(r, latent(r, base(r), q_rank=False, kinds=("yarn", "linear")))) | dict(intermediate_size=14)
    o |= flags(r, "attention_bias", p=0.3)
    if r.random() < 0.5:
        o["first_k_dense_replace"] = r.choice((0, 1, 2))
    else:
        o["mlp_layer_types"] = dense_and_sparse(r, o)
    return "deepseek_v32", o


def glm_moe_dsa(r):
    o = deepseek_mixture(r, indexed(r, latent(r, base(r, layers=(3, 4)), q_rank=False, kinds=("yarn", "linear")))) | dict(intermediate_size=14)
    o |= flags(r, "attention_bias", p=0.3)
    o["mlp_layer_types"] = dense_and_sparse(r, o)
    o["indexer_types"] = ["full"] + [r.choice(("full", "shared")) for _ in range(o["num_hidden_layers"] - 1)]
    return "glm_moe_dsa", o


def glm4_moe_lite(r):
    o = deepseek_mixture(r, latent(r, base(r))) | dict(intermediate_size=14, mlp_layer_types=None)
    o["mlp_layer_types"] = dense_and_sparse(r, o)
    return "glm4_moe_lite", o | flags(r, "attention_bias", "rope_interleave")


def mistral4(r):
    o = deepseek_mixture(r, latent(r, base(r), kinds=("yarn", "yarn", "linear"))) | dict(intermediate_size=14)
    p = o["rope_parameters"]
    if p["rope_type"] == "default":  # the class turns whole heads then, which do not fit
        p |= dict(rope_type="linear", factor=2.0)
    p["original_max_position_embeddings"] = r.choice((4, 8))
    p["llama_4_scaling_beta"] = r.choice((0.1, 0.5))
    o["head_dim"] = o["qk_nope_head_dim"] + o["qk_rope_head_dim"]
    p["partial_rotary_factor"] = o["qk_rope_head_dim"] / o["head_dim"]
    return "mistral4", o | dict(first_k_dense_replace=r.choice((0, 1))) | flags(r, "attention_bias", "rope_interleave")


def longcat_flash(r):
    o = latent(r, base(r), q_rank=False, kinds=("linear", "yarn"))
    o["num_layers"] = o.pop("num_hidden_layers")
    o["head_dim"] = o["qk_rope_head_dim"]
    o |= dict(ffn_hidden_size=12, expert_ffn_hidden_size=r.choice((6, 8)), n_routed_experts=r.choice((3, 4)), zero_expert_num=r.choice((1, 2, 3)),
              routed_scaling_factor=r.choice((1.0, 6.0)))
    o["moe_topk"] = r.randint(2, 4)  # of one choice the class makes an error
    return "longcat_flash", o | flags(r, "attention_bias")


def dots1(r):
    o = deepseek_mixture(r, attention(r, base(r)), shared=(1, 2)) | dict(intermediate_size=14, first_k_dense_replace=r.choice((0, 1)))
    o |= flags(r, "attention_bias") | dict(sliding_window=r.choice((3, 100)), max_window_layers=r.choice((0, 1, 62)))
    return "dots1", o


def glm4_moe(r):
    share = r.choice((0.5, 0.5, 1.0))
    o = attention(r, base(r), share=share)
    if share == 0.5 and o["head_dim"] in (6,):
        o["head_dim"] = 8
        if "short_factor" in o["rope_parameters"]:
            o["rope_parameters"] |= dict(short_factor=[1.0, 2.0], long_factor=[3.0, 1.5])
    o = deepseek_mixture(r, o) | dict(intermediate_size=14, first_k_dense_replace=r.choice((0, 1, 2)))
    return "glm4_moe", o | flags(r, "attention_bias", "use_qk_norm")


def solar_open(r):
    o = deepseek_mixture(r, attention(r, base(r)))
    return "solar_open", o | flags(r, "attention_bias")


def ernie4_5_moe(r):
    o = experts(r, attention(r, base(r, layers=(3, 4))), "moe_num_experts", "moe_k") | dict(intermediate_size=14)
    first = r.choice((0, 1))
    o |= dict(moe_num_shared_experts=r.choice((0, 1, 2)), moe_layer_start_index=first, moe_layer_end_index=r.choice((-1, first + 1)),
              moe_layer_interval=r.choice((1, 2)), moe_norm_min=r.choice((1e-12, 0.5)))
    return "ernie4_5_moe", o | flags(r, "use_bias")


def hunyuan_v1_moe(r):
    o = experts(r, attention(r, base(r)), K="moe_topk", width="intermediate_size") | flags(r, "attention_bias")
    if o["rope_parameters"]["rope_type"] == "dynamic" and r.random() < 0.7:
        o["rope_parameters"]["alpha"] = r.choice((1.0, 50.0, 1000.0))
    if r.random() < 0.3:
        o["moe_topk"] = [r.randint(1, o["num_experts"]) for _ in range(o["num_hidden_layers"])]
    return "hunyuan_v1_moe", o


def minimax(r):
    o = experts(r, attention(r, base(r)), "num_local_experts", width="intermediate_size")
    o |= {f"{part}_{letter}_factor": r.choice((1, 0.7, 2.5)) for part in ("full_attn", "linear_attn", "mlp") for letter in ("alpha", "beta")}
    o["layer_types"] = layer_types(r, o, "linear_attention")
    return "minimax", o | dict(block_size=r.choice((4, 256)), sliding_window=window(r, 0.3))


def minimax_m2(r):
    o = base(r)
    share = r.choice((0.5, 1.0))
    o = attention(r, o, share=share)
    if o["head_dim"] == 6 and share == 0.5:
        o["rope_parameters"] = dict(rope_type="default", rope_theta=30.0, partial_rotary_factor=2 / 3)
    return "minimax_m2", experts(r, o, "num_local_experts", width="intermediate_size")


def gpt_oss(r):
    o = experts(r, attention(r, base(r)), "num_local_experts", width="intermediate_size")
    o.pop("hidden_act")
    o |= dict(swiglu_alpha=r.choice((1.702, 1.2)), swiglu_limit=r.choice((7.0, 0.8)), sliding_window=r.choice((1, 3, 100)))
    if r.random() < 0.5:
        o["layer_types"] = layer_types(r, o, "sliding_attention")
    return "gpt_oss", o | flags(r, "attention_bias")


def llama4(r):
    o = experts(r, attention(r, base(r, layers=(3, 4))), "num_local_experts", width="intermediate_size", most=4)
    n = o["num_hidden_layers"]
    o |= dict(intermediate_size_mlp=10, attention_chunk_size=r.choice((2, 5, 100)), attn_scale=r.choice((0.1, 0.4)),
              floor_scale=r.choice((2, 5, 8192)))
    o |= flags(r, "use_qk_norm", "attn_temperature_tuning", "attention_bias")
    if r.random() < 0.5:
        o["interleave_moe_layer_step"] = r.choice((1, 2))
    else:
        o["moe_layers"] = sorted(i for i in range(n) if r.random() < 0.6)
    choice = r.random()
    if choice < 0.3:
        o["no_rope_layers"] = [r.choice((0, 1)) for _ in range(n)]
    elif choice < 0.6:
        o["no_rope_layer_interval"] = r.choice((2, 3, 4))
    return "llama4_text", o


def switch_transformers(r):
    E = r.choice((2, 4))
    n = r.choice((2, 4))
    return "switch_transformers", dict(vocab_size=r.choice((17, 40)), d_model=16, d_kv=r.choice((4, 6)), d_ff=r.choice((10, 20)),
                                       expert_capacity=r.choice((1, 3, 64)), num_layers=n, num_sparse_encoder_layers=r.choice((1, 2, n)),
                                       num_decoder_layers=2, num_sparse_decoder_layers=r.choice((1, 2)), num_heads=r.choice((2, 4)), num_experts=E,
                                       router_bias=r.random() < 0.4, relative_attention_num_buckets=r.choice((8, 32)),
                                       relative_attention_max_distance=r.choice((33, 128)), layer_norm_epsilon=r.choice((1e-6, 0.1)),
                                       dense_act_fn=r.choice(("relu", "gelu_new", "silu")), tie_word_embeddings=r.random() < 0.6,
                                       pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)


FIRST = {case.__name__: case for case in (llama, mistral, qwen2, qwen3, gpt2, mixtral, qwen2_moe, qwen3_moe, olmoe, flex_olmo, dbrx, jetmoe, phimoe, granitemoe, granitemoeshared, granitemoehybrid, deepseek_v2, deepseek_v3, deepseek_v32, glm_moe_dsa, glm4_moe_lite, mistral4, longcat_flash, dots1, glm4_moe, solar_open, ernie4_5_moe, hunyuan_v1_moe, minimax, minimax_m2, gpt_oss, llama4, switch_transformers)}
