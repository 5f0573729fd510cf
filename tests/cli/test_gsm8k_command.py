"""oasis gsm8k: what users see of prompts, scores and scores anew."""

import json
import sqlite3

import pytest
from cli_program import REPOSITORY

PROBLEMS = [{"question": "1+1?", "answer": "It is 2.\n#### 2"}, {"question": "Much?", "answer": "#### 1,234"},
            {"question": "Less?", "answer": "#### -3"}]


@pytest.fixture
def files(oasis):
    def write(name, rows):
        (oasis.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    write("problems.jsonl", PROBLEMS)
    write("texts.jsonl", [{"index": 2, "text": "It is 3.\n#### -3."}, {"index": 0, "text": "$2.00 </s> 7"}])
    return write


def test_score_prints_every_rule_with_its_interval(oasis, files):
    lines = oasis.run("gsm8k", "score", "texts.jsonl", "--problems", "problems.jsonl").stdout.splitlines()
    assert lines[0] == "2 of 3 problems were answered"
    # 1 of 2: 9.45 to 90.55; none of 2: 0 to 65.76 (Wilson)
    assert [line.split() for line in lines[4:]] == [
        ["strict", "50.00", "9.45", "to", "90.55", "1", "1", "2"],
        ["flexible", "50.00", "9.45", "to", "90.55", "1", "0", "2"],
        ["openai", "0.00", "0.00", "to", "65.76", "0", "1", "2"],
        ["numeric", "100.00", "34.24", "to", "100.00", "2", "0", "2"]]


def test_the_manual_is_right(oasis, files):
    page = (REPOSITORY / "docs/gsm8k.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    table = [row for row in rows if len(row) == 5 and set(row[1:]) <= {"right", "wrong"}]
    texts = [row[0].strip("`") for row in table] + ["I do not know."]
    assert len(texts) == 7
    files("asked.jsonl", [{"question": "?", "answer": "#### 18"}] * len(texts))
    files("said.jsonl", [{"index": i, "text": text} for i, text in enumerate(texts)])
    command = ["gsm8k", "score", "said.jsonl", "--problems", "asked.jsonl"]
    verdicts = json.loads(oasis.run(*command, "--json").stdout)["problems"]
    for row, verdict in zip(table, verdicts):
        assert row[1:] == ["right" if verdict[rule]["correct"] else "wrong"
                           for rule in ("strict", "flexible", "openai", "numeric")], row[0]
    printed = oasis.run(*command).stdout
    assert "".join(f"    {line}".rstrip() + "\n" for line in printed.splitlines()) in page


def test_bad_files_are_named(oasis, files):
    score = ["gsm8k", "score", "texts.jsonl", "--problems"]
    oasis.refuses(*score, "none.jsonl", saying=["none.jsonl"])
    files("bad.jsonl", [PROBLEMS[0], {"question": "x", "answer": "It is 4."}])
    oasis.refuses(*score, "bad.jsonl", saying=["bad.jsonl: line 2", "'answer'", "It is 4."])
    files("short.jsonl", PROBLEMS[:1])
    oasis.refuses(*score, "short.jsonl", saying=["texts.jsonl: line 1", "'index'", "from 0 to 0, not 2"])
    prompts = ["gsm8k", "prompts", "--problems", "problems.jsonl"]
    oasis.refuses(*prompts, saying=["5 shots", "--examples"])
    oasis.refuses(*prompts, "--examples", "problems.jsonl", saying=["5 shots", "3 examples"])
    assert json.loads(oasis.run(*prompts, "--shots", 0).stdout.splitlines()[0]) == {
        "index": 0, "examples": [], "prompt": "Question: 1+1?\nAnswer:"}


def add_stage(database, key):
    """A finished stage whose scores are an older program's: too strict, and flexible alone."""
    database.execute("INSERT INTO stages (key, kind, parent_key, config, evaluated_on, points, quantizer, state)"
                     " VALUES (?, 'gsm8k', '', '{}', 'gsm8k', '', '', 'done')", [key])
    stage, = database.execute("SELECT id FROM stages WHERE key = ?", [key]).fetchone()
    for problem, gold, text in [(0, "2", "#### 2"), (7, "1,234", "#### 5 or 1234"), (9, "3", "none")]:
        database.execute("INSERT INTO generations (stage_id, problem, gold, text, tokens) VALUES (?, ?, ?, ?, 3)",
                         [stage, problem, gold, text])
    database.execute("INSERT INTO generation_scores SELECT id, 'flexible', '5', problem = 9 FROM generations"
                     " WHERE stage_id = ?", [stage])


def test_rescore_says_what_changed_and_then_nothing(oasis):
    oasis.refuses("gsm8k", "rescore", "none.db", saying=["none.db", "no such database"])
    assert not (oasis.folder / "none.db").exists()
    oasis.reproduce(oasis.suite(methods=["attnres"], training__steps=1, training__warmup_steps=0, quantization=[]))
    oasis.refuses("gsm8k", "rescore", "run", saying=["results.db", "no generated answers"])
    with sqlite3.connect(oasis.folder / "run/results.db") as database:
        add_stage(database, "aaa1")
        add_stage(database, "aab2")
    oasis.refuses("gsm8k", "rescore", "run", "--stage", "aa", saying=["more than one", "aaa1, aab2"])

    text = oasis.run("gsm8k", "rescore", "run", "--stage", "aab").stdout
    assert "Stage aab2" in text and "scores changed" in text and "aaa1" not in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()[4:] if line}
    # rule: right before, right now, first scored, another answer found, turned right, turned wrong
    assert lines["flexible"] == ["1", "2", "0", "3", "0,", "7", "9"]
    assert lines["strict"] == ["0", "1", "3", "0", "–", "–"]

    stages = json.loads(oasis.run("gsm8k", "rescore", "run", "--json").stdout)["stages"]
    assert [(stage["stage"], stage["changed"]) for stage in stages] == [("aaa1", True), ("aab2", False)]
    assert stages[0]["rules"][1] == {"rule": "flexible", "correct_before": 1, "correct_now": 2, "scored_first": 0,
                                     "extracted_otherwise": 3, "turned_right": [0, 7], "turned_wrong": [9]}
    contents = oasis.contents()
    assert "nothing changed" in oasis.run("gsm8k", "rescore", "run").stdout
    assert oasis.contents() == contents
    with sqlite3.connect(oasis.folder / "run/results.db") as database:
        metrics = database.execute("SELECT m.name, m.value, m.n, round(m.low, 4), round(m.high, 4) FROM metrics m"
                                   " JOIN stages s ON s.id = m.stage_id WHERE s.key = 'aab2' ORDER BY 1").fetchall()
    # scipy.stats.binomtest(k, 3).proportion_ci(method="wilson") for k = 1, 2
    one, two = (1 / 3, 3, 0.0615, 0.7923), (2 / 3, 3, 0.2077, 0.9385)
    assert metrics == [("gsm8k_pass1_flexible", *two), ("gsm8k_pass1_numeric", *two),
                       ("gsm8k_pass1_openai", *one), ("gsm8k_pass1_strict", *one)]
