"""Depth-routing weights of one sequence: positions down, sources across, for the last layer's routers and the final one."""

import numpy as np
from figures.heat import bar, column_titles, grid, image
from matplotlib.colors import PowerNorm
from problem import NotRun
from style import PAGE, main_methods

TITLE = "Depth routing of one example"
NEEDS_SETTING = True
ROUTERS = 3  # the last ones stored


def draw(snapshot, setting):
    evaluated_on = snapshot.first_evaluated(setting)
    examples = snapshot.examples(setting, evaluated_on, "depth_weight")
    methods = main_methods([m for m in snapshot.methods(setting) if m in examples])
    if not methods:
        raise NotRun("no example of depth routing is stored; evaluations before schema version 5 kept none")
    rows = [(layer, part) for layer, part, *_ in examples[methods[0]]][-ROUTERS:]
    figure, axes = grid(len(rows), len(methods), PAGE, 1.05 * len(rows) + 0.65)
    for column, method in enumerate(methods):
        stored = {(layer, part): matrix for layer, part, _, matrix in examples[method]}
        for row, router in enumerate(rows):
            axis, matrix = axes[row, column], stored.get(router)
            if matrix is not None:
                shown = image(axis, np.clip(matrix, 0, 1), PowerNorm(0.5, 0, 1))
                axis.set_xticks([0, matrix.shape[1] - 1])
                if column == 0:
                    axis.set_yticks([0, matrix.shape[0] - 1])
            if column == 0:
                name = "final" if router[0] is None else f"layer {router[0]} {router[1]}"
                axis.set_ylabel(f"{name}\nposition", labelpad=1)
        axes[-1, column].set_xlabel("source", labelpad=1)
    column_titles(axes, methods)
    bar(figure, shown, axes, "weight (scale of its root)")
    return figure, (f"{setting}, evaluated on {evaluated_on} · n = 1: the first sequence, its first positions, the lowest seed "
                    f"of each method · source 0: the embedding")
