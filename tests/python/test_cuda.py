"""Every operator on the GPU against the CPU's float64 path, forward and backward.

Skipped where there is no GPU. Relative error in the norm, inputs rounded to the GPU's type first: at
most 1e-5 in float32 and 2e-2 in bfloat16, or twice what the CPU's float32 path loses where a sum
cancels; tensors whose norm is below 1e-3 absolutely.
"""

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

LIMIT = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
NORMALIZERS = ["softmax", "softmax1", "clipped_softmax", "sparsemax", "entmax15"]


def run(function, inputs, device, dtype):
    """Outputs, and the gradients of a fixed random projection of the floating outputs."""
    moved = [x.to(device=device, dtype=dtype if x.is_floating_point() else x.dtype) for x in inputs]
    leaves = [x.requires_grad_() if x.is_floating_point() else x for x in moved]
    outputs = function(*leaves)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    loss = 0
    for i, y in enumerate(outputs):
        if y.requires_grad:
            generator = torch.Generator().manual_seed(100 + i)
            weight = torch.randn(y.shape, generator=generator, dtype=torch.float64)
            loss = loss + (y.double() * weight.to(device)).sum()
    gradients = []
    if torch.is_tensor(loss):
        wanted = [x for x in leaves if x.requires_grad]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, wanted)]
    return [x.detach().double().cpu() for x in outputs + list(gradients)]


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm().clamp_min(1e-3)).item()


def check(function, inputs, dtype):
    rounded = [x.to(dtype).double() if x.is_floating_point() else x for x in inputs]
    expected = run(function, rounded, "cpu", torch.float64)
    on_cpu = run(function, rounded, "cpu", torch.float32)
    found = run(function, rounded, "cuda", dtype)
    for i, (a, b, c) in enumerate(zip(found, expected, on_cpu)):
        assert torch.isfinite(a).all()
        limit = max(LIMIT[dtype], 2 * relative_error(c, b))
        error = relative_error(a, b)
        assert error <= limit, f"value {i}: relative error {error:.2e} over {limit:.2e}"


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


@pytest.mark.parametrize("dtype", LIMIT, ids=str)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("length,heads,kv_heads", [(1, 2, 2), (7, 4, 2), (130, 4, 1), (257, 2, 2)])
def test_attention(operators, normalizer, dtype, length, heads, kv_heads):
    inputs = [random(2, h, length, 32, seed=i) for i, h in enumerate((heads, kv_heads, kv_heads))]
    if dtype == torch.bfloat16 and normalizer in ("sparsemax", "entmax15", "clipped_softmax"):
        inputs = [x * 0.5 for x in inputs]
    check(lambda q, k, v: operators.attention(q, k, v, normalizer, 32**-0.5, 1.0, -0.03), inputs, dtype)


@pytest.mark.parametrize("dtype", LIMIT, ids=str)
def test_softmax1_where_the_null_option_is_large(operators, dtype):
    q, k, v = (random(1, 2, 9, 16, seed=i) for i in range(3))
    q, k = q.abs() + 0.5, -(k.abs() + 0.5)  # logits around -3
    check(lambda q, k, v: operators.attention(q, k, v, "softmax1", 0.25), [q, k, v], dtype)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_attention_weights(operators, normalizer):
    check(lambda s: operators.attention_weights(s, normalizer, 1.0, -0.03), [random(2, 3, 33, 33)], torch.float32)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("sources", [1, 2, 9])
def test_depth_route(operators, normalizer, shared, sources):
    tokens, hidden = 65, 48
    values = [random(tokens, hidden, seed=i) for i in range(sources)]
    rest = [random(1 if shared else tokens, hidden, seed=50), random(sources, seed=51),
            random(sources, tokens, seed=52), random(1, seed=53).abs()]

    def function(*x):
        y, (u, bias, nulls, beta) = x[:sources], x[sources:]
        return operators.depth_route(list(y), u, bias, nulls, beta, normalizer, 0.2, 1.0, -0.03, shared, 1e-6)

    check(function, values + rest, torch.float32)


@pytest.mark.parametrize("dtype", LIMIT, ids=str)
def test_pointwise_operators(operators, dtype):
    check(lambda x, w: operators.rms_norm(x, w, 1e-6), [random(3, 5, 40), random(40, seed=1)], dtype)
    check(lambda x: operators.rope(x, 1e4, 3), [random(2, 3, 5, 8)], dtype)
    check(operators.gated_product, [random(4, 9), random(4, 9, seed=1)], dtype)


@pytest.mark.parametrize("dtype", LIMIT, ids=str)
def test_linear_cross_entropy(operators, dtype):
    targets = torch.randint(0, 57, (31,), generator=torch.Generator().manual_seed(0))
    targets[4] = -100
    check(operators.linear_cross_entropy, [random(31, 24), random(57, 24, seed=1, scale=0.3), targets], dtype)


def test_statistics_and_quantizers(operators):
    x = random(2, 7, 33).float()
    for ours, theirs in zip(operators.activation_stats(x.cuda()), operators.activation_stats(x)):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-10, atol=1e-10)
    assert torch.equal(operators.fake_quantize(x.cuda(), -1.5, 2.0, 4).cpu(), operators.fake_quantize(x, -1.5, 2.0, 4))
    assert torch.equal(operators.fake_quantize_weight(x.cuda(), 4).cpu(), operators.fake_quantize_weight(x, 4))
    torch.testing.assert_close(operators.percentile_range(x.cuda(), 1e-5, 1 - 1e-5).cpu(),
                               operators.percentile_range(x, 1e-5, 1 - 1e-5), rtol=0, atol=0)
