"""`oasis inspect` and `oasis evaluate` against the golden models, by the rules of ../golden/README.md."""

import pytest
import torch

import golden

LIMITS = {torch.float64: (1e-6, 1e-6), torch.float32: (1e-5, 1e-3)}  # forward, gradient


@pytest.mark.parametrize("dtype", LIMITS, ids=["float64", "float32"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_outputs_and_gradients(program, worst, name, dtype):
    expected = golden.tensors(name, "expected")
    found = program.inspect(golden.folder(name), golden.tokens(name, "tokens"), dtype, gradients=True)
    assert {k for k in found if not k.startswith("site.")} <= set(expected)
    for kind, (value, tensor) in golden.worst_errors(expected, found).items():
        worst.note(f"golden relative error, {kind}, {str(dtype)[6:]}", value, f"{name} {tensor}")
    golden.assert_close(expected, found, *LIMITS[dtype])


@pytest.mark.parametrize("points", ["published", "all_inputs"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_ranges(program, worst, name, points):
    quantization = (8, 8, golden.tokens(name, "calibration"), points)
    found = program.inspect(golden.folder(name), golden.tokens(name, "tokens"), torch.float64,
                            quantization=quantization)
    expected = golden.ranges(name, points)
    error, point = max((e, p) for p, e in golden.range_errors(expected, found).items())
    worst.note(f"golden range error, {points}", error, f"{name} {point}")
    golden.assert_ranges(expected, found, ties=name in golden.EXACT_TIES)


@pytest.mark.parametrize("name", golden.NAMES)
def test_losses(program, worst, name):
    expected = golden.losses(name)
    folder, calibration = golden.folder(name), golden.tokens(name, "calibration")
    tokens = golden.tokens(name, "evaluation")

    def check(found, loss, where, limit=0.03):
        worst.note("golden loss difference" + " quantized" * (limit == 0.03), abs(found - loss), f"{name} {where}")
        assert found == pytest.approx(loss, abs=limit), where

    # Full precision has no rounding boundaries: only the digits that expected.json keeps are lost.
    short = program.evaluate(folder, golden.tokens(name, "tokens"), torch.float64)["loss"]
    check(short, expected["loss"], "tokens", 2e-6)
    check(program.evaluate(folder, tokens, torch.float64)["loss"], expected["evaluation"]["loss"], "evaluation", 1e-4)
    for points in ("published", "all_inputs"):
        for setting, loss in expected["evaluation"][points].items():
            weight_bits, activation_bits = map(int, setting[1:].split("A"))
            quantization = (weight_bits, activation_bits, calibration, points)
            check(program.evaluate(folder, tokens, torch.float64, quantization)["loss"], loss, f"{points} {setting}")
