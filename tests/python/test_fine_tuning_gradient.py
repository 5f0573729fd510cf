"""The loss of answers alone: a padded batch in the program, one sequence at a time and no padding in PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import golden
import model_cases
from reference_config import load_checkpoint
from reference_model import Model

PRECISE, SINGLE = 1e-6, 1e-5  # as in test_model_parity.py
CASES = [c for c in model_cases.ALL if c.length > 2]


def batch_of(case, rows=4):
    """Sequences of different lengths whose last tokens are answers, and the padded batch of them."""
    generator = torch.Generator().manual_seed(len(case.name))
    sequences, answers = [], []
    for row in range(rows):
        length = int(torch.randint(2, case.length + 1, (1,), generator=generator))
        sequences.append(case.tokens(length, seed=row))
        answers.append(int(torch.randint(1, length, (1,), generator=generator)))
    longest = max(map(len, sequences)) + 3
    tokens = case.tokens(rows, longest, seed=rows)  # padding is arbitrary tokens
    targets = torch.full((rows, longest), -100)
    for row, (sequence, answer) in enumerate(zip(sequences, answers)):
        tokens[row, :len(sequence)] = sequence
        targets[row, len(sequence) - 1 - answer:len(sequence) - 1] = sequence[-answer:]
    return sequences, answers, tokens, targets


def expected_of(folder, sequences, answers, rows):
    """`rows`: what the model is shown of each sequence, itself or more behind it."""
    config, weights = load_checkpoint(folder, torch.float64)
    model = Model(config, {name: w.requires_grad_() for name, w in weights.items()})
    losses = []
    for sequence, answer, row in zip(sequences, answers, rows):
        logits = model(row[None]).logits[0, :len(sequence)]
        losses.append(F.cross_entropy(logits[-answer - 1:-1], sequence[-answer:], reduction="none"))
    loss = torch.cat(losses).mean()
    found = torch.autograd.grad(loss, list(model.w.values()), allow_unused=True)
    return {"loss": loss.detach()} | {f"grad.{name}": torch.zeros_like(w) if g is None else g
                                      for (name, w), g in zip(model.w.items(), found)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_loss_and_gradients(program, worst, case, tmp_path):
    folder = case.save(tmp_path / "model")
    sequences, answers, tokens, targets = batch_of(case)
    # LongRoPE's factors are those of the length that the model is shown, padding included.
    expected = expected_of(folder, sequences, answers, tokens if "longrope" in case.name else sequences)
    path, out = program.file("tokens.safetensors"), program.file("inspected.safetensors")
    save_file({"tokens": tokens, "targets": targets}, path)
    arguments = ["inspect", folder, "--tokens", path, "--out", out, "--gradients", "--targets"]
    program.run(*arguments, "--dtype", "float64")
    found = {name: x for name, x in load_file(out).items() if name in expected}
    assert set(found) == set(expected)
    for kind, (value, tensor) in golden.worst_errors(expected, found).items():
        worst.note(f"fine-tuning relative error, {kind}, float64", value, f"{case.name} {tensor}")
    golden.assert_close(expected, found, PRECISE, PRECISE)
    program.run(*arguments)
    assert load_file(out)["loss"].item() == pytest.approx(expected["loss"].item(), rel=SINGLE)


def test_bad_targets_are_named(program, tmp_path):
    case = CASES[0]
    folder, tokens = case.save(tmp_path / "model"), case.tokens(2, 5)
    for targets, saying in [(tokens[:, :4].contiguous(), "the shape of 'tokens'"),
                            (torch.full_like(tokens, -1), "target -1 at row 0, position 0")]:
        path = program.file("tokens.safetensors")
        save_file({"tokens": tokens, "targets": targets}, path)
        done = program.run("inspect", folder, "--tokens", path, "--out", tmp_path / "out", "--targets", status=2)
        assert saying in done.stderr, done.stderr
