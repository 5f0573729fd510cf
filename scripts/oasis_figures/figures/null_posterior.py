"""Null posterior of attention by layer, of the methods that have a null option; beside it the null mass over depth."""

import matplotlib.pyplot as plt
from database import grouped, mean_and_deviation, seeds_text
from problem import NotRun
from style import PAGE, look, named

TITLE = "Null posterior by layer"
NEEDS_SETTING = True
PARTS = {"sa": 0.0, "mlp": 0.5}


def by_method(rows, place):
    """{method: [(place, mean, deviation, n)]} of methods whose figures are not all zero."""
    found = {}
    for key, values in grouped(rows, "method", "layer", "part").items():
        found.setdefault(key[0], []).append((place(key[1], key[2]), *mean_and_deviation(values)))
    return {m: sorted(points) for m, points in found.items() if any(p[1] > 0 for p in points)}


def draw(snapshot, setting):
    evaluated_on = snapshot.first_evaluated(setting)
    posterior = snapshot.layer_statistics(setting, evaluated_on, "null_posterior")
    if not posterior:
        raise NotRun("no null posterior is recorded")
    depth = snapshot.layer_statistics(setting, evaluated_on, "depth_null_mass")
    last = 1 + max(row["layer"] for row in posterior)
    panels = [("over tokens", "null posterior", by_method(posterior, lambda layer, _: layer)),
              ("over depth", "null mass of the router",
               by_method(depth, lambda layer, part: last if part == "final" else layer + PARTS[part]))]
    order = snapshot.methods(setting)
    if not any(figures for *_, figures in panels):
        raise NotRun("no method with a null option was evaluated: it is exactly 0 in all others")
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7), layout="constrained", sharey=False)
    counts = []
    handles = {}
    for axis, (title, label, figures) in zip(axes, panels, strict=True):
        for method in [m for m in order if m in figures]:
            x, mean, deviation, n = zip(*figures[method], strict=True)
            counts += n
            handles[method] = axis.errorbar(x, mean, deviation, **look(method).of_line(), elinewidth=0.6, capsize=1.2)
        axis.set_title(title)
        axis.set_ylabel(label)
        axis.set_xlabel("layer")
        axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if not figures:
            axis.text(0.5, 0.5, "no method here has one", transform=axis.transAxes, ha="center", color="#444444")
    figure.legend(handles.values(), map(named, handles), loc="outside upper center", ncols=min(4, len(handles)), handlelength=3.2)
    without = [m for m in order if m not in handles]
    zero = f" · exactly 0: {', '.join(without)}" if without else ""
    return figure, (f"{setting}, evaluated on {evaluated_on} · {seeds_text(counts)} · mean ± standard deviation over seeds{zero} · "
                    f"over depth: at i the router before attention, at i + ½ before the MLP, last the final one")
