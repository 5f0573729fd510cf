"""Infinity norm and kurtosis of the layers' outputs by depth."""

import re

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, ScalarFormatter
from database import grouped, mean_and_deviation, seeds_text
from problem import NotRun
from style import PAGE, legend_above, look, named, panels_of

TITLE = "Infinity norm and kurtosis by depth"
NEEDS_SETTING = True
QUANTITIES = (("inf_norm/seq", "infinity norm"), ("kurtosis/seq", "kurtosis"))
LAYER = re.compile(r"model\.layers\.(\d+)")


def by_layer(snapshot, setting, evaluated_on, quantity):
    """{method: {layer: values over seeds}}"""
    found = {}
    for (method, site), values in grouped(snapshot.site_statistics(setting, evaluated_on, quantity), "method", "site").items():
        if match := LAYER.fullmatch(site):
            found.setdefault(method, {})[int(match[1])] = values
    return found


def draw(snapshot, setting):
    evaluated_on = snapshot.first_evaluated(setting)
    figures = [by_layer(snapshot, setting, evaluated_on, quantity) for quantity, _ in QUANTITIES]
    if not figures[0]:
        raise NotRun("no outlier statistics of layers are recorded")
    panels = panels_of([m for m in snapshot.methods(setting) if m in figures[0]])
    figure, axes = plt.subplots(len(QUANTITIES), len(panels), figsize=(PAGE, 4.7), sharex=True, sharey="row", squeeze=False,
                                layout="constrained")
    counts = []
    for column, (title, methods) in enumerate(panels):
        for row, (_, label) in enumerate(QUANTITIES):
            axis = axes[row, column]
            for place, method in enumerate(methods):
                layers = sorted(figures[row].get(method, {}))
                points = [mean_and_deviation(figures[row][method][layer]) for layer in layers]
                counts += [p[2] for p in points]
                shift = 0.28 * ((place + 0.5) / len(methods) - 0.5)
                axis.errorbar([layer + shift for layer in layers], [p[0] for p in points], [p[1] for p in points],
                              **look(method).of_line(label=named(method)), elinewidth=0.6, capsize=1.2)
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(ScalarFormatter())
            axis.yaxis.set_minor_formatter("")
            axis.xaxis.get_major_locator().set_params(integer=True)
            if column == 0:
                axis.set_ylabel(f"{label} of the layer's output")
        axes[-1, column].set_xlabel("layer")
        legend_above(axes[0, column], title)
    return figure, (f"{setting}, evaluated on {evaluated_on} · {seeds_text(counts)} · mean ± standard deviation over seeds · "
                    f"per sequence, averaged over sequences")
