"""Training loss against tokens; below, the difference to attnres under the same seed, step by step."""

import matplotlib.pyplot as plt
import numpy as np
from database import seeds_text
from problem import NotRun
from style import PAGE, legend_above, look, named, panels_of

TITLE = "Training loss"
NEEDS_SETTING = True
POINTS = 40  # of a curve, each the mean of the steps it stands for


def curves(snapshot, setting):
    """{method: {seed: (million tokens, loss)}}"""
    rows = snapshot.rows(
        "SELECT c.label, c.seed, t.id, t.kind, p.tokens, p.loss FROM cells c JOIN cell_stages x ON x.cell_id = c.id"
        " JOIN stages t ON t.id = x.stage_id AND t.kind = 'pretrain' JOIN curves p ON p.stage_id = t.id"
        " WHERE c.suite_id = ? AND c.dataset = ? AND c.model = ? ORDER BY p.step",
        snapshot.suite_id, setting.trained_on, setting.model)
    found = {}
    for row in rows:
        tokens, loss = found.setdefault(row["label"], {}).setdefault(row["seed"], ([], []))
        tokens.append(row["tokens"] / 1e6)
        loss.append(np.nan if row["loss"] is None else row["loss"])
    return found


def thinned(tokens, loss):
    parts = np.array_split(np.arange(len(tokens)), min(POINTS, len(tokens)))
    return np.array([np.mean(np.asarray(tokens)[p]) for p in parts]), np.array([np.mean(np.asarray(loss)[p]) for p in parts])


def over_seeds(by_seed):
    """Means and extremes over the seeds, as far as all of them came."""
    length = min(len(loss) for _, loss in by_seed.values())
    lines = [thinned(tokens[:length], loss[:length]) for tokens, loss in by_seed.values()]
    losses = np.array([loss for _, loss in lines])
    return lines[0][0], losses.mean(0), losses.min(0), losses.max(0)


def difference(by_seed, reference):
    """Of seeds that both have, at the steps that both have."""
    both = {}
    for seed in sorted(set(by_seed) & set(reference)):
        length = min(len(by_seed[seed][1]), len(reference[seed][1]))
        both[seed] = (by_seed[seed][0][:length],
                      (np.asarray(by_seed[seed][1][:length]) - np.asarray(reference[seed][1][:length])).tolist())
    return both


def draw(snapshot, setting):
    found = curves(snapshot, setting)
    if not found:
        raise NotRun("no training step is recorded")
    panels = panels_of([m for m in snapshot.methods(setting) if m in found])
    rows = 2 if "attnres" in found and len(found) > 1 else 1
    figure, axes = plt.subplots(rows, len(panels), figsize=(PAGE, 1.75 * rows + 1.2), sharex=True,
                                squeeze=False, layout="constrained")
    for column, (title, methods) in enumerate(panels):
        top = axes[0, column]
        for method in methods:
            own = look(method).of_line(markevery=(len(method) % 4, 6), label=named(method))
            tokens, mean, low, high = over_seeds(found[method])
            top.plot(tokens, mean, **own)
            top.fill_between(tokens, low, high, color=look(method).color, alpha=0.15, linewidth=0)
            if rows == 2:
                pairs = difference(found[method], found["attnres"])
                if pairs:
                    tokens, mean, low, high = over_seeds(pairs)
                    axes[1, column].plot(tokens, mean, **own)
                    if method != "attnres":
                        axes[1, column].fill_between(tokens, low, high, color=look(method).color, alpha=0.12, linewidth=0)
        axes[-1, column].set_xlabel("tokens, millions")
        legend_above(top, title)
    axes[0, 0].set_ylabel("loss, nat per token")
    if rows == 2:
        axes[1, 0].set_ylabel("loss − attnres', nat per token")
    counts = [len(s) for s in found.values()]
    return figure, (f"{setting} · {seeds_text(counts)} · mean, band from least to greatest seed · "
                    f"each point the mean of neighbouring steps")
