"""A 110M training step on one GPU: PyTorch eager, torch.compile and training_step_bench, side by side.

    scripts/build training_step_bench
    python tests/python/bench_gpu_step.py [--methods oasis,prenorm] [--length 512] [--tokens 24576] [--rounds 2] [--json FILE]

Llama-style, 12 layers, hidden 768, 12 heads, MLP 2048, vocabulary 32,000, bf16 autocast over float32 weights, fused AdamW,
clip 1.0. The PyTorch model takes the library's best operators where they exist (scaled_dot_product_attention,
rms_norm) and the eager formulation where they do not (Softmax1 over T x T scores, routers with keys, stacked sources).
Each measurement is a process of its own; the sides alternate. Prints tokens/s (median, range), peak memory and ratios.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F
from torch import nn

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LAYERS, HIDDEN, HEADS, MLP, VOCABULARY = 12, 768, 12, 2048, 32000
ROUTER = HIDDEN // 4


def rope(x):
    T, d = x.shape[-2:]
    frequency = 10000.0 ** (-torch.arange(0, d, 2, device=x.device) / d)
    angle = torch.arange(T, device=x.device)[:, None] * frequency
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1).to(x.dtype)


def softmax1_attention(q, k, v):
    scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    T = scores.shape[-1]
    scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1), -torch.inf)
    probs = F.softmax(F.pad(scores, (1, 0)), -1)
    return probs[..., 1:].to(v.dtype) @ v, probs[..., 0]


class Router(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(HIDDEN, ROUTER, bias=False), nn.Linear(HIDDEN, ROUTER, bias=False)
        self.recency = nn.Parameter(torch.zeros(1))
        self.beta_raw = nn.Parameter(torch.full((1,), -5.0))

    def forward(self, sources, nulls):
        stacked = torch.stack(sources, 2)  # [B,T,n,D]
        logits = (self.q(sources[-1])[:, :, None] * self.k(stacked)).sum(-1).float() / math.sqrt(ROUTER)
        n = len(sources) - 1
        logits = logits + self.recency * torch.arange(n + 1, device=logits.device) / n
        psi = torch.stack(nulls, -1)
        logits = logits - F.softplus(self.beta_raw).clamp(max=10) * (psi - psi.mean(-1, keepdim=True))
        weights = F.softmax(F.pad(logits.clamp(-50, 50), (1, 0)), -1)[..., 1:]
        return (weights.to(stacked.dtype)[..., None] * stacked).sum(2)


class Layer(nn.Module):
    def __init__(self, routed):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(HIDDEN, eps=1e-5), nn.RMSNorm(HIDDEN, eps=1e-5)
        self.q, self.k, self.v, self.o = (nn.Linear(HIDDEN, HIDDEN, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(HIDDEN, MLP, bias=False), nn.Linear(HIDDEN, MLP, bias=False)
        self.down = nn.Linear(MLP, HIDDEN, bias=False)
        if routed:
            self.route_sa, self.route_mlp = Router(), Router()

    def attention(self, x, null):
        B, T, _ = x.shape
        q, k, v = (p(x).view(B, T, HEADS, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        q, k = rope(q), rope(k)
        if null:
            out, rho = softmax1_attention(q, k, v)
            return self.o(out.transpose(1, 2).reshape(B, T, -1)), rho.mean(1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(out.transpose(1, 2).reshape(B, T, -1)), None

    def mlp(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Model(nn.Module):
    def __init__(self, method):
        super().__init__()
        self.routed = method == "oasis"
        self.embed = nn.Embedding(VOCABULARY, HIDDEN)
        self.layers = nn.ModuleList(Layer(self.routed) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(HIDDEN, eps=1e-5)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        h = self.embed(tokens)
        states, nulls = [h], [torch.zeros(tokens.shape, device=h.device)]
        for layer in self.layers:
            out, psi = layer.attention(layer.norm1(h), self.routed)
            c = h + out
            h = layer.route_sa(states + [c], nulls + [psi]) if self.routed else c
            e = h + layer.mlp(layer.norm2(h))
            h = layer.route_mlp(states + [c, e], nulls + [psi, psi]) if self.routed else e
            states, nulls = states + [h], nulls + [psi]
        logits = F.linear(self.norm(h), self.embed.weight)
        return F.cross_entropy(logits[:, :-1].reshape(-1, VOCABULARY), tokens[:, 1:].reshape(-1))


def pytorch_steps(a):
    torch.manual_seed(0)
    model = Model(a.method).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if a.child == "compile" else model
    seconds = []
    for i in range(a.steps + 3):
        tokens = torch.randint(VOCABULARY, (a.tokens // a.length, a.length), device="cuda")
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = forward(tokens)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        end.record()
        end.synchronize()
        if i >= 3:
            seconds.append(start.elapsed_time(end) / 1e3)
    return {"seconds": seconds, "peak_device_bytes": torch.cuda.max_memory_reserved(), "loss": loss.item()}


def run(a, side, method):
    if side == "oasis":
        program = os.environ.get("OASIS_STEP_BENCH", REPOSITORY / "build/tests/training_step_bench")
        command = [program, "--device", "cuda", "--method", method, "--layers", LAYERS, "--hidden", HIDDEN,
                   "--heads", HEADS, "--intermediate", MLP, "--vocab", VOCABULARY, "--length", a.length, "--batch",
                   a.tokens // a.length, "--steps", a.steps, "--warmup", 3, "--routing",
                   "none" if method.startswith("prenorm") else "projected"]
    else:
        command = [sys.executable, __file__, "--child", side, "--method", method, "--length", a.length, "--tokens",
                   a.tokens, "--steps", a.steps]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        return {"error": done.stderr.strip()[-300:]}
    return json.loads(done.stdout.splitlines()[-1])


def compare(a):
    cases = [(m, s) for m in a.methods.split(",") for s in a.sides.split(",")
             if s == "oasis" or m in ("oasis", "prenorm")]
    seconds, memory = {}, {}
    for _ in range(a.rounds):
        for case in cases:
            found = run(a, case[1], case[0])
            if "error" in found:
                print(f"{case}: {found['error']}", flush=True)
                continue
            seconds.setdefault(case, []).extend(found["seconds"])
            memory[case] = max(memory.get(case, 0), found["peak_device_bytes"])
    print(torch.cuda.get_device_name(), f"T {a.length}, {a.tokens} tokens a step")
    base = seconds.get(("prenorm", "oasis"))
    for (method, side), s in seconds.items():
        rate = [a.tokens / x / 1e3 for x in s]
        line = (f"{method:22} {side:8} {statistics.median(rate):7.1f} ktok/s ({min(rate):.1f} to {max(rate):.1f}, "
                f"n {len(s)})  {memory[method, side] / 2**30:5.1f} GiB")
        if side == "oasis" and base:
            line += f"  step {statistics.median(s) / statistics.median(base):.2f} x prenorm"
        if side == "oasis" and (method, "compile") in seconds:
            line += f"  {statistics.median(seconds[method, 'compile']) / statistics.median(s):.2f} x torch.compile"
        print(line, flush=True)
    if a.json:
        sides = [{"method": m, "side": side, "seconds": s, "peak_device_bytes": memory[m, side]}
                 for (m, side), s in seconds.items()]
        pathlib.Path(a.json).write_text(json.dumps({"device": torch.cuda.get_device_name(), "length": a.length,
                                                    "tokens": a.tokens, "sides": sides}, indent=1) + "\n")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--methods", default="oasis,prenorm")
    p.add_argument("--length", type=int, default=512)
    p.add_argument("--tokens", type=int, default=24576)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--json", help="file for the seconds of every step")
    p.add_argument("--sides", default="eager,compile,oasis", help="oasis is ours (%(default)s)")
    p.add_argument("--child", choices=["eager", "compile"], help=argparse.SUPPRESS)
    p.add_argument("--method", default="oasis", help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.child:
        print(json.dumps(pytorch_steps(options)))
    else:
        compare(options)
