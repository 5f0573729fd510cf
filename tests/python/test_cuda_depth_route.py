"""Depth routing's kernels on the GPU against the CPU's float64 path, forward and backward.

Skipped where there is no GPU. Inputs are rounded to the GPU's type first. An error, relative in the
norm, may be twice what the same formula loses in PyTorch's own operators on the GPU at the same
precision, twice what the type's rounding of the inputs does, or the rounding of one result.
"""

import pytest
import torch

from operator_checks import DISTURBANCES, disturbed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

ROUNDING = {torch.float32: 2**-24, torch.bfloat16: 2**-9, torch.float16: 2**-12}
NORMALIZERS = ["softmax", "softmax1", "clipped_softmax", "sparsemax", "entmax15"]
ZETA, GAMMA = 1.0, -0.03


def threshold(logits, squared):
    """Sparsemax, or 1.5-entmax on halved logits, by sorting."""
    shifted = (logits - logits.amax(-1, keepdim=True)) * (0.5 if squared else 1.0)
    ordered = shifted.sort(-1, descending=True).values
    rank = torch.arange(1, logits.shape[-1] + 1, device=logits.device, dtype=logits.dtype)
    mean = ordered.cumsum(-1) / rank
    if squared:
        spread = 1 / rank - (ordered.square().cumsum(-1) / rank - mean.square())
        levels = mean - spread.clamp_min(1e-30).sqrt()
    else:
        levels = mean - 1 / rank
    support = (levels < ordered).sum(-1, keepdim=True).clamp_min(1)
    weights = (shifted - levels.gather(-1, support - 1)).clamp_min(0)
    return weights.square() if squared else weights


def normalize(logits, kind):
    if kind == "softmax":
        return logits.softmax(-1)
    if kind == "softmax1":
        return torch.cat([logits, torch.zeros_like(logits[:, :1])], -1).softmax(-1)[:, :-1]
    if kind == "clipped_softmax":
        return (logits.softmax(-1) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
    return threshold(logits, kind == "entmax15")


def composed(sources, direction, bias, nulls, beta, kind, scale, normalize_keys):
    """The formula in PyTorch's operators."""
    y = torch.stack(sources, 1)
    logits = (direction.to(y.dtype).unsqueeze(1) * y).sum(-1).float() * scale
    if normalize_keys:
        logits = logits * (y.float().square().mean(-1) + 1e-6).rsqrt()
    if bias is not None:
        logits = logits + bias - beta * (nulls.t() - nulls.t().mean(-1, keepdim=True))
    weights = normalize(logits.clamp(-50, 50), kind)
    return (weights.to(y.dtype).unsqueeze(-1) * y).sum(1), weights


def outcome(function, leaves, cotangents):
    """Outputs and gradients, in float64 on the CPU; a cotangent may be None."""
    outputs = function(*leaves)
    used = [(y, c.to(y)) for y, c in zip(outputs, cotangents) if c is not None]
    gradients = torch.autograd.grad([y for y, _ in used], leaves, [c for _, c in used])
    return [x.detach().double().cpu() for x in (*outputs, *gradients)]


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm().clamp_min(1e-3)).item()


def random(*shape, seed, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def check(operators, sources, tokens, hidden, dtype, normalizer, shared, *, coupled=True, direction_type=None,
          amplitude=1.0, without=None):
    types = [dtype] * sources + [direction_type or dtype] + [torch.float32] * (3 if coupled else 0)
    values = [random(tokens, hidden, seed=i) for i in range(sources)]
    values.append(random(1 if shared else tokens, hidden, seed=50, scale=amplitude))
    if coupled:
        values += [random(sources, seed=51), random(sources, tokens, seed=52), random(1, seed=53).abs()]
    values = [x.to(t).double() for x, t in zip(values, types)]
    cotangents = [random(tokens, hidden, seed=60).to(dtype).double(), random(tokens, sources, seed=61).float().double()]
    if without is not None:
        cotangents[without] = None
    scale = hidden**-0.5

    def ours(*x):
        y, (u, bias, nulls, beta) = x[:sources], (*x[sources:], None, None, None)[:4]
        return operators.depth_route(list(y), u, bias, nulls, beta, normalizer, scale, ZETA, GAMMA, shared, 1e-6)

    def theirs(*x):
        y, (u, bias, nulls, beta) = x[:sources], (*x[sources:], None, None, None)[:4]
        return composed(y, u, bias, nulls, beta, normalizer, scale, shared)

    def leaves(device, of_type=None):
        return [x.to(device=device, dtype=of_type or t).requires_grad_() for x, t in zip(values, types)]

    def pooled(values):
        """The sources' gradients as one: of thousands of small tensors some lie far out by luck."""
        return [*values[:2], torch.stack(values[2 : 2 + sources]), *values[2 + sources :]]

    expected = outcome(ours, leaves("cpu", torch.float64), cotangents)
    found = outcome(ours, leaves("cuda"), cotangents)
    again = outcome(ours, leaves("cuda"), cotangents)
    rivals = [outcome(theirs, leaves("cuda"), cotangents)]
    for seed in range(DISTURBANCES):
        moved = [x.to(torch.float64).requires_grad_() for x in disturbed(values, ROUNDING[dtype], seed)]
        rivals.append(outcome(ours, moved, cotangents))
    assert all(map(torch.equal, found, again)), "two calls differ"
    for i, (a, b, *others) in enumerate(zip(*map(pooled, (found, expected, *rivals)), strict=True)):
        limit = 2 * max(*(relative_error(c, b) for c in others), ROUNDING[dtype])
        error = relative_error(a, b)
        assert error <= limit, f"value {i}: relative error {error:.2e} over {limit:.2e}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("shared", [False, True], ids=["per_token", "shared"])
@pytest.mark.parametrize("sources,tokens,hidden", [(1, 65, 48), (2, 1, 64), (9, 65, 48), (9, 1000, 64), (18, 65, 768),
                                                   (37, 65, 100), (9, 33, 2048), (64, 17, 64)])
def test_every_normalizer(operators, sources, tokens, hidden, dtype, normalizer, shared):
    check(operators, sources, tokens, hidden, dtype, normalizer, shared)


@pytest.mark.parametrize("sources", [37, 60])
def test_more_rows_than_shared_memory_holds(operators, sources):
    check(operators, sources, 200, 2048, torch.float32, "softmax1", True)
    check(operators, sources, 200, 2048, torch.bfloat16, "softmax1", False)


def test_more_sources_than_the_kernel_takes(operators):
    check(operators, 70, 33, 64, torch.bfloat16, "softmax1", False)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["per_token", "shared"])
def test_optional_inputs(operators, dtype, shared):
    check(operators, 9, 130, 64, dtype, "softmax1", shared, coupled=False)
    check(operators, 9, 130, 64, dtype, "softmax1", shared, direction_type=torch.float32)
    check(operators, 9, 130, 64, dtype, "softmax1", shared, without=0)
    check(operators, 9, 130, 64, dtype, "softmax1", shared, without=1)


def test_logits_beyond_the_clamp(operators):
    check(operators, 5, 65, 64, torch.float32, "softmax1", False, amplitude=60.0)


def test_unaligned_source(operators):
    base = torch.randn(65 * 64 + 1, device="cuda", dtype=torch.bfloat16)
    y, u = base[1:].view(65, 64), torch.randn(65, 64, device="cuda")
    for a, b in zip(operators.depth_route([y, y], u, None, None, None, "softmax", 0.1),
                    operators.depth_route([y.clone(), y.clone()], u, None, None, None, "softmax", 0.1)):
        assert torch.equal(a, b)


def test_in_a_cuda_graph(operators):
    y = [torch.randn(130, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(4)]
    u = torch.randn(1, 64, device="cuda", requires_grad=True)
    bias = torch.randn(4, device="cuda", requires_grad=True)

    def step():
        routed, _ = operators.depth_route(y, u, bias, None, None, "softmax1", 0.1)
        return (routed, *torch.autograd.grad(routed.float().square().sum(), [*y, u, bias]))

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        expected = step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    for a, b in zip(captured, expected):
        assert torch.equal(a, b)
