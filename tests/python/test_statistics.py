"""The tables' statistics against SciPy: from a database of made-up figures through `oasis tables` to each interval and p."""

import csv
import io
import itertools

import numpy as np
import pytest
import results_database as results
import scipy.stats

BASELINES = ("attnres", "clipped_softmax", "gated_attention", "softmax1", "sparsemax")
METHODS = (*BASELINES, "oasis", "oasis_no_coupling", "prenorm")
SHARES = ("first_token_mass", "sink_rate", "gsm8k_pass1_strict")
SEEDS = {"attnres": 9, "clipped_softmax": 2, "gated_attention": 4, "softmax1": 5, "sparsemax": 6, "oasis": 9,
         "oasis_no_coupling": 7, "prenorm": 3}
PROBLEMS = 60


class EveryResample(np.random.Generator):
    """Gives SciPy all n^n resamples, the distribution that the tables enumerate for few seeds."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def integers(self, low, high=None, size=None, **_):
        assert low == 0 and size == (high**high, high)
        return np.array(list(itertools.product(range(high), repeat=high)))


class Mersenne64(np.random.Generator):
    """Gives SciPy the resamples that the tables draw for more seeds: std::mt19937_64 as the C++ standard defines it, and of
    each number's upper half x the index x·n/2³²."""

    def __init__(self, seed=5678):
        super().__init__(np.random.PCG64(0))
        self.state, self.at = [seed], 312
        for i in range(1, 312):
            before = self.state[-1]
            self.state.append((6364136223846793005 * (before ^ before >> 62) + i) % 2**64)

    def next(self):
        if self.at == 312:
            for i in range(312):
                x = self.state[i] & ~(2**31 - 1) | self.state[(i + 1) % 312] & (2**31 - 1)
                self.state[i] = self.state[(i + 156) % 312] ^ x >> 1 ^ (0xB5026F5AA96619E9 if x & 1 else 0)
            self.at = 0
        x = self.state[self.at]
        self.at += 1
        x ^= x >> 29 & 0x5555555555555555
        x ^= x << 17 & 0x71D67FFFEDA60000
        x ^= x << 37 & 0xFFF7EEE000000000
        return x ^ x >> 43

    def integers(self, low, high=None, size=None, **_):
        assert low == 0
        return np.array([(self.next() >> 32) * high >> 32 for _ in range(np.prod(size))]).reshape(size)


def test_mersenne64_is_the_standards():
    generator = Mersenne64(5489)
    assert [generator.next() for _ in range(10_000)][-1] == 9981545732273789042  # [rand.predef]


def tied_mean(values, axis=-1):
    """Adds up in one order, so that resamples of the same values have the same mean to the last bit."""
    return np.cumsum(np.sort(values, axis), axis).take(-1, axis) / values.shape[axis]


def bca(values):
    """(low, high), or nothing for fewer than three values."""
    n = len(values)
    if n < 3:
        return None
    rng, resamples = (EveryResample(), n**n) if n <= 6 else (Mersenne64(), 20_000)
    interval = scipy.stats.bootstrap((np.array(values),), tied_mean, n_resamples=resamples, method="BCa", vectorized=True,
                                     rng=rng).confidence_interval
    return interval.low, interval.high


def sign_flip_p(values):
    if len(values) < 5:
        return None
    return scipy.stats.permutation_test((np.array(values),), np.sum, permutation_type="samples", n_resamples=np.inf,
                                        vectorized=True).pvalue


def holm(p_values):
    """By the definition: the k-th smallest times the number of those not smaller, never less than the one before."""
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate([(len(order) - k) * p_values[i] for k, i in enumerate(order)])
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, steps)
    return list(adjusted)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """(database, {(metric, bits, method): {seed: value}}, {(bits, method): {problem: correct}} of seed 0)."""
    path = tmp_path_factory.mktemp("statistics") / "five.db"
    random = np.random.default_rng(3)
    values, answers = {}, {}
    db = results.create(path)
    run = results.add_run(db)
    suite = results.insert(db, "suites", name="made-up", hash="f" * 64, json="{}", used="2026-01-01T00:00:00.000000Z")
    for place, method in enumerate(METHODS):
        for seed in range(SEEDS[method]):
            cell = results.insert(db, "cells", suite_id=suite, method=method, label=method, dataset="books", model="tiny",
                                  seed=seed, config="{}")
            for bits in (None, 8, 4):
                stage = results.add_stage(db, run, cell, "quantized" if bits else "evaluate", "books", bits)
                names = ("perplexity",) if bits else ("perplexity", "max_inf_norm/seq", "avg_kurtosis/seq", "first_token_mass",
                                                      "sink_rate")
                for name in names:
                    scale = 0.2 if name in SHARES else 20
                    # Seeds differ more than methods, and some methods not at all from others.
                    value = scale * (1 + 0.2 * seed + (0.03 * place if place % 2 else 0) + 0.05 * random.random())
                    values.setdefault((name, bits, method), {})[seed] = value
                    results.metric(db, stage, name, value)
            if seed == 0:
                for bits in (None, 4):
                    stage = results.add_stage(db, run, cell, "generate", "gsm8k", bits)
                    right = random.random(PROBLEMS) < 0.2 + 0.08 * place
                    answers[bits, method] = right
                    results.metric(db, stage, "gsm8k_pass1_strict", float(right.mean()), "gsm8k")
                    for problem in range(PROBLEMS):
                        text = results.insert(db, "generations", stage_id=stage, problem=problem, gold="1", text="#### 1", tokens=3)
                        results.insert(db, "generation_scores", generation_id=text, rule="strict", extracted="1",
                                       correct=int(right[problem]))
    db.commit()
    db.close()
    return path, values, answers


def table(program, figures, name):
    text = program.run("tables", name, "--db", figures[0], "--format", "csv").stdout
    return list(csv.DictReader(io.StringIO("\n".join(line for line in text.splitlines() if not line.startswith("#")))))


def number(text):
    return float(text) if text else None


def close(found, expected, scale=1.0):
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * scale)


def effects(values, name, bits, method, beside):
    own, other = values[name, bits, method], values[name, bits, beside]
    return [100 * (own[s] - other[s] if name in SHARES else own[s] / other[s] - 1) for s in sorted(own.keys() & other.keys())]


def bits_of(setting):
    return None if setting == "full precision" else int(setting[1])


@pytest.mark.parametrize("name, beside", [("comparisons", "attnres"), ("ablations", "oasis")])
def test_paired_differences(program, figures, name, beside):
    rows = [row for row in table(program, figures, name) if row["evaluated_on"] == "books"]
    shown = set(METHODS) - ({"attnres"} if beside == "attnres" else {"oasis", *BASELINES})
    assert {(row["metric"], bits_of(row["setting"]), row["method"]) for row in rows} == {
        key for key in figures[1] if key[2] in shown}
    tables = {}
    for row in rows:
        expected = effects(figures[1], row["metric"], bits_of(row["setting"]), row["method"], beside)
        assert int(row["seeds"]) == len(expected) > 0
        assert row["unit"] == ("points" if row["metric"] in SHARES else "%")
        close(number(row["effect"]), np.mean(expected))
        close(number(row["deviation"]), np.std(expected, ddof=1) if len(expected) > 1 else None)
        interval = bca(expected) or (None, None)
        for end, found in zip(interval, ("low", "high"), strict=True):
            close(number(row[found]), end, np.ptp(expected))
        p = sign_flip_p(expected)
        close(number(row["p"]), p)
        if interval[0] is None:
            assert row["finding"] == "fewer than 3 seeds"
        elif interval[0] <= 0 <= interval[1]:
            assert row["finding"] == "not distinguishable"
        else:
            assert row["finding"] == ("lower" if np.mean(expected) < 0 else "higher")
        if p is not None:
            tables.setdefault((row["metric"], row["setting"]), []).append((p, number(row["p_holm"])))
        else:
            assert row["p_holm"] == ""
    assert {row["finding"] for row in table(program, figures, "comparisons")} >= {
        "fewer than 3 seeds", "not distinguishable", "higher"}
    for pairs in tables.values():
        close([adjusted for _, adjusted in pairs], holm([p for p, _ in pairs]))


def test_answers_by_mcnemar(program, figures):
    rows = table(program, figures, "answers")
    answers = figures[2]
    assert len(rows) == 2 * (len(METHODS) - 1) + len(METHODS)
    p_values = []
    for row in rows:
        bits = bits_of(row["setting"])
        own = answers[bits, row["method"]]
        other = answers[bits, "attnres"] if row["beside"] == "attnres" else answers[None, row["method"]]
        gained, lost = int((own & ~other).sum()), int((other & ~own).sum())
        assert (int(row["gained"]), int(row["lost"]), int(row["n"])) == (gained, lost, PROBLEMS)
        p_values.append(scipy.stats.binomtest(gained, gained + lost).pvalue)
        close(number(row["p"]), p_values[-1])
    close([number(row["p_holm"]) for row in rows], holm(p_values))


def test_claims(program, figures):
    values = figures[1]
    asked = {"max_inf_norm": ("max_inf_norm/seq", None, "oasis"), "avg_kurtosis": ("avg_kurtosis/seq", None, "oasis"),
             "perplexity_w8a8": ("perplexity", 8, "oasis"), "depth_softmax_sinks": ("first_token_mass", None, "attnres"),
             "depth_softmax_outliers": ("max_inf_norm/seq", None, "attnres"), "depth_softmax_w8a8": ("perplexity", 8, "attnres"),
             "coupling_outliers": ("max_inf_norm/seq", None, "oasis"), "coupling_w8a8": ("perplexity", 8, "oasis")}
    readings = set()
    for row in table(program, figures, "claims"):
        if row["claim"] not in asked:
            # GSM8K has one seed, ablations with a single null option were not run.
            assert row["verdict"] in ("not run", "not distinguishable") and row["low"] == ""
            continue
        name, bits, method = asked[row["claim"]]
        readings.add((row["claim"], row["reading"]))
        if row["reading"] == "five baselines":
            seeds = set.intersection(*(set(values[name, bits, m]) for m in BASELINES))
            mean = {s: np.mean([values[name, bits, m][s] for m in BASELINES]) for s in seeds}
            expected = [100 * (values[name, bits, method][s] / mean[s] - 1) for s in sorted(seeds)]
        else:
            expected = effects(values, name, bits, method, row["reading"])
        assert int(row["seeds"]) == len(expected)
        close(number(row["effect"]), np.mean(expected))
        interval = bca(expected)
        for i, end in enumerate(("low", "high")):
            close(number(row[end]), interval and interval[i], np.ptp(expected))
        less, paper = row["direction"] == "less", number(row["paper"])
        if interval is None or interval[0] <= 0 <= interval[1]:
            verdict = "not distinguishable"
        elif (interval[1] < 0) != less:
            verdict = "contradicted"
        elif paper is None or max(map(abs, interval)) >= abs(paper):
            verdict = "reproduced"
        else:
            verdict = "same direction"
        assert row["verdict"] == verdict, row
    assert {claim for claim, _ in readings} == set(asked)
    assert ("max_inf_norm", "five baselines") in readings and ("coupling_w8a8", "oasis_no_coupling") in readings
