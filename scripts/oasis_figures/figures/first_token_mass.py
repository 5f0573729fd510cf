"""Attention on the first token, by layer and head: the mean over the seeds."""

import numpy as np
from database import grouped, mean_and_deviation, seeds_text
from figures.heat import bar, column_titles, grid, image, write_values
from matplotlib.colors import Normalize
from problem import NotRun
from style import PAGE, main_methods

TITLE = "Attention on the first token"
NEEDS_SETTING = True


def draw(snapshot, setting):
    evaluated_on = snapshot.first_evaluated(setting)
    figures = grouped(snapshot.layer_statistics(setting, evaluated_on, "first_token_mass"), "method", "layer", "head")
    figures = {key: values for key, values in figures.items() if key[2] is not None}
    methods = main_methods([m for m in snapshot.methods(setting) if any(key[0] == m for key in figures)])
    if not methods:
        raise NotRun("no attention statistics are recorded")
    layers, heads = 1 + max(k[1] for k in figures), 1 + max(k[2] for k in figures)
    matrices, counts = {}, []
    for method in methods:
        matrices[method] = np.full((layers, heads), np.nan)
        for (_, layer, head), values in ((k, v) for k, v in figures.items() if k[0] == method):
            mean, _, n = mean_and_deviation(values)
            matrices[method][layer, head] = 100 * mean
            counts.append(n)
    top = max(np.nanmax(m) for m in matrices.values())
    norm = Normalize(0, max(top, 1e-9))
    figure, axes = grid(1, len(methods), PAGE, min(6.5, max(1.5, 0.16 * layers + 1.05)))
    for axis, method in zip(axes[0], methods, strict=True):
        shown = image(axis, matrices[method], norm)
        if heads <= 8 and layers <= 16:
            write_values(axis, matrices[method], norm, "{:.1f}")
        axis.set_xticks(range(0, heads, max(1, heads // 4)))
        axis.set_xlabel("head")
    axes[0, 0].set_yticks(range(0, layers, max(1, layers // 8)))
    axes[0, 0].set_ylabel("layer")
    column_titles(axes, methods)
    bar(figure, shown, axes, "probability, %")
    return figure, (f"{setting}, evaluated on {evaluated_on} · {seeds_text(counts)}, their mean · mean over all queries, "
                    f"the first token's own among them")
