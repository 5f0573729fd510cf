"""Writes the report: claims, summary, warnings, tables, figures, configuration, provenance, commands."""

import base64
import hashlib
import html
import io
import json
import os
import pathlib
import shlex
import subprocess
import tempfile

from draw import draw_all
from matplotlib import rc_context
from problem import Problem
from report.markdown import to_html, verdicts
from report.warnings import count, warnings
from style import RC

FOLDER = pathlib.Path(__file__).parent
FIRST = "claims"
LAST = ("outlier_variants", "training", "failures")


def tables(snapshot, program, *arguments):
    suite = snapshot.suite["name"] if snapshot.suite else "bench"
    done = subprocess.run([program, "tables", *arguments, "--db", snapshot.path, *(["--suite", suite] if "--list" not in arguments else [])],
                          capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=600)
    if done.returncode != 0:
        raise Problem(f"report: {program} tables {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def command(*words):
    return f"<pre class=command><code>{html.escape(shlex.join(map(str, words)))}</code></pre>"


def split(text, titles):
    """{title: its Markdown} of the tables that have something to show."""
    parts, title = {}, None
    for line in text.splitlines():
        if line.startswith("### ") and line[4:].strip() in titles:
            title = line[4:].strip()
            parts[title] = []
        elif title is not None:
            parts[title].append(line)
    return {title: "\n".join(lines) for title, lines in parts.items()}


def table_sections(snapshot, program):
    """[(name, title, html)], claims first."""
    known = dict(line.split(maxsplit=1) for line in tables(snapshot, program, "--list").splitlines() if line.strip())
    shown = split(tables(snapshot, program, "--all"), set(known.values()))
    names = [n for n in known if n not in LAST and n != "bench"] + [n for n in LAST if n in known]
    names.sort(key=lambda name: name != FIRST)
    if snapshot.suite is None:
        names = ["bench"]
    sections = []
    suite = ["--suite", snapshot.suite["name"]] if snapshot.suite else []
    for name in names:
        text = shown.get(known[name])
        body = "<p class=notrun>Not run: the database has nothing to show here.</p>" if text is None else to_html(text)
        if name == FIRST and text is not None:
            body = verdicts(text) + body
        sections.append((name, known[name], body + command("oasis", "tables", name, "--db", snapshot.name, *suite)))
    return sections


def figure_html(figure, snapshot):
    suite = ["--suite", snapshot.suite["name"]] if snapshot.suite else []
    name = figure.name.split("-")[0]
    if figure.reason:
        return f"<p class=notrun>{html.escape(figure.title)}: not run: {html.escape(figure.reason)}</p>"
    buffer = io.BytesIO()
    with rc_context(RC):
        figure.figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    caption = html.escape(figure.caption)
    return (f'<figure id="figure-{html.escape(figure.name)}"><img alt="{html.escape(figure.title)}: {caption}" '
            f'src="data:image/svg+xml;base64,{data}"><figcaption><strong>{html.escape(figure.title)}.</strong> {caption}'
            f'</figcaption>{command("oasis", "figures", snapshot.name, *suite, "--only", name)}</figure>')


def pairs(rows):
    body = "".join(f"<tr><th scope=row>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows)
    return f'<div class="scroll plain"><table class=pairs>{body}</table></div>'


def summary(snapshot):
    if snapshot.suite is None:
        return "<p>Benchmarks alone: the database has no suite.</p>"
    cells = snapshot.of_suite("cell_states")
    states = ", ".join(f"{n} {s}" for s, n in sorted(count(c["state"] for c in cells).items()))
    text = snapshot.suite_json().get("description") or ""
    settings = snapshot.settings()
    trained = snapshot.rows("SELECT max(tokens) FROM table_training WHERE suite_id = ?", snapshot.suite_id)[0][0]
    return (f"<p>{html.escape(text)}</p>" if text else "") + pairs([
        ("methods", ", ".join(dict.fromkeys(m for s in settings for m in snapshot.methods(s)))),
        ("settings", "; ".join(map(str, settings))),
        ("seeds", ", ".join(str(snapshot.seeds(s)) for s in settings)),
        ("tokens of a training", f"{trained:,}" if trained else "–"),
        ("cells", f"{len(cells)}: {states}"),
        ("last used", snapshot.suite["used"][:19].replace("T", " ") + " UTC")])


def provenance(snapshot):
    runs = snapshot.rows("SELECT * FROM runs ORDER BY id DESC")
    parts = []
    for run in runs[:20]:
        try:
            libraries = ", ".join(f"{k} {v}" for k, v in json.loads(run["libraries"]).items())
        except (ValueError, AttributeError):
            libraries = run["libraries"]
        parts.append(f"<h3>Run {run['id']}</h3>" + pairs([
            ("command", run["command_line"]), ("started", run["started"]), ("ended", run["ended"] or "still running, or killed"),
            ("source", run["source_revision"] + (" with changes" if run["source_dirty"] else "")), ("build", run["build_type"]),
            ("system", run["operating_system"]), ("processor", f"{run['cpu']}, {run['cores']} threads"),
            ("memory", f"{run['memory_bytes'] / 2**30:.1f} GiB"), ("GPU", f"{run['gpu']}, driver {run['driver']}" if run["gpu"] else "none"),
            ("libraries", libraries)]))
    if len(runs) > 20:
        parts.append(f"<p>The newest 20 of {len(runs)} runs.</p>")
    return "".join(parts) or "<p>No run is recorded.</p>"


def configuration(snapshot):
    if snapshot.suite is None:
        return ""
    text = html.escape(json.dumps(snapshot.suite_json(), indent=1, ensure_ascii=False))
    return (f"<p>SHA-256 of the suite <code>{html.escape(snapshot.suite['hash'])}</code>. As a file it repeats everything:</p>"
            + command("oasis", "reproduce", snapshot.suite["name"] + ".json")
            + f"<details><summary>The suite, complete</summary><pre><code>{text}</code></pre></details>")


def page(snapshot, program):
    name = snapshot.suite["name"] if snapshot.suite else "benchmarks"
    sections = table_sections(snapshot, program)
    notes = list(warnings(snapshot))
    warned = "".join(f"<li><strong>{html.escape(short)}</strong>: {html.escape(text)}</li>" for short, text in notes)
    figures = "".join(figure_html(figure, snapshot) for figure in draw_all(snapshot))
    body = []
    claims = [s for s in sections if s[0] == FIRST]
    others = [s for s in sections if s[0] != FIRST]
    for _, title, text in claims:
        body.append(f"<section id=claims><h2>{html.escape(title)}</h2>{text}</section>")
    body.append(f"<section id=summary><h2>What was run</h2>{summary(snapshot)}</section>")
    body.append(f"<section id=warnings><h2>Warnings</h2>{f'<ul class=warnings>{warned}</ul>' if warned else '<p>None.</p>'}</section>")
    body.append("<section id=tables><h2>Tables</h2><p class=hint>A click on a column's head sorts by it.</p>" + "".join(
        f'<section id="table-{html.escape(n)}"><h3>{html.escape(t)}</h3>{text}</section>' for n, t, text in others) + "</section>")
    body.append(f"<section id=figures><h2>Figures</h2>{figures}</section>")
    body.append(f"<section id=configuration><h2>Configuration</h2>{configuration(snapshot)}</section>")
    body.append(f"<section id=provenance><h2>Provenance and environment</h2>{provenance(snapshot)}</section>")
    repeat = command("oasis", "report", snapshot.name, *(["--suite", snapshot.suite["name"]] if snapshot.suite else []))
    body.append(f"<section id=repeat><h2>This report</h2>{repeat}</section>")
    links = "".join(f'<a href="#{i}">{i}</a>' for i in ("claims", "summary", "warnings", "tables", "figures", "configuration", "provenance")
                    if i != "claims" or claims)
    style, script = (FOLDER / "style.css").read_text(), (FOLDER / "sort.js").read_text()
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{html.escape(name)}: attention sinks and outliers in attention residuals</title>
<style>{style}</style></head>
<body><header><h1>{html.escape(name)}</h1>
<p>Attention sinks and outliers in attention residuals (arXiv 2605.17887): a reproduction, from <code>{html.escape(snapshot.name)}</code>.</p>
<nav>{links}</nav></header>
<main>{"".join(body)}</main>
<script>{script}</script></body></html>
"""


def write_report(snapshot, program, output):
    if program is None or not program.is_file():
        raise Problem("report: --program must name the binary oasis; `oasis report` does")
    text = page(snapshot, program)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all.
    handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, output)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
