"""Stopped and killed runs end with what an undisturbed run gives."""

import json
import random
import signal
import subprocess

from cli_program import wait_for


def test_kill_9_at_random_moments(oasis):
    suite = oasis.suite(training__steps=150)
    oasis.reproduce(suite, out="undisturbed")
    expected = oasis.contents("undisturbed")
    random.seed(4)
    kills = 0
    while kills < 12:
        code = oasis.kill_after(random.uniform(0.2, 1.2), "reproduce", suite, "--out", "run")
        if code == 0:  # it was quicker: start afresh
            assert oasis.contents() == expected
            subprocess.run(["rm", "-r", oasis.folder / "run"], check=True)
        else:
            assert code == -signal.SIGKILL
            kills += 1
    oasis.reproduce(suite)
    assert oasis.contents() == expected


def test_time_limit_stops_and_goes_on(oasis):
    suite = oasis.suite(training__steps=300)
    oasis.reproduce(suite, out="undisturbed")
    sessions = 0
    while True:
        done = oasis.run("reproduce", suite, "--out", "run", "--time-limit", "0.5s", "--json")
        report = json.loads(done.stdout)
        sessions += 1
        if report["complete"]:
            break
        assert "time limit" in report["stopped"]
        assert sessions < 100
    assert sessions > 1
    assert oasis.contents() == oasis.contents("undisturbed")


def test_signals_stop_after_the_step(oasis):
    suite = oasis.suite(training__steps=100_000)

    def saved():
        return [path.stat().st_mtime_ns
                for path in (oasis.folder / "run/cells").glob("*/training.safetensors")]

    for number in (signal.SIGINT, signal.SIGTERM):
        before = saved()
        process = oasis.start("reproduce", suite, "--out", "run")
        wait_for(lambda: saved() != before)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 128 + number, err
        assert "goes on from here" in err
    status = json.loads(oasis.run("status", "run", "--json").stdout)
    assert status[0]["counts"] == {"stopped": 1, "pending": 5}


def test_status_tells_a_killed_run_from_a_running_one(oasis):
    suite = oasis.suite(training__steps=100_000)
    process = oasis.start("reproduce", suite, "--out", "run")
    wait_for(lambda: list((oasis.folder / "run/cells").glob("*/training.safetensors")))

    def counts():
        return json.loads(oasis.run("status", "run", "--json").stdout)[0]["counts"]

    assert counts() == {"running": 1, "pending": 5}
    process.kill()
    process.communicate()
    assert counts() == {"interrupted": 1, "pending": 5}


def test_nothing_is_run_twice(oasis):
    suite = oasis.suite()
    oasis.reproduce(suite)
    again = json.loads(oasis.run("reproduce", suite, "--out", "run", "--json").stdout)
    assert (again["stages_run"], again["stages_known"]) == (0, 6)
    renamed = oasis.suite(description="said otherwise", training__checkpoint_every=7)
    again = json.loads(oasis.run("reproduce", renamed, "--out", "run", "--json").stdout)
    assert again["stages_run"] == 0
    more = oasis.suite(quantization__0__weight_bits=4)
    again = json.loads(oasis.run("reproduce", more, "--out", "run", "--json").stdout)
    assert again["stages_run"] == 2


def test_two_processes_share_a_run(oasis):
    suite = oasis.suite(training__steps=200, seeds=[0, 1])
    processes = [oasis.start("reproduce", suite, "--out", "run", "--json") for _ in range(2)]
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        reports.append(json.loads(out))
    assert sum(report["stages_run"] for report in reports) == 12, "a stage was run twice"
    oasis.reproduce(suite, out="alone")
    assert oasis.contents() == oasis.contents("alone")


def test_shards_together_are_the_whole(oasis):
    suite = oasis.suite()
    for shard in ("1/2", "2/2"):
        oasis.run("reproduce", suite, "--out", "run", "--shard", shard)
    oasis.reproduce(suite, out="whole")
    assert oasis.contents() == oasis.contents("whole")


def test_a_nan_ends_its_cell_alone(oasis):
    # A step multiplies every weight by 1 - lr·decay = -99: overflow within thirty steps.
    suite = oasis.suite(training__learning_rate=10, training__weight_decay=10,
                        training__warmup_steps=0, training__steps=100)
    done = oasis.run("reproduce", suite, "--out", "run", status=1)
    assert "attnres/bigram_backcopy/m/0: pretrain bigram_backcopy: " in done.stderr
    assert "at step" in done.stderr and "last good checkpoint: run/cells/" in done.stderr
    status = json.loads(oasis.run("status", "run", "--json").stdout)
    assert status[0]["counts"] == {"failed": 2, "pending": 4}
