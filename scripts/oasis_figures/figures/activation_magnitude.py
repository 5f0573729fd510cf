"""Magnitude of the hidden states of one sequence: positions down, channels across."""

import numpy as np
from figures.heat import bar, column_titles, grid, image
from matplotlib.colors import LogNorm
from problem import NotRun
from style import PAGE, main_methods

TITLE = "Activation magnitude of one example"
NEEDS_SETTING = True


def draw(snapshot, setting):
    evaluated_on = snapshot.first_evaluated(setting)
    examples = snapshot.examples(setting, evaluated_on, "hidden_magnitude")
    methods = main_methods([m for m in snapshot.methods(setting) if m in examples])
    if not methods:
        raise NotRun("no example is stored; evaluations before schema version 5 kept none")
    layers = [layer for layer, *_ in examples[methods[0]]]
    everything = np.concatenate([m.ravel() for method in methods for *_, m in examples[method]])
    everything = everything[np.isfinite(everything) & (everything > 0)]
    if everything.size == 0:
        raise NotRun("the example holds no finite activation")
    # Three decades below the largest, or what 99 % of the values have.
    high = everything.max()
    norm = LogNorm(min(max(np.quantile(everything, 0.01), high * 1e-4), high / 2), high)
    figure, axes = grid(len(layers), len(methods), PAGE, 0.95 * len(layers) + 0.65)
    stride = examples[methods[0]][0][2]
    for column, method in enumerate(methods):
        for row, (_, _, _, matrix) in enumerate(examples[method][:len(layers)]):
            axis = axes[row, column]
            shown = image(axis, np.maximum(matrix, norm.vmin), norm)
            if row == len(layers) - 1:
                axis.set_xticks([0, matrix.shape[1] - 1], ["0", str(matrix.shape[1] * stride - 1)])
                axis.get_xticklabels()[-1].set_ha("right")
                axis.set_xlabel("channel", labelpad=1)
            if column == 0:
                axis.set_yticks([0, matrix.shape[0] - 1])
                axis.set_ylabel(f"layer {layers[row]}\nposition", labelpad=1)
    column_titles(axes, methods)
    bar(figure, shown, axes, "|x| of the layer's output")
    each = f" · each column the largest of {stride} channels" if stride > 1 else ""
    return figure, (f"{setting}, evaluated on {evaluated_on} · n = 1: the first sequence, its first positions, the lowest seed "
                    f"of each method{each}")
