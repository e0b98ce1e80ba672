"""The device code of the fused GPU kernel, to gpu.py what cpu.c and stage.h are to cpu.py: the update rule in Triton.

A step of the tensors of one launch is

- ``put``: what changed of the gradients' addresses and of the hyperparameters goes into ``given``;
- ``begin``: counts the step, and computes in double what is the same for all elements of a tensor, its ``numbers``;
- ``remember``: where there are references, for one stage after the other: the mean square of what the stage gets, in the first
  steps with a gradient;
- ``step``: every element, read once and written once; the blocks of all tensors side by side;
- ``conclude``: where it was measured: telemetry, from the sums over blocks.

Nothing here is compiled anew for another value, and nothing asks the host, so that a CUDA graph can hold a step. Every sum is
taken in a fixed order. Python runs these functions only where TRITON_INTERPRET=1 is set.
"""

import triton
import triton.language as tl

from equipoise.optim._kernels.gpu_stage import (
    B1,
    B2,
    BFLOAT16,
    C1,
    C2,
    EPSILON,
    HIGH,
    LOW,
    MANTISSA,
    R1,
    R2,
    SCALE,
    SHIFT,
    STAGE_NUMBERS,
    advance,
    mix64,
    pointer,
    random_bits,
    read,
    write,
    write_at_random,
)

THETA, STEP, COUNT, BLOCKS, FIRST_BLOCK, POSITION, OFFSET, REMEMBERS, MEASURES, TENSOR = (tl.constexpr(i) for i in range(10))
M, V, SQUARES, M_BORN, V_BORN, MEMORY = (tl.constexpr(place) for place in range(6))
"""A row of ``tensors``, int64: TENSOR values of the tensor, then MEMORY of each stage."""

SEED, LR, WEIGHT_DECAY, EPS, SIGN, GROUP = (tl.constexpr(place) for place in range(6))
BETA1, BETA2, EXPONENT, STAGE = (tl.constexpr(place) for place in range(4))
"""``given``, int64: the addresses of the gradients, GROUP values of the group, then STAGE of each stage: doubles,
except for the seed."""

REFERENCE_STEPS = tl.constexpr(20)
"""As in rules.py."""

FACTOR, KEEP, RATE, NUMBERS = (tl.constexpr(place) for place in range(4))
"""A row of ``numbers``, float or double: NUMBERS of the tensor, then STAGE_NUMBERS of each stage."""


@triton.jit(do_not_specialize=[f"v{number:02d}" for number in range(32)])
def put(
    table,
    v00: tl.int64, v01: tl.int64, v02: tl.int64, v03: tl.int64, v04: tl.int64, v05: tl.int64, v06: tl.int64, v07: tl.int64,
    v08: tl.int64, v09: tl.int64, v10: tl.int64, v11: tl.int64, v12: tl.int64, v13: tl.int64, v14: tl.int64, v15: tl.int64,
    v16: tl.int64, v17: tl.int64, v18: tl.int64, v19: tl.int64, v20: tl.int64, v21: tl.int64, v22: tl.int64, v23: tl.int64,
    v24: tl.int64, v25: tl.int64, v26: tl.int64, v27: tl.int64, v28: tl.int64, v29: tl.int64, v30: tl.int64, v31: tl.int64,
):  # fmt: skip
    """32 numbers of the host: a graph keeps the arguments of a kernel, but no memory of the host."""
    for place in tl.static_range(16):
        tl.store(table + place, (v00, v01, v02, v03, v04, v05, v06, v07, v08, v09, v10, v11, v12, v13, v14, v15)[place])
        tl.store(table + 16 + place, (v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28, v29, v30, v31)[place])


@triton.jit
def double(place):
    """The float64 whose bits are stored as an int64."""
    return tl.load(place).to(tl.float64, bitcast=True)


@triton.jit
def scale_of(squares, mask, exponent):
    """R^(1/2 - p), given where the squares of tensors begin: R is their mean without the largest quarter, as in rules.py."""
    seen = tl.where(tl.load(squares, mask=mask, other=0.0) > 0.0, 1, 0)
    for place in tl.static_range(1, REFERENCE_STEPS):
        seen += tl.where(tl.load(squares + place, mask=mask, other=0.0) > 0.0, 1, 0)
    left_out = seen // 4 + tl.where((seen > 1) & (seen < 4), 1, 0)
    count = tl.where(seen == 0, 1, seen - left_out).to(tl.float64)
    reference = tl.load(squares, mask=mask, other=0.0).to(tl.float64) / count
    for place in tl.static_range(1, REFERENCE_STEPS):
        square = tl.load(squares + place, mask=mask, other=0.0).to(tl.float64)
        reference += tl.where(left_out < REFERENCE_STEPS - place, square, 0.0) / count
    # 1 while R is 0: no gradient was seen, and every m is 0.
    base = tl.where(exponent == 0.5, 1.0, tl.where(reference == 0.0, 1.0, reference))
    return tl.exp2((0.5 - exponent) * tl.log2(base))


@triton.jit
def store_scale(place, scale, mask):
    """Put a scale, given in double, among the numbers of a stage, which may be floats."""
    bits = scale.to(tl.int64, bitcast=True)
    tl.store(place + SCALE, scale, mask=mask)
    tl.store(place + SHIFT, ((bits >> 52) - 1023).to(tl.float64), mask=mask)
    tl.store(place + MANTISSA, ((bits & 0xFFFFFFFFFFFFF) | (1023 << 52)).to(tl.float64, bitcast=True), mask=mask)


@triton.jit(do_not_specialize=["count"])
def begin(
    tensors, given, numbers, keys, count,
    STAGES: tl.constexpr, REFERENCED: tl.constexpr, REAL: tl.constexpr, TENSORS: tl.constexpr
):  # fmt: skip
    """Count the step of every tensor; make its numbers, and the keys of its STAGES + 1 streams of random numbers."""
    index = tl.program_id(0) * TENSORS + tl.arange(0, TENSORS)
    mask = index < count
    row = tensors + index * (TENSOR + STAGES * MEMORY)
    group = given + count
    steps = tl.load(row + STEP, mask=mask, other=0).to(tl.pointer_type(tl.float64))
    t = tl.load(steps, mask=mask, other=0.0) + 1.0
    tl.store(steps, t, mask=mask)
    number = t.to(tl.int64)

    key = mix64(tl.load(group + SEED).to(tl.uint64))
    key = mix64(key + tl.load(row + POSITION, mask=mask, other=0).to(tl.uint64))
    key = mix64(key + number.to(tl.uint64))
    for stream in tl.static_range(STAGES + 1):
        tl.store(keys + index * (STAGES + 1) + stream, mix64(key + stream).to(tl.int64, bitcast=True), mask=mask)

    out = numbers + index * (NUMBERS + STAGES * STAGE_NUMBERS)
    lr = double(group + LR)
    tl.store(out + FACTOR, double(group + SIGN), mask=mask)
    tl.store(out + KEEP, 1.0 - lr * double(group + WEIGHT_DECAY), mask=mask)
    tl.store(out + RATE, lr, mask=mask)
    for s in tl.static_range(STAGES):
        beta1 = double(group + GROUP + s * STAGE + BETA1)
        beta2 = double(group + GROUP + s * STAGE + BETA2)
        exponent = double(group + GROUP + s * STAGE + EXPONENT)
        age1 = number - tl.load(row + TENSOR + s * MEMORY + M_BORN, mask=mask, other=0)
        age2 = number - tl.load(row + TENSOR + s * MEMORY + V_BORN, mask=mask, other=0)
        most = tl.maximum(tl.max(age1), tl.max(age2))
        # c = 1 - beta^t from t = 0 on by doubling t, c (2 - c), and adding 1, beta c + 1 - beta: neither cancels digits.
        c1 = tl.zeros([TENSORS], tl.float64)
        c2 = tl.zeros([TENSORS], tl.float64)
        for bit in range(53):
            if (most >> (52 - bit)) > 0:
                c1 = c1 * (2.0 - c1)
                c2 = c2 * (2.0 - c2)
                c1 = tl.where(((age1 >> (52 - bit)) & 1) == 1, beta1 * c1 + (1.0 - beta1), c1)
                c2 = tl.where(((age2 >> (52 - bit)) & 1) == 1, beta2 * c2 + (1.0 - beta2), c2)
        place = out + NUMBERS + s * STAGE_NUMBERS
        tl.store(place + B1, beta1, mask=mask)
        tl.store(place + R1, 1.0 - beta1, mask=mask)
        tl.store(place + C1, 1.0 / c1, mask=mask)
        tl.store(place + B2, beta2, mask=mask)
        tl.store(place + R2, 1.0 - beta2, mask=mask)
        tl.store(place + C2, 1.0 / c2, mask=mask)
        tl.store(place + EPSILON, double(group + EPS), mask=mask)
        high = (exponent.to(tl.float32).to(tl.uint32, bitcast=True) & 0xFFFFFE00).to(tl.float32, bitcast=True).to(tl.float64)
        tl.store(place + HIGH, high, mask=mask)
        tl.store(place + LOW, exponent - high, mask=mask)
        if REFERENCED:
            squares = tl.load(row + TENSOR + s * MEMORY + SQUARES, mask=mask, other=0).to(tl.pointer_type(REAL))
            store_scale(place, scale_of(squares, mask, exponent), mask)
        else:
            store_scale(place, tl.full([TENSORS], 1.0, tl.float64), mask)


@triton.jit(do_not_specialize=["count"])
def remember(
    tensors, given, numbers, count,
    STAGES: tl.constexpr, THROUGH: tl.constexpr, POWERS: tl.constexpr, REAL: tl.constexpr,
    GRADIENT_TYPE: tl.constexpr, MOMENTS_TYPE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Bring the squares of stage THROUGH - 1, while they take some more, and its scale up to date. One program per tensor."""
    index = tl.program_id(0)
    row = tensors + index * (TENSOR + STAGES * MEMORY)
    elements = tl.load(row + COUNT)
    squares = tl.load(row + TENSOR + (THROUGH - 1) * MEMORY + SQUARES).to(tl.pointer_type(REAL))
    if (tl.load(row + REMEMBERS) == 1) & (tl.load(squares) == 0.0):
        out = numbers + index * (NUMBERS + STAGES * STAGE_NUMBERS)
        gradient = tl.load(given + index)
        offsets = tl.arange(0, BLOCK)
        found = tl.full((), 0.0, tl.float64)
        counted = tl.full((), 0, tl.int64)
        for start in range(0, elements, BLOCK):
            mask = start + offsets < elements
            x = read(pointer(gradient, start, GRADIENT_TYPE, ALIGNED), offsets, mask, GRADIENT_TYPE).to(REAL)
            x = tl.load(out + FACTOR) * x
            for s in tl.static_range(THROUGH - 1):
                memory = row + TENSOR + s * MEMORY
                m = read(pointer(tl.load(memory + M), start, MOMENTS_TYPE, ALIGNED), offsets, mask, MOMENTS_TYPE)
                v = read(pointer(tl.load(memory + V), start, MOMENTS_TYPE, ALIGNED), offsets, mask, MOMENTS_TYPE)
                _, _, x = advance(x, m, v, out + NUMBERS + s * STAGE_NUMBERS, (POWERS >> (3 * s)) & 7)
            square = x * x
            finite = mask & (square < float("inf"))
            found += tl.sum(tl.where(finite, square.to(tl.float64), 0.0))
            counted += tl.sum(finite.to(tl.int64))
        mean = (found / tl.maximum(counted, 1).to(tl.float64)).to(REAL)
        if (mean > 0.0) & (mean < float("inf")):  # it takes the place of the 0 below all others
            places = tl.arange(0, 32)
            there = places < REFERENCE_STEPS
            kept = tl.load(squares + places, mask=there, other=0.0)
            above = tl.load(squares + places + 1, mask=places < REFERENCE_STEPS - 1, other=float("inf"))
            tl.debug_barrier()  # all is read before any is written
            tl.store(squares + places, tl.where(above < mean, above, tl.where(kept > mean, kept, mean)), mask=there)
            tl.debug_barrier()
            exponent = double(given + count + GROUP + (THROUGH - 1) * STAGE + EXPONENT)
            store_scale(out + NUMBERS + (THROUGH - 1) * STAGE_NUMBERS, scale_of(squares, True, exponent), True)


@triton.jit
def step_block(
    row, gradient, out, keys, sums, start, mask,
    STAGES: tl.constexpr, POWERS: tl.constexpr, REAL: tl.constexpr,
    THETA_TYPE: tl.constexpr, GRADIENT_TYPE: tl.constexpr, MOMENTS_TYPE: tl.constexpr, STOCHASTIC: tl.constexpr,
    MEASURED: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """One block of one tensor: moments, parameter, and sums.

    ``sums`` gets, one row after the other: the sums of g^2, u^2, theta^2 and the first stage's v, max |u|, and the numbers of
    gradients that are 0, and that are not finite.
    """
    offsets = tl.arange(0, BLOCK)
    element = (tl.load(row + OFFSET) + start + offsets).to(tl.uint32)
    to = pointer(tl.load(row + THETA), start, THETA_TYPE, ALIGNED)
    theta = read(to, offsets, mask, THETA_TYPE).to(REAL)
    g = read(pointer(gradient, start, GRADIENT_TYPE, ALIGNED), offsets, mask, GRADIENT_TYPE).to(REAL)
    u = tl.load(out + FACTOR) * g
    stride = tl.num_programs(0).to(tl.int64)
    for s in tl.static_range(STAGES):
        memory = row + TENSOR + s * MEMORY
        m_start = pointer(tl.load(memory + M), start, MOMENTS_TYPE, ALIGNED)
        v_start = pointer(tl.load(memory + V), start, MOMENTS_TYPE, ALIGNED)
        m = read(m_start, offsets, mask, MOMENTS_TYPE)
        v = read(v_start, offsets, mask, MOMENTS_TYPE)
        first, second, u = advance(u, m, v, out + NUMBERS + s * STAGE_NUMBERS, (POWERS >> (3 * s)) & 7)
        if MOMENTS_TYPE == BFLOAT16:
            random = random_bits(tl.load(keys + 1 + s).to(tl.uint64, bitcast=True), element)
            write_at_random(m_start, offsets, mask, first, random, MOMENTS_TYPE)
            write_at_random(v_start, offsets, mask, second, random >> 16, MOMENTS_TYPE)
        else:
            write(m_start, offsets, mask, first, MOMENTS_TYPE)
            write(v_start, offsets, mask, second, MOMENTS_TYPE)
        if MEASURED and s == 0:
            tl.store(sums + 3 * stride, tl.sum(second))
    moved = theta * tl.load(out + KEEP) - tl.load(out + RATE) * u
    if STOCHASTIC:
        random = random_bits(tl.load(keys).to(tl.uint64, bitcast=True), element)
        write_at_random(to, offsets, mask, moved, random, THETA_TYPE)
    else:
        write(to, offsets, mask, moved, THETA_TYPE)
    if MEASURED:
        tl.store(sums, tl.sum(g * g))
        tl.store(sums + stride, tl.sum(u * u))
        tl.store(sums + 2 * stride, tl.sum(moved * moved))
        tl.store(sums + 4 * stride, tl.max(tl.abs(u)))
        tl.store(sums + 5 * stride, tl.sum((mask & (g == 0.0)).to(tl.int32)))
        tl.store(sums + 6 * stride, tl.sum((~(tl.abs(g) < float("inf"))).to(tl.int32)))


@triton.jit
def step(
    tensors, blocks, given, numbers, keys, sums,
    STAGES: tl.constexpr, POWERS: tl.constexpr, REAL: tl.constexpr,
    THETA_TYPE: tl.constexpr, GRADIENT_TYPE: tl.constexpr, MOMENTS_TYPE: tl.constexpr, STOCHASTIC: tl.constexpr,
    MEASURED: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """One block of one tensor; ``blocks`` says of which. What was measured of it goes to ``sums``, of shape (sums, blocks)."""
    block = tl.program_id(0)
    index = tl.load(blocks + block).to(tl.int64)
    row = tensors + index * (TENSOR + STAGES * MEMORY)
    out = numbers + index * (NUMBERS + STAGES * STAGE_NUMBERS)
    gradient = tl.load(given + index)
    start = (block - tl.load(row + FIRST_BLOCK)) * BLOCK
    left = tl.load(row + COUNT) - start
    own_keys = keys + index * (STAGES + 1)
    # Behind a mask that is not known to be full, loads are one element wide.
    if left >= BLOCK:
        mask = tl.full([BLOCK], 1, tl.int1)
        step_block(
            row, gradient, out, own_keys, sums + block, start, mask, STAGES, POWERS, REAL,
            THETA_TYPE, GRADIENT_TYPE, MOMENTS_TYPE, STOCHASTIC, MEASURED, ALIGNED, BLOCK,
        )  # fmt: skip
    else:
        mask = tl.arange(0, BLOCK) < left
        step_block(
            row, gradient, out, own_keys, sums + block, start, mask, STAGES, POWERS, REAL,
            THETA_TYPE, GRADIENT_TYPE, MOMENTS_TYPE, STOCHASTIC, MEASURED, ALIGNED, BLOCK,
        )  # fmt: skip


@triton.jit
def total(sums, count, CHUNK: tl.constexpr):
    """The sum of the sums over the blocks of a tensor."""
    found = tl.zeros([CHUNK], tl.float64)
    for start in range(0, count, CHUNK):
        offsets = start + tl.arange(0, CHUNK)
        found += tl.load(sums + offsets, mask=offsets < count, other=0.0)
    return tl.sum(found)


@triton.jit
def largest(sums, count, CHUNK: tl.constexpr):
    """The largest of the maxima over the blocks of a tensor."""
    found = tl.zeros([CHUNK], tl.float64)
    for start in range(0, count, CHUNK):
        offsets = start + tl.arange(0, CHUNK)
        found = tl.maximum(found, tl.load(sums + offsets, mask=offsets < count, other=0.0))
    return tl.max(found)


@triton.jit(do_not_specialize=["stride"])
def conclude(tensors, sums, measures, stride, STAGES: tl.constexpr, CHUNK: tl.constexpr):
    """The sums over one tensor: its telemetry."""
    row = tensors + tl.program_id(0) * (TENSOR + STAGES * MEMORY)
    blocks = tl.load(row + BLOCKS)
    first = sums + tl.load(row + FIRST_BLOCK)
    measure = measures + tl.load(row + MEASURES)
    for place in tl.static_range(7):
        if place != 4:
            tl.store(measure + place, total(first + place * stride, blocks, CHUNK))
    update = total(first + stride, blocks, CHUNK)
    size = largest(first + 4 * stride, blocks, CHUNK)
    tl.store(measure + 4, tl.where(update == update, size, update))  # a maximum may have passed over a NaN
