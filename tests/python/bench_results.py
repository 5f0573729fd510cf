"""How long tables and queries take on a large database: ten million curve and statistics rows.

    build/oasis reproduce smoke
    python tests/python/bench_results.py runs/smoke/results.db [--suites 25] [--seeds 10] [--keep FILE]

The given database is multiplied: each suite under many names, each cell under many seeds, its layers eight times over, its
loss curve to 1,300 steps. Then every table of `oasis tables` and every query of `oasis query --list` is timed, in a process
of its own, over all suites and over one. Prints seconds (wall clock, the better of two runs) and the largest.
"""

import argparse
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("OASIS_BINARY", REPOSITORY / "build/oasis")
LAYER_COPIES, STEPS = 8, 1300
# Rows of a copy have ids this far apart; the database given must have fewer rows.
STRIDE = 100_000


def columns(db, table, **replaced):
    names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    return ", ".join(names), ", ".join(replaced.get(name, "t." + name) for name in names)


def copy(db, table, source, **replaced):
    names, values = columns(db, table, **replaced)
    db.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM old.{table} t, {source}")


def multiply(old, new, suites, seeds):
    schema = subprocess.run([BINARY, "query", "--schema"], check=True, capture_output=True, text=True).stdout
    db = sqlite3.connect(new)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000;" + schema)
    for pragma in ("user_version", "application_id"):
        value = sqlite3.connect(old).execute(f"PRAGMA {pragma}").fetchone()[0]
        db.execute(f"PRAGMA {pragma} = {value}")
    db.execute("ATTACH ? AS old", [str(old)])
    db.executescript(f"""
        CREATE TEMP TABLE suite_copies AS WITH RECURSIVE c(s) AS (SELECT 0 UNION ALL SELECT s + 1 FROM c
          WHERE s + 1 < {suites}) SELECT s FROM c;
        CREATE TEMP TABLE copies AS WITH RECURSIVE c(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM c
          WHERE k + 1 < {suites * seeds}) SELECT k, k / {seeds} AS s, k % {seeds} AS seed FROM c;
        CREATE TEMP TABLE layer_copies AS WITH RECURSIVE c(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM c
          WHERE j + 1 < {LAYER_COPIES}) SELECT j FROM c;
        CREATE TEMP TABLE steps AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c
          WHERE i < {STEPS}) SELECT i FROM c;
        DELETE FROM paper_claims; INSERT INTO paper_claims SELECT * FROM old.paper_claims;
        INSERT OR REPLACE INTO meta SELECT * FROM old.meta;
        INSERT INTO runs SELECT * FROM old.runs;""")
    stage = f"t.stage_id + {STRIDE} * k"
    copy(db, "suites", "suite_copies", id=f"t.id + {STRIDE} * s", name="t.name || '-' || s")
    copy(db, "cells", "copies", id=f"t.id + {STRIDE} * k", suite_id=f"t.suite_id + {STRIDE} * s", seed="t.seed + copies.seed")
    copy(db, "stages", "copies", id=f"t.id + {STRIDE} * k", key="t.key || '-' || k",
         parent_key="iif(t.parent_key = '', '', t.parent_key || '-' || k)")
    copy(db, "cell_stages", "copies", cell_id=f"t.cell_id + {STRIDE} * k", stage_id=stage)
    copy(db, "metrics", "copies", stage_id=stage, value="t.value * (1 + 0.001 * (k * 37 % 11))", low="NULL", high="NULL")
    names, values = columns(db, "curves", stage_id="b.stage_id + %d * k" % STRIDE, step="i", tokens="i * 1024")
    db.execute(f"""INSERT INTO curves ({names}) SELECT {values}
        FROM (SELECT *, row_number() OVER (PARTITION BY stage_id ORDER BY step) AS one FROM old.curves) t
        JOIN old.curves b ON b.stage_id = t.stage_id AND b.step = t.step, copies, steps WHERE t.one = 1""")
    site = "iif(j = 0, t.site, 'model.layers.' || (100 + j) || '.' || t.site)"
    copy(db, "site_statistics", "copies, layer_copies", stage_id=stage, site=site)
    copy(db, "layer_statistics", "copies, layer_copies", stage_id=stage, layer="iif(t.layer IS NULL AND j > 0, 100 * j, t.layer + 100 * j)")
    db.commit()
    counts = {t: db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
              for t in ("cells", "stages", "metrics", "curves", "site_statistics", "layer_statistics")}
    db.close()
    return counts


def timed(*command):
    best = float("inf")
    for _ in range(2):
        start = time.monotonic()
        done = subprocess.run([BINARY, *command], capture_output=True, text=True)
        best = min(best, time.monotonic() - start)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return best


def listed(*command):
    lines = subprocess.run([BINARY, *command], check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[0] for line in lines if line and not line[0].isspace()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=pathlib.Path)
    parser.add_argument("--suites", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--keep", type=pathlib.Path, help="leave the large database there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large = options.keep or pathlib.Path(folder) / "large.db"
        if not large.exists():
            start = time.monotonic()
            counts = multiply(options.database, large, options.suites, options.seeds)
            print(f"made in {time.monotonic() - start:.0f} s:", ", ".join(f"{n:,} {t}" for t, n in counts.items()))
        suite = sqlite3.connect(large).execute("SELECT min(name) FROM suites").fetchone()[0]
        rows = [(name, timed("tables", name, "--db", large), timed("tables", name, "--db", large, "--suite", suite))
                for name in listed("tables", "--list") if name != "bench"]  # it holds no benchmarks
        rows += [("query " + name, timed("query", name, "--db", large), None) for name in listed("query", "--list")]
        print(f"{'':28}  all suites, s  one suite, s")
        for name, everything, one in rows:
            print(f"{name:28} {everything:14.2f} {'' if one is None else format(one, '13.2f')}")
        print(f"slowest: {max(max(r[1], r[2] or 0) for r in rows):.2f} s; {large.stat().st_size / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
