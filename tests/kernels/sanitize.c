/* Runs the kernel under AddressSanitizer and UndefinedBehaviorSanitizer: every buffer is exactly as large as it is said to be. */

#include "cpu.c"

#include <stdio.h>
#include <stdlib.h>

static float *filled(int64_t count, float value)
{
    float *data = malloc((size_t)count * sizeof *data);
    for (int64_t i = 0; i < count; i++)
        data[i] = value * (float)(i % 7 - 3);
    return data;
}

int main(void)
{
    const int64_t counts[] = {1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3};
    const double exponents[] = {0.5, 0.25, 0.125, 0.0, 0.3, 1.5, -0.25, -40.0};
    const float values[] = {1.0f, 0.0f, 1e-30f, 1e30f, INFINITY, NAN};
    enum { TENSORS = sizeof counts / sizeof *counts, STAGES = 2 };
    for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++)
        for (size_t g = 0; g < sizeof values / sizeof *values; g++) {
            Tensor tensors[TENSORS];
            Memory memories[TENSORS * STAGES];
            int64_t chunks = 0;
            for (int64_t i = 0; i < TENSORS; i++) {
                tensors[i] = (Tensor){filled(counts[i], 1), filled(counts[i], values[g]), filled(1, 0), counts[i], chunks};
                chunks += (counts[i] + CHUNK - 1) / CHUNK;
                for (int64_t s = 0; s < STAGES; s++) {
                    memories[i * STAGES + s] = (Memory){filled(counts[i], 0), filled(counts[i], 0), filled(1, 0)};
                    *memories[i * STAGES + s].reference = 1.0f;
                }
            }
            Stage stages[STAGES] = {{0.9, 0.999, exponents[e]}, {0.9, 0.99, exponents[e]}};
            Settings settings = {1e-3, 1e-8, 0.1, STAGES, TENSORS, 2, 1, 1, 2};
            double *sums = malloc((size_t)(chunks * STAGES) * sizeof *sums);
            for (int step = 0; step < 3; step++)
                equipoise_step(tensors, memories, stages, &settings, chunks, sums);
            for (int64_t i = 0; i < TENSORS; i++) {
                free(tensors[i].theta), free((void *)tensors[i].gradient), free(tensors[i].step);
                for (int64_t s = 0; s < STAGES; s++)
                    free(memories[i * STAGES + s].m), free(memories[i * STAGES + s].v), free(memories[i * STAGES + s].reference);
            }
            free(sums);
        }
    puts("clean");
    return 0;
}
