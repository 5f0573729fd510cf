"""The examples of docs/reading-results.md, run as they stand on a database of their own."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from cli_program import REPOSITORY, SUITE, binary

PAGE = (REPOSITORY / "docs" / "reading-results.md").read_text()
EXAMPLES = re.findall(r"^## ([^\n]*)\n|^```(sh|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def examples():
    title = ""
    for heading, language, text in EXAMPLES:
        title = heading or title
        if text:
            yield pytest.param(language, text, id=title.lower().replace(" ", "_"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    (folder / "bin").mkdir()
    (folder / "bin" / "oasis").symlink_to(pathlib.Path(binary()).resolve())
    (folder / "smoke.json").write_text(json.dumps(SUITE | {"name": "smoke"}))
    subprocess.run([binary(), "reproduce", "smoke.json", "--out", "runs/smoke"], cwd=folder, check=True, capture_output=True,
                   env=os.environ | {"OMP_NUM_THREADS": "1", "OASIS_CACHE_HOME": str(folder / "cache")})
    return folder


@pytest.mark.parametrize("language, text", list(examples()))
def test_example(folder, language, text):
    needed = [name for name in ("pandas", "duckdb", "duckdb_extensions") if f"import {name}" in text or f"from {name}" in text]
    for name in needed:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (scripts/setup --tests)")
    if text.startswith("sqlite3") and shutil.which("sqlite3") is None:
        pytest.skip("no sqlite3 shell here (scripts/setup --tests)")
    command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
    # The sanitizers are for our program alone.
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD" or language == "sh"}
    environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 1
    if "method" in text:
        assert "oasis" in done.stdout and "attnres" in done.stdout, done.stdout


def test_the_page_has_an_example_for_every_reader():
    assert len(list(examples())) >= 5
