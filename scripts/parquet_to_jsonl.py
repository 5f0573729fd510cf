#!/usr/bin/env python3
"""Writes the column `text` of Parquet files as .jsonl beside them, one document a line.

    scripts/parquet_to_jsonl.py FILE.parquet ...

A file appears whole or not at all. Memory is bounded by one row group.
"""

import json
import os
import pathlib
import sys

REQUIREMENTS = pathlib.Path(__file__).resolve().with_name("requirements-parquet.txt")

try:
    import pyarrow
    from pyarrow import parquet
except ImportError:
    print(f"parquet_to_jsonl.py: pyarrow is not there; install it with: {sys.executable} -m pip install -r "
          f"{REQUIREMENTS}", file=sys.stderr)
    sys.exit(2)


def convert(source):
    """The path of the .jsonl file and the number of documents in it."""
    target = source.with_suffix(".jsonl")
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    documents = 0
    try:
        with parquet.ParquetFile(source) as table, open(part, "w", encoding="utf-8", newline="\n") as out:
            if "text" not in table.schema_arrow.names:
                raise ValueError(f"has no column 'text', only {', '.join(table.schema_arrow.names)}")
            for batch in table.iter_batches(batch_size=1000, columns=["text"]):
                for text in batch.column(0).drop_null().to_pylist():
                    out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                    documents += 1
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target, documents


def main(arguments):
    if not arguments or any(a.startswith("-") for a in arguments):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    for name in arguments:
        try:
            target, documents = convert(pathlib.Path(name))
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            print(f"parquet_to_jsonl.py: {name}: {error}", file=sys.stderr)
            return 2
        print(f"{target}: {documents} documents")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
