// The webcam: exposure, white balance, lens fall-off, slight blur, tone curve, sensor noise.
uniform sampler2D picture;
uniform vec2 texel;
uniform vec3 gains;        // exposure times white balance
uniform float vignette, blur, noise_level, contrast;
uniform int frame_seed;
in vec2 uv;
out vec4 result;

vec3 curve(vec3 x) {
    x = max(x, 0.0);
    x = x * (1.0 + x * 0.08) / (1.0 + 0.32 * x);     // gentle shoulder
    return pow(x, vec3(1.0 / 2.2));
}

void main() {
    vec3 x = texture(picture, uv).rgb * (1.0 - blur);
    x += 0.25 * blur * (texture(picture, uv + vec2(texel.x, 0.0)).rgb + texture(picture, uv - vec2(texel.x, 0.0)).rgb
                      + texture(picture, uv + vec2(0.0, texel.y)).rgb + texture(picture, uv - vec2(0.0, texel.y)).rgb);
    vec2 d = uv - 0.5;
    x *= gains * (1.0 - vignette * dot(d, d) * 2.0);
    vec3 y = curve(x);
    y = mix(y, y * y * (3.0 - 2.0 * y), contrast);
    ivec3 at = ivec3(ivec2(gl_FragCoord.xy), frame_seed);
    float g = hash3(at) + hash3(at + ivec3(0, 0, 7919)) + hash3(at + ivec3(0, 0, 15839)) - 1.5;
    float g2 = hash3(at + ivec3(0, 0, 3571)) + hash3(at + ivec3(0, 0, 9341)) - 1.0;
    y += noise_level * (vec3(g) + 0.35 * vec3(g2, -0.5 * g2, -g2)) * (0.6 + 0.8 * (1.0 - y));
    result = vec4(clamp(y, 0.0, 1.0), 1.0);
}
