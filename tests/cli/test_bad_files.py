"""Data, checkpoints, databases and disks that are missing, damaged or closed."""

import os
import sqlite3
import subprocess

import pytest
from cli_program import flip_bit


def weights(oasis, out="run"):
    return sorted((oasis.folder / out / "cells").glob("*/final/model.safetensors"))


def test_missing_data_folder(oasis):
    suite = oasis.suite(datasets=["books"])
    oasis.refuses("reproduce", suite, "--out", "run", "--data-home", "nowhere",
                  saying=["nowhere"])
    assert not (oasis.folder / "run").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damaged_shard(oasis, damage):
    oasis.reproduce(oasis.suite())
    expected = oasis.contents()
    shards = sorted(oasis.cache.rglob("shard-*.bin"))
    assert shards
    kept = {shard: shard.read_bytes() for shard in shards}
    for shard in shards:
        if damage == "flipped":
            flip_bit(shard)
        else:
            shard.write_bytes(kept[shard][:-1])
    oasis.refuses("reproduce", "x.json", "--out", "other", saying=["shard-00000.bin"])
    assert not (oasis.folder / "other").exists()
    for shard, data in kept.items():
        shard.write_bytes(data)
    oasis.reproduce(out="other")
    assert oasis.contents("other") == expected


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damaged_training_checkpoint(oasis, damage):
    suite = oasis.suite(training__steps=2000)
    done = oasis.run("reproduce", suite, "--out", "run", "--time-limit", "1s")
    assert "goes on from here" in done.stderr
    checkpoints = sorted((oasis.folder / "run/cells").glob("*/training.safetensors"))
    assert len(checkpoints) == 1
    kept = checkpoints[0].read_bytes()
    if damage == "flipped":
        flip_bit(checkpoints[0])
    else:
        checkpoints[0].write_bytes(kept[:-5])
    oasis.refuses("reproduce", suite, "--out", "run", "--time-limit", "1s",
                  saying=["training.safetensors"])
    checkpoints[0].write_bytes(kept)
    oasis.run("reproduce", suite, "--out", "run", "--time-limit", "1s")


def test_damaged_final_checkpoint(oasis):
    oasis.reproduce(oasis.suite(quantization=[]))
    for path in weights(oasis):
        flip_bit(path)
    oasis.refuses("reproduce", oasis.suite(), "--out", "run", saying=["model.safetensors"])
    for path in weights(oasis):
        path.unlink()
    oasis.reproduce(oasis.suite())  # what is gone is trained again
    oasis.reproduce(oasis.suite("whole.json"), out="whole")
    pairs = [{row for row in oasis.contents(out) if row[0] == "metric"} for out in ("run", "whole")]
    assert pairs[0] == pairs[1]


def test_database_of_a_newer_schema(oasis):
    oasis.reproduce(oasis.suite())
    before = oasis.contents()
    path = oasis.folder / "run/results.db"
    with sqlite3.connect(path) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute("PRAGMA user_version = 999")
    database.close()
    for command in (["reproduce", "x.json", "--out", "run"], ["status", "run"]):
        oasis.refuses(*command, saying=["results.db", "999"])
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {version}")
    assert oasis.contents() == before


@pytest.mark.parametrize("contents", [b"this is not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_not_a_database(oasis, contents):
    (oasis.folder / "run").mkdir()
    path = oasis.folder / "run/results.db"
    path.write_bytes(contents)
    for command in (["reproduce", oasis.suite(), "--out", "run"], ["status", "run"]):
        oasis.refuses(*command, saying=["results.db"])
    assert path.read_bytes() == contents


def test_locked_database(oasis):
    oasis.reproduce(oasis.suite())
    database = sqlite3.connect(oasis.folder / "run/results.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    suite = oasis.suite(training__steps=31)
    oasis.refuses("reproduce", suite, "--out", "run", saying=["results.db", "lock"])
    database.execute("ROLLBACK")
    oasis.reproduce(suite)


def test_read_only_database(oasis, unprivileged):
    oasis.reproduce(oasis.suite(), **unprivileged)
    before = oasis.contents()
    run = oasis.folder / "run"
    for leftover in run.glob("results.db-*"):
        leftover.unlink()
    os.chmod(run / "results.db", 0o444)
    os.chmod(run, 0o555)
    suite = oasis.suite(training__steps=31)
    oasis.refuses("reproduce", suite, "--out", "run", saying=["run"], **unprivileged)
    oasis.run("status", "run", **unprivileged)
    os.chmod(run, 0o755)
    assert oasis.contents() == before


def test_unwritable_output_folder(oasis, unprivileged):
    closed = oasis.folder / "closed"
    closed.mkdir(mode=0o555)
    oasis.refuses("reproduce", oasis.suite(), "--out", "closed/run", saying=["closed", "--out"],
                  **unprivileged)
    (oasis.folder / "file").write_text("")
    oasis.refuses("reproduce", "x.json", "--out", "file/run", saying=["file", "--out"])


def test_full_disk_loses_nothing(oasis):
    small = oasis.folder / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", small],
                      capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        suite = oasis.suite(models__0__hidden_size=64, models__0__intermediate_size=128)
        oasis.refuses("reproduce", suite, "--out", "small/run", saying=["small/run", "disk is full"])
        subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
        oasis.reproduce(suite, out="small/run")
        after = oasis.contents("small/run")
    finally:
        subprocess.run(["umount", "-l", small], check=True)
    oasis.reproduce(suite)
    assert after == oasis.contents()


def test_query_changes_nothing(oasis):
    oasis.reproduce(oasis.suite())
    before = oasis.contents()
    oasis.run("query", "DELETE FROM metrics", "--db", "run/results.db", status=2)
    assert oasis.contents() == before
