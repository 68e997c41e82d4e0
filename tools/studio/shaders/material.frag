// One tile of a surface of the room. Alpha carries gloss; 1 means that it glows.
// PATTERN is fixed when it is compiled: a software renderer would work all of them out.
uniform vec3 a, b, c;
uniform float seed;
uniform float gloss;
in vec2 uv;
out vec4 result;

float soft(float edge, float width, float x) { return smoothstep(edge - width, edge + width, x); }

void main() {
    vec2 p = uv;
    vec3 colour = a;
    float shine = gloss;
    float grain = tiled_fbm(p * 64.0, ivec2(64), seed) - 0.5;
    float cloud = tiled_fbm(p * 4.0, ivec2(4), seed + 5.0) - 0.5;
#if PATTERN == 0                          // paint or plaster
    colour *= 1.0 + 0.05 * grain + 0.10 * cloud;
#elif PATTERN == 1  // striped wallpaper, 8 stripes
    float w = fract(p.x * 8.0);
    colour = mix(a, b, soft(0.45, 0.01, w) * (1.0 - soft(0.95, 0.01, w)));
    colour = mix(colour, c, 1.0 - smoothstep(0.015, 0.025, abs(w - 0.7)));
    colour *= 1.0 + 0.05 * grain;
#elif PATTERN == 2  // ornament, 6 × 6
    vec2 q = p * 6.0;
    q.x += 0.5 * mod(floor(q.y), 2.0);
    vec2 w = fract(q) - 0.5;
    float r = length(w), t = atan(w.y, w.x);
    float petal = 0.30 + 0.10 * cos(5.0 * t);
    colour = mix(b, a, soft(petal, 0.02, r));
    colour = mix(c, colour, soft(0.09, 0.02, r));
    colour *= 1.0 + 0.06 * grain;
#elif PATTERN == 3  // bricks, 4 × 12
    vec2 q = p * vec2(4.0, 12.0);
    q.x += 0.5 * mod(floor(q.y), 2.0);
    ivec2 id = ivec2(mod(floor(q), vec2(4.0, 12.0)));
    vec2 w = fract(q);
    float joint = min(min(w.x, 1.0 - w.x) * 3.0, min(w.y, 1.0 - w.y));
    vec3 brick = mix(a, b, hash2(id, seed)) * (0.85 + 0.3 * hash2(id, seed + 1.0)) * (1.0 + 0.5 * grain);
    colour = mix(c * (1.0 + 0.2 * grain), brick, soft(0.09, 0.03, joint));
#elif PATTERN == 4  // tiles, 4 × 4
    vec2 q = p * 4.0, w = fract(q);
    ivec2 id = ivec2(floor(q));
    float joint = min(min(w.x, 1.0 - w.x), min(w.y, 1.0 - w.y));
    bool odd = (id.x + id.y) % 2 == 1;
    vec3 tile = (odd ? b : a) * (0.93 + 0.14 * hash2(id, seed)) * (1.0 + 0.25 * cloud + 0.05 * grain);
    float in_tile = soft(0.018, 0.008, joint);
    colour = mix(c, tile, in_tile);
    shine *= in_tile;
#elif PATTERN == 5  // planks, 8 wide, each cut once a tile
    float row = floor(p.x * 8.0);
    float cut = fract(p.y + hash2(ivec2(int(row), 3), seed));
    ivec2 id = ivec2(int(row), int(cut * 2.0));
    vec2 w = vec2(fract(p.x * 8.0), fract(cut * 2.0));
    float tone = hash2(id, seed + 2.0);
    float rings = tiled_fbm(vec2(p.x * 96.0 + 7.0 * tiled(p * vec2(8.0, 6.0), ivec2(8, 6), seed), p.y * 6.0), ivec2(96, 6), seed + 11.0 + tone);
    vec3 wood = mix(a, b, 0.35 * tone + 0.65 * rings) * (0.85 + 0.3 * tone);
    float gap = min(min(w.x, 1.0 - w.x), 12.0 * min(w.y, 1.0 - w.y));
    float flat_part = soft(0.02, 0.012, gap);
    colour = mix(c, wood, flat_part);
    shine *= flat_part;
#elif PATTERN == 6  // carpet
    float tuft = tiled(p * 256.0, ivec2(256), seed) - 0.5;
    colour = mix(a, b, 0.35 + 0.3 * tiled_fbm(p * 8.0, ivec2(8), seed + 3.0)) * (1.0 + 0.45 * tuft);
#elif PATTERN == 7  // wood grain
    float rings = tiled_fbm(vec2(p.x * 40.0 + 5.0 * tiled(p * 4.0, ivec2(4), seed), p.y * 3.0), ivec2(40, 3), seed);
    colour = mix(a, b, rings) * (1.0 + 0.1 * grain);
#elif PATTERN == 8  // coarse cloth
    vec2 w = abs(fract(p * 48.0) - 0.5);
    colour *= 0.85 + 0.3 * (w.x + w.y) + 0.2 * grain + 0.15 * cloud;
#elif PATTERN == 9  // a painting
    float f = tiled_fbm(p * 3.0 + 2.0 * tiled(p * 5.0, ivec2(5), seed + 4.0), ivec2(3), seed);
    colour = mix(mix(a, b, soft(0.45, 0.05, f)), c, soft(0.62, 0.03, f));
    colour *= 1.0 + 0.3 * grain;
    vec2 edge = min(p, 1.0 - p);
    colour = mix(vec3(0.9), colour, soft(0.1, 0.004, min(edge.x, edge.y)));
#elif PATTERN == 10  // books on a board
    float x = p.x * 14.0;
    ivec2 id = ivec2(int(floor(x)), int(floor(p.y * 4.0)));
    float h = 0.62 + 0.3 * hash2(id, seed), y = fract(p.y * 4.0);
    vec3 spine = 0.12 + 0.6 * vec3(hash2(id, seed + 1.0), hash2(id, seed + 2.0), hash2(id, seed + 3.0));
    spine = mix(spine, a, 0.35);
    float w = fract(x);
    spine *= 0.55 + 0.45 * soft(0.06, 0.05, min(w, 1.0 - w));
    spine = mix(spine, vec3(0.85), 0.7 * (1.0 - smoothstep(0.02, 0.04, abs(y - 0.45 * h))) * step(0.25, hash2(id, seed + 6.0)));
    colour = y < 0.07 ? b : (y < h ? spine : c * 0.25);
#elif PATTERN == 11  // daylight behind a pane
    float f = tiled_fbm(p * vec2(6.0, 4.0), ivec2(6, 4), seed);
    vec3 outside = mix(mix(a, b, soft(0.45, 0.1, f)), vec3(0.95, 0.98, 1.0), soft(0.45, 0.12, p.y + 0.25 * f));
    colour = outside;
    shine = 1.0;
#elif PATTERN == 12  // glowing
    colour = a;
    shine = 1.0;
#elif PATTERN == 13  // leaf
    colour = mix(a, b, tiled_fbm(p * 10.0, ivec2(10), seed)) * (0.8 + 0.4 * abs(p.x - 0.5));
#elif PATTERN == 14  // woven rug with a border
    vec2 edge = min(p, 1.0 - p);
    float d = min(edge.x, edge.y);
    vec2 q = abs(fract(p * 7.0) - 0.5);
    colour = mix(a, b, soft(0.30, 0.02, q.x + q.y));
    colour = mix(colour, c, step(d, 0.10) * step(0.04, d));
    colour = mix(colour, b, step(d, 0.04));
    colour *= 0.9 + 0.35 * (tiled(p * 200.0, ivec2(200), seed) - 0.5);
#endif
    result = vec4(clamp(colour, 0.0, 1.0), shine);
}
