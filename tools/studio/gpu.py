"""The OpenGL context, shader sources and the textures painted by shaders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import moderngl
import numpy as np

from engines.errors import UserError
from tools.studio.formats import FloatArray
from tools.studio.looks import Look
from tools.studio.person import EYES, SKIN, Part, Person
from tools.studio.room import Room

_SHADERS = Path(__file__).with_name("shaders")
_HEAD = "#version 330\n"
_DILATION = 4  # an even number of texels


def create_context() -> Any:
    """A windowless OpenGL 3.3 context; without a GPU Mesa draws on the CPU.

    Raises:
        UserError: no EGL driver can be opened.
    """
    os.environ.setdefault("EGL_PLATFORM", "surfaceless")
    try:
        return moderngl.create_context(standalone=True, backend="egl", require=330)  # type: ignore[arg-type]
    except Exception as error:  # moderngl raises bare Exception
        raise UserError(
            f"OpenGL (EGL) cannot be opened: {error}; install libegl1 and libgl1-mesa-dri"
        ) from error


def source(name: str, prefix: str = "") -> str:
    """The text of a shader; fragment shaders get the noise functions in front."""
    text = (_SHADERS / name).read_text(encoding="utf-8")
    noise = (_SHADERS / "noise.glsl").read_text(encoding="utf-8")
    return _HEAD + prefix + (noise if name.endswith(".frag") else "") + text


def set_uniforms(program: Any, values: dict[str, Any]) -> None:
    """Sets the uniforms that the compiler kept, and of lists as much as it kept."""
    for name, value in values.items():
        if name in program:
            member = program[name]
            member.value = value[: member.array_length] if isinstance(value, list) else value


class Painter:
    """Paints texture arrays with shaders.

    There is one program for each pattern and each kind of part: Mesa's software renderer works out
    every branch of a shader for every pixel, and one program of all of them took twice as long.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._materials: dict[int, tuple[Any, Any]] = {}
        self._paints: dict[tuple[int, int], Any] = {}
        self._dilate = context.program(source("quad.vert"), source("dilate.frag"))
        self._dilate_quad = context.vertex_array(self._dilate, [])

    def room(self, room: Room, size: int) -> Any:
        """One layer for each material of a room."""
        array = self._array(len(room.materials), size)
        target = self._context.framebuffer([self._context.texture((size, size), 4)])
        for layer, material in enumerate(room.materials):
            target.use()
            program, quad = self._material(material.pattern)
            set_uniforms(
                program,
                {
                    "a": material.a,
                    "b": material.b,
                    "c": material.c,
                    "seed": float(material.seed % 65536),
                    "gloss": material.gloss,
                },
            )
            quad.render(moderngl.TRIANGLES, vertices=3)
            self._keep(array, layer, target)
        self._finish(array, target)
        return array

    def person(self, person: Person, look: Look, size: int) -> Any:
        """One layer for each part of a person."""
        array = self._array(len(person.parts), size)
        target = self._context.framebuffer(
            [self._context.texture((size, size), 4)], self._context.depth_renderbuffer((size, size))
        )
        other = self._context.framebuffer([self._context.texture((size, size), 4)])
        marks = person.landmarks
        fabrics = (look.top, look.bottom, look.trim)
        r, g, b = look.skin
        colouring = {
            "seed": float(look.seed % 1000),
            "stature": person.stature_m,
            "left_eye": tuple(marks.left_eye.tolist()),
            "right_eye": tuple(marks.right_eye.tolist()),
            "mouth": tuple(marks.mouth.tolist()),
            "crown": tuple(marks.crown.tolist()),
            "skin": look.skin,
            "lips": (r * 0.86, g * 0.62, b * 0.60),
            "brow": tuple(0.7 * c for c in look.hair),
            "iris": look.iris,
            "hair": look.hair,
            "shoe": look.shoe,
            "sole": look.sole,
            "stubble": look.stubble,
            "lip_offset": -0.046,
            "scalp": look.scalp,
            "relief": look.relief,
            "body_hair": look.body_hair,
            "closure": float(look.closure),
            "pockets": float(look.pockets),
            "patterns": [f.pattern for f in fabrics],
            "scales": [f.scale for f in fabrics],
            "colours": [c for f in fabrics for c in (f.a, f.b, f.c)],
        }
        for layer, part in enumerate(person.parts):
            program = self._paint(part.kind, look.swimwear if part.kind == SKIN else 0)
            set_uniforms(program, colouring)
            self._paint_part(part, program, target)
            for step in range(_DILATION):
                (target if step % 2 == 0 else other).color_attachments[0].use(0)
                set_uniforms(self._dilate, {"painted": 0, "last": step == _DILATION - 1})
                (other if step % 2 == 0 else target).use()
                self._dilate_quad.render(moderngl.TRIANGLES, vertices=3)
            self._keep(array, layer, target)
        _free(other)
        self._finish(array, target)
        return array

    def _material(self, pattern: int) -> tuple[Any, Any]:
        """The program of a pattern, and the triangle that it is drawn on."""
        if pattern not in self._materials:
            program = self._context.program(
                source("quad.vert"), source("material.frag", f"#define PATTERN {pattern}\n")
            )
            self._materials[pattern] = program, self._context.vertex_array(program, [])
        return self._materials[pattern]

    def _paint(self, kind: int, swimwear: int) -> Any:
        """The program of a kind of part."""
        if (kind, swimwear) not in self._paints:
            fixed = f"#define KIND {kind}\n#define SWIMWEAR {swimwear}\n"
            self._paints[kind, swimwear] = self._context.program(
                source("paint.vert"), source("paint.frag", fixed)
            )
        return self._paints[kind, swimwear]

    def _paint_part(self, part: Part, program: Any, target: Any) -> None:
        uv = part_uv(part)
        data = np.hstack([part.rest, part.normals, uv, part.piece[:, None]]).astype("f4")
        vertices = self._context.buffer(data.tobytes())
        # Hundreds of hairs share a place of the texture. The last one is seen, as if each were
        # painted over the others, but it is painted first, and what is under it not at all.
        indices = self._context.buffer(part.triangles[::-1].astype("i4").tobytes())
        mesh = self._context.vertex_array(
            program,
            [(vertices, "3f 3f 2f 1f", "in_rest", "in_normal", "in_uv", "in_piece")],
            indices,
            skip_errors=True,  # not every kind reads all of them
        )
        target.use()
        target.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        floor = float(part.rest[:, 2].min())
        set_uniforms(program, {"metres": part.metres, "floor_z": floor})
        mesh.render(moderngl.TRIANGLES)
        self._context.disable(moderngl.DEPTH_TEST)
        for thing in (mesh, vertices, indices):
            thing.release()

    def _array(self, layers: int, size: int) -> Any:
        return self._context.texture_array((size, size, layers), 4)

    def _keep(self, array: Any, layer: int, target: Any) -> None:
        size = target.size
        array.write(target.read(components=4), viewport=(0, 0, layer, *size, 1))

    def _finish(self, array: Any, target: Any) -> None:
        array.build_mipmaps()
        array.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        array.repeat_x = array.repeat_y = True
        _free(target)


def _free(target: Any) -> None:
    for attachment in (*target.color_attachments, target.depth_attachment):
        if attachment is not None:
            attachment.release()
    target.release()


def part_uv(part: Part) -> FloatArray:
    """Texture coordinates as used here: the eyes' small corner is spread over the texture."""
    if part.kind != EYES:
        return part.uv
    low, high = part.uv.min(0), part.uv.max(0)
    return np.asarray(0.02 + 0.96 * (part.uv - low) / np.maximum(high - low, 1e-6), np.float32)
