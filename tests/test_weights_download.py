"""Downloading: resumed, checked, from a real server that can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from engines.errors import UserError
from tests.web_server import Server
from tests.weight_files import sha256
from tools.download import download

CONTENT = bytes(range(256)) * 1500


def test_download_brings_the_file(server: Server, tmp_path: Path) -> None:
    server.content["a.weights"] = CONTENT
    path = tmp_path / "a.weights"
    download(server.url("a.weights"), path, len(CONTENT), sha256(CONTENT), Console(quiet=True))
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.content["a.weights"] = CONTENT
    path = tmp_path / "a.weights"
    arguments = (server.url("a.weights"), path, len(CONTENT), sha256(CONTENT))
    server.break_after = 100_000
    with pytest.raises(UserError, match="run the same command again to go on"):
        download(*arguments, Console(quiet=True))
    have = (tmp_path / "a.weights.part").stat().st_size
    assert 0 < have <= 100_000
    server.break_after = None
    download(*arguments, Console(quiet=True))
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={have}-"]


def test_download_starts_over_where_the_server_knows_no_ranges(
    server: Server, tmp_path: Path
) -> None:
    server.content["a.weights"] = CONTENT
    server.ranges = False
    path = tmp_path / "a.weights"
    path.with_name("a.weights.part").write_bytes(CONTENT[:777])
    download(server.url("a.weights"), path, len(CONTENT), sha256(CONTENT), Console(quiet=True))
    assert path.read_bytes() == CONTENT


def test_wrong_content_is_refused_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.content["a.weights"] = CONTENT[::-1]
    with pytest.raises(UserError, match="nothing was kept") as error:
        download(
            server.url("a.weights"),
            tmp_path / "a.weights",
            len(CONTENT),
            sha256(CONTENT),
            Console(quiet=True),
        )
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_or_another_size_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.weights"
    server.content["a.weights"] = CONTENT
    for kind, size in (("text/html", len(CONTENT)), ("application/octet-stream", 5)):
        server.kind = kind
        with pytest.raises(UserError, match="does not give the file any more"):
            download(server.url("a.weights"), path, size, "0" * 64, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_unreachable_addresses_are_named(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.weights"
    with pytest.raises(UserError, match="answers 404"):
        download(server.url("no"), path, 5, "0" * 64, Console(quiet=True))
    with pytest.raises(UserError, match=r"cannot download http://127\.0\.0\.1:1/"):
        download("http://127.0.0.1:1/x", path, 5, "0" * 64, Console(quiet=True))
    with pytest.raises(UserError, match="neither http nor https"):
        download(f"file://{__file__}", path, 5, "0" * 64, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []
