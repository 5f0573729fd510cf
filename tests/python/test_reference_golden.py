"""The reference against ../golden: only what reproduces an independent implementation may judge the C++ one."""

import pytest
import torch

import golden
import reference
from reference_config import load_checkpoint
from reference_model import Model
from reference_quantization import Simulated


@pytest.mark.parametrize("name", golden.NAMES)
def test_outputs_and_gradients(name):
    expected = golden.tensors(name, "expected")
    found = reference.inspect(golden.folder(name), golden.tokens(name, "tokens"), torch.float64, gradients=True)
    assert set(expected) <= set(found)
    assert {k for k in found if not k.startswith("site.")} <= set(expected)
    golden.assert_close(expected, found, 1e-6, 1e-6)


@pytest.mark.parametrize("points", ["published", "all_inputs"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_ranges(name, points):
    quantization = (8, 8, golden.tokens(name, "calibration"), points)
    found = reference.inspect(golden.folder(name), golden.tokens(name, "tokens"), torch.float64,
                              quantization=quantization)
    golden.assert_ranges(golden.ranges(name, points), found, ties=name in golden.EXACT_TIES)


class Nudged(Simulated):
    """Lets the named rows of probabilities fall below the rounding boundary that they lie on, in the first batch."""

    def __init__(self, points, rows):
        super().__init__(8, 8, points)
        self.rows = dict(rows)

    def activation(self, point, x):
        for row in self.rows.pop(point, ()):
            x[row] -= 1e-11 * (x[row] == 0.5)
        return super().activation(point, x)


@pytest.mark.parametrize("points, rows", [
    ("published", {"model.layers.0.self_attn.probs": [(1, 0, 1), (3, 2, 1)]}),
    ("all_inputs", {"model.layers.1.self_attn.probs": [(3, 0, 30)]}),
])
def test_exact_ties_explain_sparsemax(points, rows):
    """Two equal scores give p = 1/2, at W8A8 exactly between two integers: the golden rows that fell down are these."""
    name = "sparsemax-projected"
    config, weights = load_checkpoint(golden.folder(name), torch.float64)
    quantizer = Nudged(points, rows)
    for batch in golden.tokens(name, "calibration"):
        Model(config, weights, quantizer)(batch)
    found = {f"range.{point}": torch.tensor(r) for point, r in quantizer.ranges.items()}
    assert max(golden.range_errors(golden.ranges(name, points), found).values()) < 1e-5


class Raised(Simulated):
    """Lets probabilities of 1/2, right to the last bits, lie above the rounding boundary."""

    def activation(self, point, x):
        return super().activation(point, x + 1e-11 * ((x - 0.5).abs() < 1e-12) if point.endswith(".probs") else x)


@pytest.mark.parametrize("points", ["published", "all_inputs"])
def test_exact_ties_explain_entmax15(points):
    """Two equal scores give p = (1/sqrt 2)^2: 1/2, or the next smaller number, as the processor's library rounds."""
    name = "entmax15-projected"
    config, weights = load_checkpoint(golden.folder(name), torch.float64)
    quantizer = Raised(8, 8, points)
    for batch in golden.tokens(name, "calibration"):
        Model(config, weights, quantizer)(batch)
    found = {f"range.{point}": torch.tensor(r) for point, r in quantizer.ranges.items()}
    assert max(golden.range_errors(golden.ranges(name, points), found).values()) < 1e-5


@pytest.mark.parametrize("name", golden.NAMES)
def test_losses(name):
    expected = golden.losses(name)
    folder, calibration = golden.folder(name), golden.tokens(name, "calibration")
    assert reference.evaluation_loss(folder, golden.tokens(name, "tokens")) == pytest.approx(expected["loss"], abs=1e-5)
    tokens = golden.tokens(name, "evaluation")
    assert reference.evaluation_loss(folder, tokens) == pytest.approx(expected["evaluation"]["loss"], abs=1e-3)
    for points in ("published", "all_inputs"):
        for setting, loss in expected["evaluation"][points].items():
            weight_bits, activation_bits = map(int, setting[1:].split("A"))
            quantization = (weight_bits, activation_bits, calibration, points)
            found = reference.evaluation_loss(folder, tokens, quantization=quantization)
            assert found == pytest.approx(loss, abs=0.03), (points, setting)
