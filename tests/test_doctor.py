"""``python -m tools.doctor``: what it finds here, and what it says of what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.backends.device import find_gpu
from engines.errors import UserError
from tools import doctor_checks, doctor_machine, doctor_software

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_screen_says_everything(tmp_path: Path) -> None:
    done = run("-m", "tools.doctor", DSVT_CACHE=str(tmp_path))
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    for area in (
        "Python", "Packages", "Libraries", "Processor", "GPU", "ONNX Runtime", "TensorRT",
        "torch", "Weights", "Cameras", "Display", "Shared memory", "Disk",
    ):  # fmt: skip
        assert sum(f" {area} " in line for line in lines) >= 1, area
    # an empty cache: BlazePose is not there yet
    assert "the first run with blazepose" in " ".join(done.stdout.split())
    if find_gpu() is None:
        assert "no NVIDIA GPU" in done.stdout


def test_missing_packages_are_one_line() -> None:
    """A Python without any of the packages."""
    done = run("-S", "-m", "tools.doctor")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "is not installed" in done.stderr and "pip install -r requirements.txt" in done.stderr


def test_one_missing_package_does_not_hide_the_rest(tmp_path: Path) -> None:
    """A stand-in that does not load, as a broken ONNX Runtime would not."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no', name='onnxruntime')\n")
    done = run("-m", "tools.doctor", PYTHONPATH=str(tmp_path), DSVT_CACHE=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "onnxruntime does not load" in done.stdout
    for area in ("Python", "Packages", "GPU", "torch", "Weights", "Display", "Disk"):
        assert f" {area} " in done.stdout, area


def test_wrong_packages_are_named(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        "# comment\n--find-links somewhere\nnumpy>=99\nno-such-package-here>=1\n"
        'tomli; python_version < "3"\nrich\n',
        encoding="utf-8",
    )
    finding = doctor_software.check_packages(requirements)
    assert finding.state == "broken"
    assert "no-such-package-here is missing" in finding.found
    assert "numpy is" in finding.found and ">=99" in finding.found
    assert "rich" not in finding.found and "tomli" not in finding.found
    requirements.write_text("rich\n", encoding="utf-8")
    assert doctor_software.check_packages(requirements).state == "good"
    requirements.write_text("?!\n", encoding="utf-8")
    with pytest.raises(UserError, match="is no requirement"):
        doctor_software.check_packages(requirements)


def test_display_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":7")
    assert doctor_machine.check_display().found == ":7"
    monkeypatch.delenv("DISPLAY")
    if sys.platform == "linux":
        assert doctor_machine.check_display().state == "lacking"


def test_small_shared_memory_is_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_machine.check_shared_memory(tmp_path).state == "good"
    assert doctor_machine.check_shared_memory(tmp_path / "none").state == "good"
    monkeypatch.setattr(doctor_machine, "_SHARED_MEMORY_MB", 1e12)
    small = doctor_machine.check_shared_memory(tmp_path)
    assert small.state == "lacking" and small.cost


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_without_rights_is_broken(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor_machine.check_disk(tmp_path).state == "broken"


def test_every_lack_says_what_it_costs() -> None:
    for check in doctor_checks.CHECKS:
        finding = check()
        assert (finding.cost != "") == (finding.state != "good"), finding
        assert "\n" not in finding.found + finding.cost
