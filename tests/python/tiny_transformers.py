"""Tiny randomly initialised models of each architecture, made and saved by `transformers` itself."""

import json

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config, Qwen3Config
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

SIZES = dict(vocab_size=97, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, pad_token_id=None,
             bos_token_id=1, eos_token_id=2, attn_implementation="eager")
LLAMA3 = dict(rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
# 3 frequencies at head size 8.
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, short_factor=[1.0, 1.3, 1.9],
                long_factor=[1.1, 4.0, 12.0], original_max_position_embeddings=16)
PHI3 = SIZES | dict(hidden_size=32)


def theta(value, **more):
    return dict(rope_type="default", rope_theta=value, **more)


CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES, rope_parameters=theta(500.0), tie_word_embeddings=True),
    "llama-untied-biases": lambda: LlamaConfig(**SIZES, rope_parameters=theta(1e4), tie_word_embeddings=False,
                                               attention_bias=True, mlp_bias=True),
    "llama-wide-heads": lambda: LlamaConfig(**SIZES | dict(num_key_value_heads=1), head_dim=10, rms_norm_eps=1e-3,
                                            rope_parameters=theta(1e4), tie_word_embeddings=False),
    "llama3": lambda: LlamaConfig(**SIZES, rope_parameters=LLAMA3, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16, rope_parameters=theta(1e6), tie_word_embeddings=True),
    "phi3": lambda: Phi3Config(**PHI3, rope_parameters=theta(1e4, partial_rotary_factor=1.0),
                               tie_word_embeddings=False),
    "phi3-partial": lambda: Phi3Config(**PHI3, rope_parameters=theta(1e4, partial_rotary_factor=0.75),
                                       tie_word_embeddings=True),
    "phi3-longrope": lambda: Phi3Config(**PHI3, rope_parameters=LONGROPE, tie_word_embeddings=True,
                                        original_max_position_embeddings=16),
}
SHARDED = "16KB"


def save(name, folder, dtype=torch.float32, shards=False):
    """The folder, as `save_pretrained` writes it."""
    torch.manual_seed(len(name))
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).to(dtype)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("norm.weight") or key.endswith(".bias"):
                weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(folder, **dict(max_shard_size=SHARDED) if shards else {})
    assert (folder / "model.safetensors.index.json").exists() == shards
    return folder


def as_before_transformers_5(folder):
    """config.json as the published checkpoints have it: RoPE's settings are not in one object."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    rope = config.pop("rope_parameters")
    for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if key in rope and not (key.startswith("original") and rope["rope_type"] == "llama3"):
            config[key] = rope.pop(key)
    if rope["rope_type"] == "longrope":
        rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = None if rope == {"rope_type": "default"} else rope
    config["torch_dtype"] = config.pop("dtype")
    file.write_text(json.dumps(config))
    return folder


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
