/* What the memory traffic of a step costs: the same streams, read, changed and written in the same order, with trivial
   arithmetic. A copy or a triad would hide that every written line is read first. */

#include <stdint.h>

#define CHUNK 2048

typedef struct {
    float *theta, *gradient, *moments[4]; /* two per stage */
    int64_t count, first_chunk;
} Tensor;

void floor_step(const Tensor *tensors, int64_t count, int64_t chunks, int64_t stages, int64_t threads)
{
#pragma omp parallel num_threads(threads)
    {
        int64_t index = 0;
#pragma omp for schedule(static)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            while (index + 1 < count && tensors[index + 1].first_chunk <= chunk)
                index++;
            const Tensor *tensor = &tensors[index];
            int64_t start = (chunk - tensor->first_chunk) * CHUNK;
            int64_t length = tensor->count - start < CHUNK ? tensor->count - start : CHUNK;
            const float *gradient = tensor->gradient + start;
            for (int64_t s = 0; s < stages; s++) {
                float *restrict m = tensor->moments[2 * s] + start, *restrict v = tensor->moments[2 * s + 1] + start;
                float *restrict theta = tensor->theta + start;
                if (s == stages - 1)
                    for (int64_t i = 0; i < length; i++) {
                        m[i] += gradient[i];
                        v[i] += gradient[i];
                        theta[i] += m[i];
                    }
                else
                    for (int64_t i = 0; i < length; i++) {
                        m[i] += gradient[i];
                        v[i] += gradient[i];
                    }
            }
        }
    }
}
