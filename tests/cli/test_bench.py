"""oasis bench and oasis compare: rows, tables, regressions, wrong input."""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys

import pytest

from cli_program import binary

# Instrumented sums are not vectorised and lose too much to pass the check: there an operation without a sum.
SANITIZED = "OASIS_SANITIZED" in os.environ
CASE, LIBRARY = ("gated_product", "copy") if SANITIZED else ("rms_norm/M", "at::rms_norm")
QUICK = ["bench", "--device", "cpu", "--quick", "--benchmark_min_time=0.01"]


def rows(oasis, database="runs/bench/results.db"):
    with sqlite3.connect(oasis.folder / database) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM table_bench ORDER BY id")]


def test_three_formulations_side_by_side(oasis):
    done = oasis.run(*QUICK, "--filter", CASE)
    stored = rows(oasis)
    assert [row["formulation"] for row in stored] == ["ours", "eager", "library"]
    for row in stored:
        assert row["operation"] == CASE.split("/")[0] and row["dtype"] == "float32" and row["error"] is None
        assert row["p10_seconds"] <= row["median_seconds"] <= row["p90_seconds"] and row["n"] >= 5
        assert row["bytes"] > 0 and row["flops"] > 0 and row["share_of_ceiling"] > 0
        assert "threads" in row["device"] and row["source_revision"]
    assert stored[0]["ours_over_this"] == 1
    tables = oasis.run("tables", "--suite", "bench").stdout
    assert tables == done.stdout == oasis.run("tables", "bench").stdout
    for text in (CASE.split("/")[0], "eager", f"library: {LIBRARY}", "of the ceiling", "Measured in the same run"):
        assert text in tables
    assert "median_seconds" in oasis.run("tables", "bench", "--format", "csv").stdout


def test_training_steps(oasis):
    oasis.run(*QUICK, "--filter", "^step/(prenorm|oasis)/", "--db", "b.db")
    stored = rows(oasis, "b.db")
    assert [row["variant"] for row in stored] == ["prenorm", "oasis"]
    assert stored[0]["ratio_to_prenorm"] == 1 and stored[1]["ratio_to_prenorm"] > 0
    for row in stored:
        assert row["tokens_per_second"] > 0 and 0 < row["mfu"] and row["peak_bytes"] > 0


def test_json(oasis):
    report = json.loads(oasis.run(*QUICK, "--filter", "^rope/B.*/ours$", "--json").stdout)
    assert [row["operation"] for row in report["rows"]] == ["rope"]
    assert report["rows"][0]["median_s"] > 0


def test_flags_of_google_benchmark(oasis):
    listed = oasis.run(*QUICK, "--benchmark_filter=^gated_product/", "--benchmark_list_tests").stdout
    assert len(listed.splitlines()) == 3 and not (oasis.folder / "runs").exists()
    done = oasis.run(*QUICK, "--benchmark_filter=^gated_product/.*/ours$", "--benchmark_format=json",
                     "--benchmark_out=out.json", "--db", "b.db")
    for text in (done.stdout, (oasis.folder / "out.json").read_text()):
        (run,) = json.loads(text)["benchmarks"]
        assert run["name"].startswith("gated_product/") and run["n"] >= 5 and run["median_s"] > 0
    assert len(rows(oasis, "b.db")) == 1


def scaled(oasis, database, factor):
    """The rows of b.db with every time multiplied, in another file."""
    (oasis.folder / database).write_bytes((oasis.folder / "b.db").read_bytes())
    with sqlite3.connect(oasis.folder / database) as connection:
        connection.execute("UPDATE benchmarks SET median_seconds = median_seconds * ?, p10_seconds = p10_seconds * ?,"
                           " p90_seconds = p90_seconds * ?", [factor] * 3)


def test_compare(oasis):
    oasis.run(*QUICK, "--filter", CASE, "--db", "b.db")
    scaled(oasis, "slow.db", 1000)  # beyond any spread of a busy machine
    text = oasis.run("compare", "b.db", "b.db").stdout
    assert text.count("not distinguishable") == 3
    slower = oasis.run("compare", "--db", "b.db", "--db", "slow.db", status=1)
    assert slower.stdout.count("slower") == 3 and "1000.000" in slower.stdout
    assert "1 of 3 benchmarks regressed" in slower.stderr  # ours; the others are not our doing
    found = json.loads(oasis.run("compare", "slow.db", "b.db", "--json").stdout)["benchmarks"]
    assert {entry["verdict"] for entry in found} == {"faster"}
    assert found[0]["ratio"] == pytest.approx(0.001)


def test_compare_of_one_database_takes_its_last_two_runs(oasis):
    oasis.run(*QUICK, "--filter", CASE)
    oasis.refuses("compare", saying=["run twice", "oasis bench"])
    oasis.run(*QUICK, "--filter", f"{CASE}.*/ours")
    process = oasis.start("compare", "--json")  # the same program twice: any verdict, but one row
    assert len(json.loads(process.communicate(timeout=60)[0])["benchmarks"]) == 1 and process.returncode in (0, 1)


def test_wrong_input(oasis):
    oasis.refuses(*QUICK, "--filter", "(", saying=["--filter", "regular expression"])
    oasis.refuses(*QUICK, "--filter", "no_such_kernel", saying=["finds none of the", "--benchmark_list_tests"])
    oasis.refuses(*QUICK, "--sizes", saying=["--sizes", "--help"])
    oasis.refuses(*QUICK, "--benchmark_colour=no", saying=["--benchmark_colour", "Google Benchmark"])
    oasis.refuses(*QUICK, "--filter", "a", "--benchmark_filter=b", saying=["one of them"])
    oasis.refuses(*QUICK, "--json", "--benchmark_format=json", saying=["one of them"])
    oasis.run(*QUICK, "--device", "tpu", status=2)
    oasis.refuses("compare", saying=["no results database"])
    oasis.refuses("compare", "a.db", "b.db", saying=["a.db"])
    oasis.refuses("compare", "a", "b", "c", saying=["3 databases"])
    assert not (oasis.folder / "runs").exists()


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU")
def test_cuda_without_a_gpu(oasis):
    oasis.refuses("bench", "--quick", "--device", "cuda", saying=["--device cuda", "--device cpu"])
    assert not (oasis.folder / "runs").exists()


def test_database_that_cannot_be_used(oasis):
    (oasis.folder / "text.db").write_text("no database at all, but long enough to look at" * 100)
    oasis.refuses(*QUICK, "--filter", CASE, "--db", "text.db", saying=["text.db", "--db"])
    oasis.refuses(*QUICK, "--filter", CASE, "--db", ".", saying=["is a folder"])
    oasis.run(*QUICK, "--filter", f"{CASE}.*/ours", "--db", "b.db")
    oasis.refuses("tables", "--suite", "nothing", "--db", "b.db", saying=["no suite"])


def test_the_performance_page_is_what_the_reference_run_says():
    script = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "performance_page.py"
    subprocess.run([sys.executable, script, "--check", "--oasis", binary()], check=True)
