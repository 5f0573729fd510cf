"""The training step beside the eager reference. Reports always; holds to the goal only when OASIS_CHECK_SPEED=1,

because the figure means something on an otherwise idle machine alone. bench_step.py is the same by hand.
"""

import os

import bench_step
from conftest import built


def test_step_is_faster_and_smaller_than_eager(capsys):
    os.environ["OASIS_BINARY"] = str(built("OASIS_BINARY", "build/oasis"))
    checked = os.environ.get("OASIS_CHECK_SPEED") == "1"
    arguments = [] if checked else ["--layers", "2", "--hidden", "128", "--heads", "2", "--intermediate", "256",
                                    "--length", "128", "--batch", "2", "--steps", "3", "--rounds", "1"]
    result = bench_step.compare(bench_step.parse(arguments), arguments)
    with capsys.disabled():
        print(f"\ntraining step: {result['speedup']:.2f} times as fast as eager, "
              f"{result['memory_share']:.0%} of its peak memory")
    assert result["oasis"]["n"] >= 3
    if checked:
        assert result["speedup"] >= 1.5
        assert result["memory_share"] <= 0.5
