"""Random models of many shapes and every method and routing form, for comparison with the program."""

import dataclasses

import torch

from reference_config import METHODS, parse_config, random_weights, save_checkpoint

# Shapes that the golden models lack, dealt out to the methods in turn.
SHAPES = [
    dict(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, num_hidden_layers=2, intermediate_size=40),
    dict(hidden_size=20, num_attention_heads=1, num_hidden_layers=1, intermediate_size=17, vocab_size=7),
    dict(hidden_size=40, num_attention_heads=4, num_key_value_heads=4, head_dim=6, num_hidden_layers=3,
         intermediate_size=33, rope_theta=500.0),
    dict(hidden_size=36, num_attention_heads=6, num_key_value_heads=2, head_dim=10, num_hidden_layers=2,
         intermediate_size=24, model_type="qwen3", rope_theta=1e6, tie_word_embeddings=False, rms_norm_eps=1e-3),
    dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=1, num_hidden_layers=2, intermediate_size=50,
         attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
]
LENGTHS = [(2, 33), (3, 17), (1, 65), (2, 7), (4, 2)]
BASE = dict(model_type="llama", vocab_size=61, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=True,
            hidden_act="silu", max_position_embeddings=128)


@dataclasses.dataclass
class Case:
    name: str
    values: dict  # config.json
    batch: int
    length: int
    overrides: dict = dataclasses.field(default_factory=dict)  # weight name ending: value, or function of the weight

    def tokens(self, *shape, seed=0):
        generator = torch.Generator().manual_seed(len(self.name) + seed)
        return torch.randint(self.values["vocab_size"], shape or (self.batch, self.length), generator=generator)

    def save(self, folder):
        weights = random_weights(parse_config(self.values), seed=len(self.name) * 31 + self.length)
        for ending, value in self.overrides.items():
            matching = [name for name in weights if name.endswith(ending)]
            assert matching, ending
            for name in matching:
                weights[name] = value(weights[name]) if callable(value) else torch.full_like(weights[name], value)
        save_checkpoint(folder, self.values, weights)
        return folder


def oasis_object(method, routing, layers):
    o = {"method": method, "routing": routing}
    if method == "clipped_softmax":
        o |= {"clip_gamma": -0.4}
    if routing == "block":
        o |= {"block_count": 2 * layers if layers == 1 else 2}
    return o


def every_method():
    cases = []
    for method, (_, depth, _, _) in METHODS.items():
        for routing in ["none"] if depth == "none" else ["projected", "pseudo_query", "block"]:
            shape = SHAPES[len(cases) % len(SHAPES)]
            batch, length = LENGTHS[(len(cases) // 3) % len(LENGTHS)]
            values = BASE | shape
            values["oasis"] = oasis_object(method, routing, values["num_hidden_layers"])
            cases.append(Case(f"{method}-{routing}", values, batch, length))
    return cases


def variants():
    """Name: (shape and config changes, the object "oasis", batch, length, weights set by hand)."""
    small = dict(hidden_size=24, num_attention_heads=3, num_key_value_heads=3, num_hidden_layers=2,
                 intermediate_size=40)
    deep = dict(small, num_hidden_layers=6)
    phi = dict(small, model_type="phi3", num_key_value_heads=1, tie_word_embeddings=False)
    # 3 frequencies at head size 8; the cases' lengths lie on both sides of the original length.
    longrope = dict(phi, partial_rotary_factor=0.75, original_max_position_embeddings=10,
                    rope_scaling={"type": "longrope", "short_factor": [1.0, 1.3, 1.9],
                                  "long_factor": [1.1, 4.0, 12.0]})
    llama3 = dict(small, rope_theta=100.0, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64})
    table = {
        "no-object": (small, None, 2, 9, {}),
        "default-routing": (small, {"method": "oasis"}, 2, 9, {}),
        "one-token-projected": (small, {"method": "oasis"}, 3, 1, {}),
        "one-token-pseudo": (small, {"method": "oasis", "routing": "pseudo_query"}, 3, 1, {}),
        "one-token-sparsemax": (small, {"method": "sparsemax"}, 3, 1, {}),
        "deep-projected": (deep, {"method": "oasis"}, 1, 19, {}),
        "deep-pseudo": (deep, {"method": "oasis", "routing": "pseudo_query"}, 1, 19, {}),
        "blocks-1": (deep, {"method": "oasis", "routing": "block", "block_count": 1}, 1, 11, {}),
        "blocks-3": (deep, {"method": "oasis", "routing": "block", "block_count": 3}, 1, 11, {}),
        "blocks-4": (deep, {"method": "oasis_fixed_beta", "routing": "block", "block_count": 4}, 1, 11, {}),
        "blocks-12": (deep, {"method": "attnres", "routing": "block", "block_count": 12}, 1, 11, {}),
        "absolute": (deep, {"method": "oasis", "recency": "absolute"}, 2, 11, {}),
        "router-5": (small, {"method": "oasis", "router_size": 5}, 2, 11, {}),
        "wide-router-default": (dict(small, hidden_size=288, num_attention_heads=4, num_key_value_heads=2),
                                {"method": "oasis"}, 1, 9, {}),
        "token-entmax": (small, {"method": "attnres", "token_normalizer": "entmax15"}, 2, 21, {}),
        "token-clipped": (small, {"method": "oasis", "token_normalizer": "clipped_softmax", "clip_zeta": 1.03,
                                  "clip_gamma": -0.03}, 2, 21, {}),
        "depth-sparsemax": (deep, {"method": "oasis", "depth_normalizer": "sparsemax"}, 2, 13, {}),
        "depth-entmax": (deep, {"method": "softmax1", "depth_normalizer": "entmax15", "routing": "pseudo_query"},
                         2, 13, {}),
        "depth-clipped": (small, {"method": "oasis", "depth_normalizer": "clipped_softmax", "clip_gamma": -0.1},
                          2, 13, {}),
        "coupling-2.5": (small, {"method": "oasis", "coupling": 2.5}, 2, 13, {}),
        "coupling-none": (small, {"method": "oasis", "coupling": "none"}, 2, 13, {}),
        "coupling-without-null": (small, {"method": "attnres", "coupling": "learned"}, 2, 13, {}),
        "oasis-gated": (small, {"method": "oasis", "gate": True, "routing": "pseudo_query"}, 2, 13, {}),
        "ungated": (small, {"method": "gated_attention", "gate": False}, 2, 13, {}),
        "prenorm-gated": (small, {"method": "prenorm", "gate": True}, 2, 13, {}),
        "beta-limit": (small, {"method": "oasis"}, 2, 13, {"oasis_beta_raw": 14.0}),
        "logit-limit": (small, {"method": "oasis"}, 2, 13, {"recency_bias": 60.0}),
        "logit-limit-low": (small, {"method": "oasis"}, 2, 13, {"recency_bias": -60.0}),
        "open-nulls": (small, {"method": "oasis"}, 2, 3, {"self_attn.q_proj.weight": 0.0}),
        "zero-weights": (small, {"method": "oasis"}, 2, 9, {"attn_res_sa.q_proj.weight": 0.0, "o_proj.weight": 0.0}),
        "phi3": (phi, {"method": "oasis"}, 2, 13, {}),
        "phi3-partial-rotary": (dict(phi, partial_rotary_factor=0.75, num_attention_heads=1), {"method": "attnres"},
                                2, 13, {}),
        "phi3-biases": (dict(phi, attention_bias=True, mlp_bias=True), None, 2, 13, {}),
        "phi3-longrope-short": (longrope, {"method": "oasis"}, 2, 10, {}),
        "phi3-longrope-long": (longrope, {"method": "prenorm"}, 2, 17, {}),
        "llama3-rope": (llama3, {"method": "oasis", "routing": "pseudo_query"}, 2, 33, {}),
    }
    cases = []
    for name, (shape, o, batch, length, overrides) in table.items():
        cases.append(Case(name, BASE | shape | ({} if o is None else {"oasis": o}), batch, length, overrides))
    return cases


ALL = every_method() + variants()
