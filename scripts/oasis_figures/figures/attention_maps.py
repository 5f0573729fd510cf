"""Attention of one sequence: queries down, keys across, mean over the heads."""

import numpy as np
from figures.heat import bar, column_titles, grid, image
from matplotlib.colors import LogNorm
from problem import NotRun
from style import PAGE, main_methods

TITLE = "Attention maps of one example"
NEEDS_SETTING = True
LEAST = 1e-3  # what is less is shown as this


def draw(snapshot, setting):
    evaluated_on = snapshot.first_evaluated(setting)
    examples = snapshot.examples(setting, evaluated_on, "attention")
    methods = main_methods([m for m in snapshot.methods(setting) if m in examples])
    if not methods:
        raise NotRun("no example is stored; evaluations before schema version 5 kept none")
    layers = [layer for layer, *_ in examples[methods[0]]]
    figure, axes = grid(len(layers), len(methods), PAGE, 0.98 * len(layers) + 0.65)
    for column, method in enumerate(methods):
        for row, (_, _, _, matrix) in enumerate(examples[method][:len(layers)]):
            seen = np.where(np.tril(np.ones_like(matrix)) > 0, np.maximum(matrix, LEAST), np.nan)
            shown = image(axes[row, column], seen, LogNorm(LEAST, 1))
            if row == len(layers) - 1:
                axes[row, column].set_xticks([0, matrix.shape[1] - 1])
                axes[row, column].set_xlabel("key", labelpad=1)
            if column == 0:
                axes[row, column].set_yticks([0, matrix.shape[0] - 1])
                axes[row, column].set_ylabel(f"layer {layers[row]}\nquery", labelpad=1)
    column_titles(axes, methods)
    bar(figure, shown, axes, f"probability (less than {LEAST:g} as {LEAST:g})")
    return figure, (f"{setting}, evaluated on {evaluated_on} · n = 1: the first sequence, its first positions, the lowest seed "
                    f"of each method · mean over the heads")
