/* Whole training steps and forecasts of one series: gather, recurrence, head, loss, gradients, clipping, Adam, average.

   A series keeps its weights and its optimiser's state in the cache for all steps of a call. */

/* A stretch of memory that is dealt out in multiples of a cache line; with a null base it only counts. */
typedef struct {
  float *base;
  long used;
} N(Arena);

static float *N(take)(N(Arena) *arena, long floats) {
  float *taken = arena->base ? arena->base + arena->used : NULL;
  arena->used += (floats + 15) / 16 * 16;
  return taken;
}

typedef struct {
  float *vector, *moment, *square, *average, *gradient;
  float *recurrent, *h, *c, *stash, *last, *d_last, *back;
  float *share, *mixed, *d_mixed, *output, *below, *room;
  int64_t *origins;
  N(Batch) batch;
} N(Scratch);

static N(Scratch) N(scratch)(const Network *network, const N(Layout) *at, long B, int training, N(Arena) *arena) {
  const Shape shape = {network->shape.cell, B, network->shape.T, network->shape.I, network->shape.H};
  const long F = at->F, M = at->M, states = training ? shape.T + 1 : 2;
  N(Scratch) s = {0};
  s.vector = N(take)(arena, at->size);
  s.recurrent = N(take)(arena, at->U * 4 * W + at->gates * at->P * at->P);
  s.h = N(take)(arena, states * B * at->P);
  s.c = N(take)(arena, B * at->P);
  s.share = N(take)(arena, F * M);
  s.mixed = N(take)(arena, B * F);
  s.output = N(take)(arena, B * at->padded_O);
  s.below = N(take)(arena, at->padded_O);
  s.room = N(take)(arena, 2 * (at->padded_O + 2 * W));
  s.origins = (int64_t *)N(take)(arena, 2 * B);
  s.batch.x = N(take)(arena, B * shape.T * shape.I);
  s.batch.reference = N(take)(arena, B * F * M);
  s.batch.target = N(take)(arena, B * F);
  s.batch.observed = N(take)(arena, B * F);
  if (!training) return s;
  s.moment = N(take)(arena, at->size);
  s.square = N(take)(arena, at->size);
  s.average = N(take)(arena, at->size);
  s.gradient = N(take)(arena, at->size + at->U * 4 * W);
  s.stash = N(take)(arena, shape.T * B * at->P * NUM_STASHED(shape.cell));
  s.d_last = N(take)(arena, B * shape.H);
  s.d_mixed = N(take)(arena, B * F);
  s.back = N(take)(arena, N(backward_floats)(&shape));
  return s;
}

static void N(fill_below)(const Network *network, const N(Layout) *at, float *below) {
  memset(below, 0, sizeof(float) * at->padded_O);
  for (long o = 0; o < at->O; o++) below[o] = 1.0f - network->quantiles[o % network->Q];
}

/* The finaliser of SplitMix64 (Steele, Lea & Flood 2014), as forecasting.fleet.random has it. */
static uint64_t N(mix_bits)(uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  return bits ^ (bits >> 31);
}

static void N(draw)(const Schedule *schedule, long series, long step, long B, int64_t *origins) {
  for (long b = 0; b < B; b++) {
    const uint64_t counter = (uint64_t)(step * B + b + 1) * 0x9E3779B97F4A7C15u;
    const uint64_t bits = N(mix_bits)((uint64_t)schedule->keys[series] + counter) & 0x7FFFFFFFFFFFFFFFu;
    origins[b] = schedule->first[series] + (int64_t)(bits % (uint64_t)schedule->num_windows[series]);
  }
}

/* Loss of one batch; its gradient with respect to every parameter goes to `gradient`. */
static float N(gradients)(const Network *network, const N(Layout) *at, long series, const N(Scratch) *s) {
  const Shape *shape = &network->shape;
  const long B = shape->B, H = shape->H;
  N(gather)(network, series, s->origins, B, s->batch);
  const N(Packed) packed = N(recurrent_weights)(s->vector, at, shape, s->recurrent, 1);
  N(forward)(shape, &packed, s->batch.x, s->h, s->c, s->stash, NULL, NULL);
  const float *last = s->h + shape->T * B * at->P;
  N(softmax)(s->vector + at->mixture, at->F, at->M, s->share);
  N(mix)(s->batch.reference, s->share, B, at->F, at->M, s->mixed);
  N(head)(s->vector, at, B, H, last, s->output);
  float *d_mixed = at->M > 1 ? s->d_mixed : NULL;
  const float loss = N(pinball)(at, B, network->Q, s->mixed, &s->batch, s->below, s->output, d_mixed, s->room);
  memset(s->gradient, 0, sizeof(float) * (at->size + at->U * 4 * W));
  float *bias = s->gradient + at->size;
  N(head_gradients)(s->gradient, at, B, H, last, s->output);
  if (d_mixed)
    N(mixture_gradient)(s->gradient + at->mixture, s->share, s->batch.reference, d_mixed, B, at->F, at->M);
  N(head_back)(s->vector, at, B, H, s->output, s->d_last);
  N(backward)(shape, &packed, s->batch.x, s->h, s->stash, NULL, s->d_last, NULL,
              (N(Gradients)){s->gradient, s->gradient + at->hidden, bias}, s->back);
  for (long u = 0; u < at->U; u++)
    for (long gate = 0; gate < at->gates; gate++) {
      store(s->gradient + at->bias_input + (u * at->gates + gate) * W, load(bias + (u * 4 + gate) * W));
      if (shape->cell == GRU)
        store(s->gradient + at->bias_hidden + (u * at->gates + gate) * W,
              load(bias + (u * 4 + STATE_SLOT(GRU, gate)) * W));
    }
  return loss;
}

static float N(norm)(const float *gradient, long size) {
  V total = {0};
  for (long entry = 0; entry < size; entry += W) total += load(gradient + entry) * load(gradient + entry);
  return sqrtf(sum_lanes(total));
}

/* Adam (Kingma & Ba 2015) on the clipped gradient, and the average of the weights. */
static void N(update)(const Schedule *schedule, long n, float factor, long size, float *restrict value,
                      float *restrict moment, float *restrict square, float *restrict average,
                      const float *restrict gradient) {
  const float beta1 = schedule->beta1, beta2 = schedule->beta2, epsilon = schedule->epsilon;
  const float step_size = schedule->step_size[n], correction = 1.0f / schedule->correction[n];
  const float fresh = schedule->averaging[n];
  for (long entry = 0; entry < size; entry++) {
    const float slope = gradient[entry] * factor;
    moment[entry] += (slope - moment[entry]) * (1.0f - beta1);
    square[entry] = square[entry] * beta2 + slope * slope * (1.0f - beta2);
    value[entry] -= step_size * moment[entry] / (sqrtf(square[entry]) * correction + epsilon);
    average[entry] += (value[entry] - average[entry]) * fresh;
  }
}

/* Put an IndRNN's recurrent weights back to where a gradient at most doubles over all steps, in the average too. */
static void N(bound)(const Schedule *schedule, long n, const N(Layout) *at, long T, float *value, float *average) {
  const float most = powf(2.0f, 1.0f / T), fresh = schedule->averaging[n];
  for (long entry = at->hidden; entry < at->hidden + at->P; entry++) {
    const float bounded = value[entry] > most ? most : value[entry] < -most ? -most : value[entry];
    average[entry] += (bounded - value[entry]) * fresh;
    value[entry] = bounded;
  }
}

static void N(train_series)(const Network *network, const Schedule *schedule, const N(Layout) *at, long series,
                            const N(Scratch) *s) {
  float *values[NUM_PARAMETERS], *moments[NUM_PARAMETERS], *squares[NUM_PARAMETERS], *averages[NUM_PARAMETERS];
  for (int name = 0; name < NUM_PARAMETERS; name++) {
    const Trained *parameter = &network->parameters[name];
    values[name] = parameter->value, moments[name] = parameter->moment, squares[name] = parameter->square;
    averages[name] = parameter->average;
  }
  const int averaging = network->parameters[INPUT].average != NULL;
  N(copy_series)(s->vector, values, network, at, series, 0);
  N(copy_series)(s->moment, moments, network, at, series, 0);
  N(copy_series)(s->square, squares, network, at, series, 0);
  if (averaging) N(copy_series)(s->average, averages, network, at, series, 0);
  else memset(s->average, 0, sizeof(float) * at->size);
  for (long n = 0; n < schedule->num_steps; n++) {
    N(draw)(schedule, series, schedule->first_step + n, network->shape.B, s->origins);
    const float loss = N(gradients)(network, at, series, s), norm = N(norm)(s->gradient, at->size);
    if (!isfinite(loss) || !isfinite(norm)) {
      schedule->broken_step[series] = schedule->first_step + n + 1;
      break;
    }
    const float factor = schedule->clip / (norm + 1e-12f);
    N(update)(schedule, n, factor < 1 ? factor : 1, at->size, s->vector, s->moment, s->square,
              s->average, s->gradient);
    if (network->shape.cell == INDRNN) N(bound)(schedule, n, at, network->shape.T, s->vector, s->average);
  }
  N(copy_series)(s->vector, values, network, at, series, 1);
  N(copy_series)(s->moment, moments, network, at, series, 1);
  N(copy_series)(s->square, squares, network, at, series, 1);
  if (averaging) N(copy_series)(s->average, averages, network, at, series, 1);
}

static int N(train)(const Network *network, const Schedule *schedule, int64_t begin, int64_t end) {
  const N(Layout) at = N(layout)(network);
  N(Arena) arena = {NULL, 0};
  N(scratch)(network, &at, network->shape.B, 1, &arena);
  arena.base = aligned_alloc(64, sizeof(float) * arena.used), arena.used = 0;
  if (!arena.base) return 1;
  const N(Scratch) scratch = N(scratch)(network, &at, network->shape.B, 1, &arena);
  N(fill_below)(network, &at, scratch.below);
  for (long series = begin; series < end; series++)
    if (schedule->is_running[series] && schedule->broken_step[series] < 0)
      N(train_series)(network, schedule, &at, series, &scratch);
  free(arena.base);
  return 0;
}

/* Forecast the windows that end at `origins` (S, B): quantiles (S, B, F, Q), or each series' mean loss (S), or both. */
static int N(forecast)(const Network *network, const int64_t *origins, int64_t begin, int64_t end, float *quantiles,
                       float *loss) {
  const N(Layout) at = N(layout)(network);
  const Shape *shape = &network->shape;
  const long B = shape->B, F = at.F, Q = network->Q;
  N(Arena) arena = {NULL, 0};
  N(scratch)(network, &at, B, 0, &arena);
  arena.base = aligned_alloc(64, sizeof(float) * arena.used), arena.used = 0;
  if (!arena.base) return 1;
  const N(Scratch) s = N(scratch)(network, &at, B, 0, &arena);
  N(fill_below)(network, &at, s.below);
  float *values[NUM_PARAMETERS];
  for (int name = 0; name < NUM_PARAMETERS; name++) values[name] = network->parameters[name].value;
  for (long series = begin; series < end; series++) {
    N(copy_series)(s.vector, values, network, &at, series, 0);
    N(gather)(network, series, origins + series * B, B, s.batch);
    const N(Packed) packed = N(recurrent_weights)(s.vector, &at, shape, s.recurrent, 0);
    N(forward)(shape, &packed, s.batch.x, s.h, s.c, NULL, NULL, NULL);
    N(softmax)(s.vector + at.mixture, F, at.M, s.share);
    N(mix)(s.batch.reference, s.share, B, F, at.M, s.mixed);
    N(head)(s.vector, &at, B, shape->H, s.h + (shape->T & 1) * B * at.P, s.output);
    if (quantiles)
      for (long entry = 0; entry < B * F; entry++)
        for (long q = 0; q < Q; q++)
          quantiles[(series * B * F + entry) * Q + q] =
              s.mixed[entry] + s.output[entry / F * at.padded_O + entry % F * Q + q];
    if (loss) loss[series] = N(pinball)(&at, B, Q, s.mixed, &s.batch, s.below, s.output, NULL, s.room);
  }
  free(arena.base);
  return 0;
}

/* The recurrence alone, for autograd: `stash` (S, stash_floats) is null where no gradient is wanted. */
static long N(state_floats)(const Shape *shape) { return (shape->T + 1) * shape->B * N(units)(shape) * W; }

static long N(stash_floats)(const Shape *shape) {
  return N(state_floats)(shape) + shape->T * shape->B * N(units)(shape) * W * NUM_STASHED(shape->cell);
}

static Parameters N(of_series)(const Shape *shape, const Parameters *all, long series) {
  const long G = NUM_GATES(shape->cell) * shape->H;
  return (Parameters){all->input + series * shape->I * G, all->bias_input + series * G,
                      all->hidden + series * HIDDEN_ROWS(shape->cell, shape->H) * G, all->bias_hidden ? all->bias_hidden + series * G : NULL};
}

static int N(run_forward)(const Shape *shape, const Parameters *weights, const float *x, float *outputs, float *last,
                          float *stash, int64_t begin, int64_t end) {
  const long B = shape->B, P = N(units)(shape) * W, size = B * shape->T;
  N(Arena) arena = {NULL, 0};
  for (int pass = 0; pass < 2; pass++) {
    float *room = N(take)(&arena, N(packed_floats)(shape)), *c = N(take)(&arena, B * P);
    float *h = N(take)(&arena, 2 * B * P);
    if (pass == 0) {
      arena.base = aligned_alloc(64, sizeof(float) * arena.used), arena.used = 0;
      if (!arena.base) return 1;
      continue;
    }
    for (long series = begin; series < end; series++) {
      const Parameters mine = N(of_series)(shape, weights, series);
      const N(Packed) packed = N(pack)(shape, &mine, room, 0, 0);
      float *kept = stash ? stash + series * N(stash_floats)(shape) : NULL;
      N(forward)(shape, &packed, x + series * size * shape->I, kept ? kept : h, c,
                 kept ? kept + N(state_floats)(shape) : NULL, outputs ? outputs + series * size * shape->H : NULL,
                 last ? last + series * B * shape->H : NULL);
    }
  }
  free(arena.base);
  return 0;
}

static int N(run_backward)(const Shape *shape, const Parameters *weights, const float *x, const float *stash,
                           const float *d_outputs, const float *d_last, float *dx, float *d_input, float *d_bias_input,
                           float *d_hidden, float *d_bias_hidden, int64_t begin, int64_t end) {
  const long B = shape->B, T = shape->T, I = shape->I, H = shape->H, gates = NUM_GATES(shape->cell), G = gates * H;
  const N(Layout) at = {.U = N(units)(shape), .gates = gates, .P = N(units)(shape) * W};
  const long rows = HIDDEN_ROWS(shape->cell, H), sizes[3] = {I * gates * at.P, rows * gates * at.P, 4 * at.P};
  N(Arena) arena = {NULL, 0};
  for (int pass = 0; pass < 2; pass++) {
    float *room = N(take)(&arena, N(packed_floats)(shape)), *back = N(take)(&arena, N(backward_floats)(shape));
    float *gradient = N(take)(&arena, sizes[0] + sizes[1] + sizes[2]);
    if (pass == 0) {
      arena.base = aligned_alloc(64, sizeof(float) * arena.used), arena.used = 0;
      if (!arena.base) return 1;
      continue;
    }
    const N(Gradients) to = {gradient, gradient + sizes[0], gradient + sizes[0] + sizes[1]};
    for (long series = begin; series < end; series++) {
      const Parameters mine = N(of_series)(shape, weights, series);
      const N(Packed) packed = N(pack)(shape, &mine, room, 1, dx != NULL);
      const float *kept = stash + series * N(stash_floats)(shape);
      memset(gradient, 0, sizeof(float) * (sizes[0] + sizes[1] + sizes[2]));
      N(backward)(shape, &packed, x + series * B * T * I, kept, kept + N(state_floats)(shape),
                  d_outputs ? d_outputs + series * B * T * H : NULL, d_last ? d_last + series * B * H : NULL,
                  dx ? dx + series * B * T * I : NULL, to, back);
      N(copy_gates)(to.input, d_input + series * I * G, I, &at, H, 1);
      N(copy_gates)(to.hidden, d_hidden + series * rows * G, rows, &at, H, 1);
      for (long gate = 0; gate < gates; gate++)
        for (long unit = 0; unit < H; unit++) {
          const float *slots = to.bias + unit / W * 4 * W + unit % W;
          d_bias_input[series * G + gate * H + unit] = slots[gate * W];
          if (d_bias_hidden) d_bias_hidden[series * G + gate * H + unit] = slots[STATE_SLOT(shape->cell, gate) * W];
        }
    }
  }
  free(arena.base);
  return 0;
}
