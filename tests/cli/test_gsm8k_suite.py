"""A suite with GSM8K's part: fine-tuned on answers, asked before and after, stopped and killed on the way."""

import json
import random
import signal
import sqlite3
import time

import pytest
from cli_program import flip_bit, wait_for

PROBLEMS = [("Tom has 2 pens and finds 3. How many now?", "He has 2+3=<<2+3=5>>5 pens.\n#### 5"),
            ("Mia has 1,000 pens and gives 1. How many now?", "Now 1000-1=<<1000-1=999>>999.\n#### 999"),
            ("Ann owes 4 and owes 3 more. Her money?", "It is -4-3=<<-4-3=-7>>-7.\n#### -7"),
            ("Ivan has 6 bags of 2 nuts. How many nuts?", "6*2=<<6*2=12>>12 nuts.\n#### 12")]
MODEL = {"name": "m", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 96}
TRAINING = {"steps": 4, "block_length": 256, "sequences_per_step": 2, "warmup_steps": 1, "learning_rate": 0.003,
            "checkpoint_every": 2, "log_every": 1}
WORDS = {"datasets": [{"name": "word_problems", "count": {"train": 60, "valid": 20, "test": 20}}], "models": [MODEL],
         "methods": ["oasis"], "training": TRAINING, "evaluation": {"sequences": 2, "batch_size": 2}}
RULES = ["strict", "flexible", "openai", "numeric"]


def gsm8k(**changes):
    tuning = {"steps": 12, "sequences_per_step": 4, "micro_batch": 2, "warmup_steps": 2, "learning_rate": 0.003,
              "checkpoint_every": 3, "log_every": 1}
    return {"dataset": "word_problems", "problems": 6, "shots": 1, "max_new_tokens": 24,
            "fine_tuning": tuning | changes.pop("fine_tuning", {})} | changes


def rows(oasis, sql, out="run"):
    with sqlite3.connect(f"file:{oasis.folder / out / 'results.db'}?mode=ro", uri=True) as database:
        return database.execute(sql).fetchall()


@pytest.fixture
def memorized(oasis):
    """Problems of one's own, asked of a model that was fine-tuned on those very problems."""
    (oasis.folder / "data").mkdir()
    (oasis.folder / "data/mine.jsonl").write_text(
        "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in PROBLEMS))
    own = {"name": "mine", "files": {"train": ["mine.jsonl"], "test": ["mine.jsonl"]}}
    part = gsm8k(dataset=own, problems=None, shots=2, max_new_tokens=64,
                 fine_tuning={"steps": 140, "learning_rate": 0.01, "warmup_steps": 10, "checkpoint_every": 1000})
    oasis.suite(**WORDS, gsm8k=part, quantization=[{"weight_bits": 8, "activation_bits": 8}])
    oasis.reproduce()


def test_what_it_was_tuned_on_it_answers_word_for_word(oasis, memorized):
    """Prompts, border of prompt and answer, and end of text are those of training."""
    told = rows(oasis, "SELECT t.shots, t.weight_bits, g.problem, g.gold, g.text, g.tokens FROM generations g"
                       " JOIN stages t ON t.id = g.stage_id ORDER BY t.id, g.problem")
    assert [row[:3] for row in told] == [(shots, bits, problem) for shots in (2, 0) for bits in (None, 8)
                                         for problem in range(4)]
    for shots, bits, problem, gold, text, tokens in told:
        assert gold == PROBLEMS[problem][1].split("#### ")[1]
        if shots == 0 and bits is None:
            # A byte is a token; the last one is the end of text.
            assert (text, tokens) == (" " + PROBLEMS[problem][1], len(text) + 1)
    found = rows(oasis, "SELECT evaluated_on, rule, mean, low, high, n FROM table_gsm8k WHERE precision = 'full'")
    asked = {"mine, 2-shot", "mine, 0-shot after fine-tuning"}
    assert {(on, rule) for on, rule, *_ in found} == {(on, rule) for on in asked for rule in RULES}
    for on, rule, mean, low, high, n in found:
        # Wilson, 4 of 4 and 0 of 4: scipy.stats.binomtest(k, 4).proportion_ci(method="wilson")
        right = on == "mine, 0-shot after fine-tuning"
        assert (mean, n) == (float(right), 4), (on, rule)
        assert (low, high) == pytest.approx((0.5101, 1) if right else (0, 0.4899), abs=1e-4)


def test_tables_and_rescoring_know_the_answers_of_a_suite(oasis, memorized):
    text = oasis.run("tables", "--db", "run").stdout
    assert "mine, 2-shot" in text and "mine, 0-shot after fine-tuning" in text
    [(steps, tokens)] = rows(oasis, "SELECT steps, tokens FROM table_training WHERE kind = 'finetune'")
    examples = [len(f"Question: {q}\nAnswer: {a}") + 1 for q, a in PROBLEMS]
    assert (steps, tokens) == (140, 140 * sum(examples))
    before = oasis.contents()
    assert json.loads(oasis.run("gsm8k", "rescore", "run", "--json").stdout)["stages"][0]["changed"] is False
    with sqlite3.connect(oasis.folder / "run/results.db") as database:
        database.execute("UPDATE generation_scores SET correct = 0")
    stages = json.loads(oasis.run("gsm8k", "rescore", "run", "--json").stdout)["stages"]
    assert [stage["changed"] for stage in stages][2] is True
    assert oasis.contents() == before


def test_kill_9_at_random_moments(oasis):
    part = gsm8k(max_new_tokens=100, fine_tuning={"steps": 40, "checkpoint_every": 4})
    suite = oasis.suite(**WORDS, gsm8k=part, quantization=[{"weight_bits": 8, "activation_bits": 8}])
    start = time.monotonic()
    oasis.reproduce(suite, out="undisturbed")
    seconds = time.monotonic() - start
    expected = oasis.contents("undisturbed")
    assert sum(row[0] == "generation" for row in expected) == 4 * 6
    random.seed(8)
    seen = set()
    for _ in range(60):
        code = oasis.kill_after(random.uniform(0.2, 0.6) * seconds, "reproduce", suite, "--out", "run")
        if code == 0:
            break
        assert code == -signal.SIGKILL
        seen |= set(rows(oasis, "SELECT kind FROM stages WHERE state = 'running'")
                    if (oasis.folder / "run/results.db").exists() else [])
    oasis.reproduce(suite)
    assert oasis.contents() == expected
    assert len(seen) >= 2, f"only killed in {seen}"


def test_killed_in_the_midst_of_fine_tuning(oasis):
    part = gsm8k(fine_tuning={"steps": 60, "checkpoint_every": 5})
    suite = oasis.suite(**WORDS, gsm8k=part, quantization=[])
    oasis.reproduce(suite, out="undisturbed")
    process = oasis.start("reproduce", suite, "--out", "run")
    wait_for(lambda: list((oasis.folder / "run/cells").glob("*/fine_tuning.safetensors")))
    process.kill()
    process.communicate()
    assert rows(oasis, "SELECT kind FROM stages WHERE state = 'running'") == [("finetune",)]
    oasis.reproduce(suite)
    [(resumed,)] = rows(oasis, "SELECT step FROM events WHERE kind = 'resumed'")
    assert 0 < resumed < 60
    assert oasis.contents() == oasis.contents("undisturbed")
    weights = [(oasis.folder / out / "cells") for out in ("run", "undisturbed")]
    assert len({next(path.glob("*/fine_tuned/model.safetensors")).read_bytes() for path in weights}) == 1


def test_what_is_lost_is_made_again_and_what_is_damaged_is_refused(oasis):
    suite = oasis.suite(**WORDS, gsm8k=gsm8k(), quantization=[])
    oasis.reproduce(suite)
    # What was lost is trained again from what it was trained from, and what was damaged is refused.
    weights = next((oasis.folder / "run/cells").glob("*/fine_tuned/model.safetensors"))
    more = oasis.suite(**WORDS, gsm8k=gsm8k(), quantization=[{"weight_bits": 4, "activation_bits": 8}])
    flip_bit(weights)
    oasis.refuses("reproduce", more, "--out", "run", "--json", saying=["fine_tuned/model.safetensors", "damaged"])
    for file in (oasis.folder / "run/cells").rglob("*.safetensors"):
        file.unlink()
    oasis.reproduce(more)
    oasis.reproduce(more, out="fresh")
    answers = ("SELECT t.key, g.problem, g.text FROM generations g JOIN stages t ON t.id = g.stage_id"
               " WHERE t.weight_bits = 4 ORDER BY 1, 2")
    assert len(rows(oasis, answers)) == 12
    assert rows(oasis, answers) == rows(oasis, answers, "fresh")


def test_time_limit_stops_and_goes_on(oasis):
    suite = oasis.suite(**WORDS, gsm8k=gsm8k(problems=20, max_new_tokens=150, batch_size=1), quantization=[])
    oasis.reproduce(suite, out="undisturbed")
    asked, = rows(oasis, "SELECT min(seconds) FROM stages WHERE shots IS NOT NULL", "undisturbed")[0]
    parts = set()  # of the texts, stored by a session that was stopped among them
    for _ in range(100):
        done = oasis.run("reproduce", suite, "--out", "run", "--time-limit", f"{0.6 * asked:.2f}s", "--json")
        if json.loads(done.stdout)["complete"]:
            break
        parts |= set(rows(oasis, "SELECT count(*) FROM generations g JOIN stages t ON t.id = g.stage_id"
                                 " WHERE t.state = 'stopped' GROUP BY t.id"))
    assert any(0 < count < 20 for count, in parts), parts
    assert oasis.contents() == oasis.contents("undisturbed")


def test_plan_counts_training_and_answers(oasis):
    part = gsm8k()
    suite = oasis.suite(**WORDS, gsm8k=part, quantization=[{"weight_bits": 8, "activation_bits": 8}])
    [cell] = json.loads(oasis.run("plan", suite, "--json").stdout)["cells"]
    assert [stage["stage"] for stage in cell["stages"]] == [
        "pretrain word_problems", "evaluate word_problems", "answer word_problems 1-shot", "evaluate word_problems W8A8",
        "answer word_problems 1-shot W8A8", "finetune word_problems", "answer word_problems 0-shot after fine-tuning",
        "answer word_problems 0-shot after fine-tuning W8A8"]
    # An example is a question and an answer of 150 to 350 bytes; a prompt one example and a question.
    tuned = cell["training_tokens"] - 4 * 2 * 256
    assert 12 * 4 * 150 < tuned < 12 * 4 * 350
    assert 4 * 6 * 24 + 2 * 6 * 300 < cell["generation_tokens"] < 4 * 6 * 24 + 2 * 6 * 1000
    assert cell["generation_s"] > 0


def test_refusals(oasis):
    def refused(part, *saying):
        oasis.refuses("plan", oasis.suite(**WORDS, gsm8k=part, quantization=[]), saying=saying)

    refused(gsm8k(max_new_tokens=256), "gsm8k.max_new_tokens: 256", "'m' has 256", "ask for fewer")
    refused(gsm8k(fine_tuning={"max_length": 300}), "gsm8k.fine_tuning.max_length: 300", "256 positions", "shorten")
    refused(gsm8k(fine_tuning={"micro_batch": 3}), "gsm8k.fine_tuning.micro_batch: 3 does not divide")
    refused(gsm8k(fine_tuning={"warmup_steps": 13}), "gsm8k.fine_tuning.warmup_steps: 13 is more than")
    refused(gsm8k(shots=None) | {"fine_tuning": None}, "neither shots nor fine_tuning")
    refused(gsm8k(dataset="bigram_backcopy"), "bigram_backcopy", "no problems in GSM8K's format")
    refused(gsm8k(shots=100), "100 shots", "60 examples")
    refused(gsm8k(dataset="gsm9k"), "gsm8k.dataset", "gsm9k")
    # What can only be seen with the tokens at hand fails the stage in words.
    name = oasis.suite(**WORDS, gsm8k=gsm8k(fine_tuning={"max_length": 20}), quantization=[])
    oasis.refuses("reproduce", name, "--out", "run", "--json",
                  saying=["training problem 0: its answer has", "more than the 20 of an example"])
