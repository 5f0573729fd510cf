"""How an operator is held to a reference, forward and backward: float64 closely, float32 by what eager loses."""

import os

import torch

FORWARD64, BACKWARD64 = 1e-11, 1e-9
FLOOR32 = 3e-7  # a few roundings; beyond them twice the error of eager PyTorch
# A scalar's error is one draw. With three draws to compare with, an operator that loses as much as eager PyTorch on
# average (β's gradient: 1.95e-7 and 1.94e-7 over 40 seeds) still failed once in 40.
DISTURBANCES = 8


def relative(found, expected):
    expected = expected.double()
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-12))


def cotangents(outputs, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outputs]


def run(function, inputs, dtype, weights):
    """Outputs and the gradient of each floating input under sum(output * weight)."""
    leaves = [x.to(dtype).requires_grad_() if x.is_floating_point() else x for x in inputs]
    outputs = function(*leaves)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    used = [(o, w.to(dtype)) for o, w in zip(outputs, weights(outputs)) if o.requires_grad]
    wanted = [x for x in leaves if x.is_floating_point()]
    gradients = torch.autograd.grad([o for o, _ in used], wanted, [w for _, w in used], allow_unused=True)
    zeros = [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, gradients)]
    return [o.detach() for o in outputs], zeros


def disturbed(inputs, rounding, seed):
    """The inputs, each element moved by about `rounding`, relatively."""
    generator = torch.Generator().manual_seed(seed)
    return [x * (1 + rounding * torch.randn(x.shape, generator=generator, dtype=torch.float64))
            if x.is_floating_point() else x for x in inputs]


def check(operator, reference, inputs, weights=None, seed=0):
    """`weights(outputs)` gives the cotangents; random ones by default.

    float32 may lose twice what eager PyTorch loses; where cancellation makes that a matter of luck, twice what
    such a disturbance of the inputs does.
    """
    weights = weights or (lambda outputs: cotangents(outputs, seed))
    inputs = [x.float().double() if x.is_floating_point() else x for x in inputs]
    truth = run(reference, inputs, torch.float64, weights)
    found = run(operator, inputs, torch.float64, weights)
    for kind, limit, expected, values in zip(("output", "gradient"), (FORWARD64, BACKWARD64), truth, found):
        for i, (e, v) in enumerate(zip(expected, values, strict=True)):
            assert v.shape == e.shape, (kind, i, v.shape, e.shape)
            assert relative(v, e) <= limit, f"float64 {kind} {i}: {relative(v, e):.2e}"
    if "OASIS_SANITIZED" in os.environ:
        # Instrumented loops are not vectorised: their long sums in order lose more than eight short ones.
        run(operator, inputs, torch.float32, weights)
        return
    rivals = [run(reference, inputs, torch.float32, weights)]
    rivals += [run(reference, disturbed(inputs, 2**-24, s), torch.float64, weights) for s in range(DISTURBANCES)]
    found = run(operator, inputs, torch.float32, weights)
    for k, kind in enumerate(("output", "gradient")):
        for i, (e, v) in enumerate(zip(truth[k], found[k], strict=True)):
            assert v.dtype == rivals[0][k][i].dtype, (kind, i)
            limit = 2 * max(relative(rival[k][i], e) for rival in rivals) + FLOOR32
            assert relative(v, e) <= limit, f"float32 {kind} {i}: {relative(v, e):.2e} > {limit:.2e}"


def gradcheck(function, inputs):
    leaves = [x.double().requires_grad_() if x.is_floating_point() else x for x in inputs]
    assert torch.autograd.gradcheck(function, leaves, eps=1e-6, atol=1e-6, rtol=1e-5)
