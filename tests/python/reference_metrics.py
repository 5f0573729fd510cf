"""The metrics of DESIGN section 5 and PROTOCOLS.md of one set of sequences, from a Record, written to be read.

Everything is computed in float64 and for all sequences at once. `evaluate` returns {metric name: value}.
"""

import torch

from reference_model import next_token_loss

SINK_EPSILON = 0.3
SINK_LENGTH = 64  # positions that the sink rate looks at
SITE_KINDS = ("model.norm", ".mlp", ".post_attention_layernorm", ".self_attn.o_proj", ".input_layernorm")


def outlier_sites(record, layers):
    """The recorded modules of the six kinds of site."""
    names = [n for n in record.sites if n.endswith(SITE_KINDS)]
    return names + [f"model.layers.{i}" for i in range(layers)]


def kurtosis(x, eps):
    """mean((x-mu)^4) / (s^4 + eps) over the last axis, s the unbiased standard deviation."""
    centred = x - x.mean(-1, keepdim=True)
    return centred.pow(4).mean(-1) / (x.var(-1, unbiased=True).pow(2) + eps)


def outliers(record, layers):
    """Site averages: {(metric, site): value}."""
    values = {}
    for site in outlier_sites(record, layers):
        x = record.sites[site].double()
        sequence = x.flatten(1)
        values["max_inf_norm/seq", site] = sequence.abs().amax(-1).mean()
        values["max_inf_norm/token", site] = x.abs().amax(-1).mean()
        values["avg_kurtosis/seq", site] = kurtosis(sequence, 1e-6).mean()
        values["avg_kurtosis/seq_noeps", site] = kurtosis(sequence, 0).mean()
        values["avg_kurtosis/token", site] = kurtosis(x, 1e-6).mean()
        values["avg_kurtosis/token_noeps", site] = kurtosis(x, 0).mean()
    return values


def sinks(record):
    """First-token mass, sink rate, entropy and largest probability over samples, layers, heads and queries."""
    A = torch.stack(record.probs).double()  # [L,B,H,T,T]
    null = torch.stack(record.head_nulls).double()  # [L,B,H,T]
    T = A.shape[-1]
    first = A[..., 0]
    short = min(T, SINK_LENGTH)
    per_head = A[..., :short, 0].mean(-1)
    out = {
        "first_token_mass": first.mean(),
        "sink_rate": (per_head > SINK_EPSILON).double().mean(),
        "null_mass": null.mean(),
        "attention_entropy": -torch.xlogy(A, A).sum(-1).mean(),
        "attention_max": A.amax(-1).mean(),
    }
    if T > 1:
        out["first_token_mass/without_first"] = first[..., 1:].mean()
    out["first_token_mass/renormalized"] = (first / (1 - null)).mean()
    return out


def massive_activations(record, layers):
    """Per sequence: |x| > 100 and at least 1,000 times the median |x| of the hidden state [T,D] of its layer."""
    count = 0.0
    for i in range(layers):
        x = record.sites[f"model.layers.{i}"].double().abs().flatten(1)
        count += float(((x > 100) & (x >= 1000 * x.median(-1, keepdim=True).values)).sum(-1).double().mean())
    return count


def joint_route(record):
    """Assumption D.4 of the paper on q(i,j) = alpha_i p_i(j), per router, head and query.

    Queries in the sink set {0} are excluded. A run (block form) has the mean over its outputs' p, as it has the mean
    of their psi; an MLP's output has the p of its layer's attention.
    """
    totals, n = torch.zeros(3, dtype=torch.float64), 0
    B, H, T, _ = record.probs[0].shape
    for key, alpha in record.depth_weights.items():
        own = torch.eye(T, dtype=torch.float64).expand(B, H, T, T)
        p = [torch.stack([record.probs[i].double() for i in layers]).mean(0) if layers else own
             for layers in record.sources[key]]
        q = torch.stack([alpha.double()[:, None, :, i, None] * p_i for i, p_i in enumerate(p)], -2)  # [B,H,T,n,T]
        q = q[:, :, 1:]
        totals += torch.stack([q[..., 0].sum(), q.amax((-1, -2)).sum(), torch.xlogy(q, q).sum()])
        n += B * H * (T - 1)
    leakage, concentration, negative_entropy = (totals / n).tolist() if n else (float("nan"),) * 3
    return {"d4_leakage": leakage, "d4_concentration": concentration, "d4_negative_entropy": negative_entropy}


def evaluate(model, tokens):
    """Every metric of `tokens` [N,T] under the model."""
    layers = model.c.num_hidden_layers
    with torch.no_grad():
        record = model(tokens)
    loss = next_token_loss(record.logits.double(), tokens).mean()
    metrics = {"loss": loss, "perplexity": loss.exp()}
    sites = outliers(record, layers)
    for metric in sorted({m for m, _ in sites}):
        values = {site: v for (m, site), v in sites.items() if m == metric}
        reduce = max if metric.startswith("max") else lambda v: sum(v) / len(v)
        metrics[metric] = reduce(list(values.values()))
    metrics |= sinks(record)
    metrics["massive_activations"] = massive_activations(record, layers)
    if record.depth_weights:
        metrics |= joint_route(record)
    return {name: float(v) for name, v in metrics.items()}
