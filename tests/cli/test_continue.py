"""A suite whose models continue from a checkpoint folder."""

import json
import sqlite3

from cli_program import flip_bit
import pytest

CONTINUED = {"models": [{"name": "c", "checkpoint": "model"}], "routing": {"form": "projected"},
             "initialization": {"recency_bias": 48, "router_query_init": "zero"},
             "methods": [{"method": "prenorm", "steps": 0}, "oasis"],
             "quantization": [{"weight_bits": 8, "activation_bits": 8, "site_cost_tokens": 64}]}


@pytest.fixture
def checkpoint(oasis):
    """A trained `prenorm` in the data folder."""
    oasis.suite(methods=["prenorm"], quantization=[])
    oasis.reproduce(out="first")
    (oasis.folder / "data").mkdir()
    oasis.run("export", "prenorm/", "--db", "first", "--out", "data/model")
    return oasis.folder / "data/model"


def query(oasis, out, sql):
    with sqlite3.connect(f"file:{oasis.folder / out / 'results.db'}?mode=ro", uri=True) as database:
        return database.execute(sql).fetchall()


def test_untouched_continued_and_explained(oasis, checkpoint):
    oasis.suite(**CONTINUED)
    oasis.reproduce()
    figures = "SELECT metric, value FROM cell_metrics WHERE method = 'prenorm' AND kind = 'evaluate' ORDER BY metric"
    assert query(oasis, "run", figures) == query(oasis, "first", figures)

    # From so strong a recency bias `oasis` starts near the checkpoint's own function, not at random weights.
    [(loss,)] = query(oasis, "run", "SELECT loss FROM curves WHERE step = 1")
    [(before,)] = query(oasis, "first", "SELECT loss FROM curves WHERE step = 30")
    [(random,)] = query(oasis, "first", "SELECT loss FROM curves WHERE step = 1")
    assert abs(loss - before) < abs(loss - random) / 2

    costs = query(oasis, "run", "SELECT place, site, ratio, n FROM table_site_costs WHERE method = 'prenorm' ORDER BY 1")
    assert len(costs) == 12 + 7 + 1
    assert [ratio for _, _, ratio, _ in costs] == sorted((ratio for _, _, ratio, _ in costs), reverse=True)
    assert {n for *_, n in costs} == {2 * 31}

    again = json.loads(oasis.run("reproduce", "x.json", "--out", "run", "--json").stdout)
    assert again["stages_run"] == 0


def test_another_checkpoint_is_another_computation(oasis, checkpoint):
    name = oasis.suite(**CONTINUED)

    def keys():
        cells = json.loads(oasis.run("plan", name, "--no-timing", "--json").stdout)["cells"]
        return [stage["key"] for cell in cells for stage in cell["stages"]]

    before = keys()
    flip_bit(checkpoint / "model.safetensors", -1)
    assert not set(before) & set(keys())


def test_refusals(oasis, checkpoint):
    name = oasis.suite(**CONTINUED | {"models": [{"name": "c", "checkpoint": "modell"}]})
    oasis.refuses("plan", name, saying=["models[0].checkpoint", "data/modell", "config.json"])
    name = oasis.suite(**CONTINUED, datasets=["word_problems"])
    oasis.refuses("plan", name, saying=["datasets[0].tokenizer", "not the tokenizer of the checkpoint", "data/model"])
    name = oasis.suite(**CONTINUED | {"routing": {"form": "block", "block_count": 3}})
    oasis.refuses("plan", name, saying=["oasis/bigram_backcopy/c/0", "block_count"])
    (checkpoint / "model.safetensors").unlink()
    oasis.refuses("plan", oasis.suite(**CONTINUED), saying=["model.safetensors"])
