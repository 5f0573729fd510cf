"""A training step of the eager reference and of the training_step_bench program, side by side: seconds and peak memory.

    scripts/build training_step_bench
    python tests/python/bench_step.py [--method oasis] [--routing projected] [--steps 7] [--only eager|oasis]

Each side runs in a process of its own (peak memory is the process's), on the same weights' shapes and tokens, the two
alternating `--rounds` times so that a busy machine hurts both. Prints one JSON object.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def config_values(a):
    o = {"method": a.method, "routing": a.routing}
    if a.method == "clipped_softmax":
        o["clip_gamma"] = -12 / a.length
    if a.routing == "block":
        o["block_count"] = a.layers
    return dict(model_type="llama", vocab_size=a.vocab, hidden_size=a.hidden, num_hidden_layers=a.layers,
                num_attention_heads=a.heads, num_key_value_heads=a.heads, intermediate_size=a.intermediate,
                rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=True, hidden_act="silu",
                max_position_embeddings=a.length, oasis=o)


def eager_step(a):
    """Seconds of each step: forward, backward, clip and AdamW, as DESIGN section 5 sets them."""
    import torch

    from reference_config import initial_weights, parse_config
    from reference_model import Model, next_token_loss

    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    config = parse_config(config_values(a))
    weights = {name: w.requires_grad_() for name, w in initial_weights(config, 0).items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=4e-4, betas=(0.9, 0.95), weight_decay=0.1)
    seconds = []
    for _ in range(a.steps + 1):
        tokens = torch.randint(a.vocab, (a.batch, a.length + 1))
        start = time.perf_counter()
        loss = next_token_loss(Model(config, weights)(tokens).logits, tokens).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds[1:], "peak_rss_bytes": peak, "loss": float(loss)}


def child(command, threads):
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def eager_command(a, rest):
    return [sys.executable, __file__, "--child", *rest]


def oasis_command(a):
    binary = os.environ.get("OASIS_STEP_BENCH", REPOSITORY / "build/tests/training_step_bench")
    return [binary, "--method", a.method, "--routing", a.routing, "--layers", a.layers,
            "--hidden", a.hidden, "--heads", a.heads, "--intermediate", a.intermediate, "--vocab", a.vocab,
            "--length", a.length, "--batch", a.batch, "--threads", a.threads, "--steps", a.steps]


def summary(runs):
    seconds = [s for r in runs for s in r["seconds"]]
    return {"seconds_per_step": statistics.median(seconds), "fastest": min(seconds), "slowest": max(seconds),
            "n": len(seconds), "peak_rss_bytes": max(r["peak_rss_bytes"] for r in runs)}


def compare(a, rest):
    runs = {"eager": [], "oasis": []}
    for _ in range(a.rounds):
        if a.only != "oasis":
            runs["eager"].append(child(eager_command(a, rest), a.threads))
        if a.only != "eager":
            runs["oasis"].append(child(list(map(str, oasis_command(a))), a.threads))
    result = {"config": config_values(a), "batch": a.batch, "threads": a.threads}
    result |= {side: summary(r) for side, r in runs.items() if r}
    if a.only is None:
        eager, ours = result["eager"], result["oasis"]
        result["speedup"] = eager["seconds_per_step"] / ours["seconds_per_step"]
        result["memory_share"] = ours["peak_rss_bytes"] / eager["peak_rss_bytes"]
    return result


def parse(arguments):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--method", default="oasis")
    p.add_argument("--routing", default="projected")
    for name, default in dict(layers=6, hidden=384, heads=6, intermediate=1024, vocab=8192, length=512, batch=4,
                              threads=2, steps=5, rounds=2).items():
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--only", choices=["eager", "oasis"])
    p.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args(arguments)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    found = eager_step(options) if options.child else compare(options, sys.argv[1:])
    print(json.dumps(found, indent=None if options.child else 1))
