"""Simulated post-training quantization as PROTOCOLS.md, section "Quantization", has it (the published protocol)."""

import torch

from reference_model import Model

PUBLISHED = (".q_proj", ".k_proj", ".v_proj", ".o_proj", ".gate_proj", ".up_proj", ".down_proj",
             ".scores", ".probs", ".context", ".attn_res_sa", ".attn_res_mlp")
ALL_INPUTS = PUBLISHED + ("model.embed_tokens", ".input_layernorm", ".post_attention_layernorm", "model.norm",
                          ".product", ".gated_context")
MOMENTUM = 0.9
LOWER, UPPER = 1e-5, 1 - 1e-5  # the percentiles 0.001 and 99.999


def quantize_weight(w, bits):
    """Symmetric, per tensor, min-max."""
    scale = (w.abs().max() / (2 ** (bits - 1) - 1)).clamp(min=1e-12)
    return torch.clamp(torch.round(w / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale


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

    def __init__(self, weight_bits, activation_bits, points):
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.points = {"published": PUBLISHED, "all_inputs": ALL_INPUTS}[points]
        self.ranges = {}
        self.calibrating = True

    def weight(self, name, w):
        return quantize_weight(w, self.weight_bits)

    def activation(self, point, x):
        if not point.endswith(self.points):
            return x
        if self.calibrating:
            new = (percentile(x, LOWER), percentile(x, UPPER))
            old = self.ranges.get(point, new)
            self.ranges[point] = tuple(MOMENTUM * a + (1 - MOMENTUM) * b for a, b in zip(old, new))
        return quantize_activation(x, *self.ranges[point], self.activation_bits)


def quantized(config, weights, weight_bits, activation_bits, calibration, points):
    """A model calibrated on tokens [batches,B,T], ranges fixed."""
    quantizer = Simulated(weight_bits, activation_bits, points)
    model = Model(config, weights, quantizer)
    with torch.no_grad():
        for batch in calibration:
            model(batch)
    quantizer.calibrating = False
    return model
