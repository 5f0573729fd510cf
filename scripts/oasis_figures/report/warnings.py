"""What a reader must know before believing a figure, computed from the database."""

FEW_SEEDS = 5  # below it there is no permutation test


def warnings(snapshot):
    """[(short, text)], the gravest first."""
    checks = (unfinished, failed, not_finite, few_seeds, simulated_only, mixed_sources, no_outliers)
    return [warning for check in checks for warning in check(snapshot)]


def listed(names, most=6):
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def unfinished(snapshot):
    rows = [r for r in snapshot.of_suite("cell_states") if r["state"] not in ("done", "failed")]
    if rows:
        states = listed(f"{n} {s}" for s, n in sorted(count(r["state"] for r in rows).items()))
        total = len(snapshot.of_suite("cell_states"))
        yield ("unfinished", f"{len(rows)} of {total} cells are not done ({states}): every mean is over those that are.")


def count(values):
    counts = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


def failed(snapshot):
    rows = [r for r in snapshot.of_suite("cell_states") if r["state"] == "failed"]
    if rows:
        yield ("failed", f"{len(rows)} cells failed: " + listed(
            f"{r['method']} seed {r['seed']} ({r['reason']})" for r in rows))


def not_finite(snapshot):
    rows = snapshot.of_suite("cell_metrics", "value IS NULL", order="method, seed")
    if rows:
        yield ("NaN cells", f"{len(rows)} figures have no value: " + listed(
            f"{r['metric']} of {r['method']} seed {r['seed']} ({r['reason']})" for r in rows))
    losses = snapshot.rows("SELECT c.label, c.seed, count(*) AS n FROM cells c JOIN cell_stages x ON x.cell_id = c.id"
                           " JOIN curves p ON p.stage_id = x.stage_id WHERE c.suite_id = ? AND p.loss IS NULL"
                           " GROUP BY c.id", snapshot.suite_id)
    if losses:
        yield ("NaN losses", "training losses that are not finite: " + listed(
            f"{r['label']} seed {r['seed']} ({r['n']} steps)" for r in losses))


def few_seeds(snapshot):
    groups = snapshot.of_suite("group_states")
    few = [g for g in groups if g["seeds_done"] < FEW_SEEDS]
    if few:
        least = min(g["seeds_done"] for g in few)
        yield ("few seeds", f"{len(few)} of {len(groups)} groups have fewer than {FEW_SEEDS} finished seeds (the fewest: {least}). "
               "Seeds are the unit of every comparison; with few of them chance alone makes differences of this size.")


def simulated_only(snapshot):
    stages = snapshot.rows("SELECT DISTINCT t.quantizer FROM cells c JOIN cell_stages x ON x.cell_id = c.id"
                           " JOIN stages t ON t.id = x.stage_id WHERE c.suite_id = ? AND t.weight_bits IS NOT NULL",
                           snapshot.suite_id)
    if stages and not any("integer" in r["quantizer"] for r in stages):
        yield ("simulated only", "Quantization was simulated: values are rounded to the grid, products computed in floating point. "
               "Nothing here was run in integer arithmetic.")


def mixed_sources(snapshot):
    runs = snapshot.rows("SELECT DISTINCT r.source_revision, r.source_dirty FROM runs r JOIN stages t ON t.run_id = r.id"
                         " JOIN cell_stages x ON x.stage_id = t.id JOIN cells c ON c.id = x.cell_id WHERE c.suite_id = ?",
                         snapshot.suite_id)
    if len({r["source_revision"] for r in runs}) > 1:
        yield ("several revisions", "stages were computed by different revisions: " + listed(
            sorted(r["source_revision"][:12] for r in runs)))
    if any(r["source_dirty"] for r in runs):
        yield ("changed source", "a stage was computed by a program whose source differed from its revision.")
    devices = snapshot.rows("SELECT DISTINCT t.device FROM cells c JOIN cell_stages x ON x.cell_id = c.id"
                            " JOIN stages t ON t.id = x.stage_id WHERE c.suite_id = ? AND t.device IS NOT NULL",
                            snapshot.suite_id)
    if len(devices) > 1:
        yield ("several devices", "stages ran on " + listed(sorted(r["device"] for r in devices)))


def no_outliers(snapshot):
    rows = snapshot.rows("SELECT sum(seeds_above_zero) AS massive, sum(seeds) AS counted FROM metric_summary"
                         " WHERE suite_id = ? AND metric = 'massive_activations' AND precision = 'full'", snapshot.suite_id)
    if rows and rows[0]["counted"] and not rows[0]["massive"]:
        yield ("no massive activations", "no seed of any method has a massive activation (|x| > 100 and 1000 times the median): "
               "what the paper cures has not formed in models of this size.")
