#!/usr/bin/env python3
"""Writes docs/performance.md from runs of `oasis bench`, bench_gpu_step.py and bench_adasplash.py (tests/python).

    scripts/performance_page.py [--check]

Reads results/reference/bench.db and, where they exist, step.json and adasplash.json beside it. --check: writes nothing,
exit status 1 when the page is not what they say.
"""

import argparse
import json
import pathlib
import re
import sqlite3
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results" / "reference"
PAGE = ROOT / "docs" / "performance.md"
ATTENTION = {512: "B64 H32 T512 d64", 2048: "B16 H32 T2048 d64", 4096: "B8 H32 T4096 d64"}
STEP = {512: "T512 24576 tokens", 2048: "T2048 16384 tokens"}


class Run:
    """The newest run of a database of benchmarks."""

    def __init__(self, path):
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.db.row_factory = sqlite3.Row
        self.run = self.db.execute("SELECT * FROM runs WHERE id = (SELECT max(run_id) FROM benchmarks)").fetchone()
        self.rows = self.db.execute("SELECT * FROM benchmarks WHERE run_id = ? AND dtype = 'bfloat16'",
                                    [self.run["id"]]).fetchall()

    def rows_of(self, operation, variant, shape, formulation, implementation=""):
        return [r for r in self.rows
                if (r["operation"], r["variant"], r["formulation"]) == (operation, variant, formulation)
                and r["shape"].endswith(shape) and implementation in r["implementation"] and r["error"] is None]

    def fastest(self, *case):
        return min((r["median_seconds"] for r in self.rows_of(*case)), default=None)


def ratio(a, b):
    return "not measured" if a is None or b is None else f"{a / b:.2f}"


def attention_row(run, variant, of, implementation, goals):
    cells, seconds = [], []
    for length, shape in ATTENTION.items():
        ours = run.fastest("attention", variant, shape, "ours")
        cells.append(ratio(ours, run.fastest("attention", variant, shape, "library", implementation)))
        seconds.append("–" if ours is None else f"{1e3 * ours:.2f}")
    return (f"{variant} attention, H 32, d 64, 32k tokens, T 512 / 2048 / 4096", goals,
            f"{' / '.join(cells)} × {of} ({' / '.join(seconds)} ms)")


def router_row(run):
    cells, seconds = [], []
    for sources in (9, 18):
        shape = f"n{sources} M16384 D2048"
        ours = run.fastest("depth_route", "direction", shape, "ours")
        cells.append(ratio(ours, run.fastest("depth_route", "direction", shape, "library", "copy")))
        seconds.append("–" if ours is None else f"{1e3 * ours:.2f}")
    return ("router, D 2048, 16k tokens, 9 / 18 sources", "≤ 1.6 × a copy of as many bytes",
            f"{' / '.join(cells)} × ({' / '.join(seconds)} ms)")


def step_row(run, compiled, method, length, goal, against_compile):
    row = run.rows_of("step", method, STEP[length], "ours")[0]
    rate = row["tokens"] / row["median_seconds"] / 1e3
    text = f"{rate:.0f} ktok/s, {row['peak_bytes'] / 2**30:.1f} GiB"
    if against_compile:
        text += f", {compiled[method]:.2f} × torch.compile" if method in compiled else ", torch.compile not measured"
    return f"step of 110M parameters, `{method}`, T {length}", goal, text


def ratio_row(run, method, goal):
    cells = [ratio(run.fastest("step", method, shape, "ours"), run.fastest("step", "prenorm", shape, "ours"))
             for shape in STEP.values()]
    return f"`{method}` step over `prenorm`'s, T 512 / 2048", goal, " / ".join(cells)


def adasplash_row(runs):
    """bench_adasplash.py's rows, the three sides in turns on one GPU."""
    cells, seconds, amplitude = [], [], runs["rows"][0]["amplitude"]
    for row in runs["rows"]:
        if row["amplitude"] != amplitude:
            continue
        median = {name: statistics.median(s) for name, s in row["seconds"].items()}
        cells.append(ratio(median["ours"], median["AdaSplash-2"]))
        seconds.append(f"{1e3 * median['AdaSplash-2']:.2f}")
    return ("entmax15 attention, the same in turns with AdaSplash-2 0.2.2", "≤ AdaSplash-2",
            f"{' / '.join(cells)} × AdaSplash-2 ({' / '.join(seconds)} ms)")


def goal_rows(run, compiled, adasplash):
    yield attention_row(run, "softmax1", "the fastest softmax", "", "≤ 1.25 / 1.1 / 1.1 × the fastest softmax SDPA")
    yield attention_row(run, "clipped_softmax", "flash", "flash", "≤ 1.6 × flash")
    yield attention_row(run, "sparsemax", "flash", "flash", "≤ 1.4 × flash")
    yield attention_row(run, "entmax15", "flash", "flash", "about 1.3 × flash")
    if adasplash.exists():
        yield adasplash_row(json.loads(adasplash.read_text()))
    yield router_row(run)
    yield step_row(run, compiled, "oasis", 512, "≥ 420 ktok/s, ≤ 14 GiB, ≥ 2.2 × torch.compile", True)
    yield step_row(run, compiled, "prenorm", 512, "≥ 520 ktok/s, ≥ 1.15 × torch.compile", True)
    yield step_row(run, compiled, "oasis", 2048, "≥ 380 ktok/s", False)
    goals = {"oasis": "≤ 1.25", "softmax1": "≤ 1.25", "attnres": "≤ 1.25", "gated_attention": "≤ 1.25",
             "clipped_softmax": "≤ 1.4", "sparsemax": "≤ 1.5", "entmax15": "≤ 1.5"}
    for method, goal in goals.items():
        yield ratio_row(run, method, goal)


def beside_pytorch(step):
    """The table of bench_gpu_step.py's run, and by how much our step is faster than torch.compile's."""
    median = {(s["method"], s["side"]): statistics.median(s["seconds"]) for s in step["sides"]}
    compiled = {m: median[m, "compile"] / median[m, "oasis"] for m, side in median if side == "compile"}
    lines = [f"The same step in PyTorch, in turns with ours on one GPU ({step['device']}, T {step['length']}, "
             f"{step['tokens']} tokens):", "",
             "| method | side | ktok/s, median (range) | n | peak GiB |", "| --- | --- | ---: | ---: | ---: |"]
    for side in step["sides"]:
        rates = [step["tokens"] / s / 1e3 for s in side["seconds"]]
        lines.append(f"| {side['method']} | {side['side']} | {statistics.median(rates):.0f} ({min(rates):.0f} to "
                     f"{max(rates):.0f}) | {len(rates)} | {side['peak_device_bytes'] / 2**30:.1f} |")
    return [*lines, ""], compiled


def page(tables):
    run = Run(REFERENCE / "bench.db")
    step = REFERENCE / "step.json"
    pytorch, compiled = beside_pytorch(json.loads(step.read_text())) if step.exists() else ([], {})
    lines = [
        "# Performance", "",
        "Written by `scripts/performance_page.py` from `results/reference`; not edited by hand. The run:", "",
        f"    {re.sub('^[^ ]+', 'build/oasis', re.sub(' --db [^ ]+', '', run.run['command_line']))}", "",
        f"{run.run['gpu']}, driver {run.run['driver']}, torch {json.loads(run.run['libraries'])['torch']}, source "
        f"{run.run['source_revision'][:12]}, {run.run['started'][:10]}. Every case was checked against float64 before it "
        "was timed. bfloat16, forward and backward, caches cold, medians.", "",
        "| work | goal | measured |", "| --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in goal_rows(run, compiled, REFERENCE / "adasplash.json")), "", *pytorch,
    ]
    return "\n".join(lines) + "\n" + tables


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--oasis", default=ROOT / "build" / "oasis", help="the program that prints the tables")
    arguments = parser.parse_args()
    tables = subprocess.run([arguments.oasis, "tables", "--suite", "bench", "--db", REFERENCE / "bench.db"], check=True,
                            capture_output=True, text=True).stdout
    text = page(tables)
    if not arguments.check:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit(f"{PAGE} is not what results/reference says: run scripts/performance_page.py")


if __name__ == "__main__":
    main()
