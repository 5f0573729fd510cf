"""Attention on the GPU in the half types, against the CPU's float64 path, forward and backward.

Skipped where there is no GPU. Relative error in the norm: at most twice what plain PyTorch loses at the same
precision (products and probabilities in the half type, the normaliser in float32), and no less than the
rounding of the result itself; tensors whose norm is below 1e-3 absolutely.
"""

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

NORMALIZERS = ["clipped_softmax", "sparsemax", "entmax15"]
GAMMA = -0.03


def random(shape, seed, dtype, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def inputs(batch, heads, kv_heads, length, head_size, dtype=torch.bfloat16, scale=1.0):
    """q, k, v as a model makes them, [B,T,heads,d] in memory, and a gradient of the context."""
    return [random((batch, length, h, head_size), i, dtype, scale if i < 2 else 1.0).transpose(1, 2)
            for i, h in enumerate((heads, kv_heads, kv_heads, heads))]


def value_and_gradients(function, q, k, v, grad):
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    context = function(*leaves)
    return [context.detach(), *torch.autograd.grad(context, leaves, grad)]


def composed(operators, normalizer, zeta, gamma):
    def function(q, k, v):
        group = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(group, 1) for x in (k, v))
        hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
        scores = (q @ k.transpose(-1, -2) * q.shape[3] ** -0.5).float().masked_fill(hidden, float("-inf"))
        probs, _ = operators.normalize(scores, normalizer, zeta, gamma)
        return probs.masked_fill(hidden, 0).to(q.dtype) @ v

    return function


def fused(operators, normalizer, zeta, gamma):
    return lambda q, k, v: operators.attention(q, k, v, normalizer, q.shape[3] ** -0.5, zeta, gamma)[0]


def relative_error(found, expected):
    return ((found.double().cpu() - expected).norm() / expected.norm().clamp_min(1e-3)).item()


def check(operators, normalizer, tensors, zeta=1.0, gamma=GAMMA):
    expected = value_and_gradients(fused(operators, normalizer, zeta, gamma), *(x.double() for x in tensors))
    on_gpu = [x.cuda() for x in tensors]  # keeps the strides
    plain = value_and_gradients(composed(operators, normalizer, zeta, gamma), *on_gpu)
    found = value_and_gradients(fused(operators, normalizer, zeta, gamma), *on_gpu)
    rounding = torch.finfo(tensors[0].dtype).eps
    for name, a, b, c in zip(("context", "dq", "dk", "dv"), found, plain, expected):
        assert torch.isfinite(a).all(), name
        limit = max(2 * relative_error(b, c), rounding / 2)
        assert relative_error(a, c) <= limit, f"{name}: {relative_error(a, c):.2e} over {limit:.2e}"
    return found


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("length", [1, 7, 64, 130, 1000])
def test_lengths(operators, normalizer, length):
    check(operators, normalizer, inputs(2, 4, 2, length, 64))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("heads,kv_heads,head_size",
                         [(1, 1, 64), (4, 1, 128), (2, 2, 32), (3, 3, 96), (2, 1, 80), (6, 2, 16)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_heads(operators, normalizer, heads, kv_heads, head_size, dtype):
    check(operators, normalizer, inputs(2, heads, kv_heads, 257, head_size, dtype))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("scale", [0.0, 0.05, 0.2, 0.4, 0.7, 3.0, 35.0])  # the last: logits of 1e4
@pytest.mark.parametrize("length", [300, 1500])
def test_from_equal_weights_to_one_winner(operators, normalizer, scale, length):
    check(operators, normalizer, inputs(1, 2, 2, length, 64, scale=scale))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("key", [5, 70, 420])  # met early or late by those who look for thresholds
def test_one_key_draws_everything(operators, normalizer, key):
    q, k, v, grad = inputs(1, 2, 2, 600, 64)
    k[:, :, key] = q[:, :, 300:].mean(2) * 40
    check(operators, normalizer, [q, k, v, grad])


@pytest.mark.parametrize("zeta,gamma", [(1.1, -0.1), (1.0, 0.0), (1.2, 0.05), (0.9, -0.001), (1.003, -0.003)])
def test_clip(operators, zeta, gamma):
    check(operators, "clipped_softmax", inputs(2, 2, 2, 257, 64, scale=1.5), zeta, gamma)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_strides(operators, normalizer):
    joined = random((2, 200, 3 * 4 * 64), 0, torch.bfloat16).view(2, 200, 3, 4, 64)
    q, k, v = joined.permute(2, 0, 3, 1, 4)
    grad = random((2, 4, 64, 200), 1, torch.bfloat16).transpose(2, 3)
    check(operators, normalizer, [q, k, v, grad])
    shifted = random((2, 4, 200, 67), 2, torch.bfloat16)[..., 3:]  # rows start at odd addresses
    check(operators, normalizer, [shifted, k.contiguous(), v, grad.contiguous()])
    repeated = random((1, 1, 200, 64), 3, torch.bfloat16).expand(2, 4, -1, -1)
    check(operators, normalizer, [repeated, k, repeated, grad])


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_rows_without_gradient(operators, normalizer):
    q, k, v, grad = inputs(2, 2, 1, 300, 64)
    grad[:, :, ::3] = 0
    dq = check(operators, normalizer, [q, k, v, grad])[1]
    assert dq[:, :, ::3].count_nonzero() == 0
    grad.zero_()
    assert all(x.count_nonzero() == 0 for x in check(operators, normalizer, [q, k, v, grad])[1:])


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_same_bits_every_time(operators, normalizer):
    tensors = [x.cuda() for x in inputs(2, 4, 2, 700, 64)]
    function = fused(operators, normalizer, 1.0, GAMMA)
    first, second = (value_and_gradients(function, *tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_lost(operators, normalizer, value):
    q, k, v, _ = (x.cuda() for x in inputs(1, 1, 1, 300, 64))
    k[0, 0, 100, 3] = value
    context = fused(operators, normalizer, 1.0, GAMMA)(q, k, v)[0, 0]
    assert torch.isfinite(context[:100]).all()
    rows = torch.isnan(context[100:]).all(1)
    assert rows.all() if value != value else rows[q[0, 0, 100:, 3] > 0].all()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_context_is_laid_out_by_token(operators, normalizer):
    q, k, v, _ = (x.cuda() for x in inputs(2, 4, 2, 100, 64))
    context, null = operators.attention(q.contiguous(), k, v, normalizer, 0.125, 1.0, GAMMA)
    assert context.transpose(1, 2).is_contiguous()
    assert null.dtype == torch.float32 and null.shape == (2, 4, 100) and null.count_nonzero() == 0


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_in_a_graph(operators, normalizer):
    tensors = [x.cuda() for x in inputs(1, 2, 2, 200, 64)]
    function = fused(operators, normalizer, 1.0, GAMMA)
    expected = value_and_gradients(function, *tensors)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = value_and_gradients(function, *tensors)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
