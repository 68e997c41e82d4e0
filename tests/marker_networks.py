"""Real, tiny networks with weights set by hand, for tests of everything around networks.

The marker person has a coloured disc at each joint and a bright green block at the pelvis. One
network finds the block (a Darknet cfg of one convolution), the other finds the discs.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engines.networks.catalog import darknet_detector
from engines.networks.cpn import JOINTS, PoseMaps
from engines.networks.darknet import ConvolutionLayer, Darknet
from engines.networks.darknet_cfg import parse_cfg
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.person_detector import PersonDetector
from engines.networks.pose_network import FeatureMaps, PoseNetwork

HEIGHT, WIDTH = 192, 144

DETECTOR_CFG = """[net]
width=128
height=128
channels=3
[convolutional]
filters=6
size=16
stride=16
pad=0
activation=linear
[yolo]
mask=0
anchors=60,110
classes=1
"""


def joint_colours() -> npt.NDArray[np.float32]:
    """(17, 3) RGB 0…1: as far from each other, from grey and from green as may be."""
    levels = (0.0, 0.5, 1.0)
    cube = [(r, g, b) for r in levels for g in levels for b in levels]
    grey = {(v, v, v) for v in levels}
    greenish = {(0.0, 1.0, 0.0), (0.0, 0.5, 0.0)}
    return np.array([c for c in cube if c not in grey | greenish][:JOINTS], np.float32)


def person_places(height: float = 1.0) -> npt.NDArray[np.float32]:
    """(17, 2) joints of a standing marker person about its pelvis, ``height`` pixels tall."""
    places = {
        0: (0, 0), 1: (-8, 2), 2: (-10, 26), 3: (-11, 50), 4: (8, 2), 5: (10, 26), 6: (11, 50),
        7: (0, -12), 8: (0, -26), 9: (0, -37), 10: (0, -48), 11: (12, -25), 12: (17, -8),
        13: (20, 8), 14: (-12, -25), 15: (-17, -8), 16: (-20, 8),
    }  # fmt: skip
    ordered = np.array([places[joint] for joint in range(JOINTS)], np.float32)
    return ordered * np.float32(height / 100)


def draw_person(
    image: npt.NDArray[np.uint8], x: float, y: float, height: float
) -> npt.NDArray[np.float32]:
    """Draws the marker person into a BGR picture.

    Returns:
        (17, 2) where its joints are, in pixels with centres at + 0.5.
    """
    joints = person_places(height) + np.array((x, y), np.float32)
    half = max(3, round(height * 0.1))
    left, top = round(x) - half, round(y) - half + round(height * 0.12)
    cv2.rectangle(image, (left, top), (left + 2 * half, top + 2 * half), (0, 255, 0), -1)
    draw_joints(image, joints, height * 0.04)
    return joints


def draw_joints(
    image: npt.NDArray[np.uint8], joints: npt.NDArray[np.float32], radius: float
) -> None:
    """Draws a disc of its own colour at each joint (17, 2) into a BGR picture."""
    for place, colour in zip(joints, joint_colours(), strict=True):
        centre = np.round((place - 0.5) * 256).astype(int)
        bgr = [int(255 * c) for c in colour[::-1]]
        cv2.circle(image, centre.tolist(), round(radius * 256), bgr, -1, cv2.LINE_AA, 8)


def blank_picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A grey picture."""
    return np.full((height, width, 3), 128, np.uint8)


class _ColourFinder(nn.Module):
    """Heat where the picture has a joint's colour; features are the colour itself.

    Args:
        by_joint: each joint has features of its own, with zeros behind the colour.
    """

    def __init__(self, by_joint: bool) -> None:
        super().__init__()
        self.by_joint = by_joint
        self.colours = nn.Parameter(torch.from_numpy(joint_colours()))

    def forward(self, images: Tensor) -> PoseMaps:
        mean = images.new_tensor((122.7717, 115.9465, 102.9801)).reshape(1, 3, 1, 1) / 255
        small = nn.functional.avg_pool2d(images + mean, 4)
        distance = (small[:, None] - self.colours[None, :, :, None, None]).pow(2).sum(2)
        heat = torch.exp(-12 * distance)
        if not self.by_joint:
            return PoseMaps(heat, small)
        rest = torch.zeros_like(small[:, :1]).expand(-1, JOINT_CHANNELS - 3, -1, -1)
        return PoseMaps(heat, torch.cat((small, rest), 1).repeat(1, JOINTS, 1, 1))


def marker_pose_network(by_joint: bool = False) -> PoseNetwork:
    """Finds the discs in crops of 192 × 144; features are as of ``FeatureMaps.by_joint``."""
    options = {"height": HEIGHT, "width": WIDTH}
    maps = FeatureMaps(JOINTS * JOINT_CHANNELS, by_joint=True) if by_joint else FeatureMaps(3)
    finder = _ColourFinder(by_joint)
    return PoseNetwork(finder, "marker", options, HEIGHT, WIDTH, maps, "h36m17", peak=1.0).eval()


def marker_detector(width: int = 60, height: int = 110) -> PersonDetector:
    """Finds the green block in pictures of 128 × 128; its boxes are all of one size."""
    cfg = DETECTOR_CFG.replace("anchors=60,110", f"anchors={width},{height}")
    network = Darknet(parse_cfg(cfg, "marker"))
    layer = network.layers[0]
    assert isinstance(layer, ConvolutionLayer) and layer.conv.bias is not None
    with torch.no_grad():
        layer.conv.weight.zero_()
        layer.conv.bias.zero_()
        green = torch.tensor((-1.0, 1.0, -1.0)).reshape(3, 1, 1) * (80 / 256)
        layer.conv.weight[4] = green  # objectness: how much more green than red and blue
        layer.conv.bias[4] = 30.0  # grey gives 30 - 40, a block that fills a quarter of it +20
        layer.conv.bias[5] = 10.0
    return darknet_detector(network.eval(), cfg)
