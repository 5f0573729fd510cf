"""What a checkpoint's config.json means (DESIGN, section "Checkpoint layout"), random weights, and folders."""

import dataclasses
import json
import math
import pathlib

import torch
from safetensors.torch import load_file, save_file

from reference_normalizers import NAMES

# method: (token normaliser, depth normaliser, coupling, gate), DESIGN section 3
METHODS = {
    "attnres": ("softmax", "softmax", "none", False),
    "clipped_softmax": ("clipped_softmax", "softmax", "none", False),
    "gated_attention": ("softmax", "softmax", "none", True),
    "softmax1": ("softmax1", "softmax", "none", False),
    "sparsemax": ("sparsemax", "sparsemax", "none", False),
    "oasis": ("softmax1", "softmax1", "learned", False),
    "prenorm": ("softmax", "none", "none", False),
    "prenorm_softmax1": ("softmax1", "none", "none", False),
    "entmax15": ("entmax15", "entmax15", "none", False),
    "oasis_no_coupling": ("softmax1", "softmax1", "none", False),
    "oasis_token_null_only": ("softmax1", "softmax", "learned", False),
    "oasis_depth_null_only": ("softmax", "softmax1", "none", False),
    "oasis_fixed_beta": ("softmax1", "softmax1", 1.0, False),
}
ROUTINGS = ("none", "projected", "pseudo_query", "block")


@dataclasses.dataclass
class Config:
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    rms_norm_eps: float
    rope_theta: float
    partial_rotary_factor: float
    max_position_embeddings: int
    rope_scaling: dict  # None, or config.json's, with original_max_position_embeddings inside
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    qk_norm: bool
    fused: bool  # Phi-3: qkv_proj and gate_up_proj
    token_normalizer: str
    depth_normalizer: str
    routing: str
    coupling: object  # "none", "learned" or a number
    gate: bool
    block_count: int
    router_size: int
    recency: str
    clip_zeta: float
    clip_gamma: float


def scaling_of(values):
    scaling = values.get("rope_scaling")
    beside = {k: values[k] for k in ["original_max_position_embeddings"] if k in values}
    return scaling and beside | scaling


def parse_config(values):
    """A Config from the contents of config.json."""
    o = values.get("oasis", {"method": "prenorm"})
    token, depth, coupling, gate = METHODS[o.get("method", "prenorm")]
    token = o.get("token_normalizer", token)
    depth = o.get("depth_normalizer", depth)
    routing = o.get("routing", "none" if depth == "none" else "projected")
    D, H, L = values["hidden_size"], values["num_attention_heads"], values["num_hidden_layers"]
    assert token in NAMES and depth in NAMES + ("none",) and routing in ROUTINGS
    assert (depth == "none") == (routing == "none"), "the depth normaliser is `none` exactly where the routing is"
    config = Config(
        vocab_size=values["vocab_size"],
        hidden_size=D,
        num_hidden_layers=L,
        num_attention_heads=H,
        num_key_value_heads=values.get("num_key_value_heads") or H,
        head_dim=values.get("head_dim") or D // H,
        intermediate_size=values["intermediate_size"],
        rms_norm_eps=values.get("rms_norm_eps", 1e-6),
        rope_theta=values.get("rope_theta", 10000.0),
        partial_rotary_factor=values.get("partial_rotary_factor", 1.0),
        max_position_embeddings=values.get("max_position_embeddings", 2048),
        rope_scaling=scaling_of(values),
        tie_word_embeddings=values.get("tie_word_embeddings", False),
        attention_bias=values.get("attention_bias", False),
        mlp_bias=values.get("mlp_bias", False),
        qk_norm=values.get("model_type") == "qwen3",
        fused=values.get("model_type") == "phi3",
        token_normalizer=token,
        depth_normalizer=depth,
        routing=routing,
        coupling=o.get("coupling", coupling),
        gate=o.get("gate", gate),
        block_count=o.get("block_count", 0),
        router_size=o.get("router_size", max(D // 4, 64)),
        recency=o.get("recency", "normalized"),
        clip_zeta=o.get("clip_zeta", 1.0),
        clip_gamma=o.get("clip_gamma", 0.0),
    )
    assert "clipped_softmax" not in (token, depth) or "clip_gamma" in o, "clipped_softmax needs clip_gamma"
    assert routing != "block" or (config.block_count > 0 and 2 * L % config.block_count == 0)
    return config


def weight_shapes(c):
    """Name -> shape of every weight of the checkpoint, in Hugging Face's names and the table of DESIGN."""
    D, H, Hkv, d, F, A = (c.hidden_size, c.num_attention_heads, c.num_key_value_heads, c.head_dim,
                          c.intermediate_size, c.router_size)
    shapes = {"model.embed_tokens.weight": (c.vocab_size, D)}

    def linear(name, rows, columns, bias):
        shapes[name + ".weight"] = (rows, columns)
        if bias:
            shapes[name + ".bias"] = (rows,)

    def router(name):
        if c.routing == "projected":
            linear(name + ".q_proj", A, D, False)
            linear(name + ".k_proj", A, D, False)
            shapes[name + ".recency_bias"] = (1,)
        else:
            shapes[name + ".query"] = (D,)
            shapes[name + ".key_norm.weight"] = (D,)
        if c.coupling == "learned":
            shapes[name + ".oasis_beta_raw"] = (1,)

    for i in range(c.num_hidden_layers):
        layer = f"model.layers.{i}"
        shapes[layer + ".input_layernorm.weight"] = (D,)
        shapes[layer + ".post_attention_layernorm.weight"] = (D,)
        if c.fused:
            linear(layer + ".self_attn.qkv_proj", (H + 2 * Hkv) * d, D, c.attention_bias)
            linear(layer + ".mlp.gate_up_proj", 2 * F, D, c.mlp_bias)
        else:
            linear(layer + ".self_attn.q_proj", H * d, D, c.attention_bias)
            linear(layer + ".self_attn.k_proj", Hkv * d, D, c.attention_bias)
            linear(layer + ".self_attn.v_proj", Hkv * d, D, c.attention_bias)
            linear(layer + ".mlp.gate_proj", F, D, c.mlp_bias)
            linear(layer + ".mlp.up_proj", F, D, c.mlp_bias)
        linear(layer + ".self_attn.o_proj", D, H * d, c.attention_bias)
        linear(layer + ".mlp.down_proj", D, F, c.mlp_bias)
        if c.qk_norm:
            shapes[layer + ".self_attn.q_norm.weight"] = (d,)
            shapes[layer + ".self_attn.k_norm.weight"] = (d,)
        if c.gate:
            linear(layer + ".self_attn.gate", H, D // H, True)
        if c.routing != "none":
            router(layer + ".attn_res_sa")
            router(layer + ".attn_res_mlp")
    if c.routing in ("pseudo_query", "block"):
        router("model.final_res")
    shapes["model.norm.weight"] = (D,)
    if not c.tie_word_embeddings:
        shapes["lm_head.weight"] = (c.vocab_size, D)
    return shapes


def random_weights(c, seed, dtype=torch.float32):
    """Weights with which every part of the model matters (beta of order one, nulls open) and float32 suffices."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in weight_shapes(c).items():
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("norm.weight"):
            x = 1 + 0.3 * x
        elif name.endswith(("recency_bias", "oasis_beta_raw", "query")):
            x = 1 + 0.5 * x if len(shape) == 1 and shape[0] == 1 else 0.5 * x
        elif name.endswith(".bias"):
            x = 0.3 * x
        elif name == "model.embed_tokens.weight":
            x = 0.7 * x
        elif ".attn_res_" in name:
            x = 0.5 * x / math.sqrt(shape[-1])
        else:
            x = x / math.sqrt(shape[-1])
        weights[name] = x.to(torch.float32).to(dtype)
    return weights


def initial_weights(c, seed):
    """Weights as training starts (DESIGN section 2): sd 0.02; W_q, W_k 0.02/sqrt(A); w 0, gains 1, beta_raw -5."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in weight_shapes(c).items():
        x = torch.randn(shape, generator=generator) * 0.02
        if name.endswith("norm.weight"):
            x = torch.ones(shape)
        elif name.endswith(("recency_bias", ".query")):
            x = torch.zeros(shape)
        elif name.endswith("oasis_beta_raw"):
            x = torch.full(shape, -5.0)
        elif name.endswith("self_attn.gate.weight"):
            x = torch.zeros(shape)
        elif name.endswith("self_attn.gate.bias"):
            x = torch.full(shape, math.log(0.25 / 0.75))
        elif name.endswith(".bias"):
            x = torch.zeros(shape)
        elif ".attn_res_" in name:
            x = x / math.sqrt(c.router_size)
        weights[name] = x
    return weights


def save_checkpoint(folder, values, weights):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values, indent=1))
    save_file({name: w.detach().float().contiguous() for name, w in weights.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})


def load_checkpoint(folder, dtype=torch.float32):
    """(Config, weights); refuses a checkpoint whose weights are not exactly those that its config asks for."""
    folder = pathlib.Path(folder)
    config = parse_config(json.loads((folder / "config.json").read_text()))
    weights = {name: w.to(dtype) for name, w in load_file(folder / "model.safetensors").items()}
    found = {name: tuple(w.shape) for name, w in weights.items()}
    assert found == weight_shapes(config), sorted(set(found.items()) ^ set(weight_shapes(config).items()))
    return config, weights
