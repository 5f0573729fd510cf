"""How figures look: one colour, line and marker for a method everywhere (Okabe and Ito's colours, which the colour-blind
tell apart; line and marker tell them apart in black and white), type of 7 to 8 pt at the widths of a two-column paper."""

import dataclasses
import hashlib

COLUMN, PAGE = 3.35, 6.9  # inches

BLACK, ORANGE, SKY, GREEN, YELLOW = "#000000", "#E69F00", "#56B4E9", "#009E73", "#B8A400"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"

SEQUENTIAL = "cividis"  # lightness grows evenly: the same in grey, and to the colour-blind
MISSING = "#FFFFFF"

RC = {
    "font.family": "DejaVu Sans", "font.size": 7.5, "axes.titlesize": 8, "axes.labelsize": 7.5,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "figure.titlesize": 8,
    "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "oasis",
    "axes.linewidth": 0.6, "lines.linewidth": 1.1, "lines.markersize": 3.2, "patch.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5, "ytick.minor.size": 1.5, "hatch.linewidth": 0.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#DDDDDD",
    "grid.linewidth": 0.4, "axes.axisbelow": True, "legend.frameon": False, "figure.dpi": 100, "savefig.dpi": 300,
    "axes.formatter.use_mathtext": True,
}


@dataclasses.dataclass(frozen=True)
class Look:
    color: str
    line: object
    marker: str

    def of_line(self, **more):
        return {"color": self.color, "linestyle": self.line, "marker": self.marker} | more

    def of_points(self, **more):
        return {"color": self.color, "linestyle": "none", "marker": self.marker} | more


METHODS = {
    "prenorm": Look(GREY, "-", "x"),
    "attnres": Look(BLACK, "-", "s"),
    "clipped_softmax": Look(ORANGE, (0, (5, 1.5)), "D"),
    "gated_attention": Look(GREEN, (0, (1, 1)), "v"),
    "softmax1": Look(BLUE, (0, (4, 1, 1, 1)), "^"),
    "sparsemax": Look(PURPLE, (0, (3, 1, 1, 1, 1, 1)), "P"),
    "entmax15": Look(YELLOW, (0, (2, 2)), "X"),
    "oasis": Look(VERMILLION, "-", "o"),
    "oasis_no_coupling": Look(SKY, "--", "<"),
    "oasis_fixed_beta": Look(YELLOW, (0, (4, 1, 1, 1)), ">"),
    "oasis_token_null_only": Look(BLUE, (0, (1, 1)), "h"),
    "oasis_depth_null_only": Look(GREEN, (0, (3, 1, 1, 1, 1, 1)), "d"),
    "prenorm_softmax1": Look(GREY, "--", "+"),
}
ABLATIONS = ("oasis_no_coupling", "oasis_fixed_beta", "oasis_token_null_only", "oasis_depth_null_only")

LINES = ("-", "--", ":", "-.")
MARKERS = "*1234pH"


def look(method):
    """Also of a method that is not known here: the same one each time, by its name."""
    if method in METHODS:
        return METHODS[method]
    number = int.from_bytes(hashlib.sha256(method.encode()).digest()[:4], "big")
    colors = (SKY, ORANGE, GREEN, BLUE, PURPLE, GREY)
    return Look(colors[number % 6], LINES[number // 6 % 4], MARKERS[number // 24 % len(MARKERS)])


def panels_of(methods):
    """[(title, methods)]: the methods compared, and oasis beside its ablations where there are any."""
    ablations = [m for m in methods if m in ABLATIONS]
    compared = [m for m in methods if m not in ABLATIONS]
    if not ablations:
        return [("", compared)]
    beside = [m for m in ("attnres", "oasis") if m in methods]
    return ([("methods", compared)] if set(compared) - set(beside) else []) + [("ablations", beside + ablations)]


def legend_above(axis, title, **more):
    """Where it hides nothing; headed by the panel's title."""
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, title=title or None, title_fontsize=8,
                borderaxespad=0.2, columnspacing=1.2, labelspacing=0.25, **({"handlelength": 3.2} | more))


def main_methods(methods, most=6):
    """For figures with a panel for each method: the compared ones, else whatever there is."""
    compared = [m for m in methods if m not in ABLATIONS] or methods
    if len(compared) <= most:
        return compared
    first = [m for m in ("attnres", "clipped_softmax", "gated_attention", "softmax1", "sparsemax", "oasis")
             if m in compared]
    return [m for m in compared if m in (first + [m for m in compared if m not in first])[:most]]


def named(method):
    """As an axis shows it: never read as mathematics."""
    return method.replace("$", r"\$")
