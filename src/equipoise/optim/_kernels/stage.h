/* One stage of the update rule, with its reference scale, over a chunk, for REAL = float or double: cpu.c includes this once for
   each. */

/* What a stage is for one tensor at one step. */
typedef struct {
    REAL beta1, rest1, beta2, rest2;
    REAL correction1, correction2; /* 1 / (1 - beta^t) */
    REAL scale, eps;
    REAL high, low; /* exponent = high + low; high times a whole number up to 149 is exact in float */
    double exponent, log_scale, wide_eps; /* log2 of the scale */
    REAL sign;      /* of the input: -1 to ascend, in the first stage */
    REAL keep, lr;  /* theta <- keep theta - lr x, after the last stage */
    Power power;
    int last;
} NAME(Pass);

INLINE REAL NAME(one_element)(REAL x, REAL *m, REAL *v, const NAME(Pass) *p, Power power)
{
    REAL first = p->beta1 * *m + p->rest1 * x;
    REAL second = p->beta2 * *v + p->rest2 * (x * x);
    *m = first;
    *v = second;
    REAL m_hat = first * p->correction1, v_hat = second * p->correction2, w;
    switch (power) {
    case HALF: w = SQRT(v_hat); break;
    case QUARTER: w = SQRT(SQRT(v_hat)); break;
    case EIGHTH: w = SQRT(SQRT(SQRT(v_hat))); break;
    case ZERO: w = 1; break;
    case BETWEEN: w = POWER(v_hat, p->high, p->low); break;
    default: {
        double wide = SCALED_POWER(v_hat, p) + p->wide_eps;
        return (REAL)((double)m_hat / (wide + (double)(wide == 0)));
    }
    }
    REAL denominator = p->scale * w + p->eps;
    return m_hat / (denominator + (REAL)(denominator == 0));
}

/* From the input of a stage, from[count], to that of the next, to[count], or, after the last one, into the parameter to[count];
   m[count] and v[count] advance in place. The sums are what this stage can see: of its input, its output, its second moment, and
   the parameter. */
INLINE void NAME(loop)(const REAL *from, REAL *to, REAL *restrict m, REAL *restrict v, int64_t count, const NAME(Pass) *pass,
                       Power power, int last, int measured, Sums *sums)
{
    const NAME(Pass) p = *pass;
    REAL input = 0, output = 0, theta = 0, second = 0, largest = 0, zeros = 0, nonfinite = 0;
    /* from may be to: each element is read before it is written, and no other is touched */
#pragma omp simd reduction(+ : input, output, theta, second, zeros, nonfinite) reduction(max : largest)
    for (int64_t i = 0; i < count; i++) {
        REAL g = from[i];
        REAL x = NAME(one_element)(p.sign * g, &m[i], &v[i], &p, power);
        REAL moved = last ? to[i] * p.keep - p.lr * x : x;
        to[i] = moved;
        if (measured) {
            REAL size = ABS(x);
            input += g * g;
            output += x * x;
            second += v[i];
            theta += moved * moved;
            largest = size > largest ? size : largest;
            zeros += (REAL)(g == 0);
            nonfinite += (REAL)!(ABS(g) <= LARGEST);
        }
    }
    if (measured) {
        sums->input += input, sums->output += output, sums->theta += theta, sums->second += second;
        int kept = largest <= sums->largest || sums->largest != sums->largest;
        sums->largest = output != output ? output : kept ? sums->largest : largest;
        sums->zeros += zeros, sums->nonfinite += nonfinite;
    }
}

INLINE void NAME(run)(const REAL *from, REAL *to, REAL *m, REAL *v, int64_t count, const NAME(Pass) *pass, Sums *sums)
{
#define VARIANT(power, last, measured) NAME(loop)(from, to, m, v, count, pass, power, last, measured, sums)
#define CASE(power) \
    case power: \
        if (pass->last && sums) \
            VARIANT(power, 1, 1); \
        else if (pass->last) \
            VARIANT(power, 1, 0); \
        else if (sums) \
            VARIANT(power, 0, 1); \
        else \
            VARIANT(power, 0, 0); \
        break;
    switch (pass->power) {
        CASE(HALF) CASE(QUARTER) CASE(EIGHTH) CASE(ZERO)
        CASE(BETWEEN) CASE(ANY)
    }
#undef CASE
#undef VARIANT
}

/* Adds those of x[count], in the given order. */
INLINE void NAME(add_squares)(const REAL *x, int64_t count, Squares *found)
{
    double total = 0, counted = 0;
#pragma omp simd reduction(+ : total, counted)
    for (int64_t i = 0; i < count; i++) {
        REAL square = x[i] * x[i];
        int finite = square <= LARGEST; /* not for NaN */
        total += finite ? (double)square : 0;
        counted += (double)finite;
    }
    found->total += total, found->count += counted;
}

/* Puts a mean square into squares[REFERENCE_STEPS], whose smallest is 0, unless it is 0 itself or not finite. */
static void NAME(remember)(REAL *squares, Squares found)
{
    REAL mean = (REAL)(found.total / found.count);
    if (!(mean > 0 && mean <= LARGEST)) /* also where nothing was counted */
        return;
    int64_t place = 0;
    for (; place + 1 < REFERENCE_STEPS && squares[place + 1] < mean; place++)
        squares[place] = squares[place + 1];
    squares[place] = mean;
}

/* R of the reference scale: the mean of the squares that are not 0, without the largest quarter, which is at least one of two or
   three; 0 while no gradient was seen. */
static double NAME(reference)(const REAL *squares)
{
    int64_t seen = 0;
    for (int64_t i = 0; i < REFERENCE_STEPS; i++)
        seen += squares[i] > 0;
    int64_t left_out = seen < 4 ? seen > 1 : seen / 4;
    double total = 0;
    for (int64_t i = REFERENCE_STEPS - seen; i < REFERENCE_STEPS - left_out; i++)
        total += (double)squares[i] / (double)(seen - left_out);
    return total;
}

static NAME(Pass) NAME(make_pass)(const Stage *stage, const Memory *memory, double t, const Group *group, int64_t index)
{
    double p = stage->exponent, R = memory->squares ? NAME(reference)(memory->squares) : 1;
    double m_age = t - (double)memory->m_born, v_age = t - (double)memory->v_born;
    R = R == 0 ? 1 : R; /* no gradient was seen: every m is 0 */
    float high = leading_bits((float)p);
    return (NAME(Pass)){
        .beta1 = (REAL)stage->beta1, .rest1 = (REAL)(1 - stage->beta1),
        .beta2 = (REAL)stage->beta2, .rest2 = (REAL)(1 - stage->beta2),
        .correction1 = (REAL)(1 / (1 - pow(stage->beta1, m_age))), .correction2 = (REAL)(1 / (1 - pow(stage->beta2, v_age))),
        .scale = (REAL)pow(R, 0.5 - p), .eps = (REAL)group->eps, .high = (REAL)high, .low = (REAL)(p - high),
        .exponent = p, .log_scale = (0.5 - p) * log2(R), .wide_eps = group->eps,
        .sign = group->maximize && index == 0 ? -1 : 1,
        .keep = (REAL)(1 - group->lr * group->weight_decay), .lr = (REAL)group->lr,
        .power = (Power)stage->power,
        .last = index == group->stages - 1,
    };
}
