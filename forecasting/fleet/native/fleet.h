/* The structures that Python passes: pointers and sizes. Every array is contiguous, and its first axis is the series. A
   call reads and writes series `begin` to `end` - 1 only, so calls on disjoint ranges can run at the same time.

   S series · B windows · T steps · I inputs · H hidden · F horizon steps · Q quantiles · M season lengths
   L points of a segment · C calendar features · N grid points */

#ifndef FLEETCAST_FLEET_H
#define FLEETCAST_FLEET_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LSTM = 0, GRU = 1, ELMAN = 2, INDRNN = 3 };
enum { INPUT, BIAS_INPUT, HIDDEN, BIAS_HIDDEN, HEAD, BIAS_HEAD, MIXTURE, NUM_PARAMETERS };

typedef struct {
  int64_t cell, B, T, I, H;
} Shape;

/* Recurrent weights in torch's order of gates; `bias_hidden` is null for every cell but a GRU. The hidden weights of an
   INDRNN are a single row, one weight per unit. */
typedef struct {
  const float *input, *bias_input, *hidden, *bias_hidden;
} Parameters;

/* The arrays from which windows are gathered; `unit` converts the unit of the inputs to that of the loss. */
typedef struct {
  const float *y, *observed, *calendar, *unit;
  const int64_t *season_lengths;
  int64_t N, C, F, L, M, padding;
} WindowTensors;

/* A parameter, Adam's moments and the averaged weights, (S, size) each. `average` may be null; forecasts need `value`
   only. */
typedef struct {
  float *value, *moment, *square, *average;
} Trained;

typedef struct {
  Shape shape; /* B is the number of windows in a batch */
  WindowTensors windows;
  Trained parameters[NUM_PARAMETERS];
  const float *quantiles;
  int64_t Q;
} Network;

typedef struct {
  const int64_t *keys, *first, *num_windows; /* (S) */
  const uint8_t *is_running;                 /* (S) */
  int64_t *broken_step;                      /* (S), -1 while all is finite */
  const float *step_size, *correction, *averaging; /* (num_steps): Adam's step size and √(1 - β₂ᵗ), and the weight
                                                      of the new value in the average */
  int64_t first_step, num_steps;
  float clip, beta1, beta2, epsilon;
} StepTables;

#define INLINE static inline __attribute__((always_inline))

#endif
