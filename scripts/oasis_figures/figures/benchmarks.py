"""Operations and steps beside eager code, libraries and the hardware's ceiling."""

import matplotlib.pyplot as plt
from problem import NotRun
from style import BLUE, GREY, ORANGE, PAGE, named

TITLE = "Benchmarks against eager code and the ceiling"
NEEDS_SETTING = False
LOOKS = {"ours": (BLUE, ""), "library": (ORANGE, "///"), "eager": ("#D9D9D9", "...")}
LABELS = {"ours": "ours", "library": "fastest library", "eager": "eager code"}


def cases(snapshot):
    """{device: {case: {formulation: share of the ceiling}}} of the newest rows with the largest pass."""
    found = {}
    rows = snapshot.rows("SELECT * FROM table_bench WHERE age = 1 AND median_seconds IS NOT NULL AND pass <> 'forward'"
                         " ORDER BY operation = 'step', id")
    for row in rows:
        case = (row["operation"], row["variant"], row["shape"], row["dtype"])
        shares = found.setdefault(row["device"], {}).setdefault(case, {})
        shares[row["formulation"]] = max(shares.get(row["formulation"], 0), row["share_of_ceiling"])
    return found


def name_of(case):
    operation, variant, shape, dtype = case
    return named(f"{operation} {variant}".strip() + f"\n{shape}" + ("" if dtype == "bfloat16" else f" {dtype}"))


def draw(snapshot):
    found = cases(snapshot)
    if not found:
        raise NotRun("the database has no benchmarks; oasis bench makes some")
    device, figures = max(found.items(), key=lambda item: len(item[1]))
    figures = {case: shares for case, shares in figures.items() if "ours" in shares}
    names = list(figures)
    columns = 2 if len(names) > 14 else 1
    length = -(-len(names) // columns)
    figure, axes = plt.subplots(1, columns, figsize=(PAGE, min(9.0, 0.27 * length + 1.0)), squeeze=False, sharex=True,
                                layout="constrained")
    least = min(min(shares.values()) for shares in figures.values())
    for column, axis in enumerate(axes[0]):
        own = names[column * length:(column + 1) * length]
        for i, case in enumerate(own):
            for k, kind in enumerate(LOOKS):
                if kind in figures[case]:
                    color, hatch = LOOKS[kind]
                    axis.barh(i + 0.27 * (k - 1), figures[case][kind] * 100, 0.26, color=color, hatch=hatch,
                              edgecolor="black", linewidth=0.4, label=LABELS[kind])
        axis.axvline(100, color="black", linewidth=0.9, linestyle=(0, (4, 2)), label="ceiling")
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlim(max(least * 50, 1e-3), 160)
        axis.set_yticks(range(len(own)), map(name_of, own), fontsize=6, linespacing=1.05)
        axis.set_ylim(length - 0.4, -0.6)
        axis.grid(False, axis="y")
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel("share of the ceiling, %")
    labels = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    for axis in axes[0][1:]:
        labels |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=4)
    others = f" · other devices in the database: {', '.join(d for d in found if d != device)}" if len(found) > 1 else ""
    return figure, (f"{device} · n = 1 run, median of its repetitions · forward and backward, or a whole step · bfloat16 unless it says "
                    f"otherwise · ceiling: copies or matrix products as large, in the same run · "
                    f"libraries: the nearest that one has, so softmax attention, or a copy of as many bytes{others}")
