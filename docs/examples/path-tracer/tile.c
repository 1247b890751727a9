/* tile: path-traces one tile of a picture: spheres, a box and a tiled floor
 * under two soft boxes, with global illumination, glass, metal, varnish and
 * depth of field.
 *
 * Usage: tile WIDTH HEIGHT X0 Y0 W H SAMPLES OUTFILE
 *   WIDTH HEIGHT  size of the whole picture in pixels, 1..16384
 *   X0 Y0 W H     the tile: its upper left pixel and its size, inside the picture
 *   SAMPLES       light paths per pixel, 1..65536
 *   OUTFILE       file to write (created or truncated)
 *
 * Output: "HVT1", then X0 Y0 W H as 32-bit little-endian numbers, then W*H
 * pixels of three bytes (red, green, blue in sRGB), row by row from the top.
 * Exit: 0 done, 1 the file could not be written, 2 wrong arguments.
 *
 * Every pixel seeds its own random numbers from its place in the picture, so
 * the picture does not depend on how it is cut into tiles, nor on who computes
 * which tile: the same arguments give the same bytes everywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_IO = 1, EXIT_USAGE = 2 };

#define MAX_SIDE 16384u
#define MAX_SAMPLES 65536u
#define MAX_DEPTH 10
/* Bounces before chance may end a path. */
#define SURE_DEPTH 2
/* Most light that a path may bring after a diffuse bounce: keeps the rare very
 * bright path (a caustic) from leaving a white speck. */
#define INDIRECT_CLAMP 3.0f
/* The same for a soft box seen through several mirror-like bounces; on film
 * this much is white already. */
#define MIRRORED_CLAMP 5.0f
#define FAR 1e30f
/* Least chance of following the reflection in what the camera sees: a soft box
 * mirrored in glass or varnish is bright there and must be smooth. */
#define FIRST_MIRROR 0.3f
/* Step off a surface, in scene units, so that a ray does not hit where it starts. */
#define STEP 1e-3f
#define PI 3.14159265f

/* ---- vectors ------------------------------------------------------------ */

typedef struct { float x, y, z; } vec;

static inline vec v(float x, float y, float z) { return (vec){x, y, z}; }
static inline vec add(vec a, vec b) { return v(a.x + b.x, a.y + b.y, a.z + b.z); }
static inline vec sub(vec a, vec b) { return v(a.x - b.x, a.y - b.y, a.z - b.z); }
static inline vec mul(vec a, vec b) { return v(a.x * b.x, a.y * b.y, a.z * b.z); }
static inline vec scale(vec a, float s) { return v(a.x * s, a.y * s, a.z * s); }
static inline float dot(vec a, vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static inline vec cross(vec a, vec b)
{
    return v(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
static inline vec unit(vec a) { return scale(a, 1.0f / sqrtf(dot(a, a))); }
static inline vec mix(vec a, vec b, float t) { return add(scale(a, 1.0f - t), scale(b, t)); }
static inline float clampf(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }
static inline float smoothstep(float lo, float hi, float x)
{
    float t = clampf((x - lo) / (hi - lo), 0.0f, 1.0f);
    return t * t * (3.0f - 2.0f * t);
}
static inline float largest(vec a) { return fmaxf(a.x, fmaxf(a.y, a.z)); }
/* Light a, dimmed so that no colour of it is above `limit`. */
static inline vec at_most(vec a, float limit)
{
    float top = largest(a);
    return top > limit ? scale(a, limit / top) : a;
}

/* cos and sin of a whole turn's fraction u in [0,1): polynomials, exact to 2e-6. */
static inline void turn(float u, float *cosine, float *sine)
{
    float q = u * 4.0f;
    int quadrant = (int)q;
    float a = (q - (float)quadrant - 0.5f) * (PI / 2.0f);
    float a2 = a * a;
    float s = a * (1.0f - a2 * (1.0f / 6.0f - a2 * (1.0f / 120.0f - a2 / 5040.0f)));
    float c = 1.0f - a2 * (0.5f - a2 * (1.0f / 24.0f - a2 / 720.0f));
    /* Back by the eighth of a turn, then by quadrants. */
    float h = 0.70710678f;
    float c0 = h * (c - s), s0 = h * (c + s);
    if (quadrant & 1) { float swap = c0; c0 = -s0; s0 = swap; }
    if (quadrant & 2) { c0 = -c0; s0 = -s0; }
    *cosine = c0;
    *sine = s0;
}

/* Two axes across the unit vector n (Duff and others, 2017). */
static inline void across(vec n, vec *s, vec *t)
{
    float sign = copysignf(1.0f, n.z);
    float a = -1.0f / (sign + n.z), b = n.x * n.y * a;
    *s = v(1.0f + sign * n.x * n.x * a, sign * b, -sign * n.x);
    *t = v(b, sign + n.y * n.y * a, -n.y);
}

/* ---- random numbers ------------------------------------------------------ */

static inline uint32_t hash32(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

static uint32_t random_state;

static inline uint32_t random_bits(void)
{
    random_state = random_state * 747796405u + 2891336453u;
    uint32_t word = ((random_state >> ((random_state >> 28) + 4)) ^ random_state) * 277803737u;
    return (word >> 22) ^ word;
}
static inline float to_unit(uint32_t bits) { return (float)(bits >> 8) * (1.0f / 16777216.0f); }
static inline float random_unit(void) { return to_unit(random_bits()); }

/* The first choices of a path decide most of what a pixel looks like, so they
 * come from a well spread (0,2)-sequence, shuffled and shifted for each pixel
 * and each pair of choices. All later ones are plain random numbers. */
#define SET_BITS 9
#define SET_SIZE (1u << SET_BITS)
#define SHUFFLES 32u
enum pair { PIXEL, LENS, LIGHT, BOUNCE, CHOICE, PAIRS };

static uint32_t set_x[SET_SIZE], set_y[SET_SIZE];
static uint16_t shuffled[SHUFFLES][SET_SIZE];
static uint32_t set_mask;

static struct { uint32_t shift_x, shift_y; const uint16_t *order; } pairs[PAIRS];
static uint32_t sample_index;

static void make_sets(uint32_t samples)
{
    set_mask = 1;
    while (set_mask < samples && set_mask < SET_SIZE)
        set_mask <<= 1;
    set_mask -= 1;
    for (uint32_t i = 0; i <= set_mask; i++) {
        uint32_t x = 0, y = 0, column = 1u << 31;
        for (uint32_t bit = 0; bit < SET_BITS; bit++, column ^= column >> 1)
            if (i >> bit & 1) {
                x ^= 1u << (31 - bit);
                y ^= column;
            }
        set_x[i] = x;
        set_y[i] = y;
    }
    random_state = 1;
    for (uint32_t s = 0; s < SHUFFLES; s++) {
        for (uint32_t i = 0; i <= set_mask; i++)
            shuffled[s][i] = (uint16_t)i;
        for (uint32_t i = set_mask; i > 0; i--) {
            uint32_t j = random_bits() % (i + 1);
            uint16_t swap = shuffled[s][i];
            shuffled[s][i] = shuffled[s][j];
            shuffled[s][j] = swap;
        }
    }
}

static void start_pixel_set(void)
{
    uint32_t first = random_bits();
    for (uint32_t p = 0; p < PAIRS; p++) {
        pairs[p].shift_x = random_bits();
        pairs[p].shift_y = random_bits();
        /* An odd stride: the pairs of one pixel never share a shuffle. */
        pairs[p].order = shuffled[(first + p * 7u) % SHUFFLES];
    }
}

static inline void spread(enum pair p, float *x, float *y)
{
    uint32_t i = pairs[p].order[sample_index & set_mask];
    *x = to_unit(set_x[i] ^ pairs[p].shift_x);
    *y = to_unit(set_y[i] ^ pairs[p].shift_y);
}

/* ---- the scene ----------------------------------------------------------- */

enum kind { MATTE, VARNISH, METAL, GLASS };
/* `colour` is the reflectance; for glass, what remains after one scene unit.
 * `rough` blurs the reflections of metal. */
typedef struct { enum kind kind; vec colour; float rough; } material;

enum {
    FLOOR_LIGHT, FLOOR_DARK, PLINTH, CLEAR, GOLD, CHROME, RED, TEAL, IVORY, INK, AMBER, ROSE, LIME,
    COBALT, MATERIALS
};
static const material materials[MATERIALS] = {
    [FLOOR_LIGHT] = {VARNISH, {0.74f, 0.71f, 0.66f}, 0},
    [FLOOR_DARK] = {VARNISH, {0.045f, 0.055f, 0.080f}, 0},
    [PLINTH] = {VARNISH, {0.030f, 0.032f, 0.040f}, 0},
    [CLEAR] = {GLASS, {0.97f, 0.99f, 0.985f}, 0},
    [GOLD] = {METAL, {1.00f, 0.70f, 0.30f}, 0.06f},
    [CHROME] = {METAL, {0.92f, 0.93f, 0.95f}, 0.0f},
    [RED] = {VARNISH, {0.78f, 0.045f, 0.035f}, 0},
    [TEAL] = {VARNISH, {0.02f, 0.42f, 0.44f}, 0},
    [IVORY] = {MATTE, {0.86f, 0.82f, 0.74f}, 0},
    [INK] = {VARNISH, {0.045f, 0.07f, 0.30f}, 0},
    [AMBER] = {GLASS, {0.90f, 0.30f, 0.03f}, 0},
    [ROSE] = {METAL, {0.96f, 0.60f, 0.54f}, 0.22f},
    [LIME] = {VARNISH, {0.42f, 0.66f, 0.06f}, 0},
    [COBALT] = {GLASS, {0.03f, 0.20f, 0.90f}, 0},
};

typedef struct { vec centre; float radius; int material; } sphere;
static const sphere spheres[] = {
    {{0.00f, 1.40f, 0.00f}, 1.05f, CLEAR},
    {{-2.25f, 0.95f, -0.75f}, 0.95f, GOLD},
    {{2.30f, 0.90f, -0.55f}, 0.90f, RED},
    {{0.95f, 0.75f, -2.70f}, 0.75f, TEAL},
    {{-1.35f, 0.85f, -3.20f}, 0.85f, IVORY},
    {{3.90f, 0.75f, -2.60f}, 0.75f, CHROME},
    {{-4.15f, 0.70f, -2.40f}, 0.70f, INK},
    {{1.45f, 0.38f, 1.45f}, 0.38f, AMBER},
    {{-1.55f, 0.42f, 1.30f}, 0.42f, ROSE},
    {{-0.55f, 0.24f, 1.95f}, 0.24f, LIME},
    {{2.70f, 0.30f, 1.10f}, 0.30f, COBALT},
    {{0.55f, 0.18f, 2.25f}, 0.18f, RED},
    {{-2.75f, 0.28f, 1.05f}, 0.28f, TEAL},
};
#define SPHERES ((int)(sizeof spheres / sizeof spheres[0]))

/* The plinth under the glass sphere. */
static const vec box_lo = {-0.95f, 0.0f, -0.95f}, box_hi = {0.95f, 0.35f, 0.95f};

/* Soft boxes: rectangles that shine to one side, centre +- half_u +- half_v.
 * They light and show in reflections, and are out of the camera's sight. */
typedef struct { vec centre, half_u, half_v, normal, glow; float area; } softbox;
#define LIGHTS 2
static softbox lights[LIGHTS];
/* Chance of each light to be the one sampled. */
static const float light_chance[LIGHTS] = {0.7f, 0.3f};

static softbox softbox_at(vec centre, vec towards, float half_width, float half_height, vec glow)
{
    softbox box;
    box.centre = centre;
    box.normal = unit(sub(towards, centre));
    vec side = unit(cross(v(0, 1, 0.001f), box.normal));
    box.half_u = scale(side, half_width);
    box.half_v = scale(cross(box.normal, side), half_height);
    box.glow = glow;
    box.area = 4.0f * half_width * half_height;
    return box;
}

static void place_lights(void)
{
    lights[0] = softbox_at(v(-3.2f, 6.2f, 3.4f), v(0, 0.6f, 0), 2.1f, 1.6f, v(19.0f, 17.2f, 14.6f));
    lights[1] = softbox_at(v(6.2f, 3.8f, -2.4f), v(0, 0.8f, 0), 0.7f, 2.0f, v(9.0f, 13.0f, 21.0f));
}

static const vec horizon = {0.36f, 0.30f, 0.29f}, zenith = {0.035f, 0.065f, 0.15f};

static inline vec sky(vec d)
{
    float up = d.y > 0.0f ? d.y : 0.0f;
    return mix(horizon, zenith, fminf(1.7f * sqrtf(up), 1.0f));
}

/* ---- rays ---------------------------------------------------------------- */

enum { NOTHING = -1, FLOOR = -2, BOX = -3, SOFTBOX = -4 };
typedef struct { float t; int what; int light; } hit;

static uint64_t rays;

static inline float hit_sphere(const sphere *s, vec o, vec d, float limit)
{
    vec oc = sub(s->centre, o);
    float along = dot(oc, d);
    float rest = s->radius * s->radius - (dot(oc, oc) - along * along);
    if (rest <= 0.0f)
        return limit;
    float half = sqrtf(rest);
    float near = along - half;
    if (near > STEP)
        return near < limit ? near : limit;
    float away = along + half;
    return away > STEP && away < limit ? away : limit;
}

static inline float hit_box(vec o, vec inverse, float limit)
{
    float x0 = (box_lo.x - o.x) * inverse.x, x1 = (box_hi.x - o.x) * inverse.x;
    float y0 = (box_lo.y - o.y) * inverse.y, y1 = (box_hi.y - o.y) * inverse.y;
    float z0 = (box_lo.z - o.z) * inverse.z, z1 = (box_hi.z - o.z) * inverse.z;
    float in = fmaxf(fmaxf(fminf(x0, x1), fminf(y0, y1)), fminf(z0, z1));
    float out = fminf(fminf(fmaxf(x0, x1), fmaxf(y0, y1)), fmaxf(z0, z1));
    return in <= out && in > STEP && in < limit ? in : limit;
}

static inline vec inverse_of(vec d)
{
    return v(1.0f / d.x, 1.0f / d.y, 1.0f / d.z);
}

/* The nearest thing on the ray; soft boxes only if `see_lights`. */
static hit nearest(vec o, vec d, bool see_lights)
{
    hit best = {FAR, NOTHING, 0};
    rays++;
    for (int i = 0; i < SPHERES; i++) {
        float t = hit_sphere(&spheres[i], o, d, best.t);
        if (t < best.t) {
            best.t = t;
            best.what = i;
        }
    }
    float t = hit_box(o, inverse_of(d), best.t);
    if (t < best.t) {
        best.t = t;
        best.what = BOX;
    }
    if (d.y < -1e-6f) {
        t = -o.y / d.y;
        if (t > STEP && t < best.t) {
            best.t = t;
            best.what = FLOOR;
        }
    }
    if (see_lights)
        for (int i = 0; i < LIGHTS; i++) {
            const softbox *box = &lights[i];
            float facing = dot(d, box->normal);
            if (facing >= -1e-6f)
                continue;
            t = dot(sub(box->centre, o), box->normal) / facing;
            if (t <= STEP || t >= best.t)
                continue;
            vec from_centre = sub(add(o, scale(d, t)), box->centre);
            if (fabsf(dot(from_centre, box->half_u)) <= dot(box->half_u, box->half_u) &&
                fabsf(dot(from_centre, box->half_v)) <= dot(box->half_v, box->half_v)) {
                best.t = t;
                best.what = SOFTBOX;
                best.light = i;
            }
        }
    return best;
}

/* Whether anything stands between o and o + d*limit. */
static bool shadowed(vec o, vec d, float limit)
{
    rays++;
    for (int i = 0; i < SPHERES; i++)
        if (hit_sphere(&spheres[i], o, d, limit) < limit)
            return true;
    return hit_box(o, inverse_of(d), limit) < limit;
}

/* Light that reaches point p with normal n straight from one soft box, for a
 * white matte surface. */
static vec direct(vec p, vec n, float u1, float u2, float choice)
{
    int which = choice < light_chance[0] ? 0 : 1;
    const softbox *box = &lights[which];
    vec on = add(box->centre,
                 add(scale(box->half_u, 2.0f * u1 - 1.0f), scale(box->half_v, 2.0f * u2 - 1.0f)));
    vec to = sub(on, p);
    float square = dot(to, to), distance = sqrtf(square);
    vec d = scale(to, 1.0f / distance);
    float at_surface = dot(n, d), at_light = -dot(box->normal, d);
    if (at_surface <= 0.0f || at_light <= 0.0f || shadowed(p, d, distance - STEP))
        return v(0, 0, 0);
    float weight = at_surface * at_light * box->area / (PI * square * light_chance[which]);
    return scale(box->glow, weight);
}

static inline vec box_normal(vec p)
{
    vec c = scale(add(box_lo, box_hi), 0.5f), h = scale(sub(box_hi, box_lo), 0.5f);
    vec q = v((p.x - c.x) / h.x, (p.y - c.y) / h.y, (p.z - c.z) / h.z);
    vec a = v(fabsf(q.x), fabsf(q.y), fabsf(q.z));
    if (a.x > a.y && a.x > a.z)
        return v(copysignf(1.0f, q.x), 0, 0);
    if (a.y > a.z)
        return v(0, copysignf(1.0f, q.y), 0);
    return v(0, 0, copysignf(1.0f, q.z));
}

static inline vec mirror(vec d, vec n) { return sub(d, scale(n, 2.0f * dot(d, n))); }

static inline float schlick(float cosine, float at_zero)
{
    float m = 1.0f - cosine, m2 = m * m;
    return at_zero + (1.0f - at_zero) * m2 * m2 * m;
}

/* Share of light that glass of index 1.5 reflects; `ratio` is outside/inside
 * index as seen from the ray, `refracted` the cosine on the far side. */
static inline float glass_share(float cosine, float refracted, float ratio)
{
    float s = (ratio * cosine - refracted) / (ratio * cosine + refracted);
    float p = (ratio * refracted - cosine) / (ratio * refracted + cosine);
    return 0.5f * (s * s + p * p);
}

static inline float lowest(float x) { return x > 0.0f ? x : 0.0f; }

/* The light that comes along one ray from o in direction d. */
static vec trace(vec o, vec d)
{
    vec light = v(0, 0, 0), carry = v(1, 1, 1);
    /* Whether the last bounce was a mirror-like one: only then may the path see
     * a soft box, since matte surfaces have sampled them already. */
    bool sharp = true;
    bool was_matte = false;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        hit h = nearest(o, d, sharp);
        if (h.what == NOTHING) {
            light = add(light, mul(carry, sky(d)));
            break;
        }
        if (h.what == SOFTBOX) {
            vec glow = mul(carry, lights[h.light].glow);
            if (was_matte)
                glow = at_most(glow, INDIRECT_CLAMP);
            else if (depth > 1)
                glow = at_most(glow, MIRRORED_CLAMP);
            light = add(light, glow);
            break;
        }

        vec p = add(o, scale(d, h.t)), n;
        const material *m;
        if (h.what >= 0) {
            const sphere *s = &spheres[h.what];
            n = scale(sub(p, s->centre), 1.0f / s->radius);
            m = &materials[s->material];
        } else if (h.what == BOX) {
            n = box_normal(p);
            m = &materials[PLINTH];
        } else {
            n = v(0, 1, 0);
            p.y = 0.0f;
            /* The floor melts into the horizon. */
            float fade = smoothstep(9.0f, 30.0f, sqrtf(p.x * p.x + p.z * p.z));
            light = add(light, scale(mul(carry, horizon), fade));
            carry = scale(carry, 1.0f - fade);
            if (fade >= 1.0f)
                break;
            int tile = (int)floorf(p.x * 0.8f + 0.5f) + (int)floorf(p.z * 0.8f + 0.5f);
            m = &materials[tile & 1 ? FLOOR_DARK : FLOOR_LIGHT];
        }

        if (m->kind == GLASS) {
            float cosine = -dot(d, n), ratio = 1.0f / 1.5f;
            if (cosine < 0.0f) {
                /* Leaving: colour by the way through the glass. */
                cosine = -cosine;
                n = scale(n, -1.0f);
                ratio = 1.5f;
                carry = mul(carry, v(powf(m->colour.x, h.t), powf(m->colour.y, h.t),
                                     powf(m->colour.z, h.t)));
            }
            float under = 1.0f - ratio * ratio * (1.0f - cosine * cosine);
            float refracted = sqrtf(lowest(under));
            float share = under <= 0.0f ? 1.0f : glass_share(cosine, refracted, ratio);
            float chance = share, pick, unused;
            if (depth == 0) {
                /* Seen by the camera: look at the reflection often enough. */
                spread(CHOICE, &pick, &unused);
                chance = fmaxf(share, FIRST_MIRROR);
            } else {
                pick = random_unit();
            }
            if (pick < chance) {
                carry = scale(carry, share / chance);
                d = mirror(d, n);
                o = add(p, scale(n, STEP));
            } else {
                carry = scale(carry, (1.0f - share) / (1.0f - chance));
                d = unit(add(scale(d, ratio), scale(n, ratio * cosine - refracted)));
                o = sub(p, scale(n, STEP));
            }
            sharp = true;
        } else if (m->kind == METAL) {
            d = mirror(d, n);
            if (m->rough > 0.0f) {
                float c, s, height = 2.0f * random_unit() - 1.0f;
                turn(random_unit(), &c, &s);
                float ring = sqrtf(lowest(1.0f - height * height));
                d = unit(add(d, scale(v(ring * c, ring * s, height), m->rough)));
                if (dot(d, n) <= 0.0f)
                    break;
            }
            carry = mul(carry, m->colour);
            o = add(p, scale(n, STEP));
            sharp = true;
        } else {
            float u1, u2, l1, l2, pick, choice;
            if (depth == 0) {
                spread(BOUNCE, &u1, &u2);
                spread(LIGHT, &l1, &l2);
                spread(CHOICE, &pick, &choice);
            } else {
                u1 = random_unit(), u2 = random_unit();
                l1 = random_unit(), l2 = random_unit();
                pick = random_unit(), choice = random_unit();
            }
            o = add(p, scale(n, STEP));
            /* The coat is left out once the path is diffuse: nobody can tell. */
            if (m->kind == VARNISH && !was_matte) {
                float share = schlick(-dot(d, n), 0.04f);
                float chance = fmaxf(share, FIRST_MIRROR);
                if (pick < chance) {
                    carry = scale(carry, share / chance);
                    d = mirror(d, n);
                    sharp = true;
                    continue;
                }
                carry = scale(carry, (1.0f - share) / (1.0f - chance));
            }
            carry = mul(carry, m->colour);
            vec straight = mul(carry, direct(o, n, l1, l2, choice));
            if (was_matte)
                straight = at_most(straight, INDIRECT_CLAMP);
            light = add(light, straight);
            vec s, t;
            across(n, &s, &t);
            float c, si, ring = sqrtf(u1);
            turn(u2, &c, &si);
            d = unit(add(add(scale(s, ring * c), scale(t, ring * si)),
                         scale(n, sqrtf(lowest(1.0f - u1)))));
            sharp = false;
            was_matte = true;
        }

        if (depth >= SURE_DEPTH) {
            float keep = fminf(largest(carry), 0.95f);
            if (random_unit() >= keep)
                break;
            carry = scale(carry, 1.0f / keep);
        }
    }
    return light;
}

/* ---- the picture --------------------------------------------------------- */

static const vec eye = {0.35f, 2.55f, 8.2f}, look_at = {0.0f, 0.82f, 0.0f};
#define LENS_RADIUS 0.055f
/* Half of the view's height at distance one. */
#define HALF_VIEW 0.285f

/* Film curve (Narkowicz's fit of ACES) and the sRGB curve. */
static uint8_t develop(float x)
{
    x *= 0.82f;
    x = clampf((x * (2.51f * x + 0.03f)) / (x * (2.43f * x + 0.59f) + 0.14f), 0.0f, 1.0f);
    x = x <= 0.0031308f ? 12.92f * x : 1.055f * powf(x, 1.0f / 2.4f) - 0.055f;
    return (uint8_t)(clampf(x, 0.0f, 1.0f) * 255.0f + 0.5f);
}

/* A share of a pixel's width, -1..1, densest in the middle. */
static inline float tent(float u)
{
    return u < 0.5f ? sqrtf(2.0f * u) - 1.0f : 1.0f - sqrtf(2.0f - 2.0f * u);
}

static void pixel(uint32_t width, uint32_t height, uint32_t x, uint32_t y, uint32_t samples,
                  uint8_t rgb[3])
{
    vec ahead = unit(sub(look_at, eye));
    vec right = unit(cross(ahead, v(0, 1, 0))), up = cross(right, ahead);
    float focus = sqrtf(dot(sub(look_at, eye), sub(look_at, eye))) - 1.0f;
    float step = 2.0f * HALF_VIEW / (float)height;

    random_state = hash32(x + 1u) ^ hash32(hash32(y + 1u) + 0x9e3779b9u);
    vec sum = v(0, 0, 0);
    for (uint32_t i = 0; i < samples; i++) {
        if ((i & set_mask) == 0)
            start_pixel_set();
        sample_index = i;
        float px, py, lr, lt, c, s;
        spread(PIXEL, &px, &py);
        spread(LENS, &lr, &lt);
        turn(lt, &c, &s);
        float ring = LENS_RADIUS * sqrtf(lr);
        float sx = ((float)x + 0.5f + tent(px) - 0.5f * (float)width) * step;
        float sy = (0.5f * (float)height - (float)y - 0.5f - tent(py)) * step;
        vec target = scale(add(ahead, add(scale(right, sx), scale(up, sy))), focus);
        vec lens = add(scale(right, ring * c), scale(up, ring * s));
        sum = add(sum, trace(add(eye, lens), unit(sub(target, lens))));
    }
    sum = scale(sum, 1.0f / (float)samples);
    rgb[0] = develop(sum.x);
    rgb[1] = develop(sum.y);
    rgb[2] = develop(sum.z);
}

/* ---- arguments and output ------------------------------------------------ */

static int write_all(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        ssize_t written = write(fd, at, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        at += written;
        length -= (size_t)written;
    }
    return 0;
}

/* One line for standard error, put together here and written at once. */
static char line[256];
static size_t line_length;

static void put(const char *text)
{
    while (*text != '\0' && line_length < sizeof line)
        line[line_length++] = *text++;
}

static void put_number(uint64_t value)
{
    char digits[21], *at = digits + sizeof digits;
    *--at = '\0';
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put(at);
}

static void put_end(void)
{
    if (line_length == sizeof line)
        line_length--;
    line[line_length++] = '\n';
    (void)write_all(STDERR_FILENO, line, line_length);
    line_length = 0;
}

static int wrong(const char *name, const char *why)
{
    put("tile: ");
    put(name);
    put(why);
    put_end();
    static const char usage[] = "usage: tile WIDTH HEIGHT X0 Y0 W H SAMPLES OUTFILE\n";
    (void)write_all(STDERR_FILENO, usage, sizeof usage - 1);
    return EXIT_USAGE;
}

static int fail(const char *what, const char *name)
{
    put("tile: cannot ");
    put(what);
    put(" ");
    put(name);
    put_end();
    return EXIT_IO;
}

/* A decimal number of digits only, at most `most`. */
static bool parse(const char *text, uint32_t least, uint32_t most, uint32_t *value)
{
    uint32_t result = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        result = result * 10u + (uint32_t)(*text - '0');
        if (result > most)
            return false;
    }
    *value = result;
    return result >= least;
}

static uint8_t row[MAX_SIDE * 3];

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

int main(int argc, char **argv)
{
    static const struct { const char *name; uint32_t least, most; } wanted[7] = {
        {"WIDTH", 1, MAX_SIDE}, {"HEIGHT", 1, MAX_SIDE}, {"X0", 0, MAX_SIDE}, {"Y0", 0, MAX_SIDE},
        {"W", 1, MAX_SIDE},     {"H", 1, MAX_SIDE},      {"SAMPLES", 1, MAX_SAMPLES},
    };
    uint32_t value[7];
    if (argc != 9)
        return wrong("eight arguments", " are needed");
    for (int i = 0; i < 7; i++)
        if (!parse(argv[i + 1], wanted[i].least, wanted[i].most, &value[i]))
            return wrong(wanted[i].name, " is not a number in its range");
    uint32_t width = value[0], height = value[1], x0 = value[2], y0 = value[3];
    uint32_t w = value[4], h = value[5], samples = value[6];
    const char *out_name = argv[8];
    if (x0 + w > width || y0 + h > height)
        return wrong("the tile", " is not inside the picture");

    int out = open(out_name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (out < 0)
        return fail("create", out_name);
    uint8_t header[20] = {'H', 'V', 'T', '1'};
    put_u32(header + 4, x0);
    put_u32(header + 8, y0);
    put_u32(header + 12, w);
    put_u32(header + 16, h);
    if (write_all(out, header, sizeof header) != 0)
        return fail("write", out_name);

    place_lights();
    make_sets(samples);
    for (uint32_t y = 0; y < h; y++) {
        for (uint32_t x = 0; x < w; x++)
            pixel(width, height, x0 + x, y0 + y, samples, row + 3 * x);
        if (write_all(out, row, 3 * (size_t)w) != 0)
            return fail("write", out_name);
    }
    if (close(out) != 0)
        return fail("close", out_name);

    put("tile ");
    put_number(w);
    put("x");
    put_number(h);
    put(" at ");
    put_number(x0);
    put(",");
    put_number(y0);
    put(" of ");
    put_number(width);
    put("x");
    put_number(height);
    put(": ");
    put_number(samples);
    put(" samples, ");
    put_number(rays);
    put(" rays");
    put_end();
    return 0;
}
