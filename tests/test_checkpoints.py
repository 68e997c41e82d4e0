"""Checkpoints of strangers: what would not fit the memory, or is no plain array, is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from engines.errors import UserError
from engines.networks.catalog import build_named, fill
from engines.networks.checkpoint import read_checkpoint
from engines.networks.dsvtformer import Dsvtformer, DsvtformerConfig, load_official
from tools.weights_import import import_model
from tools.weights_registry import read_registry

SMALL = DsvtformerConfig(frames=3, pose_ratio=8, image_ratio=8, depth=1)


def refused(path: Path) -> str:
    """What is said of a file, in one line, by the reader and by the import of weights."""
    with pytest.raises(UserError) as error:
        read_checkpoint(path, ("state_dict",))
    for name in ("cpn50-256x192", "dsvtformer"):
        with pytest.raises(UserError):
            import_model(name, read_registry()[name], [path], lambda _: None)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)
    return str(error.value)


def repack(path: Path, change: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    """Writes an archive anew, with other content under some names."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in entries:
            ending = next((end for end in change if name.endswith(end)), "")
            archive.writestr(name, change.get(ending, content))


def test_an_array_that_claims_terabytes_is_refused(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "vast.pth.tar"
    one = torch.ones(1, dtype=torch.half)
    torch.save({"state_dict": {"resnet.conv1.weight": one.expand(1 << 21, 1 << 22)}}, path)
    assert path.stat().st_size < 3000
    words = refused(path)
    assert "'resnet.conv1.weight' claims shape (2097152, 4194304)" in words
    assert not cache.exists()


def test_a_compressed_archive_is_refused(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth.tar"
    torch.save({"state_dict": {"resnet.conv1.weight": torch.zeros(5 << 20)}}, path)
    repack(path, {}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert "it is compressed inside" in refused(path)
    assert not cache.exists()


def test_an_archive_that_claims_more_than_the_limit_is_refused(cache: Path, tmp_path: Path) -> None:
    """Entries may lie over each other: the file is small, and what it says it holds is not."""
    path = tmp_path / "overlapping.pth.tar"
    torch.save({"state_dict": {"a": torch.zeros(1 << 20)}}, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 1100
        archive._didModify = True  # type: ignore[attr-defined]  # so that it is written
    assert path.stat().st_size < 10 << 20
    assert "is too large for a checkpoint" in refused(path)
    assert not cache.exists()


def test_a_record_shorter_than_its_array_is_refused(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.pth.tar"
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, path)
    repack(path, {"/data/0": bytes(16)})
    assert "is no readable checkpoint" in refused(path)
    assert not cache.exists()


def test_half_an_archive_is_refused(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.pth.tar"
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])
    assert "is no readable checkpoint" in refused(path)
    assert not cache.exists()


@pytest.mark.filterwarnings("ignore")  # torch's, of kinds that are to change
@pytest.mark.parametrize("kind", ["sparse", "quantised", "nested", "meta"])
def test_what_is_no_plain_array_is_refused(
    kind: str, cache: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    ones = torch.ones(3)
    value = {
        "sparse": lambda: torch.diag(ones).to_sparse(),
        "quantised": lambda: torch.quantize_per_tensor(ones, 1.0, 0, torch.qint8),
        "nested": lambda: torch.nested.nested_tensor([ones, ones[:2]]),
        "meta": lambda: torch.empty(3, device="meta"),
    }[kind]()
    path = tmp_path / "odd.pth.tar"
    torch.save({"state_dict": {"a": value}}, path)
    recwarn.clear()
    assert "'a' is no plain array" in refused(path)
    assert len(recwarn) == 0  # one line says it all
    assert not cache.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_good_files_of_both_kinds_are_read(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "good.pth.tar"
    state = {
        "module.weight": torch.nn.Parameter(torch.rand(4, 3)),
        "module.half": torch.rand(5).half(),
        "module.view": torch.rand(4, 6)[:, ::2].t(),
        "module.num_batches_tracked": torch.tensor(7),
    }
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path, ("state_dict",))
    assert list(found) == ["weight", "half", "view", "num_batches_tracked"]
    for name, value in found.items():
        assert torch.equal(value, state[f"module.{name}"])
        assert not value.requires_grad


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value * torch.nan, "'head.1.weight' has values that are not finite"),
        (lambda value: value * torch.inf, "'head.1.weight' has values that are not finite"),
        (lambda value: value.long(), "'head.1.weight' holds torch.int64, not plain numbers"),
        (lambda value: value.cfloat(), "'head.1.weight' holds torch.complex64, not plain numbers"),
    ],
)
def test_values_of_the_authors_lifter_are_checked(
    change,  # type: ignore[no-untyped-def]
    words: str,
    tmp_path: Path,
) -> None:
    state = Dsvtformer(SMALL).state_dict()
    path = tmp_path / "model.pth"
    torch.save({**state, "head.1.weight": change(state["head.1.weight"] + 1)}, path)
    with pytest.raises(UserError) as error:
        load_official(path, SMALL)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.to_sparse(), "holds torch.sparse_coo, not plain numbers"),
        (lambda value: value.long(), "holds torch.int64, not plain numbers"),
        (lambda value: value * torch.nan, "has values that are not finite"),
    ],
)
def test_values_of_every_network_are_checked(change, words: str) -> None:  # type: ignore[no-untyped-def]
    network = build_named("light-cpn-224x160")
    state = dict(network.inner.state_dict())
    name = "stem.0.weight"
    with pytest.raises(UserError) as error:
        fill(network, {**state, name: change(state[name])}, Path("net"))
    assert f"net: '{name}' {words}" in str(error.value)
