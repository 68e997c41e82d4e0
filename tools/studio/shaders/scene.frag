// Light and shade: a lamp with soft shadows, a second lamp, light from all around, and the
// darkening of corners and of the floor near feet. Linear light.
uniform sampler2DArray albedo;
uniform sampler2DShadow shadow_map;
uniform vec3 eye;
uniform vec3 lamp, lamp_colour;
uniform vec3 fill, fill_colour;
uniform vec3 sky, ground;
uniform vec3 room_low, room_high;
uniform float softness;            // radius of the shadow's edge in the shadow map, 0..1
uniform int person_count;
uniform vec4 around_person[3];     // a sphere: beyond it none of a person's eight matters
uniform vec4 occluders[24];        // spheres: centre, radius
centroid in vec3 world;
centroid in vec3 normal;
centroid in vec2 uv;
centroid in vec4 in_light;
flat in float layer;
uniform vec3 actor;                // which person is drawn: one channel each, 0 for the room
layout(location = 0) out vec4 result;
layout(location = 1) out vec4 label;  // people, then metres in front of the camera

const vec2 TAPS[12] = vec2[12](
    vec2(-0.840, -0.074), vec2(0.962, -0.195), vec2(0.185, -0.893), vec2(-0.203, 0.821),
    vec2(-0.326, -0.406), vec2(-0.696, 0.457), vec2(0.473, -0.480), vec2(0.519, 0.767),
    vec2(0.507, 0.064), vec2(0.896, 0.412), vec2(-0.322, -0.933), vec2(-0.792, -0.598));

float lit(vec3 n, vec3 l) {
    vec3 p = in_light.xyz / in_light.w * 0.5 + 0.5;
    if (in_light.w <= 0.0 || any(lessThan(p, vec3(0.0))) || any(greaterThan(p, vec3(1.0)))) return 1.0;
    float bias = 0.0006 + 0.002 * (1.0 - max(dot(n, l), 0.0));
    float angle = 6.2831853 * fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(0.06711056, 0.00583715))));
    mat2 spin = mat2(cos(angle), sin(angle), -sin(angle), cos(angle));
    float sum = 0.0;
    for (int i = 0; i < 4; ++i) sum += texture(shadow_map, vec3(p.xy + softness * (spin * TAPS[i]), p.z - bias));
    // Most places are wholly in the light or wholly in shadow: four outer taps tell.
    if (sum < 0.01 || sum > 3.99) return sum / 4.0;
    for (int i = 4; i < 12; ++i) sum += texture(shadow_map, vec3(p.xy + softness * (spin * TAPS[i]), p.z - bias));
    return sum / 12.0;
}

void main() {
    label = vec4(actor, 1.0 / gl_FragCoord.w);
    vec4 texel = texture(albedo, vec3(uv, layer));
    vec3 base = texel.rgb * texel.rgb;   // close enough to the inverse of display gamma
    if (texel.a > 0.97) { result = vec4(base * 1.6, 1.0); return; }
    vec3 n = normalize(normal + vec3(0.0, 0.0, 1e-6));
    vec3 v = normalize(eye - world);
    if (dot(n, v) < 0.0) n = -n;

    vec3 to_lamp = lamp - world;
    float near = dot(to_lamp, to_lamp);
    vec3 l = to_lamp * inversesqrt(near);
    vec3 to_fill = fill - world;
    float near_fill = dot(to_fill, to_fill);
    vec3 m = to_fill * inversesqrt(near_fill);

    // Spheres stand for the person when the floor is darkened near the feet.
    float open = 1.0;
    for (int person = 0; person < person_count && SHADED > 0.0; ++person) {
        vec3 off = around_person[person].xyz - world;
        if (dot(off, off) > around_person[person].w * around_person[person].w) continue;
        for (int i = 8 * person; i < 8 * person + 8; ++i) {
            vec3 d = occluders[i].xyz - world;
            float dd = dot(d, d), r = occluders[i].w;
            if (dd > 80.0 * r * r) continue;
            float seen = clamp(dot(n, d) * inversesqrt(dd), 0.0, 1.0) * min(max(r * r / dd - 0.0125, 0.0), 1.0);
            open *= 1.0 - SHADED * seen;
        }
    }
    vec3 low = world - room_low, high = room_high - world;
    vec3 gap = min(low, high);
    vec3 facing = abs(n);
    vec3 corner = mix(0.35 * exp(-gap / 0.28), vec3(0.0), smoothstep(0.3, 0.8, facing));
    open *= (1.0 - corner.x) * (1.0 - corner.y) * (1.0 - corner.z);

    float shadow = lit(n, l);
    float diffuse = max(dot(n, l), 0.0) * shadow / (1.0 + 0.16 * near);
    float second = max(dot(n, m), 0.0) / (1.0 + 0.16 * near_fill);
    vec3 around = mix(ground, sky, 0.5 + 0.5 * n.z);
    vec3 colour = base * (lamp_colour * diffuse + fill_colour * second * open + around * open);
    float gloss = texel.a;
    vec3 h = normalize(l + v + 1e-4 * n);
    float power = mix(8.0, 90.0, gloss);
    float glint = gloss * pow(clamp(dot(n, h), 0.0, 1.0), power) * shadow;
    float rim = gloss * 0.35 * pow(clamp(1.0 - dot(n, v), 0.0, 1.0), 4.0);
    colour += 0.6 * glint * lamp_colour / (1.0 + 0.16 * near) + rim * around * open;
    result = vec4(clamp(colour, 0.0, 16.0), 1.0);
}
