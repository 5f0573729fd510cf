"""One state of a results database: everything is read in one transaction."""

import dataclasses
import json
import math
import sqlite3

import numpy as np
from problem import NotRun, Problem


@dataclasses.dataclass(frozen=True)
class Setting:
    """Cells that differ in method and seed only."""

    trained_on: str
    model: str

    def __str__(self):
        return f"{self.model} trained on {self.trained_on}"


class Snapshot:
    def __init__(self, path, suite="", name=""):
        if not path.is_file():
            raise Problem(f"{path}: there is no such database; run `oasis reproduce` first, or name another")
        self.path, self.name = path, name
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        try:
            self.db.execute("BEGIN")
            suites = self.rows("SELECT * FROM suites ORDER BY used DESC, id DESC")
        except sqlite3.DatabaseError as error:
            raise Problem(f"{name or path}: is no results database ({error}); name another") from error
        if suite and suite not in [s["name"] for s in suites]:
            known = ", ".join(sorted({s["name"] for s in suites})) or "none"
            raise Problem(f"{name}: has no suite '{suite}'; it has: {known}")
        chosen = [s for s in suites if not suite or s["name"] == suite]
        self.suite = chosen[0] if chosen else None  # None: benchmarks alone
        self.other_suites = sorted({s["name"] for s in suites} - {self.suite["name"]} if chosen else set())

    def rows(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    @property
    def suite_id(self):
        return self.suite["id"] if self.suite else -1

    def of_suite(self, view, where="1", *values, order="1"):
        return self.rows(f"SELECT * FROM {view} WHERE suite_id = ? AND {where} ORDER BY {order}", self.suite_id, *values)

    def settings(self):
        found = self.rows("SELECT dataset, model FROM cells WHERE suite_id = ? GROUP BY dataset, model ORDER BY min(id)",
                          self.suite_id)
        return [Setting(*row) for row in found]

    def methods(self, setting):
        """In the suite's order."""
        found = self.rows("SELECT label FROM cells WHERE suite_id = ? AND dataset = ? AND model = ? GROUP BY label"
                          " ORDER BY min(id)", self.suite_id, setting.trained_on, setting.model)
        return [row[0] for row in found]

    def evaluated_on(self, setting):
        """Data sets with layer statistics or metrics; the one trained on first."""
        found = self.rows("SELECT DISTINCT evaluated_on FROM cell_metrics WHERE suite_id = ? AND trained_on = ? AND"
                          " model = ? AND evaluated_on <> '' AND kind = 'evaluate'",
                          self.suite_id, setting.trained_on, setting.model)
        return sorted((row[0] for row in found), key=lambda name: (name != setting.trained_on, name))

    def first_evaluated(self, setting):
        names = self.evaluated_on(setting)
        if not names:
            raise NotRun("no evaluation at full precision is finished")
        return names[0]

    def layer_statistics(self, setting, evaluated_on, quantity):
        """Rows (method, seed, layer, part, head, source, value) at full precision."""
        return self.rows("SELECT method, seed, layer, part, head, source, value FROM cell_layer_statistics"
                         " WHERE suite_id = ? AND trained_on = ? AND model = ? AND evaluated_on = ? AND quantity = ?"
                         " AND precision = 'full'", self.suite_id, setting.trained_on, setting.model, evaluated_on,
                         quantity)

    def site_statistics(self, setting, evaluated_on, quantity):
        """Rows (method, seed, site, value) at full precision."""
        return self.rows("SELECT c.label AS method, c.seed, i.site, i.value FROM cells c JOIN cell_stages x"
                         " ON x.cell_id = c.id JOIN stages t ON t.id = x.stage_id AND t.state = 'done'"
                         " AND t.weight_bits IS NULL JOIN site_statistics i ON i.stage_id = t.id"
                         " WHERE c.suite_id = ? AND c.dataset = ? AND c.model = ? AND i.dataset = ? AND i.quantity = ?",
                         self.suite_id, setting.trained_on, setting.model, evaluated_on, quantity)

    def examples(self, setting, evaluated_on, quantity):
        """{method: [(layer, part, stride, matrix)]} of each method's lowest seed, by layer."""
        if not self.rows("SELECT 1 FROM sqlite_schema WHERE name = 'examples'"):
            return {}  # older than schema version 5
        found = self.rows("SELECT c.label, c.seed, e.* FROM cells c JOIN cell_stages x ON x.cell_id = c.id"
                          " JOIN stages t ON t.id = x.stage_id AND t.state = 'done'"
                          " JOIN examples e ON e.stage_id = t.id WHERE c.suite_id = ? AND c.dataset = ? AND c.model = ?"
                          " AND e.dataset = ? AND e.quantity = ?"
                          " ORDER BY c.seed, e.layer IS NULL, e.layer, e.part DESC",
                          self.suite_id, setting.trained_on, setting.model, evaluated_on, quantity)
        seeds, examples = {}, {}
        for row in found:
            if seeds.setdefault(row["label"], row["seed"]) == row["seed"]:
                matrix = np.frombuffer(row["contents"], "<f2").astype(float).reshape(row["rows"], row["columns"])
                examples.setdefault(row["label"], []).append((row["layer"], row["part"], row["stride"], matrix))
        return examples

    def seeds(self, setting):
        return self.rows("SELECT count(DISTINCT seed) FROM cells WHERE suite_id = ? AND dataset = ? AND model = ?",
                         self.suite_id, setting.trained_on, setting.model)[0][0]

    def suite_json(self):
        return json.loads(self.suite["json"]) if self.suite else {}


def mean_and_deviation(values):
    """Of those that are numbers: (mean, sample standard deviation or 0, how many)."""
    numbers = [v for v in values if v is not None and math.isfinite(v)]
    if not numbers:
        return math.nan, 0.0, 0
    return float(np.mean(numbers)), float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0, len(numbers)


def grouped(rows, *keys):
    """{(row[key], …): [value]}"""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row["value"])
    return groups


def seeds_text(counts):
    counts = sorted(set(counts))
    if not counts:
        return "n = 0 seeds"
    if len(counts) == 1:
        return f"n = {counts[0]} seed" + "s" * (counts[0] != 1)
    return f"n = {counts[0]} to {counts[-1]} seeds"
