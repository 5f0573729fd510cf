"""What `oasis inspect` and `oasis evaluate` must give, computed by the reference model."""

import torch

from reference_config import load_checkpoint
from reference_model import Model, next_token_loss
from reference_quantization import quantized


def load(folder, dtype, quantization=None):
    """The model of a folder; `quantization` is (weight bits, activation bits, calibration tokens, point set)."""
    config, weights = load_checkpoint(folder, dtype)
    return quantized(config, weights, *quantization) if quantization else Model(config, weights)


def inspect(folder, tokens, dtype=torch.float64, gradients=False, attention=False, quantization=None):
    """The tensors of the file that `oasis inspect` writes, under the same names."""
    model = load(folder, dtype, quantization)
    if gradients:
        model.w = {name: w.requires_grad_() for name, w in model.w.items()}
    record = model(tokens)
    out = {"logits": record.logits}
    out |= {f"null_posterior.{i}": psi for i, psi in enumerate(record.null_posterior)}
    out |= {f"depth_weights.{key}": alpha for key, alpha in record.depth_weights.items()}
    out |= {f"site.{name}": x for name, x in record.sites.items()}
    if attention:
        out |= {f"probs.{i}": p for i, p in enumerate(record.probs)}
    if gradients:
        loss = next_token_loss(record.logits, tokens).mean() if tokens.shape[1] > 1 else record.logits.sum() * 0
        found = torch.autograd.grad(loss, list(model.w.values()), allow_unused=True)
        out |= {f"grad.{name}": torch.zeros_like(w) if g is None else g
                for (name, w), g in zip(model.w.items(), found)}
    if quantization:
        out |= {f"range.{point}": torch.tensor(r, dtype=torch.float64) for point, r in model.q.ranges.items()}
    return {name: x.detach() for name, x in out.items()}


def evaluation_loss(folder, tokens, dtype=torch.float64, quantization=None):
    with torch.no_grad():
        return float(next_token_loss(load(folder, dtype, quantization)(tokens).logits, tokens).mean())
