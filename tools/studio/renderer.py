"""Draws a room with people in it as a camera sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import moderngl
import numpy as np
import numpy.typing as npt

from engines.errors import UserError
from tools.studio.camera import Camera, clip_matrix
from tools.studio.formats import FloatArray
from tools.studio.gpu import Painter, create_context, part_uv, set_uniforms, source
from tools.studio.looks import Look
from tools.studio.person import EYES, SHOES, SKIN, Person
from tools.studio.room import Room

MAX_BONES = 48
_CLOSED = (SKIN, EYES, SHOES)
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Actor:
    """A person on the graphics card: made by ``Renderer.add_person``, freed by ``release``."""

    person: Person
    closed: int  # so many indices at the front are closed surfaces, never seen from inside
    textures: Any
    buffers: tuple[Any, ...]
    scene: Any
    depth: Any

    def release(self) -> None:
        """Frees its memory on the card."""
        for thing in (self.scene, self.depth, *self.buffers, self.textures):
            thing.release()


@dataclass(frozen=True, slots=True)
class Stage:
    """A room on the graphics card: made by ``Renderer.add_room``, freed by ``release``."""

    room: Room
    textures: Any
    buffer: Any
    scene: Any
    depth: Any

    def release(self) -> None:
        """Frees its memory on the card."""
        for thing in (self.scene, self.depth, self.buffer, self.textures):
            thing.release()


class Renderer:
    """Draws pictures of one size; everything it makes is freed with ``release``."""

    def __init__(
        self, width: int, height: int, samples: int = 4, shadow: int = 1024, texture: int = 1024
    ) -> None:
        """Opens an off-screen context.

        Args:
            width: of the pictures, pixels.
            height: of the pictures, pixels.
            samples: samples a pixel at edges (MSAA).
            shadow: width and height of the shadow map, pixels.
            texture: width and height of textures, pixels.

        Raises:
            UserError: there is no OpenGL.
        """
        self.size = (width, height)
        self._texture = texture
        self._context = ctx = create_context()
        self._painter = Painter(ctx)
        static = "#define SHADED 0.55\n"
        skinned = f"#define SKINNED\n#define MAX_BONES {MAX_BONES}\n#define SHADED 0.0\n"
        self._room = ctx.program(source("scene.vert", static), source("scene.frag", static))
        self._body = ctx.program(source("scene.vert", skinned), source("scene.frag", skinned))
        self._room_depth = ctx.program(source("scene.vert", static), source("depth.frag"))
        self._body_depth = ctx.program(source("scene.vert", skinned), source("depth.frag"))
        self._post = ctx.program(source("quad.vert"), source("post.frag"))
        self._quad = ctx.vertex_array(self._post, [])
        self._shadow_map = ctx.depth_texture((shadow, shadow))
        self._shadow_map.compare_func = "<="
        self._shadow_map.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow = ctx.framebuffer(depth_attachment=self._shadow_map)
        samples = min(samples, ctx.max_samples)
        self._many = ctx.framebuffer(
            [ctx.renderbuffer(self.size, 4, samples=samples, dtype="f2")],
            ctx.depth_renderbuffer(self.size, samples=samples),
        )
        self._linear = ctx.texture(self.size, 4, dtype="f2")
        self._resolved = ctx.framebuffer([self._linear])
        self._final = ctx.framebuffer([ctx.renderbuffer(self.size, 3)])

    def release(self) -> None:
        """Frees the context and all that was drawn with it."""
        self._context.release()

    def add_room(self, room: Room) -> Stage:
        """Loads a room and paints its textures."""
        ctx = self._context
        data = np.hstack(
            [room.positions, room.normals, room.uv, room.layer[:, None].astype(np.float32)]
        )
        buffer = ctx.buffer(data.astype("f4").tobytes())
        content = [(buffer, "3f 3f 2f 1f", "in_position", "in_normal", "in_uv", "in_layer")]
        depth = [(buffer, "3f 6x4", "in_position")]
        return Stage(
            room,
            self._painter.room(room, self._texture),
            buffer,
            ctx.vertex_array(self._room, content),
            ctx.vertex_array(self._room_depth, depth),
        )

    def add_person(self, person: Person, look: Look) -> Actor:
        """Loads a person and paints skin and clothes.

        Raises:
            UserError: the rig has more bones than the shader takes.
        """
        if len(person.rig.names) > MAX_BONES:
            raise UserError(
                f"a rig of {len(person.rig.names)} bones is too large: at most {MAX_BONES}"
            )
        ctx = self._context
        rows, triangles, start, closed = [], [], 0, 0
        for layer, part in enumerate(person.parts):
            count = len(part.rest)
            rows.append(
                np.hstack(
                    [
                        part.rest,
                        part.normals,
                        part_uv(part),
                        np.full((count, 1), layer),
                        part.bones,
                        part.weights,
                    ]
                )
            )
            triangles.append(part.triangles + start)
            closed += part.triangles.size if part.kind in _CLOSED else 0
            start += count
        vertices = ctx.buffer(np.concatenate(rows).astype("f4").tobytes())
        indices = ctx.buffer(np.concatenate(triangles).astype("i4").tobytes())
        names = ("in_position", "in_normal", "in_uv", "in_layer", "in_bones", "in_weights")
        full = [(vertices, "3f 3f 2f 1f 4f 4f", *names)]
        depth = [(vertices, "3f 6x4 4f 4f", "in_position", "in_bones", "in_weights")]
        return Actor(
            person,
            closed,
            self._painter.person(person, look, self._texture),
            (vertices, indices),
            ctx.vertex_array(self._body, full, indices),
            ctx.vertex_array(self._body_depth, depth, indices),
        )

    def draw(
        self,
        stage: Stage,
        actors: list[tuple[Actor, FloatArray]],
        camera: Camera,
        frame_seed: int = 0,
    ) -> Image:
        """Draws one picture.

        Args:
            stage: the room.
            actors: people with their bones' matrices (B, 3, 4), as ``rig.forward`` gives them.
            camera: must have the renderer's size.
            frame_seed: seeds the sensor's noise.

        Returns:
            (height, width, 3) RGB.
        """
        light = self._light_matrix(stage, actors)
        self._draw_shadows(stage, actors, light)
        self._many.use()
        self._many.clear(0.1, 0.1, 0.1, 1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        lights, room = stage.room.lights, stage.room
        spheres = _occluders(actors)
        common = {
            "to_clip": _columns(clip_matrix(camera)),
            "to_light": _columns(light),
            "eye": tuple(camera.position.tolist()),
            "lamp": lights.lamp,
            "lamp_colour": lights.lamp_colour,
            "fill": lights.fill,
            "fill_colour": lights.fill_colour,
            "sky": lights.sky,
            "ground": lights.ground,
            "room_low": room.low,
            "room_high": room.high,
            "softness": lights.softness,
            "albedo": 0,
            "shadow_map": 1,
            "occluder_count": min(len(spheres), 24),
        }
        self._shadow_map.use(1)
        set_uniforms(self._body, common)
        for actor, matrices in actors:
            actor.textures.use(0)
            _write_bones(self._body, matrices)
            # Skin is most of the triangles: leave out those that face away.
            self._context.enable(moderngl.CULL_FACE)
            actor.scene.render(moderngl.TRIANGLES, vertices=actor.closed)
            self._context.disable(moderngl.CULL_FACE)
            rest = actor.scene.vertices - actor.closed
            if rest > 0:
                actor.scene.render(moderngl.TRIANGLES, vertices=rest, first=actor.closed)
        # The room comes last: what people hide need not be lit.
        stage.textures.use(0)
        set_uniforms(self._room, common)
        padded = np.zeros((24, 4), "f4")
        padded[: len(spheres)] = spheres[:24]
        self._room["occluders"].write(padded.tobytes())
        stage.scene.render(moderngl.TRIANGLES)
        return self._develop(camera, frame_seed)

    def _draw_shadows(
        self, stage: Stage, actors: list[tuple[Actor, FloatArray]], light: FloatArray
    ) -> None:
        self._shadow.use()
        self._shadow.clear(depth=1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        self._room_depth["to_clip"].value = _columns(light)
        shell = stage.room.shell
        if len(stage.room.positions) > shell:
            stage.depth.render(
                moderngl.TRIANGLES, vertices=len(stage.room.positions) - shell, first=shell
            )
        self._body_depth["to_clip"].value = _columns(light)
        for actor, matrices in actors:
            _write_bones(self._body_depth, matrices)
            actor.depth.render(moderngl.TRIANGLES)

    def _light_matrix(self, stage: Stage, actors: list[tuple[Actor, FloatArray]]) -> FloatArray:
        """Sees the scene from the lamp: a wide view straight down."""
        lamp = np.array(stage.room.lights.lamp, np.float64)
        half = np.tan(np.radians(64.0))
        near, far = 0.2, float(lamp[2]) + 0.5
        lens = np.zeros((4, 4))
        lens[0, 0] = lens[1, 1] = 1.0 / half
        lens[2, 2:] = (far + near) / (far - near), -2 * far * near / (far - near)
        lens[3, 2] = 1.0
        place = np.eye(4)
        place[:3, :3] = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
        place[:3, 3] = -place[:3, :3] @ lamp
        return np.asarray(lens @ place, np.float32)

    def _develop(self, camera: Camera, frame_seed: int) -> Image:
        self._context.copy_framebuffer(self._resolved, self._many)
        self._final.use()
        self._context.disable(moderngl.DEPTH_TEST)
        self._linear.use(0)
        sensor = camera.sensor
        set_uniforms(
            self._post,
            {
                "picture": 0,
                "texel": (1.0 / self.size[0], 1.0 / self.size[1]),
                "gains": sensor.gains,
                "vignette": sensor.vignette,
                "blur": sensor.blur,
                "noise_level": sensor.noise,
                "contrast": sensor.contrast,
                "frame_seed": frame_seed,
            },
        )
        self._quad.render(moderngl.TRIANGLES, vertices=3)
        pixels = np.frombuffer(self._final.read(components=3, alignment=1), np.uint8)
        return np.ascontiguousarray(pixels.reshape(self.size[1], self.size[0], 3)[::-1])


def _columns(matrix: FloatArray) -> tuple[float, ...]:
    """OpenGL wants columns first."""
    return tuple(float(x) for x in matrix.T.reshape(-1))


def _write_bones(program: Any, matrices: FloatArray) -> None:
    padded = np.zeros((MAX_BONES, 3, 4), "f4")
    padded[: len(matrices)] = matrices
    program["bones"].write(padded.tobytes())


def _occluders(actors: list[tuple[Actor, FloatArray]]) -> FloatArray:
    """Spheres (N, 4) that stand for people when the floor around them is darkened."""
    sizes: tuple[tuple[str, float], ...] = (
        ("Hips", 0.15),
        ("LeftFoot", 0.09),
        ("RightFoot", 0.09),
        ("LeftToeBase", 0.06),
    )
    sizes += (("RightToeBase", 0.06), ("LeftLeg", 0.08), ("RightLeg", 0.08), ("Spine1", 0.17))
    rows = []
    for actor, matrices in actors:
        rig = actor.person.rig
        for name, radius in sizes:
            bone = rig.index(name)
            at = matrices[bone, :, :3] @ rig.heads[bone] + matrices[bone, :, 3]
            rows.append([*at.tolist(), radius])
    return np.array(rows, np.float32).reshape(-1, 4)
