"""The viewer's parts that need no display: mesh, floor, camera, layout, text, placement."""

from __future__ import annotations

import math
import shutil

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.clock import now_ns
from app.placement import Placer
from app.run_spec import make_run_dir
from app.topics import Topic
from engines.skeleton import BONES, JOINT_COUNT
from tests.staged_run import STANDING, Cast, pose
from viz.body_mesh import BodyMesh
from viz.floor import RADIUS_M, glow, grid, shadow
from viz.layout import GAP, Rect, fit, panel_width, tiles
from viz.orbit_camera import OrbitCamera, View, intrinsic
from viz.palette import BACKGROUND, FLOOR
from viz.preview_panel import PreviewPanel
from viz.text import draw_text, fit_text, text_width
from viz.viewer_state import Inbox

MESH = BodyMesh()


def _areas(vertices: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[MESH.triangles[:, corner]] for corner in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def test_the_mesh_surrounds_the_bones() -> None:
    vertices, normals = MESH.shape(STANDING + np.array([0, 0, 1]), np.ones(JOINT_COUNT))
    assert vertices.shape == normals.shape == (MESH.vertex_count, 3)
    assert MESH.triangles.max() == MESH.vertex_count - 1
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)
    low, high = (
        (STANDING + np.array([0, 0, 1])).min(axis=0),
        (STANDING + np.array([0, 0, 1])).max(axis=0),
    )
    assert (vertices > low - 0.1).all() and (vertices < high + 0.1).all()
    assert _areas(vertices).sum() > 0.5


def test_triangles_are_wound_outwards() -> None:
    vertices, normals = MESH.shape(STANDING, np.ones(JOINT_COUNT))
    a, b, c = (vertices[MESH.triangles[:, corner]] for corner in range(3))
    face = np.cross(b - a, c - a)
    outward = normals[MESH.triangles].mean(axis=1)
    real = np.linalg.norm(face, axis=1) > 1e-9
    assert ((face * outward).sum(axis=1)[real] > 0).all()


@given(st.sets(st.integers(0, JOINT_COUNT - 1)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_missing_joints_and_their_bones_have_no_area_and_lie_among_known_ones(
    missing: set[int], broken: bool
) -> None:
    joints = STANDING + np.array([2.0, 3.0, 1.0])  # far from the origin
    confidence = np.ones(JOINT_COUNT)
    confidence[list(missing)] = 0.0
    joints[list(missing)] = np.nan if broken else 0.0
    vertices, _ = MESH.shape(joints, confidence)
    assert np.isfinite(vertices).all()
    assert (_areas(vertices) > 1e-12).any() == (len(missing) < JOINT_COUNT)
    if len(missing) < JOINT_COUNT:
        assert np.linalg.norm(vertices[:, :2], axis=1).min() > 1.0, "something is at the origin"
    whole, _ = MESH.shape(STANDING + np.array([2.0, 3.0, 1.0]), np.ones(JOINT_COUNT))
    drawn = _areas(vertices) > 1e-12
    kept = sum(1 for bone in BONES if missing.isdisjoint(bone)) + JOINT_COUNT - len(missing)
    pieces = len(BONES) + JOINT_COUNT
    assert drawn.sum() <= (_areas(whole) > 1e-12).sum() * (kept / pieces) * 1.2


@given(
    arrays(np.float64, (JOINT_COUNT, 3), elements=st.floats(-50, 50)),
    arrays(np.float64, (JOINT_COUNT,), elements=st.floats(0, 1)),
)
@settings(max_examples=60, deadline=None)
def test_every_pose_gives_a_finite_mesh_and_proper_colours(
    joints: np.ndarray, confidence: np.ndarray
) -> None:
    vertices, normals = MESH.shape(joints, confidence)
    colours = MESH.colours(vertices, normals, confidence, np.array([0.0, -4.0, 1.5]))
    assert np.isfinite(vertices).all() and np.isfinite(colours).all()
    assert colours.min() >= 0.0 and colours.max() <= 1.0


def test_colours_fade_towards_the_background() -> None:
    background = np.array(BACKGROUND)[::-1] / 255
    far: list[float] = []
    for certainty in (1.0, 0.5, 0.1):
        confidence = np.full(JOINT_COUNT, certainty)
        vertices, normals = MESH.shape(STANDING, confidence)
        colours = MESH.colours(vertices, normals, confidence, np.array([0.0, -4.0, 1.0]))
        far.append(float(np.abs(colours - background).mean()))
    assert far[0] > far[1] > far[2]


def test_the_shadow_lies_on_the_floor() -> None:
    flat = shadow(np.random.default_rng(0).uniform(-1, 2, (100, 3)))
    assert np.ptp(flat[:, 2]) == 0 and flat[0, 2] > 0


def test_the_grid_stays_within_the_lit_floor() -> None:
    points, lines, colours = grid()
    assert len(lines) == len(colours) and lines.max() == len(points) - 1
    assert np.hypot(points[:, 0], points[:, 1]).max() < RADIUS_M + 0.5


def test_the_floor_is_lit_below_the_horizon_only() -> None:
    light = glow(View(elevation=math.radians(5)), 320, 200)
    assert light.shape == (200, 320, 3)
    assert light[:60].max() <= 1
    brightest = np.array(FLOOR, int) - np.array(BACKGROUND, int)
    assert (np.abs(light.reshape(-1, 3).max(axis=0).astype(int) - brightest) <= 2).all()


@given(
    st.floats(-20, 20),
    st.floats(-1.5, 1.5),
    st.floats(0.8, 20),
)
@settings(max_examples=80, deadline=None)
def test_the_camera_looks_at_its_target(azimuth: float, elevation: float, distance: float) -> None:
    view = View(azimuth, elevation, distance, (0.5, -1.0, 0.9))
    matrix = view.extrinsic()
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1.0)
    seen = matrix @ np.array([*view.target, 1.0])
    np.testing.assert_allclose(seen[:3], [0, 0, distance], atol=1e-6)
    above = matrix @ np.array([0.5, -1.0, 1.9, 1.0])
    assert above[1] <= 1e-9, "up must be up in the picture"


def test_the_camera_eases_to_where_it_was_sent_and_back() -> None:
    camera = OrbitCamera()
    home = camera.view
    camera.orbit(1.0, 0.3)
    camera.zoom(0.5)
    camera.pan(0.4, 0.2)
    first = camera.step(1 / 30)
    assert home.azimuth < first.azimuth < home.azimuth + 1.0, "it must not jump"
    for _ in range(300):
        camera.step(1 / 30)
    assert camera.settled
    assert camera.view.azimuth == pytest.approx(home.azimuth + 1.0)
    assert camera.view.distance == pytest.approx(home.distance / 2)
    camera.reset()
    for _ in range(300):
        camera.step(1 / 30)
    assert camera.view == home


def test_the_camera_follows_the_person_but_not_small_steps() -> None:
    camera = OrbitCamera()
    camera.follow(0.2, 0.1)
    assert camera.settled
    camera.follow(3.0, 0.0)
    for _ in range(600):
        camera.step(1 / 30)
    assert camera.view.target[0] == pytest.approx(2.75, abs=0.01)


def test_intrinsics_put_the_target_in_the_middle() -> None:
    matrix = intrinsic(641, 361)
    assert (matrix[0, 2], matrix[1, 2]) == (320.0, 180.0)


ASPECTS = st.lists(st.floats(0.3, 3.0), min_size=1, max_size=8)


@given(ASPECTS, st.integers(320, 2000), st.integers(240, 1200), st.integers(64, 640))
@settings(max_examples=150, deadline=None)
def test_previews_lie_in_their_column_and_do_not_overlap(
    aspects: list[float], width: int, height: int, preview: int
) -> None:
    panel = panel_width(width, height, preview, aspects)
    assert 0 < panel <= width // 2 and panel % 2 == 0
    places = tiles(Rect(0, 0, panel, height), aspects, preview)
    assert len(places) == len(aspects)
    covered = np.zeros((height, panel), int)
    for place, aspect in zip(places, aspects, strict=True):
        inside = fit(place, aspect)
        assert inside.width >= 1 and inside.height >= 1
        assert inside.x >= place.x and inside.y >= place.y
        assert place.x + place.width <= panel and place.y + place.height <= height
        covered[place.y : place.y + place.height, place.x : place.x + place.width] += 1
    assert covered.max() == 1


def test_four_previews_stand_in_one_column_of_a_wide_picture() -> None:
    panel = panel_width(1280, 720, 320, [4 / 3] * 4)
    assert len({place.x for place in tiles(Rect(0, 0, panel, 720), [4 / 3] * 4, 320)}) == 1
    assert panel_width(1280, 720, 320, []) == 0


def test_text_is_clipped_at_the_edges_and_cut_to_fit() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    for at in ((-30, -8), (50, 12), (500, 500)):
        draw_text(image, at, "ÄÖ heads-up ±3 °", 16, (255, 255, 255))
    assert image.any()
    cut = fit_text("a very long name of a camera", 14, 80)
    assert cut.endswith("…") and text_width(cut, 14) <= 80
    assert fit_text("cam", 14, 80) == "cam"
    assert GAP > 0


def test_a_pose_without_root_stands_on_the_floor() -> None:
    joints, confidence = Placer().place(pose(0))
    assert joints[:, 2].min() == pytest.approx(0.075)
    assert (confidence == 0.9).all()


def test_a_pose_with_root_stands_where_it_is() -> None:
    rooted = msgspec.structs.replace(pose(0), root=(1.5, -2.0, 0.9))
    joints, _ = Placer().place(rooted)
    np.testing.assert_allclose(joints[0], [1.5, -2.0, 0.9], atol=0.01)


def test_missing_ankles_keep_the_height_and_broken_numbers_are_missing() -> None:
    placer = Placer()
    before, _ = placer.place(pose(0))
    after, confidence = placer.place(pose(0, missing=(3, 6)))
    assert after[0, 2] == pytest.approx(before[0, 2])
    assert confidence[3] == confidence[6] == 0.0
    bad = list(pose(0).joints)
    bad[5] = (math.nan, 0.0, 0.0)
    joints, confidence = placer.place(msgspec.structs.replace(pose(0), joints=tuple(bad)))
    assert confidence[5] == 0.0 and np.isfinite(joints).all()
    _, nobody = placer.place(pose(0, valid=False))
    assert not nobody.any()


def test_every_new_preview_is_drawn() -> None:
    run_dir = make_run_dir()
    cast = Cast(run_dir, (Topic.PREVIEWS,))
    inbox = Inbox(run_dir, ("cam0", "cam1"))
    panel = PreviewPanel(200, 400, ("cam0", "cam1"), 160)
    colour = (0, 0, 0)
    shown = 0
    for index in range(60):
        colour = (int(index * 4), 100, 50)
        for _ in range(2):  # the first is replaced, and freed, before it is drawn
            cast.previews(0, colour)
            before = inbox.changes
            for _ in range(20):
                inbox.receive(50, now_ns())
                if inbox.changes > before:
                    break
        if inbox.previews is None:
            continue  # the sockets still connect
        place = tiles(Rect(0, 0, 200, 400), [4 / 3, 4 / 3], 160)[0]
        corner = panel.draw(inbox)[place.y + place.height - 4, place.x + 4]
        assert abs(int(corner[0]) - round(0.88 * colour[0])) <= 1
        shown += 1
    assert shown > 40
    inbox.close()
    cast.close()
    shutil.rmtree(run_dir)
