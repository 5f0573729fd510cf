"""The real text that tests and benchmarks read, where it is there: see the data sets' own README."""

import json
import os
import pathlib

import zstandard

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def data_home():
    return pathlib.Path(os.environ.get("OASIS_DATA_HOME", REPOSITORY.parent / "shared" / "datasets"))


def documents(file):
    """The texts of a .txt (one), .jsonl or .jsonl.zst file; of GSM8K, questions and answers."""
    data = file.read_bytes()
    if file.suffix == ".zst":
        data = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(data, read_across_frames=True).read()
    text = data.decode()
    if file.suffix == ".txt":
        return [text]
    records = [json.loads(line) for line in text.split("\n") if line]
    return [r[key] for r in records for key in ("text", "question", "answer") if key in r]


def lines(*patterns):
    files = [file for pattern in patterns for file in sorted(data_home().glob(pattern))]
    return [line for file in files for document in documents(file) for line in document.split("\n")]
