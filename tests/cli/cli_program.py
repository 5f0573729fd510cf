"""The `oasis` program as a user calls it: each test works in a folder of its own."""

import copy
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NOBODY = 65534

# Small enough that a whole run takes about a second.
SUITE = {
    "name": "mini",
    "datasets": [{"name": "bigram_backcopy", "sequence_length": 32,
                  "count": {"train": 20000, "valid": 2048, "test": 2048}}],
    "models": [{"name": "m", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 32}],
    "methods": ["attnres", "oasis"],
    "training": {"steps": 30, "block_length": 32, "sequences_per_step": 4, "warmup_steps": 3,
                 "learning_rate": 0.003, "checkpoint_every": 5, "log_every": 1},
    "evaluation": {"sequences": 16},
    "quantization": [{"weight_bits": 8, "activation_bits": 8}],
}


def binary():
    path = pathlib.Path(os.environ.get("OASIS_BINARY", REPOSITORY / "build/oasis"))
    if not path.is_file():
        pytest.fail(f"{path} is not there: build it (scripts/build), or name it in OASIS_BINARY",
                    pytrace=False)
    return path


class Oasis:
    def __init__(self, folder):
        self.folder = folder
        self.cache = folder / "cache"
        self.environment = os.environ | {
            "OMP_NUM_THREADS": "1", "OASIS_CACHE_HOME": str(self.cache),
            "OASIS_DATA_HOME": str(folder / "data")}

    def start(self, *arguments, **options):
        return subprocess.Popen([binary(), *map(str, arguments)], cwd=self.folder, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=self.environment, **options)

    def run(self, *arguments, status=0, **options):
        process = self.start(*arguments, **options)
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == status, \
            f"oasis {' '.join(map(str, arguments))}: {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def refuses(self, *arguments, saying, **options):
        """Exit status 2, nothing on stdout, and one message that holds every text of `saying`."""
        done = self.run(*arguments, status=2, **options)
        messages = [line for line in done.stderr.splitlines() if line.startswith("oasis: ")]
        assert len(messages) == 1, done.stderr
        assert done.stdout == ""
        for text in saying:
            assert text in done.stderr, done.stderr
        return done

    def suite(self, name="x.json", **changes):
        """SUITE with changes by path, as in training__steps=3, written to a file."""
        suite = copy.deepcopy(SUITE)
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = suite
            for key in parents:
                place = place[int(key) if isinstance(place, list) else key]
            place[int(last) if isinstance(place, list) else last] = value
        (self.folder / name).write_text(json.dumps(suite))
        return name

    def reproduce(self, suite="x.json", out="run", **options):
        return self.run("reproduce", suite, "--out", out, **options)

    def contents(self, out="run"):
        """Everything that two runs of one suite must agree on."""
        with sqlite3.connect(f"file:{self.folder / out / 'results.db'}?mode=ro", uri=True) as database:
            return [tuple(row) for row in database.execute("SELECT * FROM comparable ORDER BY 1, 2, 3")]

    def kill_after(self, seconds, *arguments):
        process = self.start(*arguments)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        return process.returncode


def flip_bit(path, position=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
