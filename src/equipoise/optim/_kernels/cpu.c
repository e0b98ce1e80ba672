/* The fused CPU kernel: the update rule of rules.py, stated a second time for speed alone.

   One parallel loop over fixed-size chunks of all tensors of all groups; inside a chunk, which stays in cache, one pass per
   stage (stage.h). Computed in float, or in double for parameters in double; other types are widened and narrowed a chunk at
   a time. Plain C over raw pointers: no headers of Python or torch, so one build serves every version of both. It checks
   nothing: cpu.py, its only caller, checks everything. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define CHUNK 2048
#define BLOCK 256
#define REFERENCE_STEPS 20 /* of rules.py */
#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
/* Levels, not the names of processors: those match the very model alone, and every other one would run the baseline. */
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#else
#define CLONES __attribute__((noinline))
#endif

typedef enum { FLOAT32, BFLOAT16, FLOAT16, FLOAT64 } Type;

typedef enum { HALF, QUARTER, EIGHTH, ZERO, BETWEEN, ANY } Power; /* power_kind of slot.py says which is which */

/* All memory belongs to the caller: torch's tensors, and the tables of cpu.py, which repeats these structures field by field.
   Nothing is allocated here. No tensor overlaps another. */

typedef struct {
    void *theta;                                     /* [count], contiguous, of theta_type; written */
    const void *gradient;                            /* [count], contiguous, of gradient_type; only read */
    double *step;                                    /* [1]: t of the step before; incremented here */
    int64_t theta_type, gradient_type, moments_type; /* Type; all or none FLOAT64 */
    int64_t count;                                   /* elements */
    int64_t first_chunk;                             /* chunks of all tensors before this one */
    int64_t first_memory;                            /* index in memories[] of its first stage */
    int64_t group;                                   /* index in groups[] */
    int64_t position, offset; /* which parameter, and its first element here, to the generator of random numbers */
    int64_t remembers;        /* whether it has squares, and these are brought up to date here */
} Tensor;

typedef struct {
    void *m, *v;            /* [count], contiguous, of moments_type; written */
    void *squares;          /* [REFERENCE_STEPS], ascending, float or double, as the tensor is computed; NULL without a reference */
    int64_t m_born, v_born; /* steps before them: bias corrections go by age */
} Memory;

typedef struct {
    double beta1, beta2, exponent;
    int64_t power; /* Power */
} Stage;

typedef struct {
    double lr, eps, weight_decay;
    int64_t stages, first_stage, maximize, stochastic, seed;
} Group;

/* Over some elements, in the order of MEASURES in slot.py: sums of g^2, u^2, theta^2 and v, max |u|, and how many g are 0, and
   not finite. */
typedef struct {
    double input, output, theta, second, largest, zeros, nonfinite;
} Sums;

/* Of the squares that are finite: their sum, and how many. */
typedef struct {
    double total, count;
} Squares;

INLINE float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

INLINE double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

INLINE uint64_t bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}

/* 15 significant bits. */
static float leading_bits(float value) { return float_of(bits_of(value) & 0xfffffe00); }

/* log2 v for v > 0, as a whole number and a fraction, to 4.2e-8. */
INLINE float log2_of(float v, float *fraction)
{
    int denormal = v < 0x1p-126f;
    int32_t bits = (int32_t)bits_of(v);
    bits = denormal ? (int32_t)bits_of((float)bits) : bits; /* v 2^149 */
    int32_t whole = (bits - 0x3f3504f3) >> 23;              /* mantissa in [sqrt(1/2), sqrt(2)) */
    float f = float_of((uint32_t)bits - ((uint32_t)whole << 23)) - 1.0f;
    /* log2(1 + f), minimax */
    *fraction = f * (1.4426949f + f * (-0.721358061f + f * (0.480936259f + f * (-0.360067189f + f * (0.286683083f
              + f * (-0.250118077f + f * (0.237375423f + f * -0.146595865f)))))));
    return (float)(denormal ? whole - 149 : whole);
}

/* 2^r on [-1/2, 1/2] to 5.9e-8, minimax. */
INLINE float exp2_of(float r)
{
    return 1.0f + r * (0.693146944f + r * (0.24022156f + r * (0.0555077717f + r * (0.00967431441f + r * 0.0013261243f))));
}

/* v^(high + low) for v >= 0 and an exponent BETWEEN: 2^(p log2 v), the product split so that nothing is lost to large logarithms.
   Every power but those of 0 and infinity is a normal number. */
INLINE float power_of(float v, float high, float low)
{
    float fraction, e = log2_of(v, &fraction);
    float large = high * e;
    float small = low * e + (high + low) * fraction;
    float shifted = large + small + 0x1.8p23f, n = shifted - 0x1.8p23f; /* to the nearest whole number */
    float y = exp2_of((large - n) + small);
    y = float_of(bits_of(y) + (bits_of(shifted) << 23));
    y = v < INFINITY ? y : v; /* also for NaN */
    return v == 0.0f ? 0.0f : y;
}

/* S v^p for v >= 0 and ANY exponent but 0: 2^(p log2 v + log2 S), in double, where it is a normal number unless what it divides
   becomes 0 or infinity in float. */
INLINE double wide_power(float v, double exponent, double log_scale)
{
    float fraction, e = log2_of(v, &fraction);
    double exact = exponent * ((double)e + (double)fraction) + log_scale;
    exact = exact < 1022.0 ? exact : 1022.0; /* also for NaN */
    exact = exact > -1022.0 ? exact : -1022.0;
    double shifted = exact + 0x1.8p52, n = shifted - 0x1.8p52;
    double y = (double)exp2_of((float)(exact - n)) * double_of((bits_of_double(shifted) + 1023) << 52);
    double special = exponent > 0 ? (double)v : 1 / (double)v; /* of 0, infinity and NaN */
    return v > 0 && v < INFINITY ? y : special;
}

#define REAL float
#define NAME(name) name##_float
#define SQRT sqrtf
#define ABS fabsf
#define POWER power_of
#define SCALED_POWER(v, p) wide_power(v, (p)->exponent, (p)->log_scale)
#define LARGEST FLT_MAX
#include "stage.h"
#undef REAL
#undef NAME
#undef SQRT
#undef ABS
#undef POWER
#undef SCALED_POWER
#undef LARGEST

#define REAL double
#define NAME(name) name##_double
#define SQRT sqrt
#define ABS fabs
#define POWER(v, high, low) pow(v, high + low)
#define SCALED_POWER(v, p) ((v) == 0 ? ((p)->exponent > 0 ? 0 : INFINITY) : pow(v, (p)->exponent) * (p)->scale)
#define LARGEST DBL_MAX
#include "stage.h"

/* Random numbers for rounding, those of rounding.py: a function of the seed, the parameter, the step, what is rounded, and
   the element. */

typedef struct {
    uint32_t flip, add;
} Key;

INLINE uint64_t mix64(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static Key make_key(int64_t seed, int64_t position, double t, int64_t stream)
{
    uint64_t key = mix64(mix64(mix64(mix64((uint64_t)seed) + (uint64_t)position) + (uint64_t)t) + (uint64_t)stream);
    return (Key){(uint32_t)key, (uint32_t)(key >> 32)};
}

INLINE uint32_t random_bits(uint32_t element, Key key) /* lowbias32 */
{
    uint32_t x = element ^ key.flip;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return (x ^ (x >> 16)) + key.add;
}

INLINE float widen_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    uint32_t normal = (rest << 13) + (112u << 23);
    normal = rest >= 0x7c00 ? normal + (112u << 23) : normal; /* infinity and NaN */
    uint32_t denormal = bits_of((float)(int32_t)rest * 0x1p-24f);
    return float_of(sign | (rest < 0x400 ? denormal : normal));
}

INLINE uint16_t nearest_bfloat(float value)
{
    uint32_t bits = bits_of(value);
    return value != value ? 0x7fc0 : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* All ones if true. In place of a branch, which the compiler would not vectorise here. */
INLINE uint32_t mask(int condition) { return -(uint32_t)condition; }

/* `added` to the 13 bits that are cut off rounds a normal number; `denormal` is the result below 2^-14. */
INLINE uint16_t half_of(float value, uint32_t added, uint32_t denormal)
{
    uint32_t bits = bits_of(value), size = bits & 0x7fffffff;
    uint32_t small = mask(size < (113u << 23)), large = mask(size >= 0x47800000); /* 2^-14, 65536 */
    uint32_t half = (denormal & small) | (((size - (112u << 23) + added) >> 13) & ~small & ~large) | (0x7c00 & large);
    return (uint16_t)((bits >> 16 & 0x8000) | half | (0x200 & mask(size > 0x7f800000)));
}

INLINE uint16_t nearest_half(float value)
{
    uint32_t size = bits_of(value) & 0x7fffffff;
    /* A float between 1/2 and 1 is a multiple of 2^-24, as are the denormal numbers. */
    return half_of(value, 0xfff + ((size >> 13) & 1), bits_of(float_of(size) + 0.5f) - bits_of(0.5f));
}

/* To one of the two neighbours, the nearer the likelier, so that the mean is the value. */
INLINE uint16_t random_bfloat(float value, uint32_t random)
{
    return value != value ? 0x7fc0 : (uint16_t)((bits_of(value) + (random & 0xffff)) >> 16);
}

/* The same; beyond the largest finite number: to nearest. */
INLINE uint16_t random_half(float value, uint32_t random)
{
    uint32_t size = bits_of(value) & 0x7fffffff, large = mask(size > 0x477fe000);
    float scaled = float_of(size & mask(size < (113u << 23))) * 0x1p24f;
    int32_t whole = (int32_t)scaled, up = (float)(int32_t)(random >> 8) * 0x1p-24f < scaled - (float)whole;
    uint32_t added = (random & 0x1fff & ~large) | ((0xfff + ((size >> 13) & 1)) & large);
    return half_of(value, added, (uint32_t)(whole + up));
}

/* from[count], of 16 bits each, into to[count]; exact. */
INLINE void widen(float *restrict to, const uint16_t *restrict from, int64_t count, int64_t type)
{
    if (type == BFLOAT16)
        for (int64_t i = 0; i < count; i++)
            to[i] = float_of((uint32_t)from[i] << 16);
    else
        for (int64_t i = 0; i < count; i++)
            to[i] = widen_half(from[i]);
}

/* from[count] rounded into to[count]: at random with a key, else to nearest. `first` is the number of its first element. */
INLINE void narrow(uint16_t *restrict to, const float *restrict from, int64_t count, int64_t type, const Key *key, uint32_t first)
{
    if (type == BFLOAT16 && key) {
        const Key own = *key;
        for (int64_t i = 0; i < count; i++)
            to[i] = random_bfloat(from[i], random_bits(first + (uint32_t)i, own));
    } else if (type == BFLOAT16) {
        for (int64_t i = 0; i < count; i++)
            to[i] = nearest_bfloat(from[i]);
    } else if (key) {
        const Key own = *key;
        for (int64_t i = 0; i < count; i++)
            to[i] = random_half(from[i], random_bits(first + (uint32_t)i, own));
    } else {
        for (int64_t i = 0; i < count; i++)
            to[i] = nearest_half(from[i]);
    }
}

/* Both moments, in bfloat16, with the lower and the upper half of the same random numbers. */
INLINE void narrow_moments(uint16_t *restrict m, const float *restrict from_m, uint16_t *restrict v,
                                  const float *restrict from_v, int64_t count, Key key, uint32_t first)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t random = random_bits(first + (uint32_t)i, key);
        m[i] = random_bfloat(from_m[i], random);
        v[i] = random_bfloat(from_v[i], random >> 16);
    }
}

/* The `count` floats from element `start` of `data` on: the very memory if they are floats there, else copies in buffer[count]. */
INLINE float *as_float(const void *data, int64_t start, int64_t count, int64_t type, float *buffer)
{
    if (type == FLOAT32)
        return (float *)data + start;
    widen(buffer, (const uint16_t *)data + start, count, type);
    return buffer;
}

/* A chunk in blocks, so small that the processor fetches the next one meanwhile: each is widened, goes through all stages,
   and is narrowed. `memories`, `passes` and `sums` (NULL: measure nothing) have an entry per stage, `keys` one more, the first. */
CLONES static void chunk_float(const Tensor *tensor, const Memory *memories, const Pass_float *passes, const Key *keys,
                               const Group *group, int64_t start, int64_t count, Sums *sums)
{
    float x[BLOCK], theta[BLOCK], m[BLOCK], v[BLOCK];
    for (int64_t at = start, size; at < start + count; at += size) {
        size = start + count - at;
        size = size > BLOCK ? BLOCK : size;
        uint32_t first = (uint32_t)(tensor->offset + at);
        const float *from = as_float(tensor->gradient, at, size, tensor->gradient_type, x);
        float *to = as_float(tensor->theta, at, size, tensor->theta_type, theta);
        for (int64_t s = 0; s < group->stages; s++) {
            float *m_s = as_float(memories[s].m, at, size, tensor->moments_type, m);
            float *v_s = as_float(memories[s].v, at, size, tensor->moments_type, v);
            run_float(from, passes[s].last ? to : x, m_s, v_s, size, &passes[s], sums ? &sums[s] : NULL);
            if (tensor->moments_type != FLOAT32)
                narrow_moments((uint16_t *)memories[s].m + at, m, (uint16_t *)memories[s].v + at, v, size, keys[1 + s], first);
            from = x;
        }
        if (tensor->theta_type != FLOAT32)
            narrow((uint16_t *)tensor->theta + at, theta, size, tensor->theta_type, group->stochastic ? keys : NULL, first);
    }
}

CLONES static void chunk_double(const Tensor *tensor, const Memory *memories, const Pass_double *passes, const Group *group,
                                int64_t start, int64_t count, Sums *sums)
{
    double x[CHUNK];
    const double *from = (const double *)tensor->gradient + start;
    for (int64_t s = 0; s < group->stages; s++) {
        double *to = passes[s].last ? (double *)tensor->theta + start : x;
        run_double(from, to, (double *)memories[s].m + start, (double *)memories[s].v + start, count, &passes[s],
                   sums ? &sums[s] : NULL);
        from = x;
    }
}

/* What stage s of a chunk gets in the coming step: its squares. Nothing but them is written. */
CLONES static Squares look_float(const Tensor *tensor, const Memory *memories, const Pass_float *passes, int64_t s, int64_t start,
                                 int64_t count)
{
    Squares found = {0};
    float x[BLOCK], m[BLOCK], v[BLOCK];
    for (int64_t at = start, size; at < start + count; at += size) {
        size = start + count - at;
        size = size > BLOCK ? BLOCK : size;
        const float *from = as_float(tensor->gradient, at, size, tensor->gradient_type, x);
        for (int64_t i = 0; i < s; i++) {
            memmove(m, as_float(memories[i].m, at, size, tensor->moments_type, m), size * sizeof(float));
            memmove(v, as_float(memories[i].v, at, size, tensor->moments_type, v), size * sizeof(float));
            run_float(from, x, m, v, size, &passes[i], NULL);
            from = x;
        }
        add_squares_float(from, size, &found);
    }
    return found;
}

CLONES static Squares look_double(const Tensor *tensor, const Memory *memories, const Pass_double *passes, int64_t s,
                                  int64_t start, int64_t count)
{
    Squares found = {0};
    double x[CHUNK], m[CHUNK], v[CHUNK];
    const double *from = (const double *)tensor->gradient + start;
    for (int64_t i = 0; i < s; i++) {
        memcpy(m, (const double *)memories[i].m + start, count * sizeof(double));
        memcpy(v, (const double *)memories[i].v + start, count * sizeof(double));
        run_double(from, x, m, v, count, &passes[i], NULL);
        from = x;
    }
    add_squares_double(from, count, &found);
    return found;
}

static int takes_more(const Tensor *tensor, const Memory *memory)
{
    return tensor->theta_type == FLOAT64 ? *(const double *)memory->squares == 0 : *(const float *)memory->squares == 0;
}

/* How many of tensors[count] have squares that take some more. */
int64_t equipoise_moving(const Tensor *tensors, const Memory *memories, const Group *groups, int64_t count)
{
    int64_t found = 0;
    for (int64_t index = 0; index < count; index++) {
        const Tensor *tensor = &tensors[index];
        int moves = 0;
        for (int64_t s = 0; tensor->remembers && s < groups[tensor->group].stages; s++)
            moves |= takes_more(tensor, &memories[tensor->first_memory + s]);
        found += moves;
    }
    return found;
}

/* Brings the squares of all tensors[count] up to date with the coming step: one stage after the other, because what a stage gets
   depends on the scale of those before. `found` is scratch memory, [chunks]; the other arguments are those of equipoise_step. */
void equipoise_remember(const Tensor *tensors, const Memory *memories, const Stage *stages, const Group *groups, int64_t count,
                        int64_t chunks, int64_t most, int64_t threads, Squares *found)
{
    for (int64_t s = 0; s < most; s++) {
#pragma omp parallel num_threads(threads) if (chunks > 1)
        {
            Pass_float passes_float[most];
            Pass_double passes_double[most];
            int64_t index = 0, prepared = -1;
#pragma omp for schedule(static)
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                while (index + 1 < count && tensors[index + 1].first_chunk <= chunk)
                    index++;
                const Tensor *tensor = &tensors[index];
                const Memory *own = &memories[tensor->first_memory];
                const Group *group = &groups[tensor->group];
                if (!tensor->remembers || s >= group->stages || !takes_more(tensor, &own[s]))
                    continue;
                int64_t start = (chunk - tensor->first_chunk) * CHUNK;
                int64_t length = tensor->count - start < CHUNK ? tensor->count - start : CHUNK;
                for (int64_t i = 0; i < s && prepared != index; i++) {
                    if (tensor->theta_type == FLOAT64)
                        passes_double[i] = make_pass_double(&stages[group->first_stage + i], &own[i], *tensor->step + 1, group, i);
                    else
                        passes_float[i] = make_pass_float(&stages[group->first_stage + i], &own[i], *tensor->step + 1, group, i);
                }
                prepared = index;
                found[chunk] = tensor->theta_type == FLOAT64 ? look_double(tensor, own, passes_double, s, start, length)
                                                             : look_float(tensor, own, passes_float, s, start, length);
            }
        }
        for (int64_t index = 0; index < count; index++) {
            const Tensor *tensor = &tensors[index];
            const Memory *memory = &memories[tensor->first_memory + s];
            if (!tensor->remembers || s >= groups[tensor->group].stages || !takes_more(tensor, memory))
                continue;
            Squares sum = {0};
            for (int64_t chunk = 0; chunk < (tensor->count + CHUNK - 1) / CHUNK; chunk++) {
                sum.total += found[tensor->first_chunk + chunk].total;
                sum.count += found[tensor->first_chunk + chunk].count;
            }
            if (tensor->theta_type == FLOAT64)
                remember_double(memory->squares, sum);
            else
                remember_float(memory->squares, sum);
        }
    }
}

/* Adds up what the chunks of a tensor measured, sums[chunks][most]. */
static Sums conclude(int64_t stages, int64_t most, int64_t chunks, const Sums *sums)
{
    Sums first = {0}, last = {0};
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        Sums here = sums[chunk * most], end = sums[chunk * most + stages - 1];
        first.input += here.input, first.second += here.second, first.zeros += here.zeros, first.nonfinite += here.nonfinite;
        last.output += end.output, last.theta += end.theta;
        last.largest = end.largest <= last.largest || last.largest != last.largest ? last.largest : end.largest;
    }
    return (Sums){first.input, last.output, last.theta, first.second, last.largest, first.zeros, first.nonfinite};
}

/* One step for all tensors[count]. `memories` and `stages` hold those of all tensors and of all groups one after the other.
   `most` is the largest number of stages. `sums` is [chunks][most], scratch memory, and `telemetry` [count], written: both NULL
   if nothing is to be measured. */
void equipoise_step(const Tensor *tensors, const Memory *memories, const Stage *stages, const Group *groups, int64_t count,
                    int64_t chunks, int64_t most, int64_t threads, Sums *sums, Sums *telemetry)
{
#pragma omp parallel num_threads(threads) if (chunks > 1)
    {
        Pass_float passes_float[most];
        Pass_double passes_double[most];
        Key keys[most + 1]; /* of the parameter and of the moments of every stage */
        int64_t index = 0, prepared = -1;
#pragma omp for schedule(static)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            while (index + 1 < count && tensors[index + 1].first_chunk <= chunk)
                index++;
            const Tensor *tensor = &tensors[index];
            const Memory *own = &memories[tensor->first_memory];
            const Group *group = &groups[tensor->group];
            double t = *tensor->step + 1.0;
            int64_t start = (chunk - tensor->first_chunk) * CHUNK;
            int64_t length = tensor->count - start < CHUNK ? tensor->count - start : CHUNK;
            Sums *measured = sums ? &sums[chunk * most] : NULL;
            if (prepared != index) {
                keys[0] = make_key(group->seed, tensor->position, t, 0);
                for (int64_t s = 0; s < group->stages; s++) {
                    keys[1 + s] = make_key(group->seed, tensor->position, t, 1 + s);
                    if (tensor->theta_type == FLOAT64)
                        passes_double[s] = make_pass_double(&stages[group->first_stage + s], &own[s], t, group, s);
                    else
                        passes_float[s] = make_pass_float(&stages[group->first_stage + s], &own[s], t, group, s);
                }
            }
            for (int64_t s = 0; measured && s < group->stages; s++)
                measured[s] = (Sums){0};
            if (tensor->theta_type == FLOAT64)
                chunk_double(tensor, own, passes_double, group, start, length, measured);
            else
                chunk_float(tensor, own, passes_float, keys, group, start, length, measured);
            prepared = index;
        }
    }
    for (int64_t index = 0; index < count; index++) {
        const Tensor *tensor = &tensors[index];
        *tensor->step += 1;
        if (telemetry)
            telemetry[index] = conclude(groups[tensor->group].stages, most, (tensor->count + CHUNK - 1) / CHUNK,
                                        &sums[tensor->first_chunk * most]);
    }
}

/* What a step of an optimizer of another maker did to one tensor: memory that is only read, [count], contiguous, of floats. What
   is NULL is not looked at, and its sums are 0. */
typedef struct {
    const float *gradient, *theta;
    const float *before;           /* theta before the step: the update is before - theta */
    const float *m, *v;            /* without before, the update is m m_scale / (sqrt(v v_scale) + eps), or m m_scale without v */
    int64_t count, first_chunk;    /* as in Tensor */
    double m_scale, v_scale, eps;
} Seen;

INLINE void look_at_gradient(const float *g, int64_t count, Sums *sums)
{
    float squares = 0, zeros = 0, nonfinite = 0;
#pragma omp simd reduction(+ : squares, zeros, nonfinite)
    for (int64_t i = 0; i < count; i++) {
        squares += g[i] * g[i];
        zeros += (float)(g[i] == 0);
        nonfinite += (float)!(fabsf(g[i]) <= FLT_MAX);
    }
    sums->input += squares, sums->zeros += zeros, sums->nonfinite += nonfinite;
}

INLINE void look_at_update(const float *u, int64_t count, Sums *sums)
{
    float squares = 0, largest = 0;
#pragma omp simd reduction(+ : squares) reduction(max : largest)
    for (int64_t i = 0; i < count; i++) {
        squares += u[i] * u[i];
        largest = fabsf(u[i]) > largest ? fabsf(u[i]) : largest;
    }
    sums->output += squares;
    int kept = largest <= sums->largest || sums->largest != sums->largest;
    sums->largest = squares != squares ? squares : kept ? sums->largest : largest;
}

CLONES static Sums look_at(const Seen *seen, int64_t start, int64_t length)
{
    Sums sums = {0};
    float u[BLOCK];
    const float m_scale = (float)seen->m_scale, v_scale = (float)seen->v_scale, eps = (float)seen->eps;
    for (int64_t at = start, size; at < start + length; at += size) {
        size = start + length - at;
        size = size > BLOCK ? BLOCK : size;
        if (seen->gradient)
            look_at_gradient(seen->gradient + at, size, &sums);
        if (seen->theta) {
            const float *theta = seen->theta + at;
            float squares = 0;
#pragma omp simd reduction(+ : squares)
            for (int64_t i = 0; i < size; i++)
                squares += theta[i] * theta[i];
            sums.theta += squares;
        }
        if (seen->v) {
            const float *v = seen->v + at;
            float second = 0;
#pragma omp simd reduction(+ : second)
            for (int64_t i = 0; i < size; i++)
                second += v[i];
            sums.second += second;
        }
        if (seen->before) {
            const float *before = seen->before + at, *theta = seen->theta + at;
            for (int64_t i = 0; i < size; i++)
                u[i] = before[i] - theta[i];
        } else if (seen->m && seen->v) {
            const float *m = seen->m + at, *v = seen->v + at;
            for (int64_t i = 0; i < size; i++) {
                float denominator = sqrtf(v[i] * v_scale) + eps;
                u[i] = m[i] * m_scale / (denominator + (float)(denominator == 0));
            }
        } else if (seen->m) {
            const float *m = seen->m + at;
            for (int64_t i = 0; i < size; i++)
                u[i] = m[i] * m_scale;
        }
        if (seen->before || seen->m)
            look_at_update(u, size, &sums);
    }
    return sums;
}

/* The sums of tensors[count] into sums[count]. `parts` is scratch memory, [chunks]. */
void equipoise_look(const Seen *tensors, int64_t count, int64_t chunks, int64_t threads, Sums *parts, Sums *sums)
{
#pragma omp parallel num_threads(threads) if (chunks > 1)
    {
        int64_t index = 0;
#pragma omp for schedule(static)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            while (index + 1 < count && tensors[index + 1].first_chunk <= chunk)
                index++;
            int64_t start = (chunk - tensors[index].first_chunk) * CHUNK, left = tensors[index].count - start;
            parts[chunk] = look_at(&tensors[index], start, left < CHUNK ? left : CHUNK);
        }
    }
    for (int64_t index = 0; index < count; index++)
        sums[index] = conclude(1, 1, (tensors[index].count + CHUNK - 1) / CHUNK, &parts[tensors[index].first_chunk]);
}
