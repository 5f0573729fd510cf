"""The model of DESIGN section 2 and 3, straight from its equations: eager PyTorch, T x T matrices, stacked sources.

Shapes: B batch, T positions, D hidden size, H heads, d head size, n sources, A router size.
`quantizer` is called at every weight and activation that PROTOCOLS names; `Float` passes them through.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

from reference_normalizers import attention_weights, normalize


class Float:
    """No quantization."""

    def weight(self, name, w):
        return w

    def activation(self, point, x):
        return x


@dataclasses.dataclass
class Record:
    """What one forward pass showed."""

    logits: torch.Tensor = None  # [B,T,V]
    null_posterior: list = dataclasses.field(default_factory=list)  # per layer [B,T]
    head_nulls: list = dataclasses.field(default_factory=list)  # per layer [B,H,T]
    depth_weights: dict = dataclasses.field(default_factory=dict)  # "0.sa", "0.mlp", "final": [B,T,n]
    sources: dict = dataclasses.field(default_factory=dict)  # the same keys: per source, the layer of each output
    probs: list = dataclasses.field(default_factory=list)  # per layer [B,H,T,T], as they multiply V
    sites: dict = dataclasses.field(default_factory=dict)  # module name: [B,T,D]


def rms_norm(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def rope_frequencies(theta, rotated, length, scaling=None, max_length=0, dtype=torch.float64, device=None):
    """(frequencies [rotated/2], factor of cosines and sines) as transformers' modeling_rope_utils defines them."""
    frequency = theta ** (-torch.arange(0, rotated, 2, dtype=dtype, device=device) / rotated)
    if scaling is None:
        return frequency, 1.0
    original = scaling["original_max_position_embeddings"]
    if scaling.get("type") == "longrope":
        divisors = scaling["long_factor" if length > original else "short_factor"]
        stretch = max(max_length / original, 1.0)
        factor = math.sqrt(1 + math.log(stretch) / math.log(original))
        return frequency / torch.tensor(divisors, dtype=dtype, device=device), factor
    assert scaling["rope_type"] == "llama3"
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    wavelength = 2 * math.pi / frequency
    smooth = (original / wavelength - low) / (high - low)
    between = (1 - smooth) * frequency / factor + smooth * frequency
    scaled = torch.where(wavelength > original / low, frequency / factor,
                         torch.where(wavelength < original / high, frequency, between))
    return scaled, 1.0


def rope(x, theta, rotated=None, scaling=None, max_length=0):
    """Rotary embedding of x [B,H,T,d] in the rotate-half convention; only the first `rotated` dimensions turn."""
    rotated = rotated or x.shape[-1]
    frequency, factor = rope_frequencies(theta, rotated, x.shape[-2], scaling, max_length, x.dtype, x.device)
    angle = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)[:, None] * frequency
    cos, sin = factor * torch.cat([angle, angle], -1).cos(), factor * torch.cat([angle, angle], -1).sin()
    turned, rest = x[..., :rotated], x[..., rotated:]
    a, b = turned.chunk(2, -1)
    return torch.cat([turned * cos + torch.cat([-b, a], -1) * sin, rest], -1)


class Model:
    def __init__(self, config, weights, quantizer=None):
        self.c = config
        self.w = weights
        self.q = quantizer or Float()

    def linear(self, name, x, weight=None, bias=None):
        """A linear layer whose weight and output are quantization points."""
        weight = self.w[name + ".weight"] if weight is None else weight
        bias = self.w.get(name + ".bias") if bias is None else bias
        return self.q.activation(name, F.linear(x, self.q.weight(name + ".weight", weight), bias))

    def part(self, fused, sizes, name, x):
        """A projection of its own, or its rows of Phi's fused one."""
        module = name.rsplit(".", 1)[0]
        if not self.c.fused:
            return self.linear(name, x)
        position = list(sizes).index(name.rsplit(".", 1)[1])
        weight = self.w[f"{module}.{fused}.weight"].split(list(sizes.values()))[position]
        bias = self.w.get(f"{module}.{fused}.bias")
        return self.linear(name, x, weight, None if bias is None else bias.split(list(sizes.values()))[position])

    def norm(self, name, x, quantized=True):
        y = rms_norm(x, self.w[name + ".weight"], self.c.rms_norm_eps)
        return self.q.activation(name, y) if quantized else y

    def attention(self, name, x, record):
        """Output [B,T,D] and branch null psi [B,T] of one attention on its normed input x."""
        c = self.c
        B, T, D = x.shape
        H, Hkv, d = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        sizes = {"q_proj": H * d, "k_proj": Hkv * d, "v_proj": Hkv * d}
        q, k, v = (self.part("qkv_proj", sizes, f"{name}.{p}", x).view(B, T, -1, d).transpose(1, 2) for p in sizes)
        if c.qk_norm:
            q = self.norm(name + ".q_norm", q, quantized=False)
            k = self.norm(name + ".k_norm", k, quantized=False)
        rotated = int(d * c.partial_rotary_factor)
        q, k = (rope(y, c.rope_theta, rotated, c.rope_scaling, c.max_position_embeddings) for y in (q, k))
        k, v = (y.repeat_interleave(H // Hkv, 1) for y in (k, v))
        scores = self.q.activation(name + ".scores", q @ k.transpose(-1, -2) / d**0.5)
        probs, null = attention_weights(scores, c.token_normalizer, c.clip_zeta, c.clip_gamma)
        probs = self.q.activation(name + ".probs", probs)
        context = self.q.activation(name + ".context", (probs @ v).transpose(1, 2).reshape(B, T, H * d))
        if c.gate:
            slices = x.view(B, T, H, D // H)
            gate = (slices * self.w[name + ".gate.weight"]).sum(-1) + self.w[name + ".gate.bias"]
            context = (context.view(B, T, H, d) * torch.sigmoid(gate)[..., None]).reshape(B, T, H * d)
            context = self.q.activation(name + ".gated_context", context)
        record.probs.append(probs)
        record.head_nulls.append(null)
        record.null_posterior.append(null.mean(1))
        return self.site(record, name + ".o_proj", self.linear(name + ".o_proj", context)), null.mean(1)

    def mlp(self, name, x, record):
        sizes = {"gate_proj": self.c.intermediate_size, "up_proj": self.c.intermediate_size}
        gate, up = (self.part("gate_up_proj", sizes, f"{name}.{p}", x) for p in sizes)
        product = self.q.activation(name + ".product", F.silu(gate) * up)
        return self.site(record, name, self.linear(name + ".down_proj", product))

    def beta(self, router):
        if self.c.coupling == "learned":
            return F.softplus(self.w[router + ".oasis_beta_raw"]).clamp(max=10)
        return 0.0 if self.c.coupling == "none" else float(self.c.coupling)

    def route(self, router, key, sources, nulls, layers, record):
        """R = sum_i alpha_i y_i over sources y_i [B,T,D] with nulls psi_i [B,T]."""
        c = self.c
        y = torch.stack(sources, 2)
        psi = torch.stack(nulls, 2)
        n = len(sources) - 1
        if c.routing == "projected":
            query = self.linear(router + ".q_proj", sources[-1])
            keys = self.linear(router + ".k_proj", y)
            i = torch.arange(n + 1, dtype=y.dtype, device=y.device)
            step = i / n if c.recency == "normalized" else i - n + 1
            g = (keys * query[:, :, None]).sum(-1) / c.router_size**0.5 + self.w[router + ".recency_bias"] * step
        else:
            g = self.norm(router + ".key_norm", y, quantized=False) @ self.w[router + ".query"]
        g = g - self.beta(router) * (psi - psi.mean(-1, keepdim=True))
        alpha, _ = normalize(g.clamp(-50, 50), c.depth_normalizer, c.clip_zeta, c.clip_gamma)
        record.depth_weights[key] = alpha
        record.sources[key] = list(layers)
        return (alpha[..., None] * y).sum(2)

    def site(self, record, name, x):
        record.sites[name] = x
        return x

    def normed(self, record, name, x):
        return self.site(record, name, self.norm(name, x))

    def __call__(self, tokens):
        record = Record()
        table = self.q.weight("model.embed_tokens.weight", self.w["model.embed_tokens.weight"])
        x0 = self.q.activation("model.embed_tokens", F.embedding(tokens, table))
        forms = {"none": self.plain, "projected": self.projected, "pseudo_query": self.pseudo, "block": self.pseudo}
        h = forms[self.c.routing](x0, record)
        head = self.w["model.embed_tokens.weight" if self.c.tie_word_embeddings else "lm_head.weight"]
        record.logits = F.linear(self.normed(record, "model.norm", h), head)
        return record

    def plain(self, h, record):
        """The residual sum of a PreNorm decoder."""
        for i in range(self.c.num_hidden_layers):
            layer = f"model.layers.{i}"
            a, _ = self.attention(layer + ".self_attn", self.normed(record, layer + ".input_layernorm", h), record)
            h = self.q.activation(layer + ".attn_res_sa", h + a)
            m = self.mlp(layer + ".mlp", self.normed(record, layer + ".post_attention_layernorm", h), record)
            h = self.q.activation(layer + ".attn_res_mlp", h + m)
            self.site(record, layer, h)
        return h

    def projected(self, x0, record):
        """The projected form: S, Psi and h as DESIGN section 2 names them."""
        S, Psi, layers, h = [x0], [torch.zeros_like(x0[..., 0])], [[]], x0
        for i in range(self.c.num_hidden_layers):
            layer = f"model.layers.{i}"
            a, psi = self.attention(layer + ".self_attn", self.normed(record, layer + ".input_layernorm", h), record)
            c = h + a
            h = self.route(layer + ".attn_res_sa", f"{i}.sa", S + [c], Psi + [psi], layers + [[i]], record)
            h = self.q.activation(layer + ".attn_res_sa", h)
            e = h + self.mlp(layer + ".mlp", self.normed(record, layer + ".post_attention_layernorm", h), record)
            h = self.route(layer + ".attn_res_mlp", f"{i}.mlp", S + [c, e], Psi + [psi, psi],
                           layers + [[i], [i]], record)
            S, Psi, layers = S + [h], Psi + [psi], layers + [[i]]
            h = self.site(record, layer, self.q.activation(layer + ".attn_res_mlp", h))
        return h

    def pseudo(self, x0, record):
        """The pseudo-query form, and the block form, which sums the sublayer outputs of a run."""
        outputs, Psi = [], []
        run = 1 if self.c.routing == "pseudo_query" else 2 * self.c.num_hidden_layers // self.c.block_count

        def routed(router, key):
            starts = range(0, len(outputs), run)
            sources = [x0] + [sum(outputs[s:s + run]) for s in starts]
            nulls = [torch.zeros_like(x0[..., 0])] + [torch.stack(Psi[s:s + run]).mean(0) for s in starts]
            layers = [[]] + [[j // 2 for j in range(s, min(s + run, len(outputs)))] for s in starts]
            return self.route(router, key, sources, nulls, layers, record)

        for i in range(self.c.num_hidden_layers):
            layer = f"model.layers.{i}"
            h = self.q.activation(layer + ".attn_res_sa", routed(layer + ".attn_res_sa", f"{i}.sa"))
            a, psi = self.attention(layer + ".self_attn", self.normed(record, layer + ".input_layernorm", h), record)
            outputs.append(a)
            Psi.append(psi)
            h = self.q.activation(layer + ".attn_res_mlp", routed(layer + ".attn_res_mlp", f"{i}.mlp"))
            self.site(record, layer, h)
            m = self.mlp(layer + ".mlp", self.normed(record, layer + ".post_attention_layernorm", h), record)
            outputs.append(m)
            Psi.append(psi)
        return routed("model.final_res", "final")


def next_token_loss(logits, tokens):
    """Cross-entropy [B,T-1] of each next token, from the logits of all of them at once."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(
        len(tokens), -1)
