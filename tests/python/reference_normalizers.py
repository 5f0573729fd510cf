"""The five normalisers of DESIGN section 2 and 3, each with its null posterior, as plain PyTorch.

Every function takes logits with the normalised axis last (entries of -inf are masked out) and returns
(probabilities, null posterior); the null posterior has the logits' shape without the last axis and is
exactly zero unless the normaliser is Softmax1. Gradients come from autograd alone.
"""

import torch

NAMES = ("softmax", "softmax1", "clipped_softmax", "sparsemax", "entmax15")


def softmax(s):
    return torch.softmax(s, -1), torch.zeros_like(s[..., 0])


def softmax1(s):
    """p_j = e^{s_j} / (1 + sum e^s), rho = 1 / (1 + sum e^s)."""
    m = s.detach().amax(-1, keepdim=True).clamp(min=0)
    e = torch.exp(s - m)
    null = torch.exp(-m)
    total = null + e.sum(-1, keepdim=True)
    return e / total, (null / total).squeeze(-1)


def clipped_softmax(s, zeta, gamma):
    """clip((zeta - gamma) softmax(s) + gamma, 0, 1) (Bondarenko et al. 2023); masked entries stay zero."""
    p = torch.softmax(s, -1)
    clipped = ((zeta - gamma) * p + gamma).clamp(0, 1)
    return clipped.masked_fill(s == -torch.inf, 0), torch.zeros_like(s[..., 0])


def shifted(s):
    """s minus its row maximum. Entries below -4 cannot be in either support, so masked ones become finite."""
    return (s - s.detach().amax(-1, keepdim=True)).clamp(min=-4)


def sparsemax(s):
    """The Euclidean projection on the simplex: (s - tau)_+ with sum 1 (Martins & Astudillo 2016)."""
    z = shifted(s)
    ordered = z.detach().sort(-1, descending=True).values
    k = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
    size = (1 + k * ordered > ordered.cumsum(-1)).sum(-1, keepdim=True)
    smallest = ordered.gather(-1, size - 1)
    tau = ((z * (z.detach() >= smallest)).sum(-1, keepdim=True) - 1) / size
    return (z - tau).clamp(min=0), torch.zeros_like(s[..., 0])


def entmax15(s):
    """(s/2 - tau)_+^2 with sum 1 (Peters et al. 2019, exact algorithm for alpha = 1.5)."""
    z = shifted(s / 2)
    ordered = z.detach().sort(-1, descending=True).values
    k = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
    mean = ordered.cumsum(-1) / k
    spread = (ordered**2).cumsum(-1) - k * mean**2
    candidate = mean - ((1 - spread) / k).clamp(min=0).sqrt()
    size = (candidate <= ordered).sum(-1, keepdim=True)
    support = z.detach() >= ordered.gather(-1, size - 1)
    mean = (z * support).sum(-1, keepdim=True) / size
    spread = ((z - mean) ** 2 * support).sum(-1, keepdim=True)
    tau = mean - ((1 - spread) / size).sqrt()
    return (z - tau).clamp(min=0) ** 2, torch.zeros_like(s[..., 0])


def normalize(s, name, zeta=1.0, gamma=0.0):
    if name == "clipped_softmax":
        return clipped_softmax(s, zeta, gamma)
    return {"softmax": softmax, "softmax1": softmax1, "sparsemax": sparsemax, "entmax15": entmax15}[name](s)


def attention_weights(scores, name, zeta=1.0, gamma=0.0):
    """Causal probabilities of scores [..., T, T] (already scaled) and the null posterior [..., T]."""
    T = scores.shape[-1]
    future = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
    return normalize(scores.masked_fill(future, -torch.inf), name, zeta, gamma)
