"""The authors' DSVTformer: same names, same size, same output."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import UserError
from engines.networks.dsvtformer import Dsvtformer, DsvtformerConfig, load_official

SMALL = DsvtformerConfig(frames=3, pose_ratio=8, image_ratio=8)


def filled(network: Dsvtformer) -> Dsvtformer:
    """Fills every float entry by the rule that the reference was made with."""
    state = {}
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            state[name] = value
            continue
        random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
        drawn = (0.05 * random.standard_normal(tuple(value.shape))).astype(np.float32)
        if value.dim() == 1 and name.endswith(".weight"):
            drawn = 1 + drawn
        if name.endswith("running_var"):
            drawn = 1 + np.abs(drawn)
        state[name] = torch.from_numpy(np.asarray(drawn, np.float32))
    network.load_state_dict(state)
    return network.eval()


def test_output_equals_the_authors(shared_dir: Path) -> None:
    with np.load(shared_dir / "reference/dsvtformer_small.npz", allow_pickle=False) as data:
        x, img, y = (torch.from_numpy(data[name]) for name in ("x", "img", "y"))
    with torch.inference_mode():
        out = filled(Dsvtformer(SMALL))(x, img)
    assert out.shape == y.shape
    assert float((out - y).abs().max()) < 1e-4


def test_names_and_shapes_equal_the_authors(shared_dir: Path) -> None:
    lines = (shared_dir / "reference/dsvtformer_small.keys.txt").read_text().splitlines()
    wanted = dict(line.split(" ", 1) for line in lines if line)
    have = {k: str(tuple(v.shape)) for k, v in Dsvtformer(SMALL).state_dict().items()}
    assert have == wanted


def test_full_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = Dsvtformer(DsvtformerConfig())
    assert sum(p.numel() for p in network.parameters()) == 104_716_105


def test_training_mode_drops_whole_branches() -> None:
    network = filled(Dsvtformer(SMALL)).train()
    x, img = torch.randn(2, 3, 4, 17, 2), torch.randn(2, 3, 4, 256)
    torch.manual_seed(0)
    first = network(x, img)
    assert not torch.allclose(first, network(x, img))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("nested", [True, False])
def test_official_checkpoint_loads(tmp_path: Path, prefix: str, nested: bool) -> None:
    network = filled(Dsvtformer(SMALL))
    state = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state} if nested else state, tmp_path / "model.pth")
    loaded = load_official(tmp_path / "model.pth", SMALL)
    x, img = torch.randn(1, 3, 4, 17, 2), torch.randn(1, 3, 4, 256)
    assert torch.equal(loaded(x, img), network(x, img))


def one_line(error: pytest.ExceptionInfo[UserError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_wrong_size_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(Dsvtformer(SMALL).state_dict(), path)
    with pytest.raises(UserError) as error:
        load_official(path, DsvtformerConfig(frames=9, pose_ratio=8, image_ratio=8))
    one_line(error, "model.pth", "fusionblocks.0.0.", "want")


def test_missing_and_unknown_parameters_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    state = Dsvtformer(SMALL).state_dict()
    head = state.pop("head.1.weight")
    torch.save(state, path)
    with pytest.raises(UserError) as error:
        load_official(path, SMALL)
    one_line(error, "lacks head.1.weight")
    torch.save({**state, "head.1.weight": head, "tail": head}, path)
    with pytest.raises(UserError) as error:
        load_official(path, SMALL)
    one_line(error, "has tail")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged_or_missing_file_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_official(path, SMALL)
    one_line(error, "model.pth")


class Hostile:
    """Pickles into a call of `print`."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran code from a checkpoint",)


def test_checkpoint_with_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": Hostile()}, tmp_path / "model.pth")
    with pytest.raises(UserError):
        load_official(tmp_path / "model.pth", SMALL)
    assert "ran code" not in capsys.readouterr().out
