"""Suites that are wrong: exit status 2, file and field named, nothing written."""

import json

import pytest
from cli_program import REPOSITORY

CASES = {
    "unknown key": ({"training__learning_rat": 1e-3},
                    ["x.json: training.learning_rat: unknown key (did you mean 'learning_rate'?)"]),
    "wrong type": ({"training__steps": "30"},
                   ["x.json: training.steps: must be an integer, not the string \"30\""]),
    "out of range": ({"quantization__0__weight_bits": 1},
                     ["x.json: quantization[0].weight_bits: must be between 2 and 16, not 1"]),
    "unknown method": ({"methods__1": "oassis"},
                       ["x.json: methods[1]: unknown method 'oassis' (did you mean 'oasis'?)"]),
    "unknown data set": ({"datasets__0": "bigram_backcopi"},
                         ["x.json: datasets[0]: unknown data set", "did you mean 'bigram_backcopy'?"]),
    "heads": ({"models__0__num_attention_heads": 3},
              ["x.json: models[0].num_attention_heads: 3 heads do not divide the hidden size 16"]),
    "block longer than the data": ({"training__block_length": 20001},
                                   ["x.json: training.block_length", "20001", "20000 tokens"]),
    "evaluation block longer than the data": ({"evaluation__block_length": 2049},
                                              ["x.json: evaluation.block_length", "2048 tokens"]),
    "equal cells": ({"methods__1": "attnres"}, ["x.json: methods[1]: the same as methods[0]"]),
    "bfloat16 on the CPU": ({"training__dtype": "bfloat16"}, ["x.json: training.dtype: bfloat16"]),
    "field of other data sets": ({"datasets__0__max_bytes": {"train": 1000}},
                                 ["x.json: datasets[0]", "max_bytes"]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", ["reproduce", "plan"])
def test_wrong_field(oasis, command, case):
    changes, saying = CASES[case]
    suite = oasis.suite(**changes)
    oasis.refuses(command, suite, "--out", "run", "--device", "cpu", saying=saying)
    assert not (oasis.folder / "run").exists()


def test_syntax_error_has_line_and_column(oasis):
    (oasis.folder / "x.json").write_text('{\n  "name": "x",\n  "seeds": [1,]\n}')
    oasis.refuses("reproduce", "x.json", saying=["x.json: line 3, column 15: not valid JSON"])


def test_repeated_key(oasis):
    (oasis.folder / "x.json").write_text('{"name": "a", "name": "b"}')
    oasis.refuses("reproduce", "x.json", saying=["x.json: key 'name' appears twice"])


def test_no_such_suite(oasis):
    oasis.refuses("reproduce", "smok", saying=["smok", "did you mean 'smoke'?"])
    oasis.refuses("reproduce", "no/such.json", saying=["no/such.json: cannot be read"])


@pytest.mark.parametrize("arguments, saying", [
    (["--shard", "3/2"], ["--shard 3/2"]),
    (["--seeds", "7"], ["--seeds", "7 is not a seed"]),
    (["--seeds", "x"], ["--seeds"]),
    (["--only", "oassis"], ["--only 'oassis' matches no cell"]),
    (["--time-limit", "soon"], ["'soon' is not a duration"]),
])
def test_wrong_option(oasis, arguments, saying):
    oasis.refuses("reproduce", oasis.suite(), "--out", "run", *arguments, saying=saying)
    assert not (oasis.folder / "run").exists()


def test_unknown_options_and_commands_exit_with_2(oasis):
    oasis.run("reproduce", "--no-such-option", "smoke", status=2)
    oasis.run("reproduce", "smoke", "--device", "tpu", status=2)
    oasis.run("no-such-command", status=2)
    oasis.run(status=2)


def test_schema_is_json_schema_and_takes_the_committed_suites(oasis):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(oasis.run("suite-schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in (REPOSITORY / "suites").glob("*.json"):
        if path.name != "suite.schema.json":
            validator.validate(json.loads(path.read_text()))
    wrong = json.loads((oasis.folder / oasis.suite(training__learning_rat=1)).read_text())
    assert not validator.is_valid(wrong)
