"""Every metric of `oasis evaluate --json` against its definition: names, values, n."""

import json

import pytest
import torch

import reference
import reference_metrics
from model_cases import BASE, Case

SHAPE = dict(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, num_hidden_layers=3, intermediate_size=40)


def planted_outliers(table):
    """Every third token has one huge channel: massive activations, and heads that see little else."""
    table = table.clone()
    table[::3, 5] = 2e4
    return table


CASES = [
    Case("prenorm", BASE | SHAPE | {"oasis": {"method": "prenorm"}}, 5, 70),
    Case("massive", BASE | SHAPE | {"tie_word_embeddings": False, "oasis": {"method": "prenorm_softmax1"}}, 5, 70,
         {"embed_tokens.weight": planted_outliers}),
    Case("oasis-projected", BASE | SHAPE | {"oasis": {"method": "oasis"}}, 5, 70),
    Case("oasis-pseudo", BASE | SHAPE | {"oasis": {"method": "oasis", "routing": "pseudo_query"}}, 4, 33),
    Case("oasis-block", BASE | SHAPE | {"oasis": {"method": "oasis", "routing": "block", "block_count": 3}}, 4, 33),
    # Runs of three outputs, which hold one of a layer and both of another.
    Case("oasis-block-over-layers",
         BASE | SHAPE | {"oasis": {"method": "oasis", "routing": "block", "block_count": 2}}, 4, 33),
    Case("clipped", BASE | SHAPE | {"oasis": {"method": "clipped_softmax", "clip_gamma": -0.1}}, 3, 20),
    Case("sparsemax", BASE | SHAPE | {"oasis": {"method": "sparsemax", "routing": "pseudo_query"}}, 3, 20),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-7), (torch.float32, 1e-4)], ids=["float64", "float32"])
def test_metrics(program, case, dtype, tolerance, tmp_path):
    folder, tokens = case.save(tmp_path / "model"), case.tokens()
    expected = reference_metrics.evaluate(reference.load(folder, torch.float64), tokens)
    found = program.evaluate(folder, tokens, dtype)
    missing = sorted(set(expected) - set(found))
    wrong = {k: (found[k], v) for k, v in expected.items()
             if k in found and found[k] != pytest.approx(v, rel=tolerance)}
    assert not missing and not wrong, f"missing {missing}, wrong (found, expected) {wrong}"


def test_every_figure_has_its_unit_and_n(program, tmp_path):
    case = CASES[2]
    folder, tokens = case.save(tmp_path / "model"), case.tokens()
    out = program.run("evaluate", folder, "--tokens", program.tokens_file(tokens), "--json").stdout
    metrics = json.loads(out)["metrics"]
    assert all(m["unit"] and m["n"] > 0 for m in metrics)
    assert len({m["name"] for m in metrics}) == len(metrics)
    loss = next(m for m in metrics if m["name"] == "loss")
    assert loss["n"] == tokens.shape[0] * (tokens.shape[1] - 1) and loss["unit"] == "nat/token"


def test_evaluation_does_not_depend_on_how_sequences_are_batched(program, tmp_path):
    case = CASES[2]
    folder, tokens = case.save(tmp_path / "model"), case.tokens(9, 20)
    together = program.evaluate(folder, tokens, torch.float64)
    alone = [program.evaluate(folder, tokens[i:i + 1], torch.float64) for i in range(len(tokens))]
    for name in ("loss", "first_token_mass", "sink_rate"):
        assert together[name] == pytest.approx(sum(a[name] for a in alone) / len(alone), rel=1e-9), name
