"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from app.messages import Message
from app.topics import Topic
from engines.shipping import ship_network
from exported import EXPORTS_VARIABLE
from marker_networks import marker_pose_network
from tests.recordings import take_head, take_messages, write_take
from tests.web_server import Server, serving
from walking import write_mocap

# Machines that test are busy with other things: how long an example takes says nothing.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


_exports: tempfile.TemporaryDirectory[str] | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Makes the folder for exported networks; the processes that a run starts inherit its name."""
    global _exports
    if not hasattr(config, "workerinput"):
        _exports = tempfile.TemporaryDirectory(prefix="dsvt-test-")
        os.environ[EXPORTS_VARIABLE] = _exports.name


def pytest_unconfigure() -> None:
    """Removes it."""
    if _exports is not None:
        _exports.cleanup()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with development data; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DSVT_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"development data not found at {folder} (set DSVT_SHARED to its folder)")
    return folder


@pytest.fixture(scope="session")
def mocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Motion capture of people who walk."""
    return write_mocap(tmp_path_factory.mktemp("mocap") / "walk.npz")


@pytest.fixture(scope="session")
def marker_pose2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The marker network as it would ship."""
    folder = tmp_path_factory.mktemp("pose2d")
    ship_network(marker_pose_network(by_joint=True), folder, "pose2d", name="marker", training={})
    return folder


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, list[tuple[Topic, Message]]]:
    """A recording, and the messages that are in it."""
    path, messages = tmp_path / "take.mcap", take_messages(60)
    write_take(path, take_head(tmp_path), messages)
    return path, messages


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server to download from."""
    with serving() as state:
        yield state


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of weights, for this process too."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DSVT_CACHE", str(folder))
    return folder


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder with a short path, for sockets; pytest's own can be longer than these allow."""
    folder = Path(tempfile.mkdtemp(prefix="dsvt-t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _subnormal_numbers_exist() -> Iterator[None]:
    """No module leaves the thread in a state in which later tests compute differently."""
    yield
    assert np.nextafter(0, 1) * np.float64(1) > 0, "subnormal numbers are flushed to zero"
