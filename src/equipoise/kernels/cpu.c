/* The fused CPU kernel: the rule of rules.py (E1 to E3), second statement, for speed alone.

   One parallel loop over fixed-size chunks of all tensors; inside a chunk, which stays in cache, one pass per stage.
   Plain C over raw pointers: no headers of Python or torch, so one build serves every version of both. It checks nothing:
   cpu.py, its only caller, checks everything. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define CHUNK 2048
#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
/* Levels, not the names of processors: those match the very model alone, and every other one would run the baseline. */
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#else
#define CLONES __attribute__((noinline))
#endif

typedef struct {
    double beta1, beta2, exponent;
} Stage;

typedef struct {
    float *theta;
    const float *gradient;
    float *step; /* t of the step before; incremented here */
    int64_t count;
    int64_t first_chunk; /* chunks of all tensors before this one */
} Tensor;

typedef struct {
    float *m, *v;
    float *reference; /* NULL without a reference */
} Memory;

typedef struct {
    double lr, eps, weight_decay;
    int64_t stages, tensors, threads, maximize, initial, reference_steps;
} Settings;

typedef enum { HALF, QUARTER, EIGHTH, ZERO, POSITIVE, NEGATIVE } Power;

/* What a stage is for one tensor at one step. */
typedef struct {
    float beta1, rest1, beta2, rest2;
    float correction1, correction2; /* 1 / (1 - beta^t) */
    float scale, eps;
    float high, low; /* |exponent| = high + low; high times a whole number up to 149 is exact */
    Power power;
    int last;
    float sign;     /* of the input: -1 to ascend, in the first stage */
    float keep, lr; /* theta <- keep theta - lr x, after the last stage */
} Pass;

/* v^(high + low) for v >= 0 and a positive exponent: 2^(p log2 v), the product split so that nothing is lost to large logarithms. */
INLINE float power_of(float v, float high, float low)
{
    float lifted = v < 0x1p-126f ? v * 0x1p32f : v;
    float below = v < 0x1p-126f ? 32.0f : 0.0f;
    int32_t bits;
    memcpy(&bits, &lifted, 4);
    int32_t whole = (bits - 0x3f3504f3) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    int32_t rest = bits - (int32_t)((uint32_t)whole << 23);
    float mantissa;
    memcpy(&mantissa, &rest, 4);
    float s = (mantissa - 1.0f) / (mantissa + 1.0f), q = s * s;
    /* log2(mantissa) = 2 / ln 2 * artanh(s) */
    float fraction = s * (2.88539008f + q * (0.961796694f + q * (0.577078016f + q * (0.412198583f + q * 0.320598898f))));
    float e = (float)whole - below;
    float large = high * e;
    float small = low * e + (high + low) * fraction;
    float n = rintf(large + small);
    float r = (large - n) + small;
    /* 2^r on [-1/2, 1/2] */
    float y = 1.0f + r * (0.693147181f + r * (0.240226507f + r * (0.0555041087f + r * (0.00961812911f
            + r * (0.00133335581f + r * (0.000154035304f + r * 1.52527338e-5f))))));
    n = n > -252.0f ? n : -252.0f; /* also for NaN */
    n = n < 254.0f ? n : 254.0f;
    int32_t shift = (int32_t)n, first = shift / 2, second = shift - first;
    int32_t one = (first + 127) << 23, two = (second + 127) << 23;
    float f1, f2;
    memcpy(&f1, &one, 4);
    memcpy(&f2, &two, 4);
    y = y * f1 * f2;
    y = v == 0.0f ? 0.0f : y;
    y = v == INFINITY ? INFINITY : y;
    return v != v ? v : y;
}

INLINE float one_element(float x, float *m, float *v, const Pass *p, Power power)
{
    float first = p->beta1 * *m + p->rest1 * x;
    float second = p->beta2 * *v + p->rest2 * (x * x);
    *m = first;
    *v = second;
    float m_hat = first * p->correction1, v_hat = second * p->correction2, w;
    switch (power) {
    case HALF: w = sqrtf(v_hat); break;
    case QUARTER: w = sqrtf(sqrtf(v_hat)); break;
    case EIGHTH: w = sqrtf(sqrtf(sqrtf(v_hat))); break;
    case ZERO: w = 1.0f; break;
    default: w = power_of(v_hat, p->high, p->low);
    }
    if (power == NEGATIVE)
        return m_hat * w / (p->scale + p->eps * w);
    float denominator = p->scale * w + p->eps;
    return m_hat / (denominator + (denominator == 0.0f ? 1.0f : 0.0f));
}

/* One pass over a chunk: from its input to the input of the next stage, or, after the last one, to the parameter. */
INLINE void loop(const float *from, float *to, float *restrict m, float *restrict v, int64_t count, const Pass *pass, Power power,
                 int last)
{
    const Pass p = *pass;
#pragma GCC ivdep /* from may be to: each element is read before it is written, and no other is touched */
    for (int64_t i = 0; i < count; i++) {
        float x = one_element(p.sign * from[i], &m[i], &v[i], &p, power);
        to[i] = last ? to[i] * p.keep - p.lr * x : x;
    }
}

CLONES static void run_pass(const float *from, float *to, float *m, float *v, int64_t count, const Pass *pass)
{
#define CASE(power) \
    case power: \
        if (pass->last) \
            loop(from, to, m, v, count, pass, power, 1); \
        else \
            loop(from, to, m, v, count, pass, power, 0); \
        break;
    switch (pass->power) {
        CASE(HALF) CASE(QUARTER) CASE(EIGHTH) CASE(ZERO) CASE(POSITIVE) CASE(NEGATIVE)
    }
}

CLONES static double sum(const float *v, int64_t count)
{
    double total[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int j = 0; j < 8; j++)
            total[j] += v[i + j];
    for (; i < count; i++)
        total[0] += v[i];
    return ((total[0] + total[1]) + (total[2] + total[3])) + ((total[4] + total[5]) + (total[6] + total[7]));
}

static Pass make_pass(const Stage *stage, const Memory *memory, double t, const Settings *settings, int64_t index)
{
    double p = stage->exponent, size = fabs(p);
    float rough = (float)size;
    int32_t bits;
    memcpy(&bits, &rough, 4);
    bits &= (int32_t)0xfffffe00; /* 15 significant bits */
    float high;
    memcpy(&high, &bits, 4);
    Pass pass = {
        .beta1 = (float)stage->beta1, .rest1 = (float)(1 - stage->beta1),
        .beta2 = (float)stage->beta2, .rest2 = (float)(1 - stage->beta2),
        .correction1 = (float)(1 / (1 - pow(stage->beta1, t))), .correction2 = (float)(1 / (1 - pow(stage->beta2, t))),
        .scale = memory->reference ? (float)pow(*memory->reference, 0.5 - p) : 1.0f, .eps = (float)settings->eps,
        .high = high, .low = (float)(size - high),
        .power = p == 0.5 ? HALF : p == 0.25 ? QUARTER : p == 0.125 ? EIGHTH : p == 0 ? ZERO : p > 0 ? POSITIVE : NEGATIVE,
        .last = index == settings->stages - 1, .sign = settings->maximize && index == 0 ? -1.0f : 1.0f,
        .keep = (float)(1 - settings->lr * settings->weight_decay), .lr = (float)settings->lr,
    };
    return pass;
}

static int64_t tensor_of(const Tensor *tensors, int64_t count, int64_t chunk)
{
    int64_t low = 0, high = count - 1;
    while (low < high) {
        int64_t middle = (low + high + 1) / 2;
        if (tensors[middle].first_chunk <= chunk)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* One step for all tensors. `sums` has one double per chunk and stage, in the order [chunk][stage]; used with a reference. */
void equipoise_step(const Tensor *tensors, const Memory *memories, const Stage *stages, const Settings *settings, int64_t chunks,
                    double *sums)
{
    const int64_t k = settings->stages;
#pragma omp parallel for schedule(static) num_threads(settings->threads) if (chunks > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t index = tensor_of(tensors, settings->tensors, chunk);
        const Tensor *tensor = &tensors[index];
        int64_t start = (chunk - tensor->first_chunk) * CHUNK;
        int64_t count = tensor->count - start < CHUNK ? tensor->count - start : CHUNK;
        double t = *tensor->step + 1.0;
        float x[CHUNK];
        const float *from = tensor->gradient + start;
        for (int64_t s = 0; s < k; s++) {
            const Memory *memory = &memories[index * k + s];
            Pass pass = make_pass(&stages[s], memory, t, settings, s);
            run_pass(from, pass.last ? tensor->theta + start : x, memory->m + start, memory->v + start, count, &pass);
            if (memory->reference)
                sums[chunk * k + s] = sum(memory->v + start, count);
            from = x;
        }
    }
    for (int64_t index = 0; index < settings->tensors; index++) {
        const Tensor *tensor = &tensors[index];
        double t = *tensor->step += 1;
        int64_t end = index + 1 < settings->tensors ? tensors[index + 1].first_chunk : chunks;
        for (int64_t s = 0; s < k; s++) {
            float *reference = memories[index * k + s].reference;
            if (!reference || (settings->initial && t >= settings->reference_steps))
                continue;
            double total = 0;
            for (int64_t chunk = tensor->first_chunk; chunk < end; chunk++)
                total += sums[chunk * k + s];
            *reference = (float)(total / ((double)tensor->count * (1 - pow(stages[s].beta2, t))));
        }
    }
}
