"""GSM8K Pass@1, with intervals."""

import matplotlib.pyplot as plt
from database import seeds_text
from problem import NotRun
from style import PAGE, look, named

TITLE = "GSM8K Pass@1"
NEEDS_SETTING = True


def draw(snapshot, setting):
    rows = [row for row in snapshot.of_suite("table_gsm8k", "trained_on = ? AND model = ?", setting.trained_on, setting.model,
                                             order="setting_order, evaluated_on, setting") if row["mean"] is not None]
    if not rows:
        raise NotRun("no GSM8K answers were scored")
    rules = sorted({row["rule"] for row in rows})
    groups = list(dict.fromkeys((row["evaluated_on"], row["setting"]) for row in rows))
    methods = [m for m in snapshot.methods(setting) if any(row["method"] == m for row in rows)]
    height = 0.14 * len(groups) * (len(methods) + 1) + 1.2
    figure, axes = plt.subplots(1, len(rules), figsize=(PAGE, min(8.5, max(2.0, height))), sharey=True, sharex=True, squeeze=False,
                                layout="constrained")
    handles, several = {}, False
    for axis, rule in zip(axes[0], rules, strict=True):
        for row in (row for row in rows if row["rule"] == rule):
            group, place = groups.index((row["evaluated_on"], row["setting"])), methods.index(row["method"])
            y = group + 0.8 * ((place + 0.5) / len(methods) - 0.5)
            low, high = row["low"], row["high"]
            if low is None:
                several = several or row["sd"] is not None
                low, high = row["mean"] - (row["sd"] or 0), row["mean"] + (row["sd"] or 0)
            ends = [[100 * (row["mean"] - low)], [100 * (high - row["mean"])]]
            handles[row["method"]] = axis.errorbar([100 * row["mean"]], [y], xerr=ends, **look(row["method"]).of_points(),
                                                   elinewidth=0.8, capsize=1.5)
        axis.set_title(f"rule {rule}")
        axis.set_xlabel("Pass@1, %")
        axis.set_xlim(left=0)
        axis.grid(False, axis="y")
    axes[0, 0].set_yticks(range(len(groups)), [f"{named(e)}\n{s}" for e, s in groups])
    axes[0, 0].set_ylim(len(groups) - 0.5, -0.5)
    shown = [m for m in methods if m in handles]
    figure.legend([handles[m] for m in shown], map(named, shown), loc="outside upper center", ncols=min(6, len(shown)))
    problems = sorted({row["n"] for row in rows})
    return figure, (f"{setting} · {seeds_text([row['seeds'] for row in rows])}, {problems[0]} problems · "
                    + ("mean ± standard deviation over seeds" if several else "95 % Wilson interval over problems"))
