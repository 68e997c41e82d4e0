// Draws a mesh spread out over its texture: one pixel of the target is one texel.
in vec3 in_rest;
in vec3 in_normal;
in vec2 in_uv;
in float in_piece;
out vec3 rest;
out vec3 normal;
out vec2 uv;
flat out int piece;
void main() {
    rest = in_rest; normal = in_normal; uv = in_uv; piece = int(in_piece + 0.5);
    gl_Position = vec4(in_uv * 2.0 - 1.0, 0.0, 1.0);
}
