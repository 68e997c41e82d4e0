// The webcam: distortion, exposure, white balance, lens fall-off, blur, tone curve, sensor noise.
// EARLIER is fixed when it is compiled: whether the exposure had a first part.
uniform sampler2D picture, earlier, labels;
uniform float earlier_share;           // of the exposure
uniform vec2 texel;
uniform vec4 window, drawn;            // left, top, width, height in pixels of the whole picture
uniform vec2 size;                     // of the whole picture
uniform vec4 lens;                     // focal lengths and centre, pixels
uniform float k1;
uniform vec3 gains;        // exposure times white balance
uniform float vignette, blur, noise_level, contrast;
uniform int frame_seed;
in vec2 uv;
layout(location = 0) out vec4 result;
layout(location = 1) out vec4 label;

vec3 curve(vec3 x) {
    x = max(x, 0.0);
    x = x * (1.0 + x * 0.08) / (1.0 + 0.32 * x);     // gentle shoulder
    return pow(x, vec3(1.0 / 2.2));
}

// Where a place of the whole picture lies in what was drawn without distortion.
vec2 undistorted(vec2 place) {
    vec2 bent = (place - lens.zw) / lens.xy, flat_ = bent;
    for (int i = 0; i < 4; ++i) flat_ = bent / (1.0 + k1 * dot(flat_, flat_));
    vec2 at = (flat_ * lens.xy + lens.zw - drawn.xy) / drawn.zw;
    return vec2(at.x, 1.0 - at.y);
}

vec3 light(vec2 at) {
    vec3 x = texture(picture, at).rgb;
#if EARLIER
    x = mix(x, texture(earlier, at).rgb, earlier_share);
#endif
    return x;
}

void main() {
    vec2 place = window.xy + vec2(uv.x, 1.0 - uv.y) * window.zw;
    vec2 at = undistorted(place);
    label = texture(labels, at);
    vec3 x = light(at) * (1.0 - blur);
    x += 0.25 * blur * (light(at + vec2(texel.x, 0.0)) + light(at - vec2(texel.x, 0.0))
                      + light(at + vec2(0.0, texel.y)) + light(at - vec2(0.0, texel.y)));
    vec2 d = place / size - 0.5;
    x *= gains * (1.0 - vignette * dot(d, d) * 2.0);
    vec3 y = curve(x);
    y = mix(y, y * y * (3.0 - 2.0 * y), contrast);
    ivec3 cell = ivec3(ivec2(gl_FragCoord.xy), frame_seed);
    float g = hash3(cell) + hash3(cell + ivec3(0, 0, 7919)) + hash3(cell + ivec3(0, 0, 15839)) - 1.5;
    float g2 = hash3(cell + ivec3(0, 0, 3571)) + hash3(cell + ivec3(0, 0, 9341)) - 1.0;
    y += noise_level * (vec3(g) + 0.35 * vec3(g2, -0.5 * g2, -g2)) * (0.6 + 0.8 * (1.0 - y));
    result = vec4(clamp(y, 0.0, 1.0), 1.0);
}
