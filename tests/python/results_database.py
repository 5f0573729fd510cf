"""A small results database of every kind of row that figures show, written with the schema that `oasis query --schema` and the
SQL files define: no training is needed to draw one."""

import json
import math
import pathlib
import re
import sqlite3

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
METHODS = ("attnres", "softmax1", "oasis", "oasis_no_coupling")
SEEDS = (0, 1, 2)
LAYERS, HEADS, POSITIONS, CHANNELS = 3, 2, 16, 24
HOSTILE = "<script>window.stolen = 1</script>"


def schema():
    return [(path / "results" / f"schema_v{i}.sql").read_text() for path in [REPOSITORY] for i in range(1, 6)] + [
        (REPOSITORY / "results" / "views.sql").read_text()]


def create(path):
    db = sqlite3.connect(path)
    for text in schema():
        db.executescript(text)
    db.execute("PRAGMA user_version = 5")
    header = (REPOSITORY / "results" / "schema.h").read_text()
    db.execute("PRAGMA application_id = %d" % int(re.search(r"kApplicationId = (0x[0-9A-Fa-f]+|\d+)", header)[1], 0))
    return db


def insert(db, table, **values):
    names = ", ".join(values)
    return db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", list(values.values())).lastrowid


def add_run(db, machine="host"):
    return insert(db, "runs", uid=f"uid-{machine}", machine=machine, operating_system="Debian 12", cpu="a processor", cores=2,
                  memory_bytes=2**33, gpu="", driver="", libraries=json.dumps({"torch": "2.11.0"}), source_revision="0" * 40,
                  source_dirty=0, build_type="Release", command_line=f"oasis reproduce {HOSTILE}", process="1:2:3",
                  started="2026-01-01T00:00:00Z")


def add_stage(db, run, cell, kind, dataset="", bits=None):
    key = f"{cell}-{kind}-{dataset}-{bits}"
    stage = insert(db, "stages", key=key, kind=kind, parent_key="", config="{}", evaluated_on=dataset, weight_bits=bits,
                   activation_bits=bits, points="published" if bits else "", quantizer="", state="done", run_id=run, device="cpu",
                   dtype="float32", step=20, started="2026-01-01T00:00:00Z", ended="2026-01-01T00:01:00Z", seconds=60)
    insert(db, "cell_stages", cell_id=cell, stage_id=stage)
    return stage


def metric(db, stage, name, value, dataset="books", unit="1", **more):
    insert(db, "metrics", stage_id=stage, name=name, dataset=dataset, value=value, unit=unit, n=100, varies=0, **more)


def example(db, stage, quantity, layer, part, matrix):
    insert(db, "examples", stage_id=stage, dataset="books", quantity=quantity, layer=layer, part=part, rows=matrix.shape[0],
           columns=matrix.shape[1], stride=1, contents=np.asarray(matrix, "<f2").tobytes())


def fill_evaluation(db, stage, method, random):
    null = 0.3 if method.startswith("oasis") else 0.0
    statistics = dict(stage_id=stage, dataset="books", n=10, unit="1")
    causal = np.tril(random.random((POSITIONS, POSITIONS)))
    for layer in range(LAYERS):
        for quantity in ("inf_norm/seq", "kurtosis/seq"):
            insert(db, "site_statistics", stage_id=stage, dataset="books", quantity=quantity, site=f"model.layers.{layer}",
                   value=float(1 + layer + random.random()), unit="1", n=10)
        for head in range(HEADS):
            insert(db, "layer_statistics", **statistics, quantity="first_token_mass", layer=layer, part="", head=head,
                   value=float(random.random()))
        insert(db, "layer_statistics", **statistics, quantity="null_posterior", layer=layer, part="", value=null / (layer + 1))
        for step, part in enumerate(("sa", "mlp")):
            sources = 1 + 2 * layer + step
            for source in range(sources):
                insert(db, "layer_statistics", **statistics, quantity="depth_weight", layer=layer, part=part, source=source,
                       value=(1 - null) / sources)
            insert(db, "layer_statistics", **statistics, quantity="depth_null_mass", layer=layer, part=part, value=null)
            example(db, stage, "depth_weight", layer, part, np.full((POSITIONS, sources), 1 / sources))
        example(db, stage, "attention", layer, "", causal / causal.sum(1, keepdims=True))
        example(db, stage, "hidden_magnitude", layer, "", random.exponential(1.0, (POSITIONS, CHANNELS)))
    metric(db, stage, "massive_activations", 0.0)


def add_suite(db, name="made-up", methods=METHODS, seeds=SEEDS):
    random = np.random.default_rng(7)
    run = add_run(db)
    text = json.dumps({"name": name, "description": HOSTILE})
    suite = insert(db, "suites", name=name, hash="f" * 64, json=text, used="2026-01-01T00:00:00.000000Z")
    for place, method in enumerate(methods):
        for seed in seeds:
            cell = insert(db, "cells", suite_id=suite, method="oasis", label=method, dataset="books", model="tiny", seed=seed,
                          config="{}")
            training = add_stage(db, run, cell, "pretrain")
            for step in range(1, 21):
                insert(db, "curves", stage_id=training, step=step, tokens=1000 * step, learning_rate=1e-3,
                       loss=5 * math.exp(-step / 10) + 0.1 * place + 0.02 * float(random.random()))
            evaluation = add_stage(db, run, cell, "evaluate", "books")
            fill_evaluation(db, evaluation, method, random)
            for bits in (None, 8, 4):
                stage = add_stage(db, run, cell, "quantized", "books", bits) if bits else evaluation
                metric(db, stage, "perplexity", 20 + place + float(random.random()) + (0 if bits is None else 40 / bits))
                answers = add_stage(db, run, cell, f"gsm8k-{bits}", "gsm8k", bits)
                metric(db, answers, "gsm8k_pass1_strict", 0.1 + 0.05 * place, "gsm8k", low=0.05, high=0.4)
    return suite


def add_benchmarks(db):
    run = add_run(db, "bench")
    for operation in ("attention", "depth_route"):
        for formulation, seconds in (("ours", 1e-3), ("eager", 2e-2), ("library", 2e-3)):
            insert(db, "benchmarks", run_id=run, device="a device", operation=operation, variant="softmax1", shape="B1 H2 T3 d4",
                   dtype="bfloat16", formulation=formulation, implementation="", median_seconds=seconds, p10_seconds=seconds,
                   p90_seconds=seconds, n=5, parts=1, bytes=1e9, flops=1e9, tokens=0, copy_bytes_per_second=2e12,
                   gemm_flops_per_second=5e14, **{"pass": "forward+backward"})
