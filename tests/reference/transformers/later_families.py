"""Random settings of NLLB and of the families of 2025 and 2026: see families.py."""

from draws import attention, base, deepseek_mixture, dense_and_sparse, experts, flags, layer_types
from families import qwen_sparse


def nllb_moe(r):
    return "nllb-moe", dict(vocab_size=r.choice((17, 40)), max_position_embeddings=64, encoder_layers=r.choice((2, 3)), encoder_ffn_dim=10,
                            encoder_attention_heads=r.choice((2, 4)), decoder_layers=2, decoder_ffn_dim=12, decoder_attention_heads=r.choice((2, 4)),
                            activation_function=r.choice(("relu", "gelu", "silu")), d_model=16, scale_embedding=r.random() < 0.5,
                            router_bias=r.random() < 0.5, num_experts=r.choice((3, 4)), encoder_sparse_step=r.choice((0, 1, 2)),
                            decoder_sparse_step=r.choice((1, 2)), moe_token_dropout=r.choice((0.2, 0.0, 0.5)), pad_token_id=1,
                            decoder_start_token_id=2, eos_token_id=2, bos_token_id=0, tie_word_embeddings=r.random() < 0.8,
                            normalize_router_prob_before_dropping=r.random() < 0.5, batch_prioritized_routing=r.random() < 0.3,
                            moe_eval_capacity_token_fraction=r.choice((1.0, 1.0, 0.3)))


def afmoe(r):
    o = experts(r, attention(r, base(r)) | dict(intermediate_size=14)) | flags(r, "mup_enabled", "attention_bias")
    o |= dict(num_dense_layers=r.choice((0, 1)), num_shared_experts=r.choice((0, 1, 2)), route_scale=r.choice((1.0, 2.5)),
              global_attn_every_n_layers=r.choice((2, 3)), sliding_window=r.choice((3, 5, 100)))
    if r.random() < 0.4:
        o["layer_types"] = layer_types(r, o, "sliding_attention")
    return "afmoe", o


def cohere2_moe(r):
    o = experts(r, attention(r, base(r, layers=(3, 4))), width="intermediate_size")
    o["layer_norm_eps"] = o.pop("rms_norm_eps")
    if r.random() < 0.3:
        o["rms_norm_eps"] = 0.05
    o |= flags(r, "attention_bias", "norm_topk_prob")
    o |= dict(logit_scale=r.choice((0.0625, 1.0)), sliding_window=r.choice((3, 5, 100)), num_shared_experts=r.choice((0, 1, 2)),
              shared_expert_combination_strategy=r.choice(("average", "sum")), expert_selection_fn=r.choice(("softmax", "sigmoid")))
    if r.random() < 0.5:
        o["layer_types"] = layer_types(r, o, "sliding_attention")
    else:
        o["sliding_window_pattern"] = r.choice((2, 3, 4))
    if r.random() < 0.5:
        o |= dict(first_k_dense_replace=r.choice((1, 2)), prefix_dense_intermediate_size=r.choice((9, 13)),
                  prefix_dense_sliding_window_pattern=r.choice((1, 2)))
    return "cohere2_moe", o


def gemma4(r):
    o = base(r, act="hidden_activation")
    o["num_attention_heads"] = H = r.choice((2, 4))
    o["num_key_value_heads"] = r.choice((1, 2))
    o["head_dim"] = r.choice((4, 8))
    o["global_head_dim"] = r.choice((8, 12))
    o["layer_types"] = layer_types(r, o, "sliding_attention")[:-1] + ["full_attention"]
    o["rope_parameters"] = dict(sliding_attention=dict(rope_type="default", rope_theta=r.choice((20.0, 1e4))),
                                full_attention=dict(rope_type="proportional", rope_theta=r.choice((50.0, 1e6)), partial_rotary_factor=r.choice((0.25, 0.5, 1.0))))
    o |= dict(intermediate_size=14, sliding_window=r.choice((3, 5, 100)), final_logit_softcapping=r.choice((None, 2.0)),
              hidden_size_per_layer_input=0, num_kv_shared_layers=0, enable_moe_block=True)
    o["attention_k_eq_v"] = r.random() < 0.5
    o["num_global_key_value_heads"] = r.choice((1, 2))
    o |= flags(r, "attention_bias", p=0.3)
    if o["enable_moe_block"]:
        experts(r, o, K="top_k_experts")
    return "gemma4_text", o


def jamba(r):
    o = experts(r, base(r, layers=(3, 4)), width="intermediate_size")
    o["num_attention_heads"] = H = r.choice((2, 4))
    o["num_key_value_heads"] = r.choice((1, 2))
    o |= dict(expert_layer_period=r.choice((1, 2)), attn_layer_period=r.choice((2, 3)), attn_layer_offset=r.choice((0, 1)), expert_layer_offset=0,
              mamba_d_state=r.choice((4, 6)), mamba_d_conv=r.choice((2, 4)), mamba_expand=r.choice((1, 2)), mamba_dt_rank=r.choice((3, "auto")),
              use_mamba_kernels=False)
    o["expert_layer_offset"] = r.randrange(o["expert_layer_period"])
    return "jamba", o | flags(r, "mamba_conv_bias", "mamba_proj_bias")


def kimi_linear(r):
    o = base(r, layers=(3, 4))
    o["model_max_length"] = o.pop("max_position_embeddings")
    o["num_attention_heads"] = o["num_key_value_heads"] = r.choice((2, 4))
    o |= dict(kv_lora_rank=6, q_lora_rank=r.choice((None, 9)), qk_nope_head_dim=r.choice((4, 6)), qk_rope_head_dim=r.choice((2, 4)), v_head_dim=r.choice((5, 8)))
    experts(r, o, K="num_experts_per_token")
    o["num_experts"] = r.choice((4, 6))
    o["num_experts_per_token"] = r.randint(1, o["num_experts"] // 2)
    o |= dict(intermediate_size=14, num_shared_experts=r.choice((1, 2)), routed_scaling_factor=r.choice((1.0, 2.4)), moe_renormalize=r.random() < 0.5,
              num_expert_group=r.choice((1, 2)), linear_head_dim=r.choice((4, 6)), linear_num_heads=r.choice((2, 3)), linear_conv_kernel_dim=r.choice((2, 4)))
    o["topk_group"] = r.randint(1, o["num_expert_group"])
    o["mlp_layer_types"] = dense_and_sparse(r, o)
    o["layer_types"] = layer_types(r, o, "linear_attention")
    return "kimi_linear", o


def lfm2_moe(r):
    o = base(r, layers=(3, 4), eps="norm_eps")
    o.pop("hidden_act")
    o = experts(r, attention(r, o, head_dim=False)) | flags(r, "conv_bias", "use_expert_bias", "norm_topk_prob")
    o |= dict(intermediate_size=14, conv_L_cache=r.choice((2, 3, 4)), num_dense_layers=r.choice((0, 1, 2)), routed_scaling_factor=r.choice((1.0, 1.7)))
    o["layer_types"] = layer_types(r, o, "conv")
    return "lfm2_moe", o


def mimo_v2_flash(r):
    o = deepseek_mixture(r, base(r, layers=(3, 4)), shared=(None,)) | dict(intermediate_size=14)
    o.pop("n_shared_experts")
    o["num_attention_heads"] = 4
    o["num_key_value_heads"] = r.choice((1, 2))
    o["head_dim"] = r.choice((8, 12))
    o["v_head_dim"] = r.choice((4, 6, 8))
    shares = r.choice((0.334, 0.5, 1.0))
    o["rope_parameters"] = {kind: dict(rope_type="default", rope_theta=r.choice((20.0, 1e4)), partial_rotary_factor=0.5 if o["head_dim"] * shares % 2 >= 1 else shares)
                            for kind in ("full_attention", "sliding_attention")}
    o |= dict(sliding_window=r.choice((3, 5)), attention_value_scale=r.choice((None, 0.7, 1.0))) | flags(r, "attention_bias")
    o["layer_types"] = layer_types(r, o, "sliding_attention")
    o["mlp_layer_types"] = dense_and_sparse(r, o)
    return "mimo_v2_flash", o


def delta_net(r, o):
    keys = r.choice((1, 2))
    return o | dict(linear_conv_kernel_dim=r.choice((2, 4)), linear_key_head_dim=r.choice((4, 6)), linear_value_head_dim=r.choice((4, 6)),
                    linear_num_key_heads=keys, linear_num_value_heads=keys * r.choice((1, 2)), shared_expert_intermediate_size=r.choice((6, 10)),
                    layer_types=layer_types(r, o, "linear_attention"))


def qwen3_next(r):
    o = base(r, layers=(3, 4))
    share = r.choice((0.25, 0.5, 1.0))
    o = experts(r, attention(r, o, share=share)) | flags(r, "attention_bias", "norm_topk_prob")
    if o["head_dim"] * share % 2:
        o["rope_parameters"] = dict(rope_type="default", rope_theta=30.0, partial_rotary_factor=1.0)
    return "qwen3_next", qwen_sparse(r, delta_net(r, o))


def qwen3_5_moe(r):
    o = base(r, layers=(3, 4))
    share = r.choice((0.5, 1.0))
    o = experts(r, attention(r, o, share=share, kinds=("linear", "yarn"))) | flags(r, "attention_bias")
    if o["head_dim"] * share % 2:
        o["rope_parameters"] = dict(rope_type="default", rope_theta=30.0, partial_rotary_factor=1.0)
    half = int(o["head_dim"] * o["rope_parameters"].get("partial_rotary_factor", 1)) // 2
    o["rope_parameters"] |= dict(mrope_section=[half - 2 * (half // 3), half // 3, half // 3], mrope_interleaved=True)
    return "qwen3_5_moe_text", delta_net(r, o)


LATER = {case.__name__: case for case in (nllb_moe, afmoe, cohere2_moe, gemma4, jamba, kimi_linear, lfm2_moe, mimo_v2_flash, qwen3_next, qwen3_5_moe)}
