/* Runs the kernel under AddressSanitizer and UndefinedBehaviorSanitizer: every buffer is exactly as large as it is said to be. */

#include "cpu.c"

#include <stdio.h>
#include <stdlib.h>

static void *filled(int64_t count, Type type, double value)
{
    size_t size = type == FLOAT64 ? 8 : type == FLOAT32 ? 4 : 2;
    char *data = malloc((size_t)count * size);
    for (int64_t i = 0; i < count; i++) {
        double number = value * (double)(i % 7 - 3);
        float rough = (float)number;
        uint16_t half = type == BFLOAT16 ? nearest_bfloat(rough) : nearest_half(rough);
        const void *from = type == FLOAT64 ? (void *)&number : type == FLOAT32 ? (void *)&rough : (void *)&half;
        memcpy(data + (size_t)i * size, from, size);
    }
    return data;
}

int main(void)
{
    const int64_t counts[] = {0, 1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3};
    const double exponents[] = {0.5, 0.25, 0.125, 0.0, 0.3, 1.5, -0.25, -40.0};
    const Power kinds[] = {HALF, QUARTER, EIGHTH, ZERO, BETWEEN, ANY, ANY, ANY};
    const double values[] = {1.0, 0.0, 1e-30, 1e30, INFINITY, NAN};
    const Type types[][3] = {{FLOAT32, FLOAT32, FLOAT32}, {BFLOAT16, FLOAT32, BFLOAT16}, {FLOAT16, FLOAT16, FLOAT32},
                             {FLOAT64, FLOAT64, FLOAT64}};
    enum { SIZES = sizeof counts / sizeof *counts, TYPES = sizeof types / sizeof *types, TENSORS = SIZES * TYPES, STAGES = 2 };
    for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++)
        for (size_t g = 0; g < sizeof values / sizeof *values; g++) {
            Tensor tensors[TENSORS];
            Memory memories[TENSORS * STAGES];
            int64_t chunks = 0;
            for (int64_t i = 0; i < TENSORS; i++) {
                int64_t count = counts[i % SIZES];
                const Type *type = types[i / SIZES];
                Type precision = type[0] == FLOAT64 ? FLOAT64 : FLOAT32;
                tensors[i] = (Tensor){
                    .theta = filled(count, type[0], 1), .gradient = filled(count, type[1], values[g]), .step = filled(1, FLOAT64, 0),
                    .theta_type = type[0], .gradient_type = type[1], .moments_type = type[2], .count = count,
                    .first_chunk = chunks, .first_memory = i * STAGES, .group = i % 2, .position = i, .offset = 7,
                    .remembers = 1,
                };
                chunks += (count + CHUNK - 1) / CHUNK;
                for (int64_t s = 0; s < STAGES; s++)
                    memories[i * STAGES + s] = (Memory){filled(count, type[2], 0), filled(count, type[2], 0), filled(REFERENCE_STEPS, precision, 0)};
            }
            Stage stages[2 * STAGES] = {{0.9, 0.999, exponents[e], kinds[e]}, {0.9, 0.99, exponents[e], kinds[e]},
                                        {0.5, 0.9, exponents[e], kinds[e]}, {0, 0, 0.5, HALF}};
            Group groups[2] = {{.lr = 1e-3, .eps = 1e-8, .weight_decay = 0.1, .stages = STAGES, .maximize = 1},
                               {.lr = 1e-3, .stages = STAGES, .first_stage = STAGES, .stochastic = 1, .seed = INT64_MAX}};
            Sums *sums = malloc((size_t)(chunks * STAGES) * sizeof *sums), *telemetry = malloc(TENSORS * sizeof *telemetry);
            Squares *found = malloc((size_t)chunks * sizeof *found);
            for (int step = 0; step < 3; step++) {
                if (equipoise_moving(tensors, memories, groups, TENSORS))
                    equipoise_remember(tensors, memories, stages, groups, TENSORS, chunks, STAGES, 2, found);
                equipoise_step(tensors, memories, stages, groups, TENSORS, chunks, STAGES, 2, sums, telemetry);
                equipoise_step(tensors, memories, stages, groups, TENSORS, chunks, STAGES, 2, NULL, NULL);
            }
            for (int64_t i = 0; i < TENSORS; i++) {
                free(tensors[i].theta), free((void *)tensors[i].gradient), free(tensors[i].step);
                for (int64_t s = 0; s < STAGES; s++)
                    free(memories[i * STAGES + s].m), free(memories[i * STAGES + s].v), free(memories[i * STAGES + s].squares);
            }
            free(sums), free(telemetry), free(found);
        }
    puts("clean");
    return 0;
}
