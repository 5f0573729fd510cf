"""scripts/parquet_to_jsonl.py, which makes Parquet data readable. The conversion itself needs pyarrow, an option."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/parquet_to_jsonl.py"


def run(*arguments, **environment):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=60,
                          env=os.environ | environment)


def test_without_pyarrow_it_names_the_command_that_installs_it(tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    done = run("a.parquet", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert f"{sys.executable} -m pip install -r {SCRIPT.parent / 'requirements-parquet.txt'}" in done.stderr


def test_every_document_becomes_a_line(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = ["\n_START_ARTICLE_\nLörrach", 'say "no"', "", None, "x" * 5000] * 700
    table = pyarrow.table({"wikidata_id": ["Q1"] * len(texts), "text": texts})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=999)
    done = run(tmp_path / "a.parquet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'a.jsonl'}: {4 * 700} documents\n"
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["text"] for line in lines] == [t for t in texts if t is not None]


def test_what_is_wrong_is_named_and_nothing_written(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"title": ["a"]}), tmp_path / "titles.parquet")
    (tmp_path / "damaged.parquet").write_bytes((tmp_path / "titles.parquet").read_bytes()[:-9])
    for name, part in [("titles", "no column 'text', only title"), ("damaged", "damaged.parquet: "),
                       ("missing", "missing.parquet: ")]:
        done = run(tmp_path / f"{name}.parquet")
        assert done.returncode == 2 and part in done.stderr, done.stderr
    assert {p.suffix for p in tmp_path.iterdir()} == {".parquet"}
