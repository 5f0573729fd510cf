"""1.5-entmax attention on one GPU: ours beside AdaSplash-2 (PyPI `adasplash`), and both beside LibTorch's flash softmax.

    pip install adasplash==0.2.2
    python tests/python/bench_adasplash.py [--amplitudes 1,0.3] [--json FILE]

bf16, head size 64, 32 heads, 32,768 tokens in the layout that AdaSplash asks for, [B,H,T,d], forward and backward,
caches cold, the three in turns. `amplitude` scales q and k: small ones give nearly equal weights, as a model has at
first. First each side's error against float64 on a short problem. Set OASIS_OPS_LIBRARY where the operators do not lie
in build/.
"""

import argparse
import json
import os
import pathlib
import statistics

import torch
from adasplash import adasplash

from reference_normalizers import normalize

LIBRARY = pathlib.Path(os.environ.get("OASIS_OPS_LIBRARY",
                                      pathlib.Path(__file__).resolve().parents[2] / "build/kernels/liboasis_ops.so"))
HEADS, SIZE, TOKENS = 32, 64, 32768
SCALE = SIZE**-0.5


def ours(q, k, v):
    return torch.ops.oasis.attention(q, k, v, "entmax15", SCALE)[0]


def flash(q, k, v):
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True, False, scale=SCALE)[0]


def exact(q, k, v):
    scores = q @ k.transpose(-1, -2) * SCALE
    length = scores.shape[-1]
    scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1), -torch.inf)
    return normalize(scores, "entmax15", 1.0, 0.0)[0] @ v


SIDES = {"ours": ours, "AdaSplash-2": lambda q, k, v: adasplash(q, k, v), "flash softmax": flash}


def drawn(batch, length, amplitude, heads=HEADS, dtype=torch.bfloat16):
    generator = torch.Generator("cuda").manual_seed(0)
    draw = lambda scale: (torch.randn(batch, heads, length, SIZE, generator=generator, device="cuda") * scale).to(dtype)
    q, k, v, grad = draw(amplitude), draw(amplitude), draw(1.0), draw(1.0)
    return [x.requires_grad_() for x in (q, k, v)], grad


def check(amplitude):
    inputs, grad = drawn(1, 512, amplitude, heads=2)
    wide = [x.double().detach().requires_grad_() for x in inputs]
    truth = [exact(*wide), *torch.autograd.grad(exact(*wide), wide, grad.double())]
    for name in ("ours", "AdaSplash-2"):
        found = [SIDES[name](*inputs), *torch.autograd.grad(SIDES[name](*inputs), inputs, grad)]
        errors = [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, truth)]
        print(f"amplitude {amplitude:g} {name}: relative errors of context, dq, dk, dv "
              + ", ".join(f"{e:.1e}" for e in errors), flush=True)


def measure(length, amplitude, repetitions):
    inputs, grad = drawn(TOKENS // length, length, amplitude)
    clear = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    seconds = {name: [] for name in SIDES}
    for i in range(repetitions + 3):
        for name, side in SIDES.items():
            clear.zero_()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            torch.autograd.grad(side(*inputs), inputs, grad)
            end.record()
            end.synchronize()
            if i >= 3:
                seconds[name].append(begin.elapsed_time(end) / 1e3)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amplitudes", default="1,0.3")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--json", help="file for the seconds of every repetition")
    arguments = parser.parse_args()
    torch.ops.load_library(LIBRARY)
    torch.ops.load_library(LIBRARY.with_name("liboasis_cuda.so"))
    rows = []
    for amplitude in map(float, arguments.amplitudes.split(",")):
        check(amplitude)
        for length in (512, 2048, 4096):
            seconds = measure(length, amplitude, arguments.repetitions)
            median = {name: statistics.median(s) for name, s in seconds.items()}
            print(f"T {length} amplitude {amplitude:g}: "
                  + ", ".join(f"{name} {1e3 * m:.2f} ms" for name, m in median.items())
                  + f"; ours / AdaSplash-2 {median['ours'] / median['AdaSplash-2']:.2f}", flush=True)
            rows.append({"length": length, "amplitude": amplitude, "seconds": seconds})
    if arguments.json:
        pathlib.Path(arguments.json).write_text(
            json.dumps({"device": torch.cuda.get_device_name(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
