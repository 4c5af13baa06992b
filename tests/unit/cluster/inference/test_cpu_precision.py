"""Which precision is taken, given what each takes on this CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.inference import cpu_precision
from cluster.inference.cpu_precision import cpu_identity, fastest


class Cpu:
    """A clock that only computing moves; other work makes some calls take longer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def takes(self, name: str, *milliseconds: float) -> Callable[[], None]:
        left = list(milliseconds)

        def infer() -> None:
            self.calls.append(name)
            self.now += (left.pop(0) if len(left) > 1 else left[0]) / 1e3

        return infer


@pytest.mark.parametrize(
    ("fp32", "bf16", "taken"),
    [
        pytest.param([57], [30], "bf16", id="an EPYC"),
        pytest.param([43], [68], "fp32", id="a Xeon without AMX"),
        pytest.param([50], [48], "fp32", id="too little to give up exactness for"),
        pytest.param([50], [50], "fp32", id="the same"),
        pytest.param([900, 57], [800, 30], "bf16", id="the first call allocates"),
        pytest.param([57, 57, 300, 57], [30, 400, 400, 400, 30], "bf16", id="others compute, too"),
        pytest.param([43, 200, 200, 43], [68, 68, 68], "fp32", id="others compute in its turns"),
    ],
)
def test_the_fastest_is_taken(fp32: list[float], bf16: list[float], taken: str) -> None:
    cpu = Cpu()
    candidates = {"fp32": cpu.takes("fp32", *fp32), "bf16": cpu.takes("bf16", *bf16)}
    assert fastest(candidates, lambda: cpu.now) == taken


def test_they_take_turns() -> None:
    cpu = Cpu()
    fastest({"fp32": cpu.takes("fp32", 1), "bf16": cpu.takes("bf16", 1)}, lambda: cpu.now)
    assert cpu.calls == ["fp32", "bf16"] * (1 + cpu_precision.ROUNDS)


def test_a_hidden_feature_is_another_cpu(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"

    def identity(flags: str) -> str:
        one = "processor\t: {}\nmodel name\t: Intel(R) Xeon(R) Processor\ncpu MHz\t: 23{}\n"
        info.write_text("\n".join(one.format(n, n) + f"flags\t: {flags}\n" for n in range(2)))
        return cpu_identity(info)

    without = identity("avx512f avx512_bf16")
    assert without == "Intel(R) Xeon(R) Processor avx512f avx512_bf16"
    assert without == identity("avx512f avx512_bf16"), "clock rates change and are not part of it"
    assert without != identity("avx512f avx512_bf16 amx_bf16")
    info.unlink()
    assert cpu_identity(info)
