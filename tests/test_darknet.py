"""Darknet networks: cfg, weights, and parity with OpenCV on networks that truly detect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import UserError
from engines.networks.catalog import build_named, darknet_detector
from engines.networks.darknet import Darknet
from engines.networks.darknet_cfg import parse_cfg, read_cfg
from engines.networks.darknet_plan import Convolution, YoloHead, plan_layers
from engines.networks.darknet_reference import yolov3_cfg, yolov3_tiny_cfg
from engines.networks.darknet_weights import load_darknet, save_darknet

FASTEST = ("yolo-fastest-1.1-xl", "yolo-fastest-1.1_body")

SMALL_CFG = """
[net]
width=32
height=32
channels=3
# a comment
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=6
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0
anchors=4,4, 8,8
classes=1
"""


@pytest.mark.parametrize("name", FASTEST)
def test_output_equals_opencv_on_a_real_picture(shared_dir: Path, name: str) -> None:
    folder = shared_dir / "data" / "yolo_fastest"
    reference = np.load(shared_dir / "reference" / "yolo_fastest.npz", allow_pickle=False)
    network = load_darknet(folder / f"{name}.cfg", folder / f"{name}.weights")
    picture = reference[f"{name}/input"][..., ::-1].transpose(2, 0, 1)
    images = torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None] / 255
    with torch.no_grad():
        raw = network(images)
    for head, maps, layer in zip(network.heads, raw, ("yolo_121", "yolo_130"), strict=True):
        rows, columns = maps.shape[2:]
        values = maps.reshape(len(head.anchors), 5 + head.classes, rows, columns)
        values = values.permute(2, 3, 0, 1).numpy().astype(np.float64)
        cell_x, cell_y = np.meshgrid(np.arange(columns), np.arange(rows))
        sigmoid = 1 / (1 + np.exp(-values))
        sizes = np.exp(values[..., 2:4]) * np.array(head.anchors) / 320
        boxes = np.stack(
            (
                (cell_x[..., None] + sigmoid[..., 0]) / columns,
                (cell_y[..., None] + sigmoid[..., 1]) / rows,
                sizes[..., 0],
                sizes[..., 1],
            ),
            -1,
        ).reshape(-1, 4)
        scores = (sigmoid[..., 4:5] * sigmoid[..., 5:]).reshape(-1, head.classes)
        expected = reference[f"{name}/{layer}"]
        np.testing.assert_allclose(boxes, expected[:, :4], atol=1e-3)
        np.testing.assert_allclose(sigmoid[..., 4].ravel(), expected[:, 4], atol=1e-3)
        shown = expected[:, 5:] > 0  # OpenCV writes zero below 0.2
        assert shown.sum() >= 3
        np.testing.assert_allclose(scores[shown], expected[:, 5:][shown], atol=1e-3)
        assert scores[~shown].max() < 0.2 + 1e-3


@pytest.mark.parametrize("name", FASTEST)
def test_detector_finds_the_person_of_the_reference(shared_dir: Path, name: str) -> None:
    folder = shared_dir / "data" / "yolo_fastest"
    reference = np.load(shared_dir / "reference" / "yolo_fastest.npz", allow_pickle=False)
    cfg = folder / f"{name}.cfg"
    detector = darknet_detector(
        load_darknet(cfg, folder / f"{name}.weights"), cfg.read_text(encoding="utf-8")
    )
    picture = reference[f"{name}/input"][..., ::-1].transpose(2, 0, 1)
    images = torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None] / 255
    with torch.no_grad():
        boxes, scores = (value.numpy()[0] for value in detector(images))
    rows = np.concatenate([reference[f"{name}/{layer}"] for layer in ("yolo_121", "yolo_130")])
    assert boxes.shape == (1500, 4)
    np.testing.assert_allclose(boxes / 320, rows[:, :4], atol=1e-3)
    seen = rows[:, 5] > 0
    np.testing.assert_allclose(scores[seen], rows[seen, 5], atol=1e-3)
    assert scores.argmax() == rows[:, 5].argmax()


def test_yolov3_has_the_published_structure() -> None:
    plans = plan_layers(parse_cfg(yolov3_cfg(), "yolov3"))
    convolutions = [plan for plan in plans if isinstance(plan, Convolution)]
    assert len(plans) == 107
    assert len(convolutions) == 75
    assert sum(plan.float_count for plan in convolutions) == 62_001_757
    heads = {index: plan for index, plan in enumerate(plans) if isinstance(plan, YoloHead)}
    assert list(heads) == [82, 94, 106]
    anchors = [list(head.anchors) for head in heads.values()]
    assert anchors[0] == [(116, 90), (156, 198), (373, 326)]
    assert anchors[2] == [(10, 13), (16, 30), (33, 23)]


def test_yolov3_tiny_has_the_published_structure() -> None:
    plans = plan_layers(parse_cfg(yolov3_tiny_cfg(), "yolov3-tiny"))
    floats = sum(plan.float_count for plan in plans if isinstance(plan, Convolution))
    assert len(plans) == 24
    assert 20 + 4 * floats == 35_434_956
    assert [i for i, plan in enumerate(plans) if isinstance(plan, YoloHead)] == [16, 23]


def test_yolov3_gives_three_heads_at_strides_32_16_8() -> None:
    with torch.device("meta"):
        network = Darknet(parse_cfg(yolov3_cfg(), "yolov3"))
        heads = network(torch.empty(1, 3, 416, 416))
    assert [tuple(head.shape) for head in heads] == [
        (1, 255, 13, 13),
        (1, 255, 26, 26),
        (1, 255, 52, 52),
    ]


def test_tiny_keeps_its_size_through_the_stride_1_pool() -> None:
    detector = build_named("yolov3-tiny")
    with torch.no_grad():
        boxes, _ = detector(torch.zeros(1, 3, 416, 416))
    assert boxes.shape == (1, 3 * (13 * 13 + 26 * 26), 4)


@pytest.mark.parametrize("name", FASTEST)
def test_every_float_is_read_and_written_back(shared_dir: Path, tmp_path: Path, name: str) -> None:
    folder = shared_dir / "data" / "yolo_fastest"
    weights = folder / f"{name}.weights"
    network = load_darknet(folder / f"{name}.cfg", weights)
    copy = tmp_path / "copy.weights"
    seen = int(np.frombuffer(weights.read_bytes()[12:20], "<i8")[0])
    save_darknet(network, copy, seen)
    assert copy.read_bytes() == weights.read_bytes()


def test_old_header_of_16_bytes_is_read(tmp_path: Path) -> None:
    cfg, weights = _small_pair(tmp_path)
    floats = weights.read_bytes()[20:]
    weights.write_bytes(np.array([0, 1, 0, 0], "<i4").tobytes() + floats)
    assert isinstance(load_darknet(cfg, weights), Darknet)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-4], "ends within convolution 1 (small.cfg:14)"),
        (lambda data: data + bytes(8), "2 floats left after the last convolution"),
        (lambda data: data[:-3], "cut short"),
        (lambda data: data[:10], "no version"),
        (lambda data: b"PK\x03\x04" + data[4:], "not a Darknet weights file"),
        (lambda data: data[:-4] + np.float32(np.nan).tobytes(), "not finite"),
    ],
    ids=["short", "long", "ragged", "tiny", "foreign", "nan"],
)
def test_wrong_weights_are_refused(tmp_path: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    cfg, weights = _small_pair(tmp_path)
    weights.write_bytes(change(weights.read_bytes()))
    with pytest.raises(UserError) as error:
        load_darknet(cfg, weights)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[net]", "[region]", "does not begin with [net]"),
        ("filters=8", "filters=eight", "small:6: [convolutional] filters=eight is not a number"),
        ("filters=8", "filters=99999999", "up to 65536"),
        ("filters=8", "filters=0", "at least 1"),
        ("filters=6", "filters=7", "needs 6 channels before it, not 7"),
        ("[yolo]", "[lstm]", "layers of kind [lstm] are not supported"),
        ("activation=leaky", "activation=gelu", "activation 'gelu' is not supported"),
        ("mask=0", "mask=5", "names an anchor that is not there"),
        ("# a comment", "what is this", "small:5: 'what is this' is neither"),
        ("width=32", "", "[net] needs 'width='"),
    ],
)
def test_wrong_cfgs_are_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        plan_layers(parse_cfg(SMALL_CFG.strip().replace(old, new, 1), "small"))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("width=32\nheight=32", "width=65536\nheight=65536", "makes a map of"),
        ("size=3\nstride=2", "size=40\nstride=2\npadding=0", "of a map of only 32×32"),
        (
            "[convolutional]\nfilters=6",
            "[upsample]\nstride=9999\n[convolutional]\nfilters=6",
            "map",
        ),
        ("[yolo]", "[shortcut]\nfrom=-9\n[yolo]", "before it"),
    ],
)
def test_absurd_sizes_are_refused_before_they_take_memory(old: str, new: str, words: str) -> None:
    text = SMALL_CFG.strip().replace("pad=1\nactivation=leaky", "activation=leaky", 1)
    with pytest.raises(UserError) as error:
        Darknet(parse_cfg(text.replace(old, new, 1), "small"))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["yolov3", "yolov3-tiny"])
def test_an_input_that_is_no_multiple_of_the_stride_is_refused(name: str) -> None:
    cfg = yolov3_cfg(416) if name == "yolov3" else yolov3_tiny_cfg(416)
    with torch.device("meta"), pytest.raises(UserError, match="multiples of 32"):
        Darknet(parse_cfg(cfg.replace("width=416", "width=400"), name))


@given(st.integers(1, 200), st.integers(1, 200), st.text(max_size=60))
def test_what_is_not_refused_runs(height: int, width: int, text: str) -> None:
    cfg = SMALL_CFG.strip().replace("width=32\nheight=32", f"width={width}\nheight={height}")
    try:
        network = Darknet(parse_cfg(cfg + "\n" + text, "any")).eval()
    except UserError:
        return
    with torch.no_grad():
        heads = network(torch.zeros(1, 3, height, width))
    assert all(head.shape[1] == 6 for head in heads)


def test_route_and_shortcut_must_look_back() -> None:
    for section in ("[route]\nlayers=5", "[shortcut]\nfrom=-9", "[route]\nlayers=0\ngroups=3"):
        with pytest.raises(UserError, match=r"small:\d+"):
            plan_layers(parse_cfg(SMALL_CFG.strip() + section, "small"))


@given(st.text(max_size=200))
def test_any_text_is_a_network_or_a_clear_error(text: str) -> None:
    for candidate in (text, SMALL_CFG.strip() + "\n" + text, "[net]\nwidth=8\nheight=8\n" + text):
        try:
            plan_layers(parse_cfg(candidate, "any"))
        except UserError as error:
            assert "\n" not in str(error)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found"):
        read_cfg(tmp_path / "no.cfg")
    binary = tmp_path / "binary.cfg"
    binary.write_bytes(bytes(range(128, 256)))
    with pytest.raises(UserError, match="not a text file"):
        read_cfg(binary)


def _small_pair(folder: Path) -> tuple[Path, Path]:
    cfg, weights = folder / "small.cfg", folder / "small.weights"
    cfg.write_text(SMALL_CFG.strip() + "\n", encoding="utf-8")
    torch.manual_seed(0)
    save_darknet(Darknet(read_cfg(cfg)), weights)
    return cfg, weights
