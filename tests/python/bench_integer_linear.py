"""Linear layers in integers on one GPU beside LibTorch's in bf16 (cuBLAS).

    python tests/python/bench_integer_linear.py [--json FILE]

Times are of the GPU alone: each side's calls recorded as a CUDA graph of several rounds over different tensors, so that
caches are cold, replayed in turns; median (least to most) of the rounds' microseconds. "int8" quantizes the activation
and multiplies; the layers of SmolLM2-135M quantize once for q, k and v and once for gate and up, on both sides as one
product of joined weights. Set OASIS_OPS_LIBRARY where the operators do not lie in build/.
"""

import argparse
import json
import os
import pathlib
import statistics

import torch
import torch.nn.functional as F

LIBRARY = pathlib.Path(os.environ.get("OASIS_OPS_LIBRARY",
                                      pathlib.Path(__file__).resolve().parents[2] / "build/kernels/liboasis_ops.so"))
CACHE_BYTES = 200 << 20
operators = torch.ops.oasis


class Layer:
    """A linear layer in every form."""

    def __init__(self, N, K):
        self.K = K
        self.plain = torch.randn(N, K, device="cuda", dtype=torch.bfloat16) / K**0.5
        self.forms = {}
        for name, bits, grouped in [("w8", 8, False), ("w4", 4, False), ("w4 group64", 4, True)]:
            w = self.plain.float()
            most = 2 ** (bits - 1) - 1
            scale = (w.view(N, -1, 64).abs().amax(2) if grouped else w.abs().amax(1)) / most
            codes = operators.quantize_weight(w, scale, bits)
            weight = operators.pack_nibbles(codes) if bits == 4 else codes
            if grouped:
                scale = scale.t().contiguous().t()
            self.forms[name] = (weight, scale, operators.weight_sums(weight, K, grouped))

    def integer(self, form, quantized):
        weight, scale, sums = self.forms[form]
        return operators.integer_linear(*quantized, weight, scale, sums, None, torch.bfloat16)

    def bytes(self):
        return 2 * self.plain.numel()


def quantizer(dynamic, bits):
    if dynamic:
        return lambda x: operators.quantize_dynamic(x, bits)
    return lambda x: operators.quantize_static(x, -3.0, 3.0, bits)


def times(sides, rounds, replays=7):
    """Microseconds of one round of each side; sides map names to functions of the round's index."""
    graphs = {}
    for name, function in sides.items():
        for i in range(rounds):
            function(i)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(rounds):
                function(i)
        graphs[name] = graph
    found = {name: [] for name in sides}
    for replay in range(replays + 1):
        for name, graph in graphs.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            if replay > 0:
                found[name].append(begin.elapsed_time(end) * 1e3 / rounds)
    return {name: (statistics.median(t), min(t), max(t)) for name, t in found.items()}


def linear_sides(M, N, K, rounds):
    layers = [Layer(N, K) for _ in range(rounds)]
    xs = [torch.randn(M, K, device="cuda", dtype=torch.bfloat16) for _ in range(rounds)]
    sides = {"bf16": lambda i: F.linear(xs[i], layers[i].plain)}
    for form, bits in [("w8", 8), ("w4", 4), ("w4 group64", 4)]:
        for dynamic in (False, True):
            quantize = quantizer(dynamic, bits)
            name = f"{form}a{bits} {'dynamic' if dynamic else 'static'}"
            sides[name] = lambda i, f=form, q=quantize: layers[i].integer(f, q(xs[i]))
    codes = [quantizer(False, 8)(x) for x in xs]
    sides["w8a8 product alone"] = lambda i: layers[i].integer("w8", codes[i])
    sides["static codes alone"] = lambda i: quantizer(False, 8)(xs[i])
    sides["dynamic codes alone"] = lambda i: quantizer(True, 8)(xs[i])
    return sides


def smollm2_sides(M, rounds):
    """All linear layers of one block of SmolLM2-135M on M tokens."""
    widths = [(960, 576), (576, 576), (3072, 576), (576, 1536)]  # q with k and v, o, gate with up, down
    blocks = [[Layer(N, K) for N, K in widths] for _ in range(rounds)]
    inputs = [torch.randn(M, K, device="cuda", dtype=torch.bfloat16) for _, K in widths]
    sides = {"bf16": lambda i: [F.linear(x, layer.plain) for x, layer in zip(inputs, blocks[i])]}
    for dynamic in (False, True):
        quantize = quantizer(dynamic, 8)
        sides[f"w8a8 {'dynamic' if dynamic else 'static'}"] = lambda i, q=quantize: [
            layer.integer("w8", q(x)) for x, layer in zip(inputs, blocks[i])]
    return sides


def report(title, found, results):
    print(title)
    for name, (median, least, most) in found.items():
        ratio = found["bf16"][0] / median
        print(f"  {name:22} {median:9.2f} us ({least:.2f} to {most:.2f})  {ratio:5.2f} x bf16")
    results[title] = found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.ops.load_library(LIBRARY)
    torch.ops.load_library(LIBRARY.with_name("liboasis_cuda.so"))
    results = {}
    for M, N, K in [(4096, 4096, 4096), (8192, 4096, 4096), (1, 4096, 4096), (8, 4096, 4096), (16, 4096, 4096),
                    (64, 4096, 4096), (256, 4096, 4096)]:
        rounds = max(2, min(8, CACHE_BYTES // (2 * N * K)))
        report(f"linear M {M} N {N} K {K}", times(linear_sides(M, N, K, rounds), rounds), results)
    for M in (512, 2048, 8192, 32768):
        report(f"SmolLM2-135M block, {M} tokens", times(smollm2_sides(M, 8), 8), results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    with torch.no_grad():
        main()
