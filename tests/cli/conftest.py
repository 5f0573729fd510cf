"""Fixtures: the program, and a user whom file permissions bind."""

import os
import pathlib
import tempfile

import pytest
from cli_program import NOBODY, Oasis


@pytest.fixture
def oasis():
    # Not pytest's tmp_path, which another user cannot enter.
    with tempfile.TemporaryDirectory(prefix="oasis_cli_") as folder:
        os.chmod(folder, 0o755)
        yield Oasis(pathlib.Path(folder))


@pytest.fixture
def unprivileged(oasis):
    """Options that run the program as a user whom file permissions bind; root is not."""
    if os.geteuid() != 0:
        return {}
    for path in [oasis.folder, *oasis.folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
