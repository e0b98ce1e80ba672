"""What the GPU does with elements, in Triton: reads, one stage of the update rule with its reference scale, rounding, writes.

The same statements as in stage.h and cpu.c, which say more, and for rounding those of rounding.py.
"""

import triton
import triton.language as tl

FLOAT32, BFLOAT16, FLOAT16, FLOAT64 = (tl.constexpr(code) for code in range(4))
"""The types of tensors, numbered as in gpu.py."""

HALF, QUARTER, EIGHTH, ZERO, BETWEEN, ANY = (tl.constexpr(code) for code in range(6))
"""The kinds of exponents, numbered as by power_kind of slot.py."""

B1, R1, B2, R2, C1, C2, SCALE, EPSILON, HIGH, LOW, SHIFT, MANTISSA, STAGE_NUMBERS = (tl.constexpr(place) for place in range(13))
"""The numbers of a stage: b, 1 - b and 1 / (1 - b^t) of both moments, the scale, eps, and exponent = high + low, where high
times a whole number up to 149 is exact in float. The scale is also 2^shift mantissa, which float always holds."""


@triton.jit
def pointer(address, start, TYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """The address of an element of a tensor; ALIGNED where the address is a multiple of 16 and the start one of a block."""
    if TYPE == FLOAT64:
        typed = address.to(tl.pointer_type(tl.float64))
    elif TYPE == FLOAT32:
        typed = address.to(tl.pointer_type(tl.float32))
    elif TYPE == FLOAT16:
        typed = address.to(tl.pointer_type(tl.float16))
    else:  # bfloat16 by its bits: exact on every GPU
        typed = address.to(tl.pointer_type(tl.uint16))
    if ALIGNED:
        typed = tl.multiple_of(typed, 16)
    return typed + start


@triton.jit
def read(start, offsets, mask, TYPE: tl.constexpr):
    """Read elements in the precision that they are computed in; 0 where there are none."""
    found = tl.load(start + offsets, mask=mask, other=0)
    if TYPE == FLOAT64:
        return found
    elif TYPE == BFLOAT16:
        return (found.to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        return found.to(tl.float32)


@triton.jit
def nearest_bfloat(value):
    """The 16 bits of a float32 rounded to the nearest bfloat16, ties to even."""
    bits = value.to(tl.uint32, bitcast=True)
    rounded = (tl.add(bits, 0x7FFF + ((bits >> 16) & 1), sanitize_overflow=False)) >> 16
    return tl.where(value == value, rounded, 0x7FC0).to(tl.uint16)


@triton.jit
def write(start, offsets, mask, value, TYPE: tl.constexpr):
    """Write elements, rounded to nearest."""
    if TYPE == BFLOAT16:
        tl.store(start + offsets, nearest_bfloat(value), mask=mask)
    elif TYPE == FLOAT16:
        tl.store(start + offsets, value.to(tl.float16), mask=mask)
    else:
        tl.store(start + offsets, value, mask=mask)


@triton.jit
def write_at_random(start, offsets, mask, value, random, TYPE: tl.constexpr):
    """Write elements, each rounded to one of its two neighbours, as in rounding.py."""
    bits = value.to(tl.uint32, bitcast=True)
    size = bits & 0x7FFFFFFF
    if TYPE == BFLOAT16:
        rounded = (tl.add(bits, random & 0xFFFF, sanitize_overflow=False) >> 16).to(tl.uint16)
        tl.store(start + offsets, tl.where(value == value, rounded, 0x7FC0), mask=mask)
    else:
        small = size < (113 << 23)  # below 2^-14 the numbers of float16 are the multiples of 2^-24
        scaled = tl.where(small, size, 0).to(tl.float32, bitcast=True) * 16777216.0
        whole = scaled.to(tl.int32)
        up = (random >> 8).to(tl.int32).to(tl.float32) * (1.0 / 16777216.0) < scaled - whole.to(tl.float32)
        denormal = (whole + up.to(tl.int32)).to(tl.uint32)
        normal = tl.sub(size + (random & 0x1FFF), 112 << 23, sanitize_overflow=False) >> 13
        half = (((bits >> 16) & 0x8000) | tl.where(small, denormal, normal)).to(tl.uint16).to(tl.float16, bitcast=True)
        tl.store(start + offsets, tl.where(size > 0x477FE000, value.to(tl.float16), half), mask=mask)


@triton.jit
def mix64(x):
    """splitmix64, of uint64."""
    x = x + 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@triton.jit
def random_bits(key, element):
    """32 random bits for each element, of uint32."""
    x = element ^ key.to(tl.uint32)
    x = tl.mul(x ^ (x >> 16), 0x7FEB352D, sanitize_overflow=False)
    x = tl.mul(x ^ (x >> 15), 0x846CA68B, sanitize_overflow=False)
    return tl.add(x ^ (x >> 16), (key >> 32).to(tl.uint32), sanitize_overflow=False)


@triton.jit
def root(x):
    """The square root, correctly rounded, which costs nothing here: memory is the slower."""
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.sqrt_rn(x)


@triton.jit
def quotient(x, y):
    """x / y, correctly rounded."""
    if x.dtype == tl.float64:
        return x / y
    else:
        return tl.div_rn(x, y)


@triton.jit
def log2_of(v):
    """log2 v for v > 0, as a whole number and a fraction."""
    if v.dtype == tl.float64:
        small = v < 2.2250738585072014e-308
        bits = tl.where(small, v * 18014398509481984.0, v).to(tl.int64, bitcast=True)
        whole = (bits - 0x3FE6A09E667F3BCD) >> 52
        log = tl.log2((bits - (whole << 52)).to(tl.float64, bitcast=True))
        e = whole.to(tl.float64) - tl.where(small, 54.0, 0.0)
    else:
        small = v < 1.1754943508222875e-38
        bits = tl.where(small, v * 4294967296.0, v).to(tl.int32, bitcast=True)
        whole = (bits - 0x3F3504F3) >> 23
        mantissa = (bits - (whole << 23)).to(tl.float32, bitcast=True)
        s = tl.div_rn(mantissa - 1.0, mantissa + 1.0)
        q = s * s
        log = s * (2.88539008 + q * (0.961796694 + q * (0.577078016 + q * (0.412198583 + q * 0.320598898))))
        e = whole.to(tl.float32) - tl.where(small, 32.0, 0.0)
    return e, log


@triton.jit
def exp2_of(r):
    """2^r on [-1/2, 1/2]."""
    if r.dtype == tl.float64:
        return tl.exp2(r)
    else:
        y = r * (0.00961812911 + r * (0.00133335581 + r * (0.000154035304 + r * 1.52527338e-5)))
        return 1.0 + r * (0.693147181 + r * (0.240226507 + r * (0.0555041087 + y)))


@triton.jit
def power_of_two(n):
    """2^n in double, for whole numbers of that type; 2^-1022 and 2^1022 beyond these."""
    n = tl.where(n > -1022.0, tl.where(n < 1022.0, n, 1022.0), -1022.0)  # also for NaN
    return ((n.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def power_of(v, high, low):
    """v^(high + low) for v >= 0: 2^(p log2 v), as power_of of cpu.c, which says more. It is a normal number."""
    e, log = log2_of(v)
    exact = high * e
    rest = low * e + (high + low) * log
    n = tl.floor(exact + rest + 0.5)
    y = exp2_of((exact - n) + rest) * power_of_two(n.to(tl.float64)).to(v.dtype)
    y = tl.where(v == 0.0, 0.0, y)
    return tl.where(v < float("inf"), y, v)  # infinity and NaN are their own powers


@triton.jit
def scaled_power(v, numbers):
    """S v^p for v >= 0 and ANY exponent but 0, in double, as scaled_power_float of cpu.c, which says more."""
    high, low = tl.load(numbers + HIGH), tl.load(numbers + LOW)
    scale = tl.load(numbers + MANTISSA).to(tl.float64)
    e, log = log2_of(v)
    if v.dtype == tl.float64:
        exact = high * e
        rest = low * e + (high + low) * log
        n = tl.floor(exact + rest + 0.5)
        r = (exact - n) + rest
    else:
        exact = (high.to(tl.float64) + low.to(tl.float64)) * (e.to(tl.float64) + log.to(tl.float64))
        n = tl.floor(exact + 0.5)
        r = (exact - n).to(tl.float32)
    y = exp2_of(r).to(tl.float64) * scale * power_of_two(n + tl.load(numbers + SHIFT).to(tl.float64))
    wide = v.to(tl.float64)
    special = tl.where(high > 0.0, wide, 1.0 / wide)  # of 0, infinity and NaN
    return tl.where((v > 0.0) & (v < float("inf")), y, special)


@triton.jit
def advance(x, m, v, numbers, POWER: tl.constexpr):
    """One stage, given its numbers: both moments and the output."""
    first = tl.load(numbers + B1) * m + tl.load(numbers + R1) * x
    second = tl.load(numbers + B2) * v + tl.load(numbers + R2) * (x * x)
    m_hat = first * tl.load(numbers + C1)
    v_hat = second * tl.load(numbers + C2)
    scale = tl.load(numbers + SCALE)
    eps = tl.load(numbers + EPSILON)
    if POWER == HALF:
        w = root(v_hat)
    elif POWER == QUARTER:
        w = root(root(v_hat))
    elif POWER == EIGHTH:
        w = root(root(root(v_hat)))
    elif POWER == ZERO:
        w = tl.full(v_hat.shape, 1.0, v_hat.dtype)
    elif POWER == BETWEEN:
        w = power_of(v_hat, tl.load(numbers + HIGH), tl.load(numbers + LOW))
    else:
        w = scaled_power(v_hat, numbers)
    if POWER == ANY:
        denominator = w + eps.to(tl.float64)
        u = quotient(m_hat.to(tl.float64), tl.where(denominator == 0.0, 1.0, denominator)).to(v_hat.dtype)
    else:
        denominator = scale * w + eps
        u = quotient(m_hat, tl.where(denominator == 0.0, 1.0, denominator))
    return first, second, u
