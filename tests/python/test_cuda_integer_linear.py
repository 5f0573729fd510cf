"""Integer linear layers on the GPU: the CPU's bits, on every path. Skipped where there is no GPU."""

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

# One row, few rows, tiles of warps and of warpgroups with any remainder, clusters with an odd number of row tiles,
# several rounds of blocks that stay.
SHAPES = [(1, 1, 1), (1, 300, 4096), (2, 33, 65), (8, 64, 1000), (9, 16, 16), (33, 66, 130), (64, 192, 576),
          (95, 24, 64), (97, 24, 64), (129, 97, 127), (300, 576, 576), (1000, 1536, 576), (640, 600, 1537),
          (257, 512, 4096), (2048, 8192, 640), (5000, 2111, 192)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(a, b):
    return torch.equal(a.cpu(), b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_of_activations(operators, bits, dtype):
    for M, K in [(1, 1), (3, 15), (17, 64), (5, 1000), (9, 1024), (7, 1032), (4, 8192), (3, 20001), (700, 576)]:
        x = torch.randn(M, K, generator=generator()) * 3
        x[0, 0] = 200  # far outside of the range
        x[M // 2] = 0
        x = x.to(dtype)
        steps = torch.arange(K) % 40 * 0.5 - 8  # halves between codes
        for values in (x, x[:, torch.randperm(K, generator=generator())], (x * 0 + steps).to(dtype)):
            for lo, hi in [(-2.1, 3.3), (-8.0, 2.0**bits - 9.0), (0.0, 0.0)]:
                expected = operators.quantize_static(values, lo, hi, bits)
                found = operators.quantize_static(values.cuda(), lo, hi, bits)
                assert same(found[0], expected[0]) and same(found[1], expected[1]) and found[2] == expected[2]
            expected = operators.quantize_dynamic(values, bits)
            found = operators.quantize_dynamic(values.cuda(), bits)
            assert same(found[0], expected[0]) and same(found[1], expected[1]) and found[2] == 0


def test_codes_of_what_is_not_finite(operators):
    x = torch.randn(4, 96, generator=generator())
    x[0, 3], x[1, 5], x[2, 7] = float("nan"), float("inf"), float("-inf")
    for quantize in (lambda x: operators.quantize_static(x, -2.0, 1.0, 8), lambda x: operators.quantize_dynamic(x, 8)):
        expected, found = quantize(x), quantize(x.cuda())
        assert same(found[0], expected[0])
        assert torch.equal(found[1].cpu().isnan(), expected[1].isnan())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("granularity", ["tensor", "row", "group64"])
def test_products(operators, shape, granularity):
    M, N, K = shape
    draw = generator(M + N + K)
    q = torch.randint(-128, 128, (M, K), generator=draw, dtype=torch.int8)
    groups = (K + 63) // 64
    scale_shape = {"tensor": (1,), "row": (N,), "group64": (N, groups)}[granularity]
    w_scale = torch.rand(scale_shape, generator=draw) * 0.1 + 1e-3
    bias = torch.randn(N, generator=draw)
    x_scales = [(torch.rand(1, generator=draw), -37), (torch.rand(M, generator=draw), 0)]
    for packed in (False, True):
        w = torch.randint(*((-8, 8) if packed else (-128, 128)), (N, K), generator=draw, dtype=torch.int8)
        weight = operators.pack_nibbles(w) if packed else w
        sums = operators.weight_sums(weight, K, granularity == "group64")
        for x_scale, zero in x_scales:
            for b, dtype in [(bias, torch.float32), (None, torch.bfloat16)]:
                expected = operators.integer_linear(q, x_scale, zero, weight, w_scale, sums, b, dtype)
                found = operators.integer_linear(q.cuda(), x_scale.cuda(), zero, weight.cuda(), w_scale.cuda(),
                                                 sums.cuda(), None if b is None else b.cuda(), dtype)
                assert same(found, expected), (packed, zero, dtype)


def test_bytes_beyond_a_row_do_not_count(operators):
    for M in (4, 20, 200):
        q = torch.randint(-128, 128, (M, 96), generator=generator(), dtype=torch.int8)
        w = torch.randint(-128, 128, (40, 96), generator=generator(1), dtype=torch.int8)
        sums = operators.weight_sums(w[:, :77], 77, False)
        one = torch.ones(1)
        expected = operators.integer_linear(q[:, :77], one, 3, w[:, :77], one, sums, None, torch.float32)
        found = operators.integer_linear(q.cuda()[:, :77], one.cuda(), 3, w.cuda()[:, :77], one.cuda(), sums.cuda(),
                                         None, torch.float32)
        assert same(found, expected)


def test_longest_sums(operators):
    K = 65536
    for M in (1, 16, 128):
        q = torch.full((M, K), 127, dtype=torch.int8, device="cuda")
        for w in (torch.full((8, K), -128, dtype=torch.int8), torch.full((8, K), -8, dtype=torch.int8)):
            for weight in [w] if w[0, 0] < -8 else [w, operators.pack_nibbles(w)]:
                weight, one = weight.cuda(), torch.ones(1, device="cuda")
                y = operators.integer_linear(q, one, -128, weight, one, operators.weight_sums(weight, K, False), None,
                                             torch.float32)
                assert (y == 255 * K * int(w[0, 0])).all()
