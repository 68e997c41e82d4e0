"""The ``yolo_cpn`` front end in the live application: real processes, pictures, networks.

The person is a marker person, whom two tiny networks with weights set by hand find; the lifter has
random weights, and its image stream reads that pose network's features.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from app.messages import Joints2D
from app.recording.reader import Recording
from app.topics import Topic
from engines.export import save_onnx, to_onnx
from engines.networks.rig_lifter import RigLifter, RigLifterConfig
from engines.shipping import ship_lifter, weights_digest
from live_runs import run_app, write_config
from marker_networks import blank_picture, draw_person, marker_detector, marker_pose_network

HEIGHT, WIDTH, FRAMES, VIEWS = 240, 320, 45, 3


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``detector.onnx``, ``pose.onnx`` and the lifter's files."""
    folder = tmp_path_factory.mktemp("networks")
    save_onnx(to_onnx(marker_detector()), folder / "detector.onnx")
    pose = marker_pose_network(by_joint=True)
    digest = weights_digest(pose)
    pose.info = dataclasses.replace(pose.info, facts={**pose.info.facts, "weights": digest})
    save_onnx(to_onnx(pose), folder / "pose.onnx")
    torch.manual_seed(0)
    lifter = RigLifter(RigLifterConfig(width=32, depth=1, context_width=16))
    ship_lifter(lifter, folder, stature_body_units=1.7, training={}, context_of=digest)
    return folder


def _write_video(path: Path, view: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        stream.options = {"crf": "10"}
        for index in range(FRAMES):
            image = blank_picture(HEIGHT, WIDTH)
            draw_person(image, *_place(view, index))
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _place(view: int, index: int) -> tuple[float, float, float]:
    """Where the marker person stands in a picture, and how tall it is."""
    return 110 + 40 * view + index, 120 + 3 * np.sin(index / 5 + view), 150


def _config(folder: Path, networks: Path, **front_end: object) -> Path:
    cameras: list[dict[str, object]] = []
    for view in range(VIEWS):
        path = folder / f"view{view}.mp4"
        _write_video(path, view)
        cameras.append({"kind": "file", "path": path.name, "pace": "as_consumed"})
    return write_config(
        folder,
        cameras,
        front_end={"kind": "yolo_cpn", "mend_swaps": False, **front_end},
        lifter={"weights": str(networks / "lifter.onnx")},
    )


def test_the_live_application_runs_on_it(short_tmp: Path, networks: Path) -> None:
    config = _config(
        short_tmp,
        networks,
        detector=str(networks / "detector.onnx"),
        pose=str(networks / "pose.onnx"),
    )
    take = short_tmp / "take.mcap"
    done = run_app(
        short_tmp, "live", "--config", config, "--headless", "--report", short_tmp / "r.json",
        "--record", take,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((short_tmp / "r.json").read_text())
    assert report["completeness"] >= 0.9
    assert report["front_end"].startswith("YOLO + CPN: darknet 128×128 (ONNX Runtime")
    assert {"detect", "pose", "context", "lifter"} <= set(report["stages_ms"])
    assert "with image context" in done.stdout + done.stderr
    sets = [m.message for m in Recording(take).messages([Topic.JOINTS2D])]
    seen = 0
    for message in sets:
        assert isinstance(message, Joints2D)
        for number, view in enumerate(message.views):
            if view is None:
                continue
            expected = draw_person(
                blank_picture(HEIGHT, WIDTH), *_place(number, view.sequence % FRAMES)
            )
            found = np.array(view.keypoints)
            assert found[:, 2].min() > 0.2
            assert np.abs(found[:, :2] - expected).max() < 3
            seen += 1
    assert seen >= 0.9 * FRAMES * VIEWS


def test_networks_that_are_not_there_are_one_line(short_tmp: Path, networks: Path) -> None:
    config = _config(short_tmp, networks, detector="yolov3", pose="no-such-network")
    done = run_app(short_tmp, "live", "--config", config, "--headless")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "network 'yolov3' is neither in" in said
    assert "Traceback" not in said
