"""`oasis export`: what is trained leaves as a folder that the other commands read."""

import json

from cli_program import flip_bit
from safetensors.torch import load_file, save_file
import torch


def trained(oasis):
    oasis.suite(methods=["oasis", "attnres"], quantization=[])
    oasis.reproduce()


def test_exported_model_is_the_trained_one(oasis):
    trained(oasis)
    oasis.run("export", "oasis/bigram_backcopy", "--db", "run", "--out", "out")
    config = json.loads((oasis.folder / "out/config.json").read_text())
    assert config["oasis"]["method"] == "oasis" and config["hidden_size"] == 16
    [final] = (oasis.folder / "run/cells").glob("oasis-*/final/model.safetensors")
    ours, theirs = load_file(oasis.folder / "out/model.safetensors"), load_file(final)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    save_file({"tokens": torch.arange(24).reshape(2, 12)}, oasis.folder / "tokens.safetensors")
    report = json.loads(oasis.run("evaluate", "out", "--tokens", "tokens.safetensors", "--json").stdout)
    assert {"loss", "perplexity"} <= {m["name"] for m in report["metrics"]}


def test_export_refuses(oasis):
    trained(oasis)
    oasis.refuses("export", "oasys/bigram", "--db", "run", "--out", "out", saying=["no trained cell 'oasys/bigram'"])
    oasis.refuses("export", "bigram", "--db", "run", "--out", "out", saying=["fits 2 cells", "attnres/bigram_backcopy"])
    [final] = (oasis.folder / "run/cells").glob("oasis-*/final/model.safetensors")
    flip_bit(final)
    oasis.refuses("export", "oasis/", "--db", "run", "--out", "out", saying=["damaged", "model.safetensors"])
    assert not (oasis.folder / "out").exists()
