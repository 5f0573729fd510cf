"""Figures and report of a results database; called by `oasis figures` and `oasis report`.

    python scripts/oasis_figures figures DATABASE --output FOLDER [--only NAME]… [--format png,svg]
    python scripts/oasis_figures report DATABASE --output FILE.html --program build/oasis

DATABASE must not change meanwhile: the program hands over a copy. Exit status 2: bad input.
"""

import argparse
import pathlib
import sys

# Python puts this folder on the path; its parts are packages below it.
from problem import Problem

FORMATS = ("png", "svg", "pdf")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="oasis", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("figures", "report"):
        command = commands.add_parser(name)
        command.add_argument("database", type=pathlib.Path)
        command.add_argument("--name", help="the database as the reader knows it")
        command.add_argument("--suite", default="")
        command.add_argument("--program", type=pathlib.Path, help="the binary, for the tables")
        command.add_argument("--output", type=pathlib.Path, required=True)
        if name == "figures":
            command.add_argument("--only", action="append", default=[])
            command.add_argument("--format", default="png,svg")
    return parser.parse_args(arguments)


def run(arguments):
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise Problem(f"{sys.executable} has no matplotlib ({error}); run scripts/setup") from error
    from database import Snapshot
    from draw import draw_all

    snapshot = Snapshot(arguments.database, arguments.suite, arguments.name or str(arguments.database))
    if arguments.command == "report":
        from report.page import write_report

        write_report(snapshot, arguments.program, arguments.output)
        print(f"wrote {arguments.output}")
        return
    formats = [f.strip() for f in arguments.format.split(",") if f.strip()]
    for unknown in [f for f in formats if f not in FORMATS]:
        raise Problem(f"--format: '{unknown}' is not one of {', '.join(FORMATS)}")
    for figure in draw_all(snapshot, arguments.only):
        for path in figure.save(arguments.output, formats):
            print(f"wrote {path}" + (f" (not run: {figure.reason})" if figure.reason else ""))


if __name__ == "__main__":
    try:
        run(parse(sys.argv[1:]))
    except Problem as problem:
        print(f"oasis: {problem}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"oasis: {error.filename}: {error.strerror}; name another place with --output", file=sys.stderr)
        sys.exit(2)
