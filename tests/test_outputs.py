"""Files that tools write are refused before the work, each with one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engines.errors import UserError
from tools import compare_front_ends, evaluate_front_end, evaluate_rig, recover
from tools.bench.__main__ import app as bench
from tools.outputs import check_outputs, check_picture, write_picture, write_text
from tools.train import app as train

ROOT = Path(__file__).resolve().parents[1]
CLIP = str(ROOT / "capture" / "clips" / "walk")


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (evaluate_rig.main, ["--mocap", "x.npz", "--json", "FOLDER"], "is a folder"),
        (evaluate_rig.main, ["--mocap", "x.npz", "--plots", "FILE/p"], "only seconds and cameras"),
        (
            evaluate_rig.main,
            ["--mocap", "x.npz", "--plots", "FILE/p", "--parts", "seconds"],
            "no folder",
        ),
        (evaluate_rig.main, ["--mocap", "x.npz", "--first-seed=-5"], "--first-seed at least 0"),
        (evaluate_front_end.main, [CLIP, "--step", "0"], "at least 1"),
        (evaluate_front_end.main, [CLIP, "--overlay", "sheet"], "the ending tells the format"),
        (evaluate_front_end.main, [CLIP, "--overlay", "FILE/a.png"], "no folder"),
        (compare_front_ends.main, [CLIP, "--step", "0"], "at least 1"),
        (compare_front_ends.main, [CLIP, "--report", "FOLDER"], "is a folder"),
    ],
)
def test_mistakes_are_told_before_the_work(
    main: Callable[[], int],
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("something")
    named = {"FOLDER": str(tmp_path), "FILE": str(tmp_path / "file")}
    for key, value in named.items():
        arguments = [argument.replace(key, value) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and len(said.strip().splitlines()) == 1


def test_figures_are_refused_before_they_are_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something")
    runner = CliRunner()
    for part in ("pipeline", "chain", "engines"):
        done = runner.invoke(bench, [part, "--json", str(tmp_path / "file" / "x.json")])
        assert isinstance(done.exception, UserError), part
        assert "cannot be written" in str(done.exception), part
    done = runner.invoke(
        train,
        ["detector", "--data", str(tmp_path), "--evaluate", "x.onnx", "--report", str(tmp_path)],
    )
    assert done.exit_code == 2 and "is a folder" in done.output


def test_a_copy_of_a_whole_recording_is_made_where_one_is_asked_for(
    recorded: tuple[Path, object], tmp_path: Path
) -> None:
    path, _ = recorded
    copy = tmp_path / "copy.mcap"
    done = CliRunner().invoke(recover.app, [str(path), "--output", str(copy)])
    assert done.exit_code == 0 and copy.read_bytes() == path.read_bytes()
    (tmp_path / "file").write_text("something")
    bad = tmp_path / "file" / "x.mcap"
    done = CliRunner().invoke(recover.app, [str(path), "--output", str(bad)])
    assert done.exit_code == 2 and "cannot be written" in done.output


def test_what_passes_can_be_written(tmp_path: Path) -> None:
    text, picture = tmp_path / "new" / "a.json", tmp_path / "other" / "b.png"
    check_outputs(text, None)
    check_picture(picture)
    write_text(text, "{}")
    write_picture(picture, np.zeros((4, 6, 3), np.uint8))
    assert text.read_text() == "{}" and picture.stat().st_size > 20
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "new" / "a.json" / "b", "")
