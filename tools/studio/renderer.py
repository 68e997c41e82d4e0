"""Draws a room with people in it as a camera sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import moderngl
import numpy as np

from engines.errors import UserError
from tools.studio.camera import Camera, Window, clip_matrix, drawn_window, whole
from tools.studio.developer import Developer, Image, Shot
from tools.studio.formats import FloatArray
from tools.studio.gpu import Painter, create_context, part_uv, set_uniforms, source
from tools.studio.lighting import lamp_view, occluders, reach
from tools.studio.looks import Look
from tools.studio.person import EYES, SHOES, SKIN, Person
from tools.studio.room import Room

MAX_BONES = 48
_CLOSED = (SKIN, EYES, SHOES)
_DARKENING = 3  # so many people at most darken the floor


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


Posed = tuple[Actor, FloatArray]
"""A person and the matrices (B, 3, 4) of their bones."""


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
        self._shadow_map = ctx.depth_texture((shadow, shadow))
        self._shadow_map.compare_func = "<="
        self._shadow_map.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow = ctx.framebuffer(depth_attachment=self._shadow_map)
        samples = min(samples, ctx.max_samples)
        self._many = ctx.framebuffer(
            [ctx.renderbuffer(self.size, 4, samples=samples, dtype="f2") for _ in range(2)],
            ctx.depth_renderbuffer(self.size, samples=samples),
        )
        self._developer = Developer(ctx, self.size)

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

    def draw(self, stage: Stage, actors: list[Posed], camera: Camera, frame_seed: int = 0) -> Image:
        """Draws one whole picture: (height, width, 3) RGB; see ``shoot``."""
        return self.shoot(stage, actors, camera, self.light(stage, actors), frame_seed).picture

    def light(self, stage: Stage, actors: list[Posed]) -> FloatArray:
        """Draws the shadows; one drawing serves all cameras.

        Args:
            stage: the room.
            actors: people with their bones' matrices (B, 3, 4), as ``rig.forward`` gives them.

        Returns:
            (4, 4) the lamp's view, for ``shoot``.
        """
        light = lamp_view(stage.room.lights.lamp)
        self._draw_shadows(stage, actors, light)
        return light

    def shoot(
        self,
        stage: Stage,
        actors: list[Posed],
        camera: Camera,
        light: FloatArray,
        frame_seed: int = 0,
        window: Window | None = None,
        earlier: list[Posed] | None = None,
    ) -> Shot:
        """Draws one picture and its labels.

        Args:
            stage: the room.
            actors: people with their bones' matrices; the first three are told apart by labels.
            camera: who looks.
            light: what ``light`` returned for this instant.
            frame_seed: seeds the sensor's noise.
            window: what part of the camera's picture to draw; its proportions are the renderer's.
            earlier: the same people early in the exposure, for motion blur.
        """
        window = window or whole(camera)
        drawn = drawn_window(camera, window)
        if earlier is not None:
            self._draw_scene(stage, earlier, camera, light, drawn)
            self._developer.keep_earlier(self._many)
        self._draw_scene(stage, actors, camera, light, drawn)
        return self._developer.develop(
            self._many, camera, window, drawn, frame_seed, 0.0 if earlier is None else 0.5
        )

    def _draw_scene(
        self,
        stage: Stage,
        actors: list[Posed],
        camera: Camera,
        light: FloatArray,
        window: Window,
    ) -> None:
        self._many.use()
        self._many.clear(0.1, 0.1, 0.1, 1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        lights, room = stage.room.lights, stage.room
        spheres = occluders([(actor.person.rig, m) for actor, m in actors[:_DARKENING]])
        common = {
            "to_clip": _columns(clip_matrix(camera, window)),
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
            "person_count": len(spheres),
        }
        self._shadow_map.use(1)
        set_uniforms(self._body, common)
        for number, (actor, matrices) in enumerate(actors):
            actor.textures.use(0)
            self._body["actor"].value = tuple(float(number == channel) for channel in range(3))
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
        self._room["actor"].value = (0.0, 0.0, 0.0)
        _write_some(self._room["occluders"], spheres.reshape(-1, 4))
        _write_some(self._room["around_person"], reach(spheres))
        shell, whole = stage.room.shell, len(stage.room.positions)
        for first, last in ((shell, whole), (0, shell)):  # walls last, for the same reason
            if last > first:
                stage.scene.render(moderngl.TRIANGLES, vertices=last - first, first=first)

    def _draw_shadows(self, stage: Stage, actors: list[Posed], light: FloatArray) -> None:
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


def _columns(matrix: FloatArray) -> tuple[float, ...]:
    """OpenGL wants columns first."""
    return tuple(float(x) for x in matrix.T.reshape(-1))


def _write_some(array: Any, rows: FloatArray) -> None:
    """Fills an array of the shader; what is left of it is zero."""
    padded = np.zeros((array.array_length, *rows.shape[1:]), "f4")
    padded[: len(rows)] = rows
    array.write(padded.tobytes())


def _write_bones(program: Any, matrices: FloatArray) -> None:
    _write_some(program["bones"], matrices.reshape(-1, 4))
