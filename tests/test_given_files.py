"""Mistakes on the command line that are found before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from live_runs import run_app, synthetic, write_config


@pytest.mark.parametrize(
    ("cameras", "arguments", "words"),
    [
        (2, ["--record", "FILE/t.mcap"], "no folder"),
        (2, ["--record", "x" * 300 + ".mcap"], "File name too long"),
        (2, ["--video", "FILE"], "videos are never overwritten"),
        (2, ["--save-rig", "room.rig"], "room.rig"),
        (2, ["--save-rig", "FILE/room.json"], "no folder"),
        (2, ["--rig", "nowhere.json"], "no such rig file"),
        (1, ["--save-rig", "room.json"], "does not look for its cameras"),
        (1, ["--rig", "FILE"], "does not look for its cameras"),
    ],
)
def test_mistakes_are_one_line(
    cameras: int, arguments: list[str], words: str, short_tmp: Path
) -> None:
    config = write_config(short_tmp, [synthetic() for _ in range(cameras)])
    (short_tmp / "FILE").write_text("something")
    done = run_app(short_tmp, "live", "--config", config, "--headless", *arguments)
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert (short_tmp / "FILE").read_text() == "something"


def test_what_looks_like_a_date_and_is_none_is_one_line(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic()])
    config.write_text(config.read_text() + "description: 2024-02-30\n")
    done = run_app(short_tmp, "live", "--config", config, "--headless")
    assert done.returncode == 2
    assert "put such a value in quotes" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_networks_are_downloaded_before_the_run_and_said_so(
    short_tmp: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here from an index that is not there."""
    for name, value in (
        ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
        ("PIP_NO_INDEX", "0"),
        ("PIP_FIND_LINKS", ""),
        ("PIP_CONFIG_FILE", "/dev/null"),
    ):
        monkeypatch.setenv(name, value)
    config = write_config(short_tmp, [synthetic()], front_end={"kind": "blazepose"})
    done = run_app(short_tmp, "live", "--config", config, "--headless")
    assert done.returncode == 2
    assert "downloading pose_detection.tflite" in done.stdout
    assert "kind: yolo_cpn" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list((short_tmp / "r").iterdir()) == []  # nothing was begun
    assert not cache.exists() or not any(cache.rglob("*.tflite"))
