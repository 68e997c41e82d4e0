"""The studio's readers, body, kinematics and pictures; skips where the assets are absent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.errors import UserError
from engines.skeleton import LEFT_JOINTS, RIGHT_JOINTS
from tools.studio.assets import Assets
from tools.studio.camera import Camera, look_at, project
from tools.studio.developer import Image
from tools.studio.formats import read_garment, read_obj
from tools.studio.looks import BACK_PRINT, BUTTONS, UNSEAMED, Look, random_look
from tools.studio.motion import Mocap, Piece, make_track, read_mocap
from tools.studio.person import SHOES, SKIN, Outfit, Person, build_person
from tools.studio.posing import pose_joints, pose_once
from tools.studio.preview import draw_random
from tools.studio.renderer import Renderer
from tools.studio.rig import forward, skin, true_joints
from tools.studio.room import PAINT, Builder, Lights, Material, Room
from tools.studio.shape import Shape, shaped_vertices, target_weights

MOCAP = "mocap/cmu_mocap17_30fps.npz"
SUITED = Outfit("male_casualsuit02", "shoes02")


@pytest.fixture(scope="session")
def assets(shared_dir: Path) -> Assets:
    return Assets(shared_dir / "data" / "mpfb")


@pytest.fixture(scope="session")
def mocap(assets: Assets) -> Mocap:
    return read_mocap(assets.folder.parent / MOCAP)


@pytest.fixture(scope="session")
def person(assets: Assets) -> Person:
    shape = Shape(male=1.0, stature_m=1.8)
    return build_person(assets, shape, Outfit("male_casualsuit02", "shoes02", "short02"))


@pytest.fixture(scope="session")
def renderer(assets: Assets) -> Renderer:
    return Renderer(160, 120, shadow=256, texture=128)


def test_base_mesh_and_rig_are_whole(assets: Assets) -> None:
    assert assets.base.vertices.shape == (19158, 3)
    bones = assets.bones()
    assert len(bones) == 31
    seen: set[str] = set()
    for bone in bones:
        assert bone.parent in seen | {""}
        seen.add(bone.name)
    weights = assets.skin_weights(tuple(bone.name for bone in bones))
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5)


def test_every_garment_reads_and_lies_on_the_body(assets: Assets) -> None:
    for kind in ("clothes", "hair"):
        for name in assets.garment_names(kind):
            garment = assets.garment(kind, name)
            np.testing.assert_allclose(garment.weights.sum(1), 1.0, atol=0.02)
            # What is worn fits into the space around the unshaped body.
            on_body = (assets.base.vertices[garment.anchors] * garment.weights[..., None]).sum(1)
            assert np.abs(on_body).max() < 1.0
            assert np.linalg.norm(garment.offsets, axis=1).max() < 0.3


def test_shape_follows_its_numbers(assets: Assets) -> None:
    weights = target_weights(Shape(male=1.0, age=0.5, muscle=0.5, weight=0.5))
    assert weights["universal-male-young-averagemuscle-averageweight"] == pytest.approx(1.0)
    small = shaped_vertices(assets, Shape(height=0.4))[1]
    tall = shaped_vertices(assets, Shape(height=0.6))[1]
    assert 1.3 < small < tall - 0.05 < 2.1
    body, stature = shaped_vertices(assets, Shape(stature_m=1.66))
    assert stature == pytest.approx(1.66)
    skin_only = body[assets.group_vertices("body")]
    assert np.ptp(skin_only[:, 2]) == pytest.approx(1.66, abs=1e-4)

    def girth(weight: float) -> float:
        shaped = shaped_vertices(assets, Shape(weight=weight))[0][assets.group_vertices("body")]
        waist = shaped[np.abs(shaped[:, 2] - 0.62 * np.ptp(shaped[:, 2])) < 0.02]
        return float(np.ptp(waist[np.abs(waist[:, 0]) < 0.3, 1]))

    assert girth(0.9) > girth(0.5) + 0.01 > girth(0.1) + 0.01


def test_rest_pose_keeps_joints_and_sides(person: Person) -> None:
    rig = person.rig
    still = np.tile(np.eye(3, dtype=np.float32), (len(rig.names), 1, 1))
    joints = true_joints(rig, forward(rig, still, rig.joint_rest[0]))
    np.testing.assert_allclose(joints, rig.joint_rest, atol=2e-6)
    assert (joints[list(LEFT_JOINTS), 0] > 0.05).all()
    assert (joints[list(RIGHT_JOINTS), 0] < -0.05).all()
    # It looks along -y: the nose side of the head and the toes are in front.
    assert joints[9, 1] < joints[8, 1] - 0.05
    toes = rig.tails[rig.index("LeftToeBase")]
    assert toes[1] < joints[6, 1] - 0.1


def test_retargeting_follows_directions_and_keeps_bone_lengths(
    person: Person, mocap: Mocap
) -> None:
    rng = np.random.default_rng(0)
    lengths = np.linalg.norm(
        person.rig.joint_rest[[2, 3, 12, 13]] - person.rig.joint_rest[[1, 2, 11, 12]], axis=1
    )
    for frame in rng.integers(len(mocap.joints), size=40):
        matrices, joints = pose_once(person, mocap, int(frame))
        rotations = matrices[:, :, :3]
        np.testing.assert_allclose(
            rotations @ rotations.transpose(0, 2, 1),
            np.tile(np.eye(3), (len(matrices), 1, 1)),
            atol=1e-4,
        )
        assert (np.linalg.det(rotations) > 0.99).all()
        got = np.linalg.norm(joints[[2, 3, 12, 13]] - joints[[1, 2, 11, 12]], axis=1)
        np.testing.assert_allclose(got, lengths, atol=1e-4)
        source = mocap.joints[frame]
        for parent, child in (
            (1, 2),
            (2, 3),
            (4, 5),
            (5, 6),
            (11, 12),
            (12, 13),
            (14, 15),
            (15, 16),
        ):
            want = source[child] - source[parent]
            have = joints[child] - joints[parent]
            cosine = want @ have / np.linalg.norm(want) / np.linalg.norm(have)
            assert cosine > 0.999, (frame, parent, child)


def test_joined_track_is_smooth_and_stands_on_the_floor(person: Person, mocap: Mocap) -> None:
    names = mocap.names
    pieces = [Piece(names[4], 0, 60), Piece(names[42], 5, 60), Piece(names[88], 355, 400)]
    track = make_track(person, mocap, pieces)
    matrices = forward(person.rig, track.rotations, track.root)
    joints = true_joints(person.rig, matrices)
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * 60.0
    assert speed.max() < 8.0
    change = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1)
    assert change.max() < 0.03
    shoes = next(part for part in person.parts if part.kind == SHOES)
    for matrix in matrices[:: len(matrices) // 12]:
        low = skin(shoes.rest, shoes.bones, shoes.weights, matrix)[:, 2].min()
        assert abs(low) < 0.02
    rotations, root = track.at(np.array([0.5, 1.0 / 60.0]))
    np.testing.assert_allclose(rotations[1], track.rotations[1], atol=1e-5)
    np.testing.assert_allclose(root[0], track.root[30], atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("turn_deg", [60.0, 90.0, 180.0, 270.0])
def test_who_does_not_stand_lies_on_the_floor_not_in_it(
    person: Person, mocap: Mocap, axis: int, turn_deg: float
) -> None:
    turn = Rotation.from_euler("xyz"[axis], turn_deg, degrees=True).as_matrix()
    joints = mocap.joints[3000:3003]
    lying = ((joints - joints[:, :1]) @ turn.T + joints[:, :1]).astype(np.float32)
    matrices, posed = pose_joints(person, lying, mocap.floored(0))
    for pose, true in zip(matrices, posed, strict=True):
        body = np.concatenate([skin(p.rest, p.bones, p.weights, pose) for p in person.parts])
        assert -0.06 < body[:, 2].min() < 0.01
        assert true[:, 2].min() > 0


def _empty_room() -> Room:
    builder = Builder()
    # Nothing but a black sheet far below: what is bright is the person.
    builder.quad(
        np.array([-9.0, -9.0, -9.0]),
        np.array([18.0, 0, 0]),
        np.array([0, 18.0, 0]),
        builder.material(Material(PAINT, (0.0, 0.0, 0.0))),
    )
    white = (1.0, 1.0, 1.0)
    lights = Lights((0, 0, 6), (0.0, 0.0, 0.0), (0, 0, 9), (0.0, 0.0, 0.0), white, white)
    return builder.build((-9, -9, -9), (9, 9, 9), builder.count, lights)


def _camera() -> Camera:
    return look_at((1.8, -2.2, 1.5), (0.0, 0.0, 0.9), 60.0, 160, 120, roll_deg=4.0)


def test_truth_and_mesh_project_onto_the_rendered_silhouette(
    person: Person, mocap: Mocap, renderer: Renderer
) -> None:
    matrices, joints = pose_once(person, mocap, 3000, 40.0)
    stage = renderer.add_room(_empty_room())
    actor = renderer.add_person(person, random_look(np.random.default_rng(5), True))
    camera = _camera()
    empty = renderer.draw(stage, [], camera).astype(int).max(-1)
    drawn = renderer.draw(stage, [(actor, matrices)], camera).astype(int).max(-1)
    mask = drawn > empty + 12
    assert 0.02 < mask.mean() < 0.5
    points = np.concatenate([skin(p.rest, p.bones, p.weights, matrices) for p in person.parts])
    seen = project(camera, points)
    rows, columns = np.nonzero(mask)
    np.testing.assert_allclose(
        [columns.min(), rows.min(), columns.max(), rows.max()],
        [*seen.min(0), *seen.max(0)],
        atol=2.0,
    )
    for x, y in np.round(project(camera, joints)).astype(int):
        assert mask[y - 1 : y + 2, x - 1 : x + 2].any(), (x, y)
    stage.release()
    actor.release()


def _picture(renderer: Renderer, assets: Assets, mocap: Mocap, seed: int) -> Image:
    return draw_random(renderer, assets, mocap, seed)[0]


def test_same_seed_draws_the_same_picture(assets: Assets, mocap: Mocap, renderer: Renderer) -> None:
    first = _picture(renderer, assets, mocap, 7)
    again = _picture(renderer, assets, mocap, 7)
    other = _picture(renderer, assets, mocap, 8)
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


@pytest.mark.parametrize(
    ("outfit", "changed", "front", "back"),
    [
        (Outfit(), lambda look: replace(look, relief=1.0), True, True),
        (Outfit(), lambda look: replace(look, body_hair=0.9), True, True),
        (SUITED, lambda look: replace(look, closure=BUTTONS), True, False),
        (SUITED, lambda look: replace(look, closure=BACK_PRINT), False, True),
    ],
)
def test_what_tells_front_from_back_is_painted_there(
    assets: Assets,
    mocap: Mocap,
    renderer: Renderer,
    outfit: Outfit,
    changed: Callable[[Look], Look],
    front: bool,
    back: bool,
) -> None:
    person = build_person(assets, Shape(male=1.0), outfit)
    plain = replace(
        random_look(np.random.default_rng(5), True), relief=0.0, body_hair=0.0, closure=UNSEAMED
    )
    matrices, joints = pose_once(person, mocap, 3000, 40.0)
    across = joints[1] - joints[4]
    ahead = np.cross((0.0, 0.0, 1.0), across) / np.linalg.norm(across)
    stage = renderer.add_room(_empty_room())

    def seen(look: Look, side: float) -> Image:
        at = joints[8] + 1.2 * side * ahead
        camera = look_at(tuple(at), tuple(joints[7]), 60.0, 160, 120)
        actor = renderer.add_person(person, look)
        picture = renderer.draw(stage, [(actor, matrices)], camera)
        actor.release()
        return picture

    for side, differs in ((1.0, front), (-1.0, back)):
        before, after = seen(plain, side), seen(changed(plain), side)
        assert (np.abs(before.astype(int) - after).max() > 8) == differs, side
    stage.release()


def test_body_is_not_hidden_without_clothes(assets: Assets) -> None:
    bare = build_person(assets, Shape(), Outfit())
    dressed = build_person(assets, Shape(), Outfit("male_casualsuit02", "shoes02"))
    assert bare.parts[0].kind == dressed.parts[0].kind == SKIN
    assert len(dressed.parts[0].triangles) < 0.8 * len(bare.parts[0].triangles)


def test_broken_files_give_one_clear_line(tmp_path: Path) -> None:
    cases = {
        "empty.obj": "",
        "nouv.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "words.obj": "v a b c\n",
    }
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError) as raised:
            read_obj(tmp_path / name)
        assert name in str(raised.value)
        assert "\n" not in str(raised.value)
    (tmp_path / "x.mhclo").write_text("name x\nobj_file x.obj\nverts 0\n1 2\n")
    with pytest.raises(UserError, match=r"x\.mhclo"):
        read_garment(tmp_path / "x.mhclo")
    with pytest.raises(UserError, match="mocap17"):
        read_mocap(tmp_path / "x.mhclo")


def test_command_line_names_a_wrong_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.studio", "preview", "--assets", str(tmp_path)]
    done = subprocess.run(
        [*command, "--mocap", "none.npz"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert str(tmp_path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
