"""Hugging Face folders: read as `transformers` reads them, and written so that it does."""

import json

import pytest
import tiny_transformers
import torch
from model_cases import oasis_object
from reference_config import METHODS
from safetensors.torch import load_file

import golden
import reference

CLOSE = 1e-4  # relative, float32
LENGTHS = [12, 30]  # on both sides of LongRoPE's original length


def tokens_of(model, length):
    return torch.randint(model.config.vocab_size, (2, length), generator=torch.Generator().manual_seed(length))


def distance(found, expected):
    return ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def stored(folder):
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def assert_bit_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def assert_parity(program, worst, folder, name):
    model = tiny_transformers.load(folder)
    for length in LENGTHS:
        tokens = tokens_of(model, length)
        model.zero_grad()
        logits = model(tokens).logits
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        found = program.inspect(folder, tokens, gradients=True)
        error = distance(found["logits"], logits.detach())
        worst.note("transformers parity, logits", error, f"{name} T {length}")
        assert error < CLOSE
        expected = {f"grad.{key}": weight.grad for key, weight in model.named_parameters()}
        assert {key for key in found if key.startswith("grad.")} == set(expected)
        for key, gradient in expected.items():
            error = distance(found[key], gradient)
            worst.note("transformers parity, gradients", error, f"{name} {key}")
            assert error < CLOSE, key


@pytest.mark.parametrize("name", tiny_transformers.CONFIGS)
def test_logits_and_gradients(program, worst, tmp_path, name):
    assert_parity(program, worst, tiny_transformers.save(name, tmp_path / "model"), name)


@pytest.mark.parametrize("name", ["llama-untied-biases", "qwen3", "phi3"])
def test_shards(program, worst, tmp_path, name):
    assert_parity(program, worst, tiny_transformers.save(name, tmp_path / "model", shards=True), name)


@pytest.mark.parametrize("name", ["llama3", "qwen3", "phi3-partial", "phi3-longrope"])
def test_published_configurations(program, worst, tmp_path, name):
    folder = tiny_transformers.save(name, tmp_path / "model")
    assert_parity(program, worst, tiny_transformers.as_before_transformers_5(folder), name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "qwen3", "phi3-longrope"])
def test_short_floats_are_read_and_written_unchanged(program, worst, tmp_path, name, dtype):
    folder = tiny_transformers.save(name, tmp_path / "model", dtype, shards=True)
    assert_parity(program, worst, folder, name)
    program.run("export", folder, "--out", tmp_path / "out")
    assert_bit_equal(stored(tmp_path / "out"), stored(folder))
    assert {tensor.dtype for tensor in stored(folder).values()} == {dtype}


@pytest.mark.parametrize("name", tiny_transformers.CONFIGS)
def test_an_export_is_what_transformers_had(program, tmp_path, name):
    folder = tiny_transformers.save(name, tmp_path / "model")
    program.run("export", folder, "--method", "prenorm", "--out", tmp_path / "out")
    assert_bit_equal(stored(tmp_path / "out"), stored(folder))
    before, after = tiny_transformers.load(folder), tiny_transformers.load(tmp_path / "out")
    for length in LENGTHS:
        tokens = tokens_of(before, length)
        assert torch.equal(after(tokens).logits, before(tokens).logits)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_continues_a_folder_and_comes_back(program, tmp_path, method):
    """Backbone kept bit for bit, routers fresh; the reference model reads the same folder to the same logits."""
    folder = tiny_transformers.save("phi3-longrope", tmp_path / "model")
    routing = "none" if METHODS[method][1] == "none" else "projected"
    program.run("export", folder, "--method", json.dumps(oasis_object(method, routing, 2)), "--recency-bias", 8,
                "--seed", 3, "--out", tmp_path / "out")
    first = stored(tmp_path / "out")
    assert_bit_equal({name: tensor for name, tensor in first.items() if name in stored(folder)}, stored(folder))
    biases = [float(tensor) for name, tensor in first.items() if name.endswith("recency_bias")]
    assert biases == [8.0] * (4 if routing == "projected" else 0)

    program.run("export", tmp_path / "out", "--out", tmp_path / "again")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()

    tokens = torch.arange(24).reshape(2, 12)
    found = program.inspect(tmp_path / "out", tokens, torch.float64)
    golden.assert_close(reference.inspect(tmp_path / "out", tokens), found, 1e-6, 1e-6)
    if routing == "none" and method == "prenorm":
        assert distance(found["logits"].float(), tiny_transformers.load(folder)(tokens).logits) < CLOSE


def refusal(program, folder, *saying):
    tokens = program.tokens_file(torch.arange(8).reshape(1, 8))
    said = program.run("evaluate", folder, "--tokens", tokens, status=2).stderr
    assert all(text in said for text in (str(folder), *saying)), said


@pytest.mark.parametrize("rope", [dict(rope_type="yarn", factor=4.0), dict(rope_type="linear", factor=2.0),
                                  dict(rope_type="dynamic", factor=2.0)], ids=lambda rope: rope["rope_type"])
def test_other_scaling_is_refused(program, tmp_path, rope):
    folder = tiny_transformers.save("llama", tmp_path / "model")
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"rope_parameters": rope | {"rope_theta": 1e4}}))
    refusal(program, folder, "rope_parameters", f"'{rope['rope_type']}' is not supported")
    del config["rope_parameters"]
    file.write_text(json.dumps(config | {"rope_scaling": rope}))
    refusal(program, folder, "rope_scaling", f"'{rope['rope_type']}' is not supported")


def test_damaged_shards_are_refused(program, tmp_path):
    folder = tiny_transformers.save("llama", tmp_path / "model", shards=True)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    name = "model.layers.1.mlp.down_proj.weight"
    shard = folder / index[name]
    content = shard.read_bytes()
    shard.write_bytes(content[:-7])
    refusal(program, folder, shard.name)
    shard.unlink()
    refusal(program, folder, "model.safetensors.index.json", shard.name, "not there")
    shard.write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 41}))
    refusal(program, folder, "mlp.gate_proj.weight' is 40×24, config.json asks for 41×24")
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    refusal(program, folder, "'model.layers.1.", "has no place")
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    refusal(program, folder, "'model.layers.2.", "is missing")
