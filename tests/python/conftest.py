"""Where the program and the operator library under test lie. Absent means failed, never skipped."""

import json
import os
import pathlib
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# The models here are tiny: threads would only wait for each other.
torch.set_num_threads(1)


def built(variable, default):
    path = pathlib.Path(os.environ.get(variable, REPOSITORY / default))
    if not path.is_file():
        pytest.fail(f"{path} is not there: build it (scripts/build), or name it in {variable}", pytrace=False)
    return path


class Program:
    """The `oasis` binary as a user calls it; works in a folder of its own."""

    def __init__(self, path, folder):
        self.path, self.folder, self.calls = path, folder, 0

    def run(self, *arguments, status=0, timeout=300):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run([self.path, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                              env=environment)
        assert done.returncode == status, f"oasis {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        return done

    def file(self, suffix):
        self.calls += 1
        return self.folder / f"{self.calls}.{suffix}"

    def tokens_file(self, tokens):
        path = self.file("tokens.safetensors")
        save_file({"tokens": tokens.contiguous()}, path)
        return path

    @staticmethod
    def precision(dtype):
        return ["--dtype", {torch.float32: "float32", torch.float64: "float64"}[dtype]]

    def quantization(self, settings):
        if settings is None:
            return []
        weight_bits, activation_bits, calibration, points, *more = settings
        flags = ["--weight-bits", weight_bits, "--activation-bits", activation_bits, "--points", points]
        if len(calibration):
            flags += ["--calibration", self.tokens_file(calibration)]
        return flags + [x for pair in zip(("--weight-range", "--weight-grain", "--activation-range"), more) for x in pair]

    def inspect(self, checkpoint, tokens, dtype=torch.float32, gradients=False, attention=False, quantization=None):
        out = self.file("inspected.safetensors")
        flags = ["--gradients"] * gradients + ["--attention"] * attention
        self.run("inspect", checkpoint, "--tokens", self.tokens_file(tokens), "--out", out, *flags,
                 *self.precision(dtype), *self.quantization(quantization))
        return load_file(out)

    def evaluate(self, checkpoint, tokens, dtype=torch.float32, quantization=None):
        done = self.run("evaluate", checkpoint, "--tokens", self.tokens_file(tokens), "--json",
                        *self.precision(dtype), *self.quantization(quantization))
        return {m["name"]: m["value"] for m in json.loads(done.stdout)["metrics"]}


@pytest.fixture
def program(tmp_path):
    return Program(built("OASIS_BINARY", "build/oasis"), tmp_path)


@pytest.fixture(scope="session")
def operators():
    library = built("OASIS_OPS_LIBRARY", "build/kernels/liboasis_ops.so")
    torch.ops.load_library(library)
    kernels = library.with_name("liboasis_cuda.so")
    if torch.cuda.is_available() and kernels.is_file():
        torch.ops.load_library(kernels)
    return torch.ops.oasis


class Worst:
    """The largest error of each kind over a whole test session, printed at its end."""

    def __init__(self):
        self.values = {}

    def note(self, kind, value, where):
        self.values[kind] = max(self.values.get(kind, (-1.0, "")), (value, where))


WORST = Worst()


@pytest.fixture(scope="session")
def worst():
    return WORST


def pytest_terminal_summary(terminalreporter):
    for kind, (value, where) in sorted(WORST.values.items()):
        terminalreporter.write_line(f"worst {kind}: {value:.2e} at {where}")
