"""Integer linear layers and their quantizers against numpy, bit for bit, on the CPU; test_cuda_integer_linear.py holds
the GPU to the CPU.

The numpy side follows the quantizers' definitions (asymmetric per tensor, symmetric per token, per row and in groups
of 64) with integers of 64 bits. A fused multiply-add of float32 is one of float64, rounded: the product is exact.
"""

import numpy as np
import pytest
import torch

GROUP = 64
SHAPES = [(1, 1, 1), (3, 7, 63), (8, 40, 64), (9, 33, 65), (40, 24, 130), (130, 19, 577)]


def static_codes(x, lo, hi, bits):
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = max((hi - lo) / (2**bits - 1), 1e-12)
    zero = np.rint(-lo / scale)
    code = np.clip(np.rint(x / np.float32(scale)) + np.float32(zero), 0, 2**bits - 1)
    return code.astype(np.int64), np.array([scale], np.float32), int(zero)


def dynamic_codes(x, bits):
    most = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(x).max(1) / np.float32(most), np.float32(1e-12))
    return np.clip(np.rint(x / scale[:, None]), -most - 1, most).astype(np.int64), scale, 0


def weight_codes(w, scale, bits):
    wide = np.repeat(scale, GROUP, 1)[:, :w.shape[1]] if scale.ndim == 2 else scale.reshape(-1, 1)
    most = 2 ** (bits - 1) - 1
    return np.clip(np.rint(w / wide), -most - 1, most).astype(np.int64)


def weight_scales(w, bits, granularity):
    most = np.float32(2 ** (bits - 1) - 1)
    if granularity == "tensor":
        return np.array([np.abs(w).max() / most], np.float32)
    if granularity == "row":
        return np.abs(w).max(1) / most
    padded = np.pad(np.abs(w), ((0, 0), (0, -w.shape[1] % GROUP)))
    return padded.reshape(len(w), -1, GROUP).max(2) / most


def fma(a, b, c):
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)


def product(q, x_scale, zero, w, w_scale, bias):
    exact = q - zero
    x_scale = x_scale.reshape(-1, 1)
    if w_scale.ndim == 1:
        return fma((exact @ w.T).astype(np.float32), x_scale * w_scale.reshape(1, -1), bias)
    total = np.zeros((len(q), len(w)), np.float32)
    for g in range(w_scale.shape[1]):
        part = slice(g * GROUP, (g + 1) * GROUP)
        total = fma((exact[:, part] @ w[:, part].T).astype(np.float32), w_scale[None, :, g], total)
    return fma(total, x_scale, bias)


def packed_by_hand(w):
    padded = np.pad(w, ((0, 0), (0, w.shape[1] % 2))) & 15
    return (padded[:, ::2] | padded[:, 1::2] << 4).astype(np.uint8)


@pytest.mark.parametrize("granularity", ["tensor", "row", "group64"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("weight_bits,bits", [(8, 8), (4, 4), (4, 8), (3, 5), (2, 2)])
def test_linear_layers_as_numpy_has_them(operators, weight_bits, bits, dynamic, granularity):
    for M, N, K in SHAPES:
        rng = np.random.default_rng(M * N + K)
        x = rng.standard_normal((M, K), np.float32)
        x[rng.random((M, K)) < 0.02] *= 20
        w = rng.standard_normal((N, K), np.float32)
        bias = rng.standard_normal(N, np.float32)
        if dynamic:
            q, x_scale, zero = dynamic_codes(x, bits)
            codes, scale, stored_zero = operators.quantize_dynamic(torch.from_numpy(x), bits)
            shift = 0
        else:
            q, x_scale, zero = static_codes(x, -2.1, 3.3, bits)
            codes, scale, stored_zero = operators.quantize_static(torch.from_numpy(x), -2.1, 3.3, bits)
            shift = 128 if bits == 8 else 0
        np.testing.assert_array_equal(codes.numpy(), q - shift)
        np.testing.assert_array_equal(scale.numpy(), x_scale)
        assert stored_zero == zero - shift

        w_scale = weight_scales(w, weight_bits, granularity)
        expected_codes = weight_codes(w, w_scale, weight_bits)
        w_codes = operators.quantize_weight(torch.from_numpy(w), torch.from_numpy(w_scale), weight_bits)
        np.testing.assert_array_equal(w_codes.numpy(), expected_codes)
        forms = [w_codes]
        if weight_bits <= 4:
            forms.append(operators.pack_nibbles(w_codes))
            np.testing.assert_array_equal(forms[1].numpy(), packed_by_hand(expected_codes))
            assert torch.equal(operators.unpack_nibbles(forms[1], K), w_codes)
        expected = product(q, x_scale, zero, expected_codes, w_scale, bias)
        for form in forms:
            sums = operators.weight_sums(form, K, granularity == "group64")
            y = operators.integer_linear(codes, scale, stored_zero, form, torch.from_numpy(w_scale), sums,
                                         torch.from_numpy(bias), torch.float32)
            np.testing.assert_array_equal(y.numpy(), expected)
            rounded = operators.integer_linear(codes, scale, stored_zero, form, torch.from_numpy(w_scale), sums, None,
                                               torch.bfloat16)
            without = product(q, x_scale, zero, expected_codes, w_scale, np.zeros_like(bias))
            assert torch.equal(rounded, torch.from_numpy(without).bfloat16())


def test_half_way_codes_round_to_even(operators):
    x = torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, 15.5, 7.0]])
    codes, scale, zero = operators.quantize_static(x, 0.0, 15.0, 4)
    assert codes.tolist() == [[0, 2, 2, 0, 0, 15, 7]] and scale.item() == 1 and zero == 0
    codes, scale, _ = operators.quantize_dynamic(x[:, :5] * 0 + torch.tensor([7.0, 0.5, 1.5, -0.5, -2.5]), 4)
    assert codes.tolist() == [[7, 0, 2, 0, -2]] and scale.item() == 1
