/* The CPU engine of a fleet: recurrences forward and backward, whole training steps, and forecasts.

   The same source is compiled once per kind of processor, and the library chooses the best variant when it is loaded;
   so one build runs everywhere. That choice is the only state: no allocation and no thread outlives a call. In a fleet
   the result of a series depends on that series alone. */

#include "fields.h"
#include "fleet.h"
#include "memory.h"
#include "threads.h"

typedef struct {
  int (*train)(const Network *, const StepTables *, int64_t, int64_t);
  int (*train_prior)(const Network *, const PriorTables *);
  int (*forecast)(const Network *, const int64_t *, int64_t, int64_t, float *, float *);
  int (*run_forward)(const Shape *, const Parameters *, const float *, float *, float *, float *, int64_t, int64_t);
  int (*run_backward)(const Shape *, const Parameters *, const float *, const float *, const float *, const float *,
                      float *, float *, float *, float *, float *, int64_t, int64_t);
  long (*stash_floats)(const Shape *);
  int lanes;
} Engine;

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#define VARIANT avx512
#define W 16
#define MAX_ROWS 6
#include "variant.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define VARIANT avx2
#define W 8
#define MAX_ROWS 3
#include "variant.h"
#pragma GCC pop_options
#endif

#define VARIANT plain
#define W 4
#define MAX_ROWS 3
#include "variant.h"

static const Engine *engine;

/* Choose the widest variant of at most `lanes` floats that this processor supports; return its lanes. */
int fleetcast_choose(int lanes) {
  engine = &engine_plain;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (lanes >= 8 && avx2) engine = &engine_avx2;
  if (lanes >= 16 && avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    engine = &engine_avx512;
#endif
  return engine->lanes;
}

/* Treat subnormal numbers as zero while the engine runs, because they are slow. */
#if defined(__x86_64__)
#define ENGINE(call) \
  const unsigned before = _mm_getcsr(); \
  _mm_setcsr(before | 0x8040); \
  const int failed = call; \
  _mm_setcsr(before); \
  return failed
#else
#define ENGINE(call) return call
#endif

int fleetcast_train(const Network *network, const StepTables *tables, int64_t begin, int64_t end) {
  ENGINE(engine->train(network, tables, begin, end));
}

int fleetcast_train_prior(const Network *network, const PriorTables *tables) {
  ENGINE(engine->train_prior(network, tables));
}

int fleetcast_forecast(const Network *network, const int64_t *origins, int64_t begin, int64_t end, float *quantiles,
                       float *loss) {
  ENGINE(engine->forecast(network, origins, begin, end, quantiles, loss));
}

int fleetcast_forward(const Shape *shape, const Parameters *weights, const float *x, float *outputs, float *last,
                      float *stash, int64_t begin, int64_t end) {
  ENGINE(engine->run_forward(shape, weights, x, outputs, last, stash, begin, end));
}

int fleetcast_backward(const Shape *shape, const Parameters *weights, const float *x, const float *stash,
                       const float *d_outputs, const float *d_last, float *dx, float *d_input, float *d_bias_input,
                       float *d_hidden, float *d_bias_hidden, int64_t begin, int64_t end) {
  ENGINE(engine->run_backward(shape, weights, x, stash, d_outputs, d_last, dx, d_input, d_bias_input, d_hidden,
                              d_bias_hidden, begin, end));
}

int64_t fleetcast_stash_floats(const Shape *shape) { return engine->stash_floats(shape); }
