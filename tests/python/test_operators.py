"""Every operator of the library, loaded with torch.ops.load_library, against plain PyTorch: forward and backward."""

import pytest
import torch
import torch.nn.functional as F

import reference_normalizers
from operator_checks import check, gradcheck
from reference_model import rms_norm, rope, rope_frequencies
from reference_normalizers import NAMES
from reference_quantization import percentile, quantize_activation, quantize_weight

ZETA_GAMMA = {"clipped_softmax": (1.03, -0.04)}


def randn(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def constants(normalizer):
    return ZETA_GAMMA.get(normalizer, (1.0, 0.0))


# --- attention: q [B,H,T,d], k and v [B,Hkv,T,d] ---

def eager_attention(q, k, v, normalizer, scale, zeta, gamma):
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    probs, null = reference_normalizers.attention_weights(q @ k.transpose(-1, -2) * scale, normalizer, zeta, gamma)
    return probs @ v, null


ATTENTION_SHAPES = [(1, 1, 1, 1, 4), (2, 4, 2, 17, 8), (1, 6, 1, 65, 12), (2, 3, 3, 130, 5), (1, 2, 2, 33, 64)]


def attention_inputs(B, H, Hkv, T, d, scale=1.0, shift=0.0):
    q, k = randn(B, H, T, d, seed=1, scale=scale), randn(B, Hkv, T, d, seed=2, scale=scale)
    v = randn(B, Hkv, T, d, seed=3)
    if shift:  # logits around `shift`: q and k share a direction
        q[..., 0], k[..., 0] = 1.0, shift * d**0.5
    return q, k, v


def attention_pair(operators, normalizer, d):
    zeta, gamma = constants(normalizer)
    scale = d**-0.5
    return (lambda q, k, v: operators.attention(q, k, v, normalizer, scale, zeta, gamma),
            lambda q, k, v: eager_attention(q, k, v, normalizer, scale, zeta, gamma))


@pytest.mark.parametrize("shape", ATTENTION_SHAPES, ids=str)
@pytest.mark.parametrize("normalizer", NAMES)
def test_attention(operators, normalizer, shape):
    check(*attention_pair(operators, normalizer, shape[-1]), attention_inputs(*shape))


@pytest.mark.parametrize("normalizer", NAMES)
def test_attention_with_peaked_scores(operators, normalizer):
    check(*attention_pair(operators, normalizer, 8), attention_inputs(1, 2, 1, 40, 8, scale=4.0))


@pytest.mark.parametrize("normalizer", NAMES)
def test_attention_non_contiguous(operators, normalizer):
    """q, k, v as a model makes them: [B,T,H,d] seen as [B,H,T,d]."""
    operator, eager = attention_pair(operators, normalizer, 6)

    def view(f):
        return lambda *x: f(*(y.transpose(1, 2) for y in x))

    check(view(operator), view(eager), [x.transpose(1, 2).contiguous() for x in attention_inputs(2, 4, 2, 19, 6)])


@pytest.mark.parametrize("normalizer", NAMES)
def test_attention_gradcheck(operators, normalizer):
    operator, _ = attention_pair(operators, normalizer, 4)
    gradcheck(operator, attention_inputs(1, 2, 1, 5, 4))


def only_null(outputs):
    context, null = outputs
    return [torch.zeros(context.shape, dtype=torch.float64), randn(*null.shape, seed=9)]


def null_where_context_is_unused(outputs):
    """Every second row has a gradient through the null posterior alone."""
    context, null = (randn(*o.shape, seed=9) for o in outputs)
    context[:, :, ::2] = 0
    return [context, null]


def mostly_null(outputs):
    context, null = (randn(*o.shape, seed=9) for o in outputs)
    return [1e-3 * context, null]


@pytest.mark.parametrize("weights", [None, only_null, null_where_context_is_unused, mostly_null])
@pytest.mark.parametrize("shape", [(2, 4, 2, 3, 8), (1, 2, 2, 33, 16)], ids=str)
def test_softmax1_where_the_null_is_large(operators, shape, weights):
    """Logits around -3 and few keys: rho is 0.9 in the first rows (a kernel that ignores it would pass elsewhere)."""
    inputs = attention_inputs(*shape, scale=0.3, shift=-3.0)
    _, null = eager_attention(*inputs, "softmax1", shape[-1]**-0.5, 1.0, 0.0)
    assert null[:, :, 0].mean() > 0.9
    check(*attention_pair(operators, "softmax1", shape[-1]), inputs, weights)


def test_attention_is_causal(operators):
    q, k, v = attention_inputs(1, 2, 2, 12, 8)
    before, _ = operators.attention(q, k, v, "softmax1", 0.3)
    k[:, :, 7:], v[:, :, 7:] = 5.0, -5.0
    after, _ = operators.attention(q, k, v, "softmax1", 0.3)
    assert torch.equal(before[:, :, :7], after[:, :, :7])


# --- attention_weights and normalize ---

@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 17, 17), (2, 1, 70, 70)], ids=str)
@pytest.mark.parametrize("normalizer", NAMES)
def test_attention_weights(operators, normalizer, shape):
    zeta, gamma = constants(normalizer)
    check(lambda s: operators.attention_weights(s, normalizer, zeta, gamma),
          lambda s: reference_normalizers.attention_weights(s, normalizer, zeta, gamma), [randn(*shape, scale=2.0)])


@pytest.mark.parametrize("normalizer", NAMES)
def test_attention_weights_are_zero_ahead(operators, normalizer):
    probs, _ = operators.attention_weights(randn(2, 9, 9), normalizer, *constants(normalizer))
    assert not probs.triu(1).any()


@pytest.mark.parametrize("shape", [(1,), (5, 1), (3, 2), (7, 33), (2, 3, 129)], ids=str)
@pytest.mark.parametrize("normalizer", NAMES)
def test_normalize(operators, normalizer, shape):
    zeta, gamma = constants(normalizer)
    for scale in (0.1, 3.0):
        check(lambda s: operators.normalize(s, normalizer, zeta, gamma),
              lambda s: reference_normalizers.normalize(s, normalizer, zeta, gamma), [randn(*shape, scale=scale)])


@pytest.mark.parametrize("normalizer", NAMES)
def test_normalize_strided(operators, normalizer):
    zeta, gamma = constants(normalizer)
    check(lambda s: operators.normalize(s.transpose(0, 1), normalizer, zeta, gamma),
          lambda s: reference_normalizers.normalize(s.transpose(0, 1), normalizer, zeta, gamma), [randn(6, 11)])


@pytest.mark.parametrize("normalizer", NAMES)
def test_normalize_gradcheck(operators, normalizer):
    gradcheck(lambda s: operators.normalize(s, normalizer, *constants(normalizer)), [randn(4, 6)])


def test_softmax1_of_very_low_and_high_logits(operators):
    logits = torch.tensor([[-800.0, -900.0], [800.0, 790.0], [0.0, -800.0]], dtype=torch.float64)
    probs, null = operators.normalize(logits, "softmax1")
    expected, expected_null = reference_normalizers.softmax1(logits)
    torch.testing.assert_close(probs, expected)
    torch.testing.assert_close(null, expected_null)


@pytest.mark.parametrize("normalizer", ["sparsemax", "entmax15"])
def test_planted_outlier_takes_all(operators, normalizer):
    logits = randn(3, 50)
    logits[:, 20] = 1e4
    probs, _ = operators.normalize(logits, normalizer)
    assert torch.equal(probs, F.one_hot(torch.full((3,), 20), 50).double())


def test_unknown_normalizer_is_refused(operators):
    with pytest.raises(RuntimeError, match="softmax1"):
        operators.normalize(randn(2, 3), "softmx1")


# --- depth_route ---

def eager_route(sources, direction, bias, nulls, beta, normalizer, scale, zeta, gamma, normalize_keys, eps):
    y = torch.stack(sources, 1)  # [M,n,D]
    keys = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) if normalize_keys else y
    g = scale * (direction[:, None] * keys).sum(-1)
    if bias is not None:
        g = g + bias
    if beta is not None:
        psi = nulls.T
        g = g - beta * (psi - psi.mean(-1, keepdim=True))
    weights, _ = reference_normalizers.normalize(g.clamp(-50, 50), normalizer, zeta, gamma)
    return (weights[..., None] * y).sum(1), weights


def route_pair(operators, n, normalizer, normalize_keys, scale=0.25, eps=1e-3, bias=True, coupled=True):
    """Functions of (sources..., direction, bias, nulls, beta)."""
    zeta, gamma = (1.05, -0.1) if normalizer == "clipped_softmax" else (1.0, 0.0)

    def arguments(x):
        return x[:n], x[n], x[n + 1] if bias else None, x[n + 2] if coupled else None, x[n + 3] if coupled else None

    return (lambda *x: operators.depth_route(*arguments(list(x)), normalizer, scale, zeta, gamma, normalize_keys, eps),
            lambda *x: eager_route(*arguments(list(x)), normalizer, scale, zeta, gamma, normalize_keys, eps))


def route_inputs(n, M, D, shared=False, scale=1.0):
    sources = [randn(M, D, seed=10 + i, scale=scale) for i in range(n)]
    return sources + [randn(1 if shared else M, D, seed=1), randn(n, seed=2), randn(n, M, seed=3).sigmoid(),
                      randn(1, seed=4).exp()]


@pytest.mark.parametrize("normalize_keys", [False, True], ids=["projected", "pseudo_query"])
@pytest.mark.parametrize("size", [(1, 1, 3), (2, 5, 8), (3, 33, 17), (9, 40, 64), (25, 7, 33)], ids=str)
@pytest.mark.parametrize("normalizer", NAMES)
def test_depth_route(operators, normalizer, size, normalize_keys):
    check(*route_pair(operators, size[0], normalizer, normalize_keys), route_inputs(*size, shared=normalize_keys))


@pytest.mark.parametrize("bias, coupled", [(False, False), (True, False), (False, True)])
def test_depth_route_without_options(operators, bias, coupled):
    check(*route_pair(operators, 4, "softmax1", False, bias=bias, coupled=coupled), route_inputs(4, 11, 20))


@pytest.mark.parametrize("normalizer", ["softmax", "softmax1"])
def test_depth_route_beyond_the_clamp(operators, normalizer):
    """Logits past +-50 give no gradient."""
    check(*route_pair(operators, 3, normalizer, False, scale=6.0), route_inputs(3, 30, 24))


def test_depth_route_gradcheck(operators):
    for normalizer in NAMES:
        for normalize_keys in (False, True):
            operator, _ = route_pair(operators, 3, normalizer, normalize_keys)
            gradcheck(operator, route_inputs(3, 2, 4, shared=normalize_keys))


def test_depth_route_of_strided_sources(operators):
    operator, eager = route_pair(operators, 3, "softmax1", False)
    inputs = route_inputs(3, 10, 12)
    inputs[:3] = [x.T.contiguous() for x in inputs[:3]]

    def view(f):
        return lambda a, b, c, *rest: f(a.T, b.T, c.T, *rest)

    check(view(operator), view(eager), inputs)


# --- the rest of the step ---

@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (2, 3, 64), (2, 5, 3, 12)], ids=str)
def test_rms_norm(operators, shape):
    inputs = [randn(*shape), 1 + randn(shape[-1], seed=1)]
    check(lambda x, w: operators.rms_norm(x, w, 1e-5), lambda x, w: rms_norm(x, w, 1e-5), inputs)


def test_rms_norm_of_outliers_and_zeros(operators):
    x = randn(6, 40)
    x[1, 3], x[2] = 1e4, 0
    check(lambda x, w: operators.rms_norm(x, w, 1e-5), lambda x, w: rms_norm(x, w, 1e-5), [x, randn(40, seed=1)])


def test_rms_norm_gradcheck_and_strides(operators):
    gradcheck(lambda x, w: operators.rms_norm(x, w, 1e-5), [randn(3, 5), randn(5, seed=1)])
    check(lambda x, w: operators.rms_norm(x.transpose(1, 2), w, 1e-5),
          lambda x, w: rms_norm(x.transpose(1, 2), w, 1e-5), [randn(2, 6, 4), randn(6, seed=1)])


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 3, 17, 8), (1, 2, 70, 12)], ids=str)
@pytest.mark.parametrize("theta", [10000.0, 5e5])
def test_rope(operators, shape, theta):
    check(lambda x: operators.rope(x, theta), lambda x: rope(x, theta), [randn(*shape)])


def test_rope_of_context_extension(operators):
    scaling = {"type": "longrope", "short_factor": [1.0, 1.5, 9.0], "original_max_position_embeddings": 64}
    _, magnitude = rope_frequencies(1e4, 6, 17, scaling, 512)
    check(lambda x: operators.rope(x, 1e4, 0, scaling["short_factor"], magnitude),
          lambda x: rope(x, 1e4, scaling=scaling, max_length=512), [randn(2, 3, 17, 6)])


def test_rope_offset_and_strides(operators):
    x = randn(2, 3, 20, 8)
    torch.testing.assert_close(operators.rope(x[:, :, 5:], 1e4, 5), rope(x, 1e4)[:, :, 5:])
    check(lambda x: operators.rope(x.transpose(1, 2), 1e4), lambda x: rope(x.transpose(1, 2), 1e4), [randn(2, 9, 3, 8)])
    gradcheck(lambda x: operators.rope(x, 1e4), [randn(1, 2, 3, 4)])


@pytest.mark.parametrize("shape", [(1,), (7, 33), (2, 3, 129)], ids=str)
def test_gated_product(operators, shape):
    inputs = [randn(*shape, scale=3.0), randn(*shape, seed=1)]
    check(operators.gated_product, lambda g, u: F.silu(g) * u, inputs)
    gradcheck(operators.gated_product, [x.flatten()[:9] for x in inputs])


def test_gated_product_of_halves(operators):
    """Gate and up as halves of one fused projection: not contiguous."""
    check(lambda x: operators.gated_product(*x.chunk(2, -1)), lambda x: F.silu(x[:, :9]) * x[:, 9:], [randn(5, 18)])


def eager_head_gate(x, weight, bias, context):
    logits = (x.unflatten(-1, weight.shape) * weight).sum(-1) + bias
    return (context.transpose(1, 2) * logits.sigmoid()[..., None]).flatten(2)


def head_gate_inputs(B, H, T, part, d):
    """x [B,T,H·part], weight, bias, and the context in the order in which attention leaves it, [B,T,H,d]."""
    return [randn(B, T, H * part), randn(H, part, seed=1, scale=part**-0.5), randn(H, seed=2),
            randn(B, T, H, d, seed=3)]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 2), (2, 3, 17, 8, 8), (2, 2, 40, 33, 12), (1, 5, 7, 4, 64)], ids=str)
def test_head_gate(operators, shape):
    def token_major(f):
        return lambda x, w, b, c: f(x, w, b, c.transpose(1, 2))

    inputs = head_gate_inputs(*shape)
    check(token_major(operators.head_gate), token_major(eager_head_gate), inputs)
    inputs[3] = inputs[3].transpose(1, 2).contiguous()
    check(operators.head_gate, eager_head_gate, inputs)
    inputs[3] = inputs[3].transpose(2, 3).contiguous()
    check(lambda x, w, b, c: operators.head_gate(x, w, b, c.transpose(2, 3)),
          lambda x, w, b, c: eager_head_gate(x, w, b, c.transpose(2, 3)), inputs)


def test_head_gate_gradcheck_and_extremes(operators):
    x, w, b, c = head_gate_inputs(1, 2, 3, 4, 2)
    gradcheck(lambda x, w, b, c: operators.head_gate(x, w, b, c.transpose(1, 2)), [x, w, b, c])
    y = operators.head_gate(x, 0 * w, torch.tensor([1e4, -1e4], dtype=torch.float64), c.transpose(1, 2))
    assert torch.equal(y, torch.stack((c[:, :, 0], 0 * c[:, :, 1]), 2).flatten(2))
    for bad in ((x, w.T, b, c.transpose(1, 2)), (x, w, b[:1], c.transpose(1, 2)), (x, w, b, c)):
        with pytest.raises(RuntimeError, match="head_gate"):
            operators.head_gate(*bad)


@pytest.mark.parametrize("M, D, V", [(1, 3, 2), (7, 12, 31), (70, 8, 1000), (600, 5, 53)])
def test_linear_cross_entropy(operators, M, D, V):
    hidden, weight = randn(M, D), randn(V, D, seed=1)
    targets = torch.randint(V, (M,), generator=torch.Generator().manual_seed(3))
    check(lambda h, w: operators.linear_cross_entropy(h, w, targets)[0],
          lambda h, w: F.cross_entropy(h @ w.T, targets), [hidden, weight])
    mean, tokens = operators.linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(tokens.double(), F.cross_entropy(hidden @ weight.T, targets, reduction="none"))
    assert not tokens.requires_grad
    torch.testing.assert_close(mean.double(), tokens.double().mean())


def test_linear_cross_entropy_gradcheck_and_bounds(operators):
    targets = torch.tensor([0, 4, 2])
    gradcheck(lambda h, w: operators.linear_cross_entropy(h, w, targets)[0], [randn(3, 4), randn(5, 4, seed=1)])
    for bad in (5, -1):
        with pytest.raises(RuntimeError):
            operators.linear_cross_entropy(randn(1, 4), randn(5, 4), torch.tensor([bad]))


# --- statistics and quantization ---

def eager_stats(x):
    """max|x|, mean, and the second to fourth sums of powers about the mean, over the last axis."""
    x = x.double()
    mean = x.mean(-1, keepdim=True)
    powers = [(x - mean).pow(p).sum(-1) for p in (2, 3, 4)]
    return torch.stack([x.abs().amax(-1), mean.squeeze(-1), *powers], -1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 17, 33), (3, 5, 1025)], ids=str)
def test_activation_stats(operators, shape, dtype):
    x = (randn(*shape) + 0.7).to(dtype)
    x[0, -1, 0] = -400.0  # an outlier in one channel
    per_sequence, per_token = operators.activation_stats(x)
    assert per_sequence.dtype == per_token.dtype == torch.float64
    torch.testing.assert_close(per_sequence, eager_stats(x.flatten(1)), rtol=1e-11, atol=1e-9)
    torch.testing.assert_close(per_token, eager_stats(x), rtol=1e-11, atol=1e-9)


def test_activation_stats_far_from_zero(operators):
    """A mean of 1e6 cancels everything in formulas that use raw moments."""
    x = randn(2, 9, 50) + 1e6
    torch.testing.assert_close(operators.activation_stats(x)[0], eager_stats(x.flatten(1)), rtol=1e-6, atol=1e-3)


def test_activation_stats_strided(operators):
    x = randn(2, 30, 11).transpose(1, 2)
    torch.testing.assert_close(operators.activation_stats(x)[1], eager_stats(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("lo, hi", [(-2.0, 1.5), (0.5, 3.0), (-3.0, -1.0), (0.0, 0.0), (-1e-3, 700.0)])
def test_fake_quantize(operators, lo, hi, bits):
    x = randn(7, 33, scale=2.0)
    expected = quantize_activation(x, lo, hi, bits)
    torch.testing.assert_close(operators.fake_quantize(x, lo, hi, bits), expected, rtol=1e-12, atol=1e-12)


def test_fake_quantize_rounds_half_to_even(operators):
    x = torch.tensor([0.5, 1.5, 2.5, 3.5, 14.5, 99.0, -3.0], dtype=torch.float64)
    assert operators.fake_quantize(x, 0.0, 15.0, 4).tolist() == [0, 2, 2, 4, 14, 15, 0]


def test_fake_quantize_gradient_is_straight_through(operators):
    x = torch.tensor([-5.0, -1.0, 0.3, 1.9, 7.0], dtype=torch.float64, requires_grad=True)
    operators.fake_quantize(x, -2.0, 2.0, 8).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_fake_quantize_weight(operators, bits):
    w = randn(33, 17)
    expected = quantize_weight(w, bits)
    torch.testing.assert_close(operators.fake_quantize_weight(w, bits), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operators.fake_quantize_weight(w.T, bits), expected.T, rtol=1e-12, atol=1e-12)
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    assert torch.equal(operators.fake_quantize_weight(zeros, bits), zeros)


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 100_003])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_percentile_range(operators, count, dtype):
    for lower, upper in ((1e-5, 1 - 1e-5), (0.1, 0.75), (0.0, 1.0)):
        x = randn(count, seed=count).to(dtype)
        found = operators.percentile_range(x, lower, upper)
        assert found.dtype == torch.float64
        expected = torch.tensor([percentile(x, lower), percentile(x, upper)], dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_percentile_range_of_ties_and_strides(operators):
    x = torch.zeros(40, 50, dtype=torch.float64)
    x[3, 4] = 2.0
    assert operators.percentile_range(x.T, 0.0, 1.0).tolist() == [0, 2]
    assert operators.percentile_range(x.T, 0.01, 0.99).tolist() == [0, 0]
