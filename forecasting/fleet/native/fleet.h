/* The structures that Python passes: pointers and sizes. Every array is contiguous, and its first axis is the series. A
   call on a fleet reads and writes series `begin` to `end` - 1 only, so calls on disjoint ranges can run at the same
   time.

   S series · B windows · T steps · I inputs · H hidden · F horizon steps · Q quantiles · M season lengths
   L points of a segment · C calendar features · N grid points · K categories · E numbers of a category's vector */

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

/* The arrays from which windows are gathered; `unit` converts the unit of the inputs to that of the loss. Points before
   the column `began` of a series are unknown (S); 0 where all are known. `flat` is the reference of all windows of a
   series (S), NaN where references are past values. `rows` are the rows of the categories' tables at N + F grid points
   (S, N + F, K). */
typedef struct {
  const float *y, *observed, *calendar, *unit;
  const int64_t *began;
  const float *flat;
  const int64_t *season_lengths;
  const int32_t *rows;
  int64_t N, C, F, L, M, padding, K, E;
} WindowTensors;

/* A parameter, Adam's moments and the averaged weights, (S, size) each. `average` may be null; forecasts need `value`
   only. */
typedef struct {
  float *value, *moment, *square, *average;
} Trained;

/* The vectors of a category's values, `num_rows` of E numbers. */
typedef struct {
  Trained trained;
  int64_t num_rows;
} Table;

typedef struct {
  Shape shape; /* B is the number of windows in a batch */
  WindowTensors windows;
  Trained parameters[NUM_PARAMETERS];
  const Table *tables; /* (K) */
  const float *quantiles;
  int64_t Q;
} Network;

/* The optimiser in the steps of a call. */
typedef struct {
  const float *step_size, *correction, *averaging, *decay; /* (num_steps): Adam's step size and √(1 - β₂ᵗ), the weight
                                                              of the new value in the average, and the factor of the
                                                              old value */
  int64_t first_step, num_steps;
  float clip, beta1, beta2, epsilon;
} Optimiser;

/* The training of a fleet. Keys draw windows and hide categories. */
typedef struct {
  const int64_t *keys, *hiding_keys, *first, *num_windows; /* (S) */
  const uint8_t *is_running;                               /* (S) */
  int64_t *broken_step;                                    /* (S), -1 while all is finite */
  float hidden_share;
  Optimiser optimiser;
} StepTables;

/* The training of one network on windows of many series. `series` lists the R series that take part. */
typedef struct {
  const int64_t *series;              /* (R) */
  const int64_t *first, *num_windows; /* (S) */
  float *loss;                        /* (1), averaged as the weights are */
  int64_t R, series_key, window_key, hiding_key, num_threads, part_windows;
  float hidden_share;
  Optimiser optimiser;
} PriorTables;

#define INLINE static inline __attribute__((always_inline))

enum { VALUE, MOMENT, SQUARE, AVERAGE };

INLINE float *array_of(const Trained *trained, int kind) {
  return kind == VALUE ? trained->value : kind == MOMENT ? trained->moment
       : kind == SQUARE ? trained->square : trained->average;
}

#endif
