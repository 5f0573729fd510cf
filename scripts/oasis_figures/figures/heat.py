"""Grids of heat maps: a column for each method."""

import matplotlib
import matplotlib.pyplot as plt
from style import MISSING, SEQUENTIAL, named


def colormap():
    shades = matplotlib.colormaps[SEQUENTIAL].copy()
    shades.set_bad(MISSING)
    return shades


def grid(rows, columns, width, height):
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        axis.set_xticks([])
        axis.set_yticks([])
    return figure, axes


def image(axis, matrix, norm, **more):
    return axis.imshow(matrix, cmap=colormap(), norm=norm, aspect="auto", interpolation="nearest", rasterized=True, **more)


def bar(figure, shown, axes, label):
    scale = figure.colorbar(shown, ax=axes, label=label, fraction=0.025, pad=0.015, aspect=35)
    scale.outline.set_linewidth(0.5)
    scale.ax.grid(False)
    return scale


def column_titles(axes, methods):
    for axis, method in zip(axes[0], methods, strict=True):
        axis.set_title(named(method), fontsize=7.5)


def write_values(axis, matrix, norm, form="{:.2f}", size=5.5):
    """Each cell's value, in black or white as its shade asks."""
    shades = colormap()
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            if matrix[i, j] == matrix[i, j]:
                r, g, b, _ = shades(norm(matrix[i, j]))
                axis.text(j, i, form.format(matrix[i, j]), ha="center", va="center", fontsize=size,
                          color="black" if 0.3 * r + 0.59 * g + 0.11 * b > 0.45 else "white")
