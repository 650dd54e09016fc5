/* What the Python side hands over: plain structures of pointers and sizes. Every array is contiguous with the series
   first; a call works on series `begin` to `end` and touches no other, so calls on disjoint ranges may run at once.

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

/* One series' recurrent weights in torch's order of gates; bias_hidden is null but for a GRU. An INDRNN's hidden
   weights are a single row, one for each unit. */
typedef struct {
  const float *input, *bias_input, *hidden, *bias_hidden;
} Parameters;

/* The panel from which windows are gathered; `unit` turns inputs' units into the loss's. */
typedef struct {
  const float *y, *observed, *calendar, *unit;
  const int64_t *season_lengths;
  int64_t N, C, F, L, M, padding;
} Panel;

/* A parameter with its state: (S, size) each; `average` may be null, all but `value` where nothing is trained. */
typedef struct {
  float *value, *moment, *square, *average;
} Trained;

typedef struct {
  Shape shape; /* B is the windows of a batch */
  Panel panel;
  Trained parameters[NUM_PARAMETERS];
  const float *quantiles;
  int64_t Q;
} Network;

typedef struct {
  const int64_t *keys, *first, *num_windows; /* (S) */
  const uint8_t *is_running;                 /* (S) */
  int64_t *broken_step;                      /* (S), -1 while sound */
  const float *step_size, *correction, *averaging; /* (num_steps): Adam's step size and √(1 - β₂ᵗ), share of the new */
  int64_t first_step, num_steps;
  float clip, beta1, beta2, epsilon;
} Schedule;

#define INLINE static inline __attribute__((always_inline))

#endif
