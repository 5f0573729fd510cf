"""Draws every figure, or those that were asked for; one that has nothing to show says so."""

import importlib
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from problem import NotRun, Problem  # noqa: E402
from style import COLUMN, RC  # noqa: E402

# Each a module of figures/ with TITLE, NEEDS_SETTING and draw(snapshot[, setting]) -> (figure, what it shows).
NAMES = ("loss_curves", "outliers_by_depth", "first_token_mass", "attention_maps", "depth_routing",
         "depth_routing_tokens", "null_posterior", "activation_magnitude", "perplexity_bits", "gsm8k_pass_at_1",
         "benchmarks")


class Drawn:
    def __init__(self, name, title, figure, caption, reason=""):
        self.name, self.title, self.figure, self.caption, self.reason = name, title, figure, caption, reason

    def save(self, folder, formats):
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{suffix}" for suffix in formats]
        with matplotlib.rc_context(RC):
            for path in paths:
                # Without the time of day two runs write the same file.
                stamp = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
                self.figure.savefig(path, metadata=stamp)
                self.figure.set_layout_engine("none")  # as it is now, in the other formats too
        plt.close(self.figure)
        return paths


def footer(figure, text, inches=0.16):
    """What is shown, with n and setting, under the axes."""
    height = figure.get_size_inches()[1]
    lines = text.count("\n") + 1
    share = (inches * lines + 0.03) / height
    figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
    figure.text(0.004, 0.035 / height, text.replace("$", r"\$"), fontsize=6.5, color="#444444", va="bottom",
                linespacing=1.25)


def empty(title, reason):
    figure = plt.figure(figsize=(COLUMN, 1.0), layout="constrained")
    figure.text(0.5, 0.66, title, ha="center", va="center", fontsize=8)
    figure.text(0.5, 0.32, "not run: " + reason.replace("$", r"\$"), ha="center", va="center", fontsize=7,
                color="#444444", wrap=True)
    return figure


def wrapped(text, figure):
    """Broken at ' · ' where the page ends."""
    most = int(figure.get_size_inches()[0] * 19.5)
    lines = [""]
    for part in text.split(" · "):
        if lines[-1] and len(lines[-1]) + len(part) + 3 > most:
            lines.append(part)
        else:
            lines[-1] += (" · " if lines[-1] else "") + part
    return "\n".join(lines)


def slug(text):
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "setting"


def draw_one(module, name, snapshot, setting):
    arguments = (snapshot,) if setting is None else (snapshot, setting)
    try:
        figure, caption = module.draw(*arguments)
        footer(figure, wrapped(caption, figure))
        return Drawn(name, module.TITLE, figure, caption)
    except NotRun as problem:
        return Drawn(name, module.TITLE, empty(module.TITLE, str(problem)), "", str(problem))


def draw_all(snapshot, only=()):
    for unknown in [n for n in only if n not in NAMES]:
        raise Problem(f"there is no figure '{unknown}'; there are: {', '.join(NAMES)}")
    with matplotlib.rc_context(RC):
        for name in NAMES:
            if only and name not in only:
                continue
            module = importlib.import_module(f"figures.{name}")
            settings = snapshot.settings() if module.NEEDS_SETTING else [None]
            if not settings:
                yield Drawn(name, module.TITLE, empty(module.TITLE, "the database has no suite"), "", "the database has no suite")
            for setting in settings:
                own = f"{name}-{slug(f'{setting.model}-{setting.trained_on}')}" if len(settings) > 1 else name
                yield draw_one(module, own, snapshot, setting)
