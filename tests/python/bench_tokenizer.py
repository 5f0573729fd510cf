"""Our tokenizer and the Python package `tokenizers`, side by side on one thread: processor seconds on the same text.

    scripts/build tokenizer_bench
    python tests/python/bench_tokenizer.py [--file books/test.jsonl.zst] [--rounds 7] [--families gpt2 qwen2]

Three ways of calling the package: `encode` for each line, `encode_batch` on all lines, `encode` of whole documents; we
encode text by text in all three. The two sides take turns, `--rounds` times, each in a process of its own with one
round to warm up; a round's ratio is the package's seconds over ours. Times are the processor's, so that a busy machine
hurts little. Prints one JSON object.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CASES = {"encode": "lines", "encode_batch": "lines", "encode, documents": "documents"}


def package_seconds(tokenizer_file, texts_file, case, rounds):
    """Run in a process of its own; getting the ids out is part of the call."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_file)
    texts = [json.loads(line) for line in open(texts_file)]
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        if case == "encode_batch":
            ids = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        else:
            ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        seconds.append(time.process_time() - start)
    return {"seconds": seconds, "tokens": sum(map(len, ids))}


def child(command):
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    found = json.loads(done.stdout)
    return found["seconds"][1:], found["tokens"]


def compare(tokenizer_file, texts_file, case, rounds):
    binary = os.environ.get("OASIS_TOKENIZER_BENCH", REPOSITORY / "build/tests/tokenizer_bench")
    theirs, ours = [], []
    for _ in range(rounds):
        seconds, their_tokens = child([sys.executable, __file__, "--child", tokenizer_file, texts_file, case, "2"])
        theirs += seconds
        seconds, our_tokens = child([binary, "--tokenizer", tokenizer_file, "--texts", texts_file, "--rounds", 2])
        ours += seconds
        assert our_tokens == their_tokens, "not the same work"
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {"package_s": statistics.median(theirs), "ours_s": statistics.median(ours),
            "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "n": len(ratios),
            "tokens": our_tokens}


def main(options):
    import text_data
    from tokenizer_families import train

    documents = text_data.documents(text_data.data_home() / options.file)
    texts = {"documents": documents, "lines": [line for d in documents for line in d.split("\n")]}
    result = {"file": options.file, "bytes": sum(len(d.encode()) for d in documents), "families": {}}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: pathlib.Path(folder) / f"{name}.jsonl" for name in texts}
        for name, file in files.items():
            file.write_text("".join(json.dumps(text) + "\n" for text in texts[name]))
        for family in options.families:
            tokenizer = pathlib.Path(folder) / f"{family}.json"
            train(family, text_data.lines("books/valid*")).save(str(tokenizer))
            result["families"][family] = {case: compare(tokenizer, files[name], case, options.rounds)
                                          for case, name in CASES.items()}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(package_seconds(*sys.argv[2:5], int(sys.argv[5]))))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--file", default="books/test.jsonl.zst", help="of the data folder")
        parser.add_argument("--rounds", type=int, default=7)
        parser.add_argument("--families", nargs="+", default=["gpt2", "llama3", "qwen2", "smollm2"])
        main(parser.parse_args())
