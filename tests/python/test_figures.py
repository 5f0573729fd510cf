"""`oasis figures`: every figure from the database alone."""

import os
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import results_database
from conftest import REPOSITORY

pytest.importorskip("matplotlib", reason="matplotlib is not installed: scripts/setup")
sys.path.insert(0, str(REPOSITORY / "scripts" / "oasis_figures"))
import style  # noqa: E402

NAMES = ("loss_curves", "outliers_by_depth", "first_token_mass", "attention_maps", "depth_routing", "depth_routing_tokens",
         "null_posterior", "activation_magnitude", "perplexity_bits", "gsm8k_pass_at_1", "benchmarks")


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    monkeypatch.setenv("OASIS_PYTHON", sys.executable)
    monkeypatch.setenv("OASIS_SOURCE", str(REPOSITORY))


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("db") / "results.db"
    db = results_database.create(path)
    results_database.add_suite(db)
    results_database.add_benchmarks(db)
    db.commit()
    db.close()
    return path


def test_every_figure_is_drawn(program, database, tmp_path):
    # Half a minute of one processor, which others may be using too.
    out = program.run("figures", database, "--output", tmp_path / "f", "--format", "png,svg,pdf", timeout=900).stdout
    assert "not run" not in out
    for name in NAMES:
        width, height = struct.unpack(">II", (tmp_path / "f" / f"{name}.png").read_bytes()[16:24])
        assert width in (round(style.PAGE * 300), round(style.COLUMN * 300)), name
        assert height <= 9.2 * 300, name
        tree = ElementTree.parse(tmp_path / "f" / f"{name}.svg")
        # Letters are outlines, so that no font is missing where it is shown.
        assert not tree.findall(".//{http://www.w3.org/2000/svg}text"), name
        assert not re.search(rb"/Type3\b", (tmp_path / "f" / f"{name}.pdf").read_bytes()), name


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed: scripts/setup --tests")
def test_fonts_are_embedded_and_n_and_setting_are_named(program, database, tmp_path):
    program.run("figures", database, "--output", tmp_path, "--format", "pdf", "--only", "loss_curves,null_posterior")
    for name in ("loss_curves", "null_posterior"):
        fonts = subprocess.run(["pdffonts", tmp_path / f"{name}.pdf"], capture_output=True, text=True, check=True).stdout
        rows = fonts.splitlines()[2:]
        assert rows and all(re.search(r"\byes +yes\b|\byes +no\b", row) for row in rows), fonts
        text = subprocess.run(["pdftotext", tmp_path / f"{name}.pdf", "-"], capture_output=True, text=True, check=True).stdout
        assert "n = 3 seeds" in text and "tiny trained on books" in text


def test_one_state_of_the_database_gives_one_file(program, database, tmp_path):
    for folder in ("a", "b"):
        program.run("figures", database, "--output", tmp_path / folder, "--format", "svg", "--only", "perplexity_bits")
    assert (tmp_path / "a/perplexity_bits.svg").read_bytes() == (tmp_path / "b/perplexity_bits.svg").read_bytes()


def test_what_was_not_run_says_so(program, tmp_path):
    path = tmp_path / "empty.db"
    db = results_database.create(path)
    results_database.add_suite(db, seeds=())
    suite = results_database.add_run(db, "other")
    assert suite
    db.commit()
    db.close()
    out = program.run("figures", path, "--output", tmp_path / "f", "--format", "png").stdout
    assert out.count("not run") == len(NAMES)


def test_bad_input_is_said(program, database, tmp_path, monkeypatch):
    assert "no figure 'losses'" in program.run("figures", database, "--output", tmp_path, "--only", "losses", status=2).stderr
    assert "'gif' is not one of" in program.run("figures", database, "--output", tmp_path, "--format", "gif", status=2).stderr
    assert "made-up" in program.run("figures", database, "--suite", "mad-up", "--output", tmp_path, status=2).stderr
    monkeypatch.setenv("OASIS_PYTHON", "/nowhere/python")
    assert "scripts/setup" in program.run("figures", database, "--output", tmp_path, status=2).stderr


def luminance(color):
    r, g, b = (int(color[i:i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_methods_differ_without_colour():
    looks = {name: (str(look.line), look.marker) for name, look in style.METHODS.items()}
    assert len({marker for _, marker in looks.values()}) == len(looks), "a marker is used twice"
    for title, methods in style.panels_of(list(style.METHODS)):
        colors = [style.look(m).color for m in methods]
        assert len(set(colors)) >= len(colors) - 1, title  # prenorm and its Softmax1 share grey
    assert all(luminance(look.color) < 0.65 for look in style.METHODS.values()), "too light on white"


def test_an_unknown_method_looks_the_same_each_time():
    script = "import style; print(style.look('another'))"
    folder = REPOSITORY / "scripts" / "oasis_figures"
    seen = {subprocess.run([sys.executable, "-c", script], cwd=folder, env=os.environ | {"PYTHONHASHSEED": seed}, text=True,
                           capture_output=True, check=True).stdout for seed in ("1", "2")}
    assert len(seen) == 1


def test_sequential_shades_grow_darker_evenly():
    import matplotlib

    shades = matplotlib.colormaps[style.SEQUENTIAL](np.linspace(0, 1, 64))[:, :3]
    grey = shades @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(grey) > 0)
