"""The example that an evaluation stores, against the statistics that it stores too: of one sequence that fits into the example they
are means of the same numbers."""

import sqlite3

import numpy as np
import pytest

POSITIONS, LAYERS, HIDDEN = 32, 3, 48
SUITE = {"datasets": [{"name": "word_problems", "count": {"train": 60, "valid": 20, "test": 20}}],
         "models": [{"name": "m", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
                     "num_key_value_heads": 2, "intermediate_size": 96}],
         "methods": ["oasis", "prenorm"],
         "training": {"steps": 4, "block_length": POSITIONS, "sequences_per_step": 2, "warmup_steps": 1, "learning_rate": 0.003,
                      "checkpoint_every": 2, "log_every": 1},
         "evaluation": {"sequences": 1, "batch_size": 1}, "quantization": [{"weight_bits": 8, "activation_bits": 8}]}
HALF = 2.0**-11  # relative error of float16


@pytest.fixture
def database(oasis):
    oasis.suite(**SUITE)
    oasis.reproduce()
    with sqlite3.connect(f"file:{oasis.folder / 'run' / 'results.db'}?mode=ro", uri=True) as database:
        yield database


def examples(database, method):
    found = {}
    for quantity, layer, part, rows, columns, contents in database.execute(
            "SELECT e.quantity, e.layer, e.part, e.rows, e.columns, e.contents FROM examples e JOIN cell_stages x"
            " ON x.stage_id = e.stage_id JOIN cells c ON c.id = x.cell_id WHERE c.label = ?", [method]):
        found[quantity, layer, part] = np.frombuffer(contents, "<f2").astype(float).reshape(rows, columns)
    return found


def statistics(database, method, quantity):
    return database.execute("SELECT layer, part, head, source, value FROM cell_layer_statistics WHERE method = ? AND quantity = ?"
                            " AND precision = 'full'", [method, quantity]).fetchall()


def test_what_is_stored_is_what_the_statistics_are_means_of(database):
    found = examples(database, "oasis")
    assert {key[0] for key in found} == {"attention", "depth_weight", "hidden_magnitude"}
    for layer in range(LAYERS):
        attention = found["attention", layer, ""]
        assert attention.shape == (POSITIONS, POSITIONS) and np.all(np.triu(attention, 1) == 0)
        of_heads = [value for at, _, head, _, value in statistics(database, "oasis", "first_token_mass") if at == layer]
        assert len(of_heads) == 4 and attention[:, 0].mean() == pytest.approx(np.mean(of_heads), rel=HALF)
        magnitude = found["hidden_magnitude", layer, ""]
        assert magnitude.shape == (POSITIONS, HIDDEN)
        norm = database.execute("SELECT value FROM site_statistics i JOIN cell_stages x ON x.stage_id = i.stage_id JOIN cells c"
                                " ON c.id = x.cell_id WHERE c.label = 'oasis' AND quantity = 'inf_norm/seq' AND site = ?",
                                [f"model.layers.{layer}"]).fetchone()[0]
        assert magnitude.max() == pytest.approx(norm, rel=HALF)
    weights = statistics(database, "oasis", "depth_weight")
    assert {(layer, part) for layer, part, *_ in weights} == {key[1:] for key in found if key[0] == "depth_weight"}
    for layer, part, _, source, value in weights:
        assert found["depth_weight", layer, part][:, source].mean() == pytest.approx(value, rel=HALF)


def test_without_routers_there_is_no_routing_and_quantized_stages_have_no_example(database):
    assert {key[0] for key in examples(database, "prenorm")} == {"attention", "hidden_magnitude"}
    assert database.execute("SELECT count(*) FROM examples e JOIN stages t ON t.id = e.stage_id"
                            " WHERE t.weight_bits IS NOT NULL").fetchone() == (0,)
    assert database.execute("SELECT max(bytes) FROM (SELECT sum(length(contents)) AS bytes FROM examples GROUP BY stage_id)"
                            ).fetchone()[0] < 300_000
