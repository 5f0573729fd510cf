"""Simulated post-training quantization as PROTOCOLS.md, section "Quantization", has it: the published protocol, and what is
offered beside it."""

import torch

from reference_model import Model

PUBLISHED = (".q_proj", ".k_proj", ".v_proj", ".o_proj", ".gate_proj", ".up_proj", ".down_proj",
             ".scores", ".probs", ".context", ".attn_res_sa", ".attn_res_mlp")
ALL_INPUTS = PUBLISHED + ("model.embed_tokens", ".input_layernorm", ".post_attention_layernorm", "model.norm",
                          ".product", ".gated_context")
MOMENTUM = 0.9
LOWER, UPPER = 1e-5, 1 - 1e-5  # the percentiles 0.001 and 99.999


def symmetric(x, scale, bits):
    return torch.clamp(torch.round(x / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale


def quantize_vector(w, bits, range_="min_max"):
    """Values that share a scale: to the largest, or to the candidate among 100 that loses least."""
    largest = (w.abs().max() / (2 ** (bits - 1) - 1)).clamp(min=1e-12)
    if range_ == "min_max":
        return symmetric(w, largest, bits)
    candidates = [symmetric(w, largest * i / 100, bits) for i in range(1, 101)]
    return min(candidates, key=lambda rounded: float(((rounded - w) ** 2).sum()))


def quantize_weight(w, bits, range_="min_max", grain="tensor"):
    if grain == "tensor":
        return quantize_vector(w, bits, range_)
    width = {"row": w.shape[1], "group": 64}[grain]
    return torch.stack([torch.cat([quantize_vector(part, bits, range_) for part in row.split(width)]) for row in w])


def quantize_rows(x, bits):
    """Symmetric, each row of the last dimension by its own largest value."""
    return symmetric(x, (x.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-12), bits)


def quantize_activation(x, lo, hi, bits):
    """Asymmetric, with a range that is widened to hold zero."""
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = max((hi - lo) / (2**bits - 1), 1e-12)
    zero = float(torch.round(torch.tensor(-lo / scale, dtype=torch.float64)))
    return (torch.clamp(torch.round(x / scale) + zero, 0, 2**bits - 1) - zero) * scale


def percentile(x, fraction):
    """Linear interpolation between order statistics of the flattened tensor (NumPy's default)."""
    ordered = x.detach().flatten().double().sort().values
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (position - below) * (ordered[above] - ordered[below]))


class Simulated:
    """The quantizer of a model: `ranges` maps each point to its running (lo, hi); it learns while `calibrating`."""

    def __init__(self, weight_bits, activation_bits, points, weight_range="min_max", weight_grain="tensor",
                 activation_range="percentile"):
        self.grid, self.per_token = (weight_range, weight_grain), activation_range == "per_token"
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.points = {"published": PUBLISHED, "all_inputs": ALL_INPUTS}[points]
        self.ranges = {}
        self.calibrating = True

    def weight(self, name, w):
        return quantize_weight(w, self.weight_bits, *self.grid)

    def activation(self, point, x):
        if not point.endswith(self.points):
            return x
        if self.per_token:  # a query's row of scores: over the keys that it sees
            return quantize_rows(x.tril() if point.endswith(".scores") else x, self.activation_bits)
        if self.calibrating:
            new = (percentile(x, LOWER), percentile(x, UPPER))
            old = self.ranges.get(point, new)
            self.ranges[point] = tuple(MOMENTUM * a + (1 - MOMENTUM) * b for a, b in zip(old, new))
        return quantize_activation(x, *self.ranges[point], self.activation_bits)


def quantized(config, weights, weight_bits, activation_bits, calibration, points, *more):
    """A model calibrated on tokens [batches,B,T], ranges fixed; `more` as Simulated has it."""
    quantizer = Simulated(weight_bits, activation_bits, points, *more)
    model = Model(config, weights, quantizer)
    with torch.no_grad():
        for batch in calibration:
            model(batch)
    quantizer.calibrating = False
    return model
