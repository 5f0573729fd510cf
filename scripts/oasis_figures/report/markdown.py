"""The Markdown that `oasis tables` prints, as HTML. Whatever a database holds is text, never markup."""

import html
import re

MARKS = ((re.compile(r"`([^`]+)`"), r"<code>\1</code>"), (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
         (re.compile(r"(?<![\w*])\*([^*]+)\*(?![\w*])"), r"<em>\1</em>"))
PIPE = re.compile(r"(?<!\\)\|")


def inline(text):
    text = html.escape(text)
    for pattern, markup in MARKS:
        text = pattern.sub(markup, text)
    return text


def cells(line):
    return [cell.strip().replace("\\|", "|") for cell in PIPE.split(line.strip())[1:-1]]


def table(lines):
    header, rule, *rows = [cells(line) for line in lines]
    sides = ["right" if mark.endswith(":") else "left" for mark in rule]
    verdict = header.index("verdict") if "verdict" in header else -1

    def row(values, tag):
        out = []
        for i, (value, side) in enumerate(zip(values, sides, strict=True)):
            kind = f' class="{side}"' if len(value) < 40 or tag == "th" else f' class="{side} long"'
            if tag == "td" and i == verdict:
                kind = f' class="verdict {re.sub("[^a-z]+", "-", value.lower())}"'
            if tag == "th":
                out.append(f'<th scope="col"{kind}><button type="button">{inline(value)}</button></th>')
            else:
                out.append(f"<td{kind}>{inline(value)}</td>")
        return "<tr>" + "".join(out) + "</tr>"

    body = "\n".join(row(values, "td") for values in rows)
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table>\n<thead>{row(header, "th")}</thead>\n'
            f"<tbody>\n{body}\n</tbody></table></div>")


def verdicts(text):
    """The claims' verdicts as a list that a phone can show; nothing where the table has other columns."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    items = []
    for line in lines[2:]:
        row = dict(zip(cells(lines[0]), cells(line), strict=False))
        if not {"Claim", "paper", "beside", "ours", "95 % interval", "verdict"} <= set(row):
            return ""
        kind = re.sub("[^a-z]+", "-", row["verdict"].lower())
        ours = "" if row["verdict"] == "not run" else f": {row['ours']} {row['95 % interval']}"
        items.append(f'<li><span class="verdict {kind}">{inline(row["verdict"])}</span>'
                     f'<span>{inline(row["Claim"])}; the paper: {inline(row["paper"])}</span>'
                     f'<span>ours beside {inline(row["beside"])}{inline(ours)}</span></li>')
    return f"<ul class=verdicts>{''.join(items)}</ul>" if items else ""


def to_html(text, skip_headings=True):
    out, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("|"):
            end = at
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            out.append(table(lines[at:end]))
            at = end
            continue
        if line.startswith("#"):
            if not skip_headings:
                out.append(f"<h3>{inline(line.lstrip('# '))}</h3>")
        elif line.startswith("- "):
            out.append(f"<p class=item>{inline(line[2:])}</p>")
        elif line.strip():
            out.append(f"<p>{inline(line)}</p>")
        at += 1
    return "\n".join(out)
