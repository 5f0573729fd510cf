"""A real checkpoint has sinks and outliers: SmolLM2-135M-Instruct on WikiText-2, against figures measured by other code.

Takes a minute, the 0.5 GB folder that scripts/get-smollm2 makes, and the data: OASIS_SMOLLM2 names the first,
OASIS_DATA_HOME the second.
"""

import json
import os

import pytest

pytestmark = pytest.mark.skipif("OASIS_SMOLLM2" not in os.environ, reason="OASIS_SMOLLM2 names no folder")

BLOCKS = 16


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    from conftest import Program, built
    program = Program(built("OASIS_BINARY", "build/oasis"), tmp_path_factory.mktemp("smollm2"))
    done = program.run("evaluate", os.environ["OASIS_SMOLLM2"], "--dataset", "wikitext-2", "--split", "test",
                       "--block-length", 512, "--sequences", BLOCKS, "--batch-size", 4, "--statistics", "--json",
                       "--device", "cpu", timeout=3000)
    return json.loads(done.stdout)


def statistic(report, quantity):
    return {s["place"]: s["value"] for s in report["statistics"] if s["quantity"] == quantity}


@pytest.mark.parametrize("name, expected", [("perplexity", 29.6), ("max_inf_norm/seq", 24185), ("avg_kurtosis/seq", 3.1e4)])
def test_figures(report, name, expected):
    assert {m["name"]: m["value"] for m in report["metrics"]}[name] == pytest.approx(expected, rel=0.02)


def test_the_outlier_comes_from_layer_11_and_is_carried_on(report):
    norms = statistic(report, "inf_norm/seq")
    mlp = {place: value for place, value in norms.items() if place.endswith(".mlp")}
    assert max(mlp, key=mlp.get) == "model.layers.11.mlp"
    carried = [norms[f"model.layers.{i}"] for i in range(11, 27)]
    assert min(carried) > 0.98 * max(carried) > 0.98 * 24_000
    assert norms["model.layers.10"] < 0.1 * max(carried)


def test_first_token_mass(report):
    heads = statistic(report, "first_token_mass")
    for layer in range(12, 30):
        mass = [value for place, value in heads.items() if place.startswith(f"model.layers.{layer}.")]
        assert 0.28 < sum(mass) / len(mass) < 0.62, layer


def test_massive_activations_are_named(report):
    """They sit at a sequence's first token, in few channels of the layers that carry the outlier."""
    massive = report["massive_activations"]
    largest = massive["rows"][0]
    assert 24185 < abs(largest["largest"]) < 1.2 * 24185  # the largest of what 24,185 is the mean of
    assert largest["layers"][0] == 11 and largest["position"] == 0 and largest["text"]
    assert len({row["channel"] for row in massive["rows"]}) <= 5
