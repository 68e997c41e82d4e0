// World position and normal of a vertex; SKINNED moves it with four bones.
uniform mat4 to_clip;
uniform mat4 to_light;
in vec3 in_position;
in vec3 in_normal;
in vec2 in_uv;
in float in_layer;
#ifdef SKINNED
uniform vec4 bones[3 * MAX_BONES];  // rows of 3 × 4 matrices
in vec4 in_bones;
in vec4 in_weights;
#endif
// Centroid: at edges a pixel's centre can lie off the triangle, where these would run wild.
centroid out vec3 world;
centroid out vec3 normal;
centroid out vec2 uv;
centroid out vec4 in_light;
flat out float layer;
void main() {
    world = in_position;
    normal = in_normal;
#ifdef SKINNED
    vec4 row[3] = vec4[3](vec4(0.0), vec4(0.0), vec4(0.0));
    for (int k = 0; k < 4; ++k) {
        int at = 3 * int(in_bones[k] + 0.5);
        for (int i = 0; i < 3; ++i) row[i] += in_weights[k] * bones[at + i];
    }
    vec4 p = vec4(in_position, 1.0);
    world = vec3(dot(row[0], p), dot(row[1], p), dot(row[2], p));
    normal = vec3(dot(row[0].xyz, in_normal), dot(row[1].xyz, in_normal), dot(row[2].xyz, in_normal));
#endif
    uv = in_uv;
    layer = in_layer;
    in_light = to_light * vec4(world, 1.0);
    gl_Position = to_clip * vec4(world, 1.0);
}
