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

# Machines that test are busy with other things: how long an example takes says nothing.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with development data; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DSVT_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"development data not found at {folder} (set DSVT_SHARED to its folder)")
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
