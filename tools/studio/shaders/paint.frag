// Paints what a person is made of. Alpha carries gloss.
// KIND is fixed when it is compiled: 0 skin, 1 eyes, 2 cloth, 3 shoes, 4 hair, 5 hat. So is
// SWIMWEAR of the skin: 0 none, 1 shorts, 2 shorts and top.
uniform float seed;
uniform float metres;      // length of one unit of uv
uniform float stature;
uniform vec3 left_eye, right_eye, mouth, crown;
uniform vec3 skin, lips, brow, iris, hair, shoe, sole;
uniform float stubble, scalp, lip_offset, lace_x, floor_z;
uniform float relief, body_hair;   // how much muscles shade the skin, how much hair grows on it
uniform float closure;             // of tops: 0 none, 1 buttons, 2 zip, 3 badge, 4 print on the back
uniform float pockets;             // of trousers: 0 none, 1 behind and a fly in front
uniform int patterns[3];
uniform float scales[3];
uniform vec3 colours[9];
in vec3 rest;
in vec3 normal;
in vec2 uv;
flat in int piece;
out vec4 result;

float clip_unit(float x) { return clamp(x, 0.0, 1.0); }
float soft(float edge, float width, float x) { return smoothstep(edge - width, edge + width, x); }

// A soft ellipse on the face: 1 inside, 0 outside.
float blob(vec2 p, vec2 centre, vec2 radii, float softness) {
    return 1.0 - smoothstep(1.0 - softness, 1.0 + softness, length((p - centre) / radii));
}

vec3 weave(vec3 c, vec2 p) {
    float thread = value_noise(vec3(p * vec2(900.0, 260.0), seed)) + value_noise(vec3(p * vec2(260.0, 900.0), seed + 3.0)) - 1.0;
    float cloud = fbm(vec3(p * 7.0, seed + 9.0)) - 0.5;
    return c * (1.0 + 0.10 * thread + 0.22 * cloud);
}

vec3 fabric(int which, vec2 p) {
    vec3 a = colours[3 * which], b = colours[3 * which + 1], d = colours[3 * which + 2];
    int pattern = patterns[which];
    float s = scales[which];
    vec2 q = p / s;
    vec3 c = a;
    if (pattern == 1) {                     // hoops
        float w = fract(rest.z / s);
        c = mix(a, b, soft(0.5, 0.03, w) * (1.0 - soft(0.97, 0.03, w)));
    } else if (pattern == 2) {              // pinstripes along the cloth
        c = mix(a, b, 1.0 - smoothstep(0.04, 0.08, abs(fract(q.x) - 0.5)));
    } else if (pattern == 3) {              // tartan
        vec2 w = fract(q);
        float u = soft(0.5, 0.02, w.x), v = soft(0.5, 0.02, w.y);
        c = mix(a, b, 0.5 * (u + v));
        c = mix(c, d, 0.8 * max(1.0 - smoothstep(0.02, 0.05, abs(w.x - 0.25)), 1.0 - smoothstep(0.02, 0.05, abs(w.y - 0.25))));
    } else if (pattern == 4) {              // dots
        vec2 w = vec2(q.x + 0.5 * mod(floor(q.y), 2.0), q.y);
        c = mix(b, a, smoothstep(0.22, 0.27, length(fract(w) - 0.5)));
    } else if (pattern == 5) {              // blotches
        float f = fbm(vec3(q * 1.3, seed + 21.0)), g = fbm(vec3(q * 1.9, seed + 47.0));
        c = mix(mix(a, b, soft(0.5, 0.02, f)), d, soft(0.58, 0.02, g));
    } else if (pattern == 6) {              // denim: twill, worn at the front of thighs and knees
        float twill = fract((p.x + p.y) * 420.0);
        float worn = smoothstep(0.2, 0.9, -normal.y) * (0.4 + 0.6 * fbm(vec3(p * 9.0, seed)));
        c = mix(a, b, 0.18 + 0.35 * worn) * (0.92 + 0.16 * twill);
        c *= 0.85 + 0.3 * value_noise(vec3(p * vec2(700.0, 60.0), seed));
    } else if (pattern == 7) {              // print on the chest
        vec2 w = vec2(rest.x, rest.z - 0.755 * stature) / (0.085 * stature / 1.75 * 1.6);
        float on = step(0.0, -normal.y) * (length(w) < 1.0 ? 1.0 : 0.0);
        float ring = soft(0.78, 0.02, length(w));
        float motif = soft(0.5, 0.03, value_noise(vec3(w * 2.6 + seed, seed)));
        c = mix(a, mix(mix(b, d, motif), b, ring), on);
    } else if (pattern == 8) {              // two blocks of colour
        float z = rest.z / stature + 0.0 * q.x;
        c = mix(a, b, soft(which == 0 ? 0.72 : 0.3, 0.003, z));
        c = mix(c, d, 1.0 - smoothstep(0.008, 0.012, abs(z - (which == 0 ? 0.72 : 0.3))));
    } else if (pattern == 9) {              // zigzag
        float w = fract(rest.z / s + 0.35 * abs(fract(q.x * 2.0) - 0.5));
        c = mix(a, b, soft(0.5, 0.03, w));
    }
    return c;
}

// 1 on a soft line, 0 away from it.
float ridge(float distance, float width) { return exp(-distance * distance / (width * width)); }
float within(float low, float high, float soft_by, float x) {
    return smoothstep(low - soft_by, low + soft_by, x) * (1.0 - smoothstep(high - soft_by, high + soft_by, x));
}

// What tells the front of a bare body from its back, in fractions of the stature.
vec3 paint_body(vec3 c) {
    vec2 t = vec2(abs(rest.x), rest.z) / stature;
    float trunk = 1.0 - smoothstep(0.120, 0.135, t.x);
    float front = smoothstep(0.05, 0.45, -normal.y), back = smoothstep(0.05, 0.45, normal.y);
    float chest = front * trunk, spine = back * trunk;
    vec3 dark = skin * vec3(0.62, 0.46, 0.42);
    c = mix(c, dark, 0.85 * chest * blob(t, vec2(0.060, 0.722), vec2(0.0080), 0.4));
    c = mix(c, dark * 0.6, 0.8 * chest * blob(t, vec2(0.0, 0.603), vec2(0.0045, 0.0060), 0.5));
    // Breast muscles end in an arc, with collar bones above and the belly's muscles below.
    float arc = 0.693 + 1.6 * (t.x - 0.055) * (t.x - 0.055);
    float shade = 0.30 * ridge(t.y - arc, 0.0055) * within(0.010, 0.100, 0.012, t.x);
    shade += 0.22 * ridge(t.x, 0.0045) * within(0.612, 0.785, 0.01, t.y);
    shade += 0.20 * ridge(t.y - 0.812 - 0.10 * t.x, 0.0045) * within(0.012, 0.090, 0.01, t.x);
    float rows = ridge(t.y - 0.630, 0.004) + ridge(t.y - 0.655, 0.004) + ridge(t.y - 0.677, 0.004);
    shade += 0.15 * rows * (1.0 - smoothstep(0.030, 0.045, t.x));
    shade += 0.15 * ridge(t.x - 0.047, 0.005) * within(0.590, 0.680, 0.01, t.y);
    c *= 1.0 - relief * chest * shade;
    // The back has the spine's furrow and the shoulder blades' edges.
    float blade = length((t - vec2(0.058, 0.755)) / vec2(0.030, 0.046));
    shade = 0.34 * ridge(t.x, 0.0065) * within(0.560, 0.825, 0.015, t.y);
    shade += 0.20 * ridge(blade - 1.0, 0.14) * (1.0 - smoothstep(0.755, 0.780, t.y));
    c *= 1.0 - relief * spine * shade;
    // Knees: a cap in front, a crease behind.
    float knee = within(0.268, 0.300, 0.008, t.y) * (1.0 - step(0.14, t.x));
    c = mix(c, skin * vec3(0.92, 0.70, 0.64), 0.35 * knee * front);
    c *= 1.0 - 0.25 * front * ridge(t.y - 0.264, 0.004) * (1.0 - step(0.14, t.x));
    c *= 1.0 - 0.30 * back * ridge(t.y - 0.283, 0.004) * (1.0 - step(0.14, t.x));
    float grain = smoothstep(0.30, 0.75, value_noise(rest * vec3(380.0, 380.0, 160.0) + seed));
    float hairy = chest * max(blob(t, vec2(0.0, 0.738), vec2(0.085, 0.042), 0.6),
                              0.8 * ridge(t.x, 0.010) * within(0.560, 0.720, 0.02, t.y));
    hairy = max(hairy, 0.5 * within(0.04, 0.40, 0.03, t.y) * step(t.x, 0.14));
    return mix(c, hair * 0.5 + skin * 0.12, body_hair * hairy * grain);
}

vec4 paint_skin() {
    float u = stature / 1.75;
    vec3 c = skin;
    float n = fbm(rest * 22.0 + seed) - 0.5;
    float fine = value_noise(rest * 340.0 + seed) - 0.5;
    c *= 1.0 + 0.22 * n + 0.07 * fine;
    vec3 flush = skin * vec3(1.06, 0.80, 0.76);
    vec2 face = rest.xz;
    float front = smoothstep(0.1, 0.5, -normal.y) * step(left_eye.z - 0.2 * u, rest.z);
    vec2 eye = vec2(abs(left_eye.x), left_eye.z);
    vec2 side = vec2(abs(face.x), face.y);
    // Cheeks, nose and ears are redder, eye sockets darker.
    c = mix(c, flush, 0.25 * front * blob(side, eye + vec2(0.012, -0.042) * u, vec2(0.024) * u, 0.6));
    c = mix(c, flush, 0.18 * front * blob(side, vec2(0.0, eye.y - 0.035 * u), vec2(0.016, 0.018) * u, 0.6));
    c *= 1.0 - 0.28 * front * blob(side, eye + vec2(-0.002, 0.002) * u, vec2(0.024, 0.017) * u, 0.5);
    float lash = blob(side, eye + vec2(0.001, 0.003) * u, vec2(0.0185, 0.0095) * u, 0.18)
               * (1.0 - blob(side, eye + vec2(0.0, -0.002) * u, vec2(0.018, 0.0085) * u, 0.2));
    c = mix(c, brow * 0.4, 0.8 * front * lash);
    // The brow is an arch that thins to the outside.
    float along = (side.x - 0.008 * u) / (0.046 * u);
    float arch = eye.y + u * (0.0200 + 0.0085 * sin(clip_unit(along) * 2.3) - 0.003 * along);
    float thick = u * mix(0.0052, 0.0022, clip_unit(along));
    float hairs = 0.75 + 0.5 * (value_noise(vec3(rest.x * 900.0, rest.z * 300.0, seed)) - 0.5);
    float on = step(0.0, along) * step(along, 1.0) * (1.0 - smoothstep(thick * 0.6, thick * 1.3, abs(side.y - arch)));
    c = mix(c, brow, front * on * hairs);
    // Mouth: two lips and the dark line between them.
    float lip_z = mouth.z + lip_offset * u;
    float line = lip_z + 0.0015 * u * cos(face.x / u * 160.0);
    float width = 0.026 * u;
    float upper = u * 0.0075 * (1.0 - pow(abs(face.x) / width, 2.0));
    float lower = u * 0.0095 * (1.0 - pow(abs(face.x) / width, 2.0));
    float lip = soft(line - lower, 0.0012 * u, face.y) * (1.0 - soft(line + upper, 0.0012 * u, face.y))
              * (1.0 - soft(width, 0.002 * u, abs(face.x)));
    c = mix(c, lips, 0.85 * front * lip);
    c *= 1.0 - 0.55 * front * (1.0 - smoothstep(0.0, 0.0022 * u, abs(face.y - line))) * (1.0 - soft(width * 0.95, 0.002 * u, abs(face.x)));
    // Beard shadow on jaw and upper lip.
    float jaw = smoothstep(left_eye.z - 0.048 * u, left_eye.z - 0.075 * u, rest.z)
              * smoothstep(left_eye.z - 0.165 * u, left_eye.z - 0.125 * u, rest.z)
              * smoothstep(0.055 * u, 0.015 * u, rest.y - left_eye.y);
    float grain = 0.6 + 0.8 * value_noise(rest * 700.0);
    c = mix(c, hair * 0.6 + skin * 0.15, stubble * jaw * (1.0 - 0.8 * lip * front) * grain * step(-0.2, -normal.y + 0.3));
    // The scalp under the hair takes its colour.
    vec3 d = (rest - (crown + vec3(0.0, 0.018, -0.085) * u)) / (vec3(0.085, 0.105, 0.093) * u);
    float hairline = smoothstep(left_eye.z + 0.066 * u, left_eye.z + 0.086 * u, rest.z + 0.55 * max(0.0, rest.y - left_eye.y - 0.045 * u));
    float head = step(left_eye.z - 0.07 * u, rest.z) * hairline;
    c = mix(c, hair * (0.75 + 0.5 * value_noise(rest * vec3(420.0, 420.0, 90.0))), scalp * head * step(length(d), 2.0));
    c = paint_body(c);
    // Bathing clothes, for those who wear nothing else.
    float z = rest.z / stature, middle = step(abs(rest.x), 0.14 * stature);
#if SWIMWEAR > 0
    float shorts = middle * soft(0.425, 0.002, z) * (1.0 - soft(0.585, 0.002, z));
    c = mix(c, fabric(1, uv * metres), shorts);
#endif
#if SWIMWEAR > 1
    float top = middle * soft(0.685, 0.002, z) * (1.0 - soft(0.755, 0.002, z));
    c = mix(c, fabric(0, uv * metres), top);
#endif
    return vec4(c, 0.14);
}

// Seams that a tailor puts on one side only, in metres.
vec3 tailored(vec3 c, int which) {
    float u = stature / 1.75, x = rest.x / u, z = rest.z / stature;
    float front = smoothstep(0.1, 0.4, -normal.y), back = smoothstep(0.1, 0.4, normal.y);
    vec3 ink = colours[3 * which + 1];
    vec3 edge = c * 0.55;
    if (which == 0) {
        if (closure == 1.0) {
            c = mix(c, edge, 0.7 * front * ridge(abs(x) - 0.016, 0.0035));
            vec2 hole = vec2(x, (fract(rest.z / (0.085 * u)) - 0.5) * 0.085);
            c = mix(c, ink, front * (1.0 - smoothstep(0.006, 0.009, length(hole))));
        } else if (closure == 2.0) {
            c = mix(c, mix(edge, ink, 0.5), front * ridge(x, 0.006));
        } else if (closure == 3.0) {
            vec2 w = vec2(x - 0.075, (z - 0.735) * 1.75) / vec2(0.034, 0.028);
            c = mix(c, ink, front * step(max(abs(w.x), abs(w.y)), 1.0));
        } else if (closure == 4.0) {
            vec2 w = vec2(x, (z - 0.735) * 1.75) / vec2(0.11, 0.10);
            float motif = soft(0.5, 0.03, value_noise(vec3(w * 2.2 + seed, seed + 5.0)));
            c = mix(c, ink, back * motif * step(max(abs(w.x), abs(w.y)), 1.0));
        }
    } else if (which == 1 && pockets == 1.0) {
        vec2 w = (vec2(abs(x), z) - vec2(0.075, 0.505)) / vec2(0.052, 0.032);
        float rim = max(abs(w.x), abs(w.y));
        c = mix(c, edge, 0.8 * back * within(0.82, 1.0, 0.03, rim));
        c = mix(c, edge, 0.6 * front * ridge(x, 0.004) * within(0.515, 0.570, 0.004, z));
    }
    return c;
}

vec4 paint_eye() {
    vec3 centre = rest.x > 0.0 ? left_eye : right_eye;
    float r = length(rest.xz - centre.xz) / (0.0145 * stature / 1.75);
    vec3 white = vec3(0.86, 0.84, 0.82) * (1.0 - 0.1 * smoothstep(0.5, 1.0, r));
    float rays = 0.8 + 0.4 * value_noise(vec3(atan(rest.z - centre.z, rest.x - centre.x) * 9.0, r * 4.0, seed));
    vec3 c = mix(iris * rays, white, smoothstep(0.40, 0.46, r));
    c = mix(iris * 0.35, c, smoothstep(0.0, 0.06, abs(r - 0.42)));
    c = mix(vec3(0.012), c, smoothstep(0.17, 0.21, r));
    return vec4(c, 0.75);
}

void main() {
    vec2 p = uv * metres;
#if KIND == 0
    result = paint_skin();
#elif KIND == 1
    result = paint_eye();
#elif KIND == 2
    vec3 c = weave(tailored(fabric(piece, p), piece), p);
    // Folds: long soft shadows where cloth bunches.
    float fold = fbm(vec3(rest.x * 9.0, rest.y * 9.0, rest.z * 26.0) + seed) - 0.5;
    c *= 1.0 + 0.35 * fold;
    result = vec4(c, 0.03);
#elif KIND == 3
    float low = 1.0 - smoothstep(0.020, 0.023, rest.z - floor_z);
    vec3 c = mix(shoe, sole, low);
    c *= 0.9 + 0.25 * (fbm(rest * 60.0 + seed) - 0.5);
    float lace = smoothstep(0.35, 0.5, fract(rest.y * 60.0)) * (1.0 - smoothstep(0.013, 0.02, abs(abs(rest.x) - lace_x)));
    c = mix(c, sole, 0.8 * lace * smoothstep(0.055, 0.065, rest.z) * step(normal.y, -0.1));
    result = vec4(c, 0.18);
#elif KIND == 4
    float strand = value_noise(vec3(rest.x * 330.0, rest.y * 330.0, rest.z * 40.0) + seed);
    float lock = fbm(vec3(rest.x * 60.0, rest.y * 60.0, rest.z * 14.0) + seed);
    result = vec4(hair * (0.45 + 0.5 * strand + 0.6 * lock), 0.22);
#else
    vec3 c = weave(colours[6], p);
    float band = soft(0.945 * stature, 0.004, rest.z) * (1.0 - soft(0.962 * stature, 0.004, rest.z));
    result = vec4(mix(c, colours[7], band), 0.04);
#endif
    result.rgb = clamp(result.rgb, 0.0, 1.0);
}
