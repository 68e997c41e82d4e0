// Hash and value noise from integers, so that every driver draws the same texture for a seed.
uint mixed(uint x) {
    x ^= x >> 16; x *= 0x7feb352du; x ^= x >> 15; x *= 0x846ca68bu; x ^= x >> 16;
    return x;
}
float hash3(ivec3 p) {
    uint h = mixed(uint(p.x) + 0x9e3779b9u * mixed(uint(p.y) + 0x85ebca6bu * mixed(uint(p.z))));
    return float(h >> 8) / 16777216.0;
}
float hash2(ivec2 p, float seed) { return hash3(ivec3(p, int(seed))); }
float value_noise(vec3 p) {
    ivec3 i = ivec3(floor(p));
    vec3 f = fract(p);
    f = f * f * (3.0 - 2.0 * f);
    float a = mix(mix(hash3(i), hash3(i + ivec3(1, 0, 0)), f.x),
                  mix(hash3(i + ivec3(0, 1, 0)), hash3(i + ivec3(1, 1, 0)), f.x), f.y);
    float b = mix(mix(hash3(i + ivec3(0, 0, 1)), hash3(i + ivec3(1, 0, 1)), f.x),
                  mix(hash3(i + ivec3(0, 1, 1)), hash3(i + ivec3(1, 1, 1)), f.x), f.y);
    return mix(a, b, f.z);
}
float fbm(vec3 p) {
    float sum = 0.0, weight = 0.5;
    for (int i = 0; i < 4; ++i) { sum += weight * value_noise(p); p = p * 2.03 + 17.1; weight *= 0.5; }
    return sum / 0.9375;
}
// Value noise that repeats after `period` cells, for textures that tile.
float tiled(vec2 p, ivec2 period, float seed) {
    ivec2 i = ivec2(floor(p));
    vec2 f = fract(p);
    f = f * f * (3.0 - 2.0 * f);
    ivec2 lo = ((i % period) + period) % period, hi = (lo + 1) % period;
    return mix(mix(hash2(lo, seed), hash2(ivec2(hi.x, lo.y), seed), f.x),
               mix(hash2(ivec2(lo.x, hi.y), seed), hash2(hi, seed), f.x), f.y);
}
float tiled_fbm(vec2 p, ivec2 period, float seed) {
    float sum = 0.0, weight = 0.5;
    for (int i = 0; i < 4; ++i) {
        sum += weight * tiled(p, period, seed + float(i));
        p *= 2.0; period *= 2; weight *= 0.5;
    }
    return sum / 0.9375;
}
