"""Perplexity against bits."""

import matplotlib.pyplot as plt
from database import seeds_text
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from problem import NotRun
from style import PAGE, legend_above, look, named, panels_of

TITLE = "Perplexity against bits"
NEEDS_SETTING = True


def draw(snapshot, setting):
    rows = snapshot.of_suite("table_quantization", "trained_on = ? AND model = ?", setting.trained_on, setting.model,
                             order="setting_order, setting")
    if not any(row["mean"] is not None for row in rows):
        raise NotRun("no perplexity is recorded")
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    if len(settings) < 2:
        raise NotRun("no quantized evaluation is finished")
    datasets = sorted({row["evaluated_on"] for row in rows}, key=lambda name: (name != setting.trained_on, name))
    figures = {(row["method"], row["evaluated_on"], row["setting"]): row for row in rows}
    panels = panels_of([m for m in snapshot.methods(setting) if any(key[0] == m for key in figures)])
    figure, axes = plt.subplots(len(datasets), len(panels), figsize=(PAGE, 1.9 * len(datasets) + 1.0), sharex=True, sharey="row",
                                squeeze=False, layout="constrained")
    counts = []
    for i, dataset in enumerate(datasets):
        for j, (title, methods) in enumerate(panels):
            axis = axes[i, j]
            for place, method in enumerate(methods):
                shift = 0.5 * ((place + 0.5) / len(methods) - 0.5)
                own = [(k, figures[method, dataset, s]) for k, s in enumerate(settings) if (method, dataset, s) in figures]
                own = [(k, row) for k, row in own if row["mean"] is not None]
                counts += [row["seeds"] for _, row in own]
                axis.errorbar([k + shift for k, _ in own], [row["mean"] for _, row in own], [row["sd"] or 0 for _, row in own],
                              **look(method).of_points(label=named(method)), elinewidth=0.7, capsize=1.2)
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5, 7)))
            axis.yaxis.set_major_formatter(ScalarFormatter())
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.yaxis.set_minor_locator(LogLocator(subs=()))
            axis.set_xlim(-0.5, len(settings) - 0.5)
            axis.grid(False, axis="x")
            for edge in range(1, len(settings)):
                axis.axvline(edge - 0.5, color="#DDDDDD", linewidth=0.5)
            axis.set_xticks(range(len(settings)), [s.replace("full precision", "full\nprecision").replace(" ", "\n", 1)
                                                   if s != "full precision" else "full\nprecision" for s in settings])
            if i == 0:
                legend_above(axis, title, handlelength=1.2)
            if j == 0:
                axis.set_ylabel(f"perplexity, {dataset}")
    return figure, f"{setting} · {seeds_text(counts)} · mean ± standard deviation over seeds · quantization simulated unless it says integer"
