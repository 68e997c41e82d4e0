// Grows painted islands by one texel, so that filtering at their edges finds their colour.
uniform sampler2D painted;
uniform bool last;                 // fills what is still empty
out vec4 result;
void main() {
    ivec2 at = ivec2(gl_FragCoord.xy), size = textureSize(painted, 0);
    result = texelFetch(painted, at, 0);
    if (result.a > 0.0) return;
    vec4 sum = vec4(0.0);
    float count = 0.0;
    for (int y = -1; y <= 1; ++y) {
        for (int x = -1; x <= 1; ++x) {
            vec4 near = texelFetch(painted, clamp(at + ivec2(x, y), ivec2(0), size - 1), 0);
            if (near.a > 0.0) { sum += near; count += 1.0; }
        }
    }
    if (count > 0.0) result = sum / count;
    else if (last) result = vec4(0.5, 0.45, 0.4, 0.05);
}
