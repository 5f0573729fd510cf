"""Mean depth-routing weights: routers down, their sources across, the null mass last."""

import numpy as np
from database import grouped, mean_and_deviation, seeds_text
from figures.heat import bar, column_titles, grid, image
from matplotlib.colors import PowerNorm
from problem import NotRun
from style import PAGE, main_methods

TITLE = "Depth routing"
NEEDS_SETTING = True
PARTS = {"sa": 0, "mlp": 1, "final": 2}


def order(router):
    layer, part = router
    return (layer is None, layer or 0, PARTS[part])


def draw(snapshot, setting):
    evaluated_on = snapshot.first_evaluated(setting)
    weights = grouped(snapshot.layer_statistics(setting, evaluated_on, "depth_weight"), "method", "layer", "part", "source")
    null = grouped(snapshot.layer_statistics(setting, evaluated_on, "depth_null_mass"), "method", "layer", "part")
    methods = main_methods([m for m in snapshot.methods(setting) if any(key[0] == m for key in weights)])
    if not methods:
        raise NotRun("no method with depth routing was evaluated")
    routers = sorted({key[1:3] for key in weights}, key=order)
    sources = 1 + max(key[3] for key in weights)
    figure, axes = grid(1, len(methods), PAGE, min(7.5, max(2.0, 0.12 * len(routers) + 1.1)))
    counts = []
    for axis, method in zip(axes[0], methods, strict=True):
        matrix = np.full((len(routers), sources + 2), np.nan)  # a gap before the null
        for i, (layer, part) in enumerate(routers):
            for source in range(sources):
                matrix[i, source], _, n = mean_and_deviation(weights.get((method, layer, part, source), []))
                counts += [n] * (n > 0)
            matrix[i, -1] = mean_and_deviation(null.get((method, layer, part), []))[0]
        if not np.any(matrix[:, -1] > 0):
            matrix[:, -1] = np.nan  # exactly 0: the method has no null option over depth
        shown = image(axis, matrix, PowerNorm(0.5, 0, 1))
        step = max(1, sources // 4)
        axis.set_xticks([*range(0, sources, step), sources + 1], [*map(str, range(0, sources, step)), "∅"])
        axis.set_xlabel("source")
    every = max(1, len(routers) // 24)
    names = ["final" if layer is None else f"{layer} {part}" for layer, part in routers]
    axes[0, 0].set_yticks(range(0, len(routers), every), names[::every])
    axes[0, 0].set_ylabel("router: layer and part")
    column_titles(axes, methods)
    bar(figure, shown, axes, "weight (scale of its root)")
    return figure, (f"{setting}, evaluated on {evaluated_on} · {seeds_text(counts)}, their mean over all tokens · source 0: the "
                    f"embedding, then outputs in order · ∅: null mass, of a method that has one")
