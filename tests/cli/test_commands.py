"""plan, status, doctor and the run's own output."""

import json
import sqlite3

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


def test_status_expects_what_stages_of_the_same_kind_took(oasis):
    oasis.reproduce(oasis.suite())
    database = sqlite3.connect(oasis.folder / "run/results.db")
    assert "left" not in oasis.run("status", "run").stdout  # all is done
    seconds = {"pretrain": 8.0, "evaluate": 2.0, "quantized": 3.0}
    for kind, value in seconds.items():
        database.execute("UPDATE stages SET seconds = ? WHERE kind = ?", [value, kind])
    # Left of the second cell: a quarter of its training, its two evaluations.
    database.execute("UPDATE stages SET state = 'pending' WHERE id > 3 AND kind <> 'pretrain'")
    database.execute("UPDATE stages SET state = 'stopped', step = 20 WHERE id > 3 AND kind = 'pretrain'")
    database.execute("DELETE FROM curves WHERE step > 22 AND stage_id > 3")
    database.commit()
    report, = json.loads(oasis.run("status", "run", "--json").stdout)
    assert report["expected_seconds"] == pytest.approx(8 * (1 - 22 / 30) + 2 + 3)
    assert (report["expected_from_stages"], report["stages_of_unknown_cost"]) == (3, 0)
    assert "about 7s left, by 3 done stages of the same kinds" in oasis.run("status", "run").stdout
    database.execute("UPDATE stages SET state = 'pending' WHERE kind = 'quantized'")
    database.commit()
    report, = json.loads(oasis.run("status", "run", "--json").stdout)
    assert report["stages_of_unknown_cost"] == 2
    assert "2 stages more of kinds of which none is done" in oasis.run("status", "run").stdout


def test_doctor_checks_databases(oasis):
    oasis.reproduce(oasis.suite())
    assert "database run/results.db  whole" in oasis.run("doctor", "--db", "run").stdout
    whole = (oasis.folder / "run/results.db").read_bytes()
    (oasis.folder / "cut.db").write_bytes(whole[:len(whole) // 2])
    done = oasis.run("doctor", "--db", "cut.db", status=1)
    assert "damaged" in done.stdout and ".recover" in done.stdout


def test_named_queries(oasis):
    oasis.reproduce(oasis.suite())
    listed = oasis.run("query", "--list").stdout
    assert "best-methods" in listed and "--set dataset=" in listed
    rows = json.loads(oasis.run("query", "best-methods", "--set", "dataset=bigram_backcopy", "--db", "run",
                                "--format", "json").stdout)
    assert {row["setting"] for row in rows} == {"full precision", "W8A8 published"}
    markdown = oasis.run("query", "slowest-stages", "--set", "rows=1", "--db", "run", "--format", "markdown").stdout
    assert markdown.startswith("| stage_id |") and len(markdown.splitlines()) == 3
    oasis.refuses("query", "best-method", "--db", "run", saying=["did you mean 'best-methods'"])
    oasis.refuses("query", "slowest-stages", "--set", "rows=x", "--db", "run", saying=["rows", "integer"])
    oasis.refuses("query", "slowest-stages", "--set", "rows", "--db", "run", saying=["NAME=VALUE"])
    value = "x'); DELETE FROM metrics; --"
    row, = json.loads(oasis.run("query", "SELECT :a AS a", "--set", f"a={value}", "--db", "run", "--format", "json").stdout)
    assert row["a"] == value


def test_compare_of_results(oasis):
    oasis.reproduce(oasis.suite(seeds=[0, 1, 2], methods=["oasis"], quantization=[]))
    (oasis.folder / "b.db").write_bytes((oasis.folder / "run/results.db").read_bytes())
    same = oasis.run("compare", "run", "b.db").stdout
    assert "equal" in same and "worse" not in same and "| " not in same
    with sqlite3.connect(oasis.folder / "b.db") as database:
        database.execute("UPDATE metrics SET value = value * (1.05 + 0.001 * stage_id) WHERE name = 'perplexity'")
    worse = oasis.run("compare", "run", "b.db", status=1)
    assert "worse" in worse.stdout and "figures regressed" in worse.stderr
    figure = json.loads(oasis.run("compare", "run", "b.db", "--json", status=1).stdout)["results"]["figures"][0]
    assert (figure["metric"], figure["verdict"], figure["seeds"]) == ("perplexity", "worse", 3)
    assert 5 < figure["low"] < figure["effect"] < figure["high"] < 6
    assert "better" in oasis.run("compare", "b.db", "run").stdout
    oasis.suite("y.json", methods=["attnres"], quantization=[])
    oasis.run("reproduce", "y.json", "--out", "other")
    oasis.refuses("compare", "run", "other", saying=["nothing is both in run and in other"])
