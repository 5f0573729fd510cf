"""Every operator on the GPU against the CPU's float64 path, forward and backward.

Skipped where there is no GPU. Relative error in the norm, inputs rounded to the GPU's type first: at
most 1e-5 in float32 and 2e-2 in bfloat16, or twice what the CPU's float32 path loses where a sum
cancels; tensors whose norm is below 1e-3 absolutely.
"""

import pytest
import torch
import torch.nn.functional as F

from operator_checks import DISTURBANCES, disturbed

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


ROUNDING = {torch.float32: 2**-24, torch.bfloat16: 2**-9, torch.float16: 2**-12}


def check_against_library(function, library, inputs, dtype, keep=()):
    """At most twice what a composition of LibTorch's operators loses on the GPU at the same precision, both
    against the CPU's float64; or, where cancellation and few elements make that a matter of luck, twice what the
    type's rounding of the inputs does; and never closer than the type's own rounding. `keep`: inputs that stay
    float32."""

    def moved(values, kind):
        return [x if i in keep or not x.is_floating_point() else x.to(kind) for i, x in enumerate(values)]

    rounded = moved(inputs, dtype)
    exact = [x.double() if x.is_floating_point() else x for x in rounded]
    expected = run(function, exact, "cpu", torch.float64)
    found = run_as_given(function, rounded)
    rivals = [run_as_given(library, rounded)]
    rivals += [run(function, disturbed(exact, ROUNDING[dtype], seed), "cpu", torch.float64)
               for seed in range(DISTURBANCES)]
    for i, (a, b, *others) in enumerate(zip(found, expected, *rivals, strict=True)):
        assert torch.isfinite(a).all()
        limit = 2 * max(*(relative_error(c, b) for c in others), ROUNDING[dtype])
        error = relative_error(a, b)
        assert error <= limit, f"value {i}: relative error {error:.2e} over {limit:.2e}"


def run_as_given(function, inputs):
    """`run` on the GPU, every input in its own type."""
    leaves = [x.cuda().requires_grad_(x.is_floating_point()) for x in inputs]
    outputs = function(*leaves)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    loss = 0
    for i, y in enumerate(outputs):
        if y.requires_grad:
            generator = torch.Generator().manual_seed(100 + i)
            loss = loss + (y.double() * torch.randn(y.shape, generator=generator, dtype=torch.float64).cuda()).sum()
    wanted = [x for x in leaves if x.requires_grad]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, wanted)]
    for g, x in zip(gradients, wanted):
        assert g.dtype == x.dtype and g.shape == x.shape
    return [x.detach().double().cpu() for x in outputs + list(gradients)]


HALVES = [torch.float32, torch.bfloat16, torch.float16]


def library_rms_norm(x, w, eps):
    wide = x.float()
    return (wide * (wide * wide).mean(-1, keepdim=True).add(eps).rsqrt() * w.float()).to(x.dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("rows,width", [(1, 1), (3, 40), (7, 33), (130, 64), (1000, 768), (65, 1024), (33, 2048),
                                        (9, 4096), (5, 8192), (4, 6000), (600, 96), (2, 1536)])
def test_rms_norm(operators, rows, width, dtype):
    inputs = [random(rows, width), 1 + 0.3 * random(width, seed=1)]
    inputs[0][0] *= 1e-3
    inputs[0][-1, width // 2] = 1e3
    for keep in ((), (1,)):  # a float32 weight is what training has
        check_against_library(lambda x, w: operators.rms_norm(x, w, 1e-6), lambda x, w: library_rms_norm(x, w, 1e-6),
                              [x.float() for x in inputs], dtype, keep)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 5, 40), (2, 65, 768), (2, 9, 2048), (2, 3, 33)], ids=str)
def test_add_rms_norm(operators, shape, dtype):
    def library(x, b, w):
        h = x + b
        return h, library_rms_norm(h, w, 1e-6)

    inputs = [random(*shape).float(), random(*shape, seed=1).float(), 1 + 0.3 * random(shape[-1], seed=2).float()]
    check_against_library(lambda x, b, w: operators.add_rms_norm(x, b, w, 1e-6), library, inputs, dtype, (2,))
    for used in (0, 1):  # one of the two outputs without a gradient
        check_against_library(lambda x, b, w: operators.add_rms_norm(x, b, w, 1e-6)[used],
                              lambda x, b, w: library(x, b, w)[used], inputs, dtype, (2,))


def library_rope(x, theta, offset):
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    angle = torch.outer(torch.arange(x.shape[2], dtype=torch.float64, device=x.device) + offset, frequency)
    c, s = angle.cos().float(), angle.sin().float()
    low, high = x[..., :half].float(), x[..., half:].float()
    return torch.cat((low * c - high * s, high * c + low * s), -1).to(x.dtype)


ROPE_SHAPES = [(40, 5, 1, 2), (2, 3, 5, 8), (2, 3, 130, 64), (1, 5, 33, 128), (2, 2, 9, 96), (1, 3, 7, 50), (1, 2, 3, 256)]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", ROPE_SHAPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "token major", "slice"])
def test_rope(operators, shape, layout, dtype):
    B, H, T, d = shape
    stored = {"contiguous": shape, "token major": (B, T, H, d), "slice": (B, T, H + 3, d)}[layout]

    def heads(x):
        return {"contiguous": x, "token major": x.transpose(1, 2), "slice": x[:, :, 1 : H + 1].transpose(1, 2)}[layout]

    x = random(*stored).float()
    gain = 1 + 0.3 * random(d, seed=1).float()
    check_against_library(lambda x: operators.rope(heads(x), 1e4, 3), lambda x: library_rope(heads(x), 1e4, 3), [x],
                          dtype)
    check_against_library(lambda x, w: operators.rms_norm_rope(heads(x), w, 1e-6, 1e4, 3),
                          lambda x, w: library_rope(library_rms_norm(heads(x), w, 1e-6), 1e4, 3), [x, gain], dtype, (1,))
    if layout == "token major":
        y = operators.rope(heads(x.to("cuda", dtype)), 1e4)
        assert y.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (3, 5, 64), (65, 2048), (7, 1000)], ids=str)
def test_gated_product(operators, shape, dtype):
    inputs = [3 * random(*shape).float(), random(*shape, seed=1).float()]
    inputs[0].view(-1)[0] = -60
    check_against_library(operators.gated_product, lambda g, u: F.silu(g.float()).to(g.dtype) * u, inputs, dtype)
    fused = torch.cat(inputs, -1)
    check_against_library(lambda x: operators.gated_product(*x.chunk(2, -1)),
                          lambda x: (lambda g, u: F.silu(g) * u)(*x.chunk(2, -1)), [fused], dtype)


def library_head_gate(x, weight, bias, context):
    logits = (x.unflatten(-1, weight.shape) * weight).sum(-1) + bias
    return (context.transpose(1, 2) * logits.sigmoid()[..., None].to(context.dtype)).flatten(2)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["token major", "heads first", "slice", "transposed"])
@pytest.mark.parametrize("B,H,T,part,d", [(40, 1, 1, 8, 8), (2, 12, 65, 64, 64), (3, 5, 33, 24, 64), (2, 3, 50, 256, 96),
                                          (1, 40, 9, 80, 128), (2, 7, 21, 12, 10)])  # the last one by composition
def test_head_gate(operators, B, H, T, part, d, layout, dtype):
    stored = {"token major": (B, T, H, d), "heads first": (B, H, T, d), "slice": (B, T, H + 2, d),
              "transposed": (B, H, d, T)}[layout]

    def arranged(f):
        views = {"token major": lambda c: c.transpose(1, 2), "heads first": lambda c: c,
                 "slice": lambda c: c[:, :, 1 : H + 1].transpose(1, 2), "transposed": lambda c: c.transpose(2, 3)}
        return lambda x, wb, c: f(x, wb[:, :-1], wb[:, -1], views[layout](c))

    # Weights and biases as one input: of a few biases alone an error would be a matter of luck.
    inputs = [random(B, T, H * part).float(), random(H, part + 1, seed=1, scale=part**-0.5).float(),
              random(*stored, seed=3).float()]
    for keep in ((), (1,)):  # float32 weights are what training has
        check_against_library(arranged(operators.head_gate), arranged(library_head_gate), inputs, dtype, keep)


def library_cross_entropy(hidden, weight, targets):
    logits = (hidden @ weight.to(hidden.dtype).t()).float()
    losses = F.cross_entropy(logits, targets, reduction="none")
    return losses.sum() / targets.ne(-100).sum(), losses.detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows,width,vocabulary", [(1, 8, 5), (31, 24, 57), (300, 64, 1000), (130, 32, 50257),
                                                   (40, 16, 151936)])
def test_linear_cross_entropy(operators, rows, width, vocabulary, dtype):
    targets = torch.randint(0, vocabulary, (rows,), generator=torch.Generator().manual_seed(0))
    if rows > 4:
        targets[4] = -100
    inputs = [random(rows, width).float(), random(vocabulary, width, seed=1, scale=width**-0.5).float(), targets]
    for keep in ((), (1,)):  # a float32 weight is what training has
        check_against_library(operators.linear_cross_entropy, library_cross_entropy, inputs, dtype, keep)


def test_linear_cross_entropy_under_autocast(operators):
    targets = torch.randint(0, 1000, (300,), generator=torch.Generator().manual_seed(0))
    inputs = [random(300, 64).float(), random(1000, 64, seed=1, scale=0.125).float(), targets]

    def cast(function):
        def inside(*x):
            with torch.autocast("cuda", torch.bfloat16, enabled=x[0].is_cuda):
                return function(*x)
        return inside

    expected = run(operators.linear_cross_entropy, inputs, "cpu", torch.float64)
    found, lost = (run_as_given(cast(f), inputs) for f in (operators.linear_cross_entropy, library_cross_entropy))
    for a, b, c in zip(found, expected, lost, strict=True):
        assert relative_error(a, b) <= 2 * max(relative_error(c, b), 2**-9)


def test_cross_entropy_of_bad_targets_and_large_logits(operators):
    hidden, weight = torch.eye(6, device="cuda") * 1e4, torch.eye(6, device="cuda")
    targets = torch.tensor([0, 1, -100, 6, -1, 0], device="cuda")
    hidden.requires_grad_()
    mean, losses = operators.linear_cross_entropy(hidden, weight, targets)
    assert losses[0] == 0 and losses[2] == 0 and losses[5] == 1e4
    assert losses[3].isnan() and losses[4].isnan() and mean.isnan()


def eager_softmax1(q, k, v, scale):
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = (q @ k.transpose(-1, -2) * scale).float()
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    scores = scores.masked_fill(mask, -torch.inf)
    p = torch.cat((scores, torch.zeros_like(scores[..., :1])), -1).softmax(-1)
    return p[..., :-1].to(q.dtype) @ v, p[..., -1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("length,heads,kv_heads,size", [(1, 2, 2, 64), (7, 4, 2, 64), (128, 4, 1, 64), (130, 4, 1, 64),
                                                        (256, 2, 2, 128), (1000, 2, 2, 64), (1024, 2, 1, 64),
                                                        (128, 1, 1, 96), (640, 6, 3, 64), (640, 2, 2, 8)])
@pytest.mark.parametrize("layout", ["heads first", "token major"])
def test_library_attention(operators, length, heads, kv_heads, size, layout, dtype):
    batch = max(2, 128 // length)  # enough rows that an error is no matter of luck
    inputs = [random(batch, h, length, size, seed=i).float() for i, h in enumerate((heads, kv_heads, kv_heads))]
    if layout == "token major":
        inputs = [x.transpose(1, 2).contiguous() for x in inputs]
        arranged = lambda f: lambda q, k, v: f(*(x.transpose(1, 2) for x in (q, k, v)))
    else:
        arranged = lambda f: f
    scale = size**-0.5
    check_against_library(arranged(lambda q, k, v: operators.attention(q, k, v, "softmax1", scale)),
                          arranged(lambda q, k, v: eager_softmax1(q, k, v, scale)), inputs, dtype)
    check_against_library(
        arranged(lambda q, k, v: operators.attention(q, k, v, "softmax", scale)[0]),
        arranged(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)),
        inputs, dtype)
    on_device = [x.to("cuda", dtype) for x in inputs]
    context = arranged(lambda q, k, v: operators.attention(q, k, v, "softmax1", scale))(*on_device)[0]
    assert context.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("length", [130, 640, 1024])
def test_softmax1_gradient_of_the_null_posterior_alone(operators, length):
    """Rows without any dO, all of them and every third; what comes in is left as it was."""
    q, k, v = (random(1, 2, length, 64, seed=i).bfloat16() for i in range(3))
    weight = random(1, 2, length, seed=5)
    for kept in (torch.zeros(length), (torch.arange(length) % 3 > 0).double()):
        grad = (random(1, 2, length, 64, seed=6) * kept[:, None]).bfloat16()

        def gradients(device, dtype):
            x = [t.to(device, dtype).requires_grad_() for t in (q, k, v)]
            context, rho = operators.attention(*x, "softmax1", 0.125)
            sent = grad.to(device, dtype)
            before = sent.clone()
            found = torch.autograd.grad((context, rho), x, (sent, weight.to(device, rho.dtype)))
            assert torch.equal(sent, before)
            return [g.double().cpu() for g in found]

        for a, b in zip(gradients("cuda", torch.bfloat16), gradients("cpu", torch.float64)):
            assert relative_error(a, b) < 8e-3


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 33), (3, 5, 64), (2, 300, 768), (1, 9, 2048), (1, 3, 8200)], ids=str)
def test_activation_stats(operators, shape, dtype):
    x = (random(*shape) + 0.1).to(dtype)
    x[0, 0, 0] = 500
    for x in (x, x.transpose(1, 2)):
        for ours, theirs in zip(operators.activation_stats(x.cuda()), operators.activation_stats(x)):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-10, atol=1e-10)
    bad = random(2, 3, 40).to(dtype)
    bad[0, 1, 5], bad[1, 2, 39] = torch.nan, torch.inf
    for ours, theirs in zip(operators.activation_stats(bad.cuda()), operators.activation_stats(bad)):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("shape", [(1,), (7, 33), (64, 129), (3, 4, 1000)], ids=str)
def test_quantizers_to_the_last_bit(operators, shape, bits, dtype):
    x = random(*shape).to(dtype)
    quantizers = [lambda x: operators.fake_quantize(x, -1.5, 2.0, bits), lambda x: operators.fake_quantize(x, 0.1, 0.1, bits),
                  lambda x: operators.fake_quantize_weight(x, bits)]
    for x in (x, x.t() if x.dim() == 2 else x, torch.zeros_like(x), x * 1e-4):
        weight = random(*x.shape, seed=3).to(dtype)
        for quantize in quantizers:
            values = []
            for device in ("cpu", "cuda"):
                leaf = x.to(device).requires_grad_()
                y = quantize(leaf)
                values.append((y.detach().cpu(), torch.autograd.grad(y, leaf, weight.to(device))[0].cpu()))
            assert torch.equal(values[0][0], values[1][0]) and torch.equal(values[0][1], values[1][1])


def test_percentiles(operators):
    x = random(2, 7, 33).float()
    torch.testing.assert_close(operators.percentile_range(x.cuda(), 1e-5, 1 - 1e-5).cpu(),
                               operators.percentile_range(x, 1e-5, 1 - 1e-5), rtol=0, atol=0)
