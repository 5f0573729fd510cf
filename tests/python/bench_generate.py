"""Generation by `oasis` and by `transformers`, side by side on one machine.

    scripts/build generation_bench
    python tests/python/bench_generate.py CHECKPOINT [--device cpu] [--batch 1] [--prompt 64] [--new 64] [--rounds 3]

Greedy, every sequence to its full length (no end of text). In float32 both must give the same tokens first (a
sequence may part from the other's once two logits are within rounding: checked with transformers' own logits). On a
GPU the speed is taken in bfloat16, where `transformers` runs with SDPA and its dynamic cache. The sides take turns;
tokens/s count new tokens over the whole call, prefill included. Prints medians, ranges and the ratio, on a CPU also
that of processor times, which a busy machine disturbs less; --json FILE keeps them.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NEAR = 1e-3  # between two logits that rounding may exchange


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--new", type=int, default=64, help="new tokens of each sequence")
    parser.add_argument("--verify", type=int, default=32, help="new tokens that must be equal in float32 first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="file to write the figures to")
    parser.add_argument("--text", type=pathlib.Path, help="text to take prompts from; else random tokens")
    return parser.parse_args()


def prompts(options, vocabulary):
    shape = options.batch, options.prompt
    if options.text is None:
        return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(0))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(options.checkpoint / "tokenizer.json"))
    ids = tokenizer.encode(options.text.read_text()[:16 * options.batch * options.prompt]).ids
    return torch.tensor(ids[:options.batch * options.prompt]).view(shape)


class Oasis:
    def __init__(self, options, tokens, folder):
        self.options, self.folder = options, folder
        save_file({"tokens": tokens}, folder / "prompts")
        self.program = os.environ.get("OASIS_GENERATION_BENCH", REPOSITORY / "build/tests/generation_bench")

    def run(self, dtype, new, rounds):
        o = self.options
        done = subprocess.run(
            [self.program, "--checkpoint", o.checkpoint, "--tokens", self.folder / "prompts", "--out",
             self.folder / "made", "--new", str(new), "--batch", str(o.batch), "--device", o.device, "--dtype", dtype,
             "--threads", str(o.threads), "--rounds", str(rounds)],
            capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        return load_file(self.folder / "made")["tokens"], (report["seconds"][-1], report["processor_seconds"][-1])


class Transformers:
    def __init__(self, options, tokens):
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(options.threads)
        self.options, self.tokens = options, tokens.to(options.device)
        self.load = lambda dtype: AutoModelForCausalLM.from_pretrained(
            options.checkpoint, dtype=dtype, attn_implementation="sdpa").to(options.device).eval()
        self.models = {}

    def run(self, dtype, new):
        if dtype not in self.models:
            self.models = {dtype: self.load(getattr(torch, dtype))}
        began, clock = time.perf_counter(), time.process_time()
        made = self.models[dtype].generate(
            self.tokens, attention_mask=torch.ones_like(self.tokens), do_sample=False, eos_token_id=None,
            pad_token_id=0, max_new_tokens=new).cpu()
        return made[:, self.tokens.shape[1]:], (time.perf_counter() - began, time.process_time() - clock)

    @torch.no_grad()
    def gap(self, sequence, a, b):
        """How far apart the logits of tokens a and b are after the sequence."""
        logits = next(iter(self.models.values()))(sequence[None].to(self.options.device)).logits[0, -1].float()
        return abs(logits[a] - logits[b]).item()


def check_equal(ours, theirs, tokens, transformers):
    """How many rows are equal throughout; the others must part at a near tie."""
    equal = 0
    for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if torch.equal(a, b):
            equal += 1
            continue
        at = int((a != b).nonzero()[0])
        gap = transformers.gap(torch.cat([tokens[row], a[:at]]), a[at], b[at])
        assert gap < NEAR, f"sequence {row} parts at new token {at}, where the logits are {gap:.2e} apart"
    return equal


def main():
    options = arguments()
    vocabulary = json.loads((options.checkpoint / "config.json").read_text())["vocab_size"]
    tokens = prompts(options, vocabulary)
    transformers = Transformers(options, tokens)
    with tempfile.TemporaryDirectory() as folder:
        oasis = Oasis(options, tokens, pathlib.Path(folder))
        torch.backends.cuda.matmul.allow_tf32 = False
        dtype = "float32" if options.device == "cpu" else "bfloat16"
        sides = {"oasis": [], "transformers": []}  # (seconds, processor seconds) of each round

        def note(side, times):
            sides[side].append(times)
            print(f"{side} {times[0]:.2f} s, of the processor {times[1]:.2f} s", flush=True)

        verified = min(options.verify, options.new)
        theirs, _ = transformers.run("float32", verified)
        ours, _ = oasis.run("float32", verified, 1)
        equal = check_equal(ours, theirs, tokens, transformers)
        print(f"float32: {equal} of {len(ours)} sequences of {verified} tokens equal, the others part at near ties",
              flush=True)
        transformers.run(dtype, 4)  # warms up
        for _ in range(options.rounds):
            note("oasis", oasis.run(dtype, options.new, 2)[1])  # a process's first round warms up
            note("transformers", transformers.run(dtype, options.new)[1])
    summarize(options, dtype, sides, {"sequences": len(ours), "equal": equal, "tokens": verified})


def summarize(options, dtype, sides, verified):
    made = options.batch * options.new
    seconds = {side: [times[0] for times in rounds] for side, rounds in sides.items()}
    for side, times in seconds.items():
        print(f"{side:12} {made / statistics.median(times):10.1f} tokens/s "
              f"({made / max(times):.1f} to {made / min(times):.1f})")

    def ratio(kind):
        ours, theirs = (statistics.median(times[kind] for times in sides[side]) for side in ("oasis", "transformers"))
        return theirs / ours

    what = f"{options.device}, {dtype}, batch {options.batch}, prompt {options.prompt}, new {options.new}"
    print(f"{what}: {ratio(0):.2f} times" + (f", {ratio(1):.2f} by processor time" if options.device == "cpu" else ""))
    if options.json:
        options.json.write_text(json.dumps(
            {"device": options.device, "dtype": dtype, "batch": options.batch, "prompt": options.prompt,
             "new": options.new, "threads": options.threads, "verified": verified, "ratio": ratio(0),
             "processor_ratio": ratio(1), "rounds": sides}, indent=1))


if __name__ == "__main__":
    main()
