"""plan, status, doctor and the run's own output."""

import json

import pytest


def test_plan_counts_without_running(oasis):
    report = json.loads(oasis.run("plan", oasis.suite(), "--out", "run", "--json").stdout)
    assert not (oasis.folder / "run").exists()
    cells = {cell["cell"]: cell for cell in report["cells"]}
    assert list(cells) == ["attnres/bigram_backcopy/m/0", "oasis/bigram_backcopy/m/0"]
    cell = cells["oasis/bigram_backcopy/m/0"]
    assert cell["training_tokens"] == 30 * 4 * 32
    # full precision and W8A8: 16 blocks each, and 4 × 8 blocks to calibrate
    assert cell["evaluation_tokens"] == 2 * 16 * 32 + 4 * 8 * 32
    assert cell["training_s"] > 0 and cell["evaluation_s"] > 0
    assert [stage["stage"] for stage in cell["stages"]] == [
        "pretrain bigram_backcopy", "evaluate bigram_backcopy", "evaluate bigram_backcopy W8A8"]
    text = oasis.run("plan", "x.json", "--no-timing").stdout
    assert "2 cells, 6 stages" in text


def test_planned_parameters_are_the_models(oasis):
    suite = oasis.suite(methods=["prenorm", "gated_attention", "oasis",
                                 {"method": "oasis", "label": "p", "routing": "projected"},
                                 {"method": "oasis", "label": "b", "routing": "block", "block_count": 1}],
                        training__steps=1, training__warmup_steps=0, quantization=[],
                        models__0__model_type="qwen3", models__0__tie_word_embeddings=False)
    plan = json.loads(oasis.run("plan", suite, "--no-timing", "--json").stdout)
    oasis.reproduce(suite)
    rows = json.loads(oasis.run(
        "query", "--format", "json", "--db", "run/results.db",
        "SELECT c.label, m.value FROM cells c JOIN cell_stages x ON x.cell_id = c.id "
        "JOIN metrics m ON m.stage_id = x.stage_id WHERE m.name = 'parameters'").stdout)
    stored = {row["label"]: row["value"] for row in rows}
    planned = {cell["cell"].split("/")[0]: cell["parameters"] for cell in plan["cells"]}
    assert planned == stored and len(planned) == 5


def test_doctor_says_what_is_missing(oasis):
    findings = {f["name"]: f for f in json.loads(oasis.run("doctor", "--json").stdout)}
    assert findings["torch"]["state"] == "ok"
    assert findings["data home"]["state"] == "missing"
    assert findings["data set books"]["state"] == "missing"
    assert "torch" in oasis.run("doctor").stdout


def test_tables_on_stdout_progress_on_stderr(oasis):
    done = oasis.reproduce(oasis.suite())
    assert "attnres" in done.stdout and "W8A8" in done.stdout
    assert "\r" not in done.stderr
    assert len(done.stderr.splitlines()) < 40


@pytest.mark.parametrize("data_set", ["word_problems"])
def test_text_data_sets_train_too(oasis, data_set):
    suite = oasis.suite(datasets=[{"name": data_set, "count": {"train": 200, "valid": 40, "test": 40}}])
    oasis.reproduce(suite)
    names = {row["name"] for row in json.loads(oasis.run(
        "query", "--format", "json", "--db", "run/results.db", "SELECT DISTINCT name FROM metrics").stdout)}
    assert {"loss", "perplexity", "bits_per_byte"} <= names


def test_embedded_suite_needs_no_file(oasis):
    text = oasis.run("plan", "smoke", "--no-timing").stdout
    assert "12 cells" in text
