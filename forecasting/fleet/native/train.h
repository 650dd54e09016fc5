/* Whole training steps and forecasts of one series: gathering, recurrence, head, loss, gradients, Adam, average.

   The weights and the optimiser's state of a series stay in the cache for all steps of a call. */

typedef struct {
  float *vector, *moment, *square, *average, *gradient;
  float *recurrent, *h, *c, *stash, *last, *d_last, *back;
  float *share, *mixed, *d_mixed, *output, *below, *room;
  int64_t *origins;
  N(Batch) batch;
} N(Scratch);

/* Allocate what a series needs in turn; return the memory, which the caller frees, or null if there is not enough. */
static float *N(scratch)(const Network *network, const N(Layout) *at, long B, int training, N(Scratch) *s) {
  const Shape shape = {network->shape.cell, B, network->shape.T, network->shape.I, network->shape.H};
  const long F = at->F, M = at->M, states = training ? shape.T + 1 : 2, trained = training ? 1 : 0;
  float *origins;
  const Piece pieces[] = {
      {&s->vector, at->size},
      {&s->recurrent, at->U * 4 * W + at->gates * at->P * at->P},
      {&s->h, states * B * at->P},
      {&s->c, B * at->P},
      {&s->share, F * M},
      {&s->mixed, B * F},
      {&s->output, B * at->padded_O},
      {&s->below, at->padded_O},
      {&s->room, 2 * (at->padded_O + 2 * W)},
      {&origins, 2 * B}, /* two floats have the size of an index */
      {&s->batch.x, B * shape.T * shape.I},
      {&s->batch.reference, B * F * M},
      {&s->batch.target, B * F},
      {&s->batch.observed, B * F},
      {&s->moment, trained * at->size},
      {&s->square, trained * at->size},
      {&s->average, trained * at->size},
      {&s->gradient, trained * (at->size + at->U * 4 * W)},
      {&s->stash, trained * shape.T * B * at->P * NUM_STASHED(shape.cell)},
      {&s->d_last, trained * B * shape.H},
      {&s->d_mixed, trained * B * F},
      {&s->back, trained ? N(backward_floats)(&shape) : 0},
  };
  float *memory = allocate(pieces, LENGTH(pieces));
  s->origins = (int64_t *)origins;
  return memory;
}

static void N(fill_below)(const Network *network, const N(Layout) *at, float *below) {
  memset(below, 0, sizeof(float) * at->padded_O);
  for (long o = 0; o < at->O; o++) below[o] = 1.0f - network->quantiles[o % network->Q];
}

/* The finaliser of SplitMix64 (Steele, Lea & Flood 2014), as in forecasting.fleet.random. */
static uint64_t N(mix_bits)(uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  return bits ^ (bits >> 31);
}

static void N(draw)(const StepTables *tables, long series, long step, long B, int64_t *origins) {
  for (long b = 0; b < B; b++) {
    const uint64_t counter = (uint64_t)(step * B + b + 1) * 0x9E3779B97F4A7C15u;
    const uint64_t bits = N(mix_bits)((uint64_t)tables->keys[series] + counter) & 0x7FFFFFFFFFFFFFFFu;
    origins[b] = tables->first[series] + (int64_t)(bits % (uint64_t)tables->num_windows[series]);
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

/* Update weights by Adam (Kingma & Ba 2015) on the clipped gradient, and their average. */
static void N(update)(const StepTables *tables, long n, float factor, long size, float *restrict value,
                      float *restrict moment, float *restrict square, float *restrict average,
                      const float *restrict gradient) {
  const float beta1 = tables->beta1, beta2 = tables->beta2, epsilon = tables->epsilon;
  const float step_size = tables->step_size[n], correction = 1.0f / tables->correction[n];
  const float fresh = tables->averaging[n];
  for (long entry = 0; entry < size; entry++) {
    const float slope = gradient[entry] * factor;
    moment[entry] += (slope - moment[entry]) * (1.0f - beta1);
    square[entry] = square[entry] * beta2 + slope * slope * (1.0f - beta2);
    value[entry] -= step_size * moment[entry] / (sqrtf(square[entry]) * correction + epsilon);
    average[entry] += (value[entry] - average[entry]) * fresh;
  }
}

/* Limit an IndRNN's recurrent weights so that a gradient at most doubles over all steps, and correct the average. */
static void N(bound)(const StepTables *tables, long n, const N(Layout) *at, long T, float *value, float *average) {
  const float most = powf(2.0f, 1.0f / T), fresh = tables->averaging[n];
  for (long entry = at->hidden; entry < at->hidden + at->P; entry++) {
    const float bounded = value[entry] > most ? most : value[entry] < -most ? -most : value[entry];
    average[entry] += (bounded - value[entry]) * fresh;
    value[entry] = bounded;
  }
}

static void N(train_series)(const Network *network, const StepTables *tables, const N(Layout) *at, long series,
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
  for (long n = 0; n < tables->num_steps; n++) {
    N(draw)(tables, series, tables->first_step + n, network->shape.B, s->origins);
    const float loss = N(gradients)(network, at, series, s), norm = N(norm)(s->gradient, at->size);
    if (!isfinite(loss) || !isfinite(norm)) {
      tables->broken_step[series] = tables->first_step + n + 1;
      break;
    }
    const float factor = tables->clip / (norm + 1e-12f);
    N(update)(tables, n, factor < 1 ? factor : 1, at->size, s->vector, s->moment, s->square,
              s->average, s->gradient);
    if (network->shape.cell == INDRNN) N(bound)(tables, n, at, network->shape.T, s->vector, s->average);
  }
  N(copy_series)(s->vector, values, network, at, series, 1);
  N(copy_series)(s->moment, moments, network, at, series, 1);
  N(copy_series)(s->square, squares, network, at, series, 1);
  if (averaging) N(copy_series)(s->average, averages, network, at, series, 1);
}

static int N(train)(const Network *network, const StepTables *tables, int64_t begin, int64_t end) {
  const N(Layout) at = N(layout)(network);
  N(Scratch) scratch;
  float *memory = N(scratch)(network, &at, network->shape.B, 1, &scratch);
  if (!memory) return 1;
  N(fill_below)(network, &at, scratch.below);
  for (long series = begin; series < end; series++)
    if (tables->is_running[series] && tables->broken_step[series] < 0)
      N(train_series)(network, tables, &at, series, &scratch);
  free(memory);
  return 0;
}

/* Forecast the windows that end at `origins` (S, B): quantiles (S, B, F, Q), mean losses (S), or both. */
static int N(forecast)(const Network *network, const int64_t *origins, int64_t begin, int64_t end, float *quantiles,
                       float *loss) {
  const N(Layout) at = N(layout)(network);
  const Shape *shape = &network->shape;
  const long B = shape->B, F = at.F, Q = network->Q;
  N(Scratch) s;
  float *memory = N(scratch)(network, &at, B, 0, &s);
  if (!memory) return 1;
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
  free(memory);
  return 0;
}

/* The recurrence alone, for autograd: `stash` (S, stash_floats) is null if no gradient is required. */
static long N(state_floats)(const Shape *shape) { return (shape->T + 1) * shape->B * N(units)(shape) * W; }

static long N(stash_floats)(const Shape *shape) {
  return N(state_floats)(shape) + shape->T * shape->B * N(units)(shape) * W * NUM_STASHED(shape->cell);
}

static Parameters N(of_series)(const Shape *shape, const Parameters *all, long series) {
  const long G = NUM_GATES(shape->cell) * shape->H;
  return (Parameters){all->input + series * shape->I * G, all->bias_input + series * G,
                      all->hidden + series * HIDDEN_ROWS(shape->cell, shape->H) * G,
                      all->bias_hidden ? all->bias_hidden + series * G : NULL};
}

static int N(run_forward)(const Shape *shape, const Parameters *weights, const float *x, float *outputs, float *last,
                          float *stash, int64_t begin, int64_t end) {
  const long B = shape->B, P = N(units)(shape) * W, size = B * shape->T;
  float *room, *h, *c;
  const Piece pieces[] = {{&room, N(packed_floats)(shape)}, {&h, 2 * B * P}, {&c, B * P}};
  float *memory = allocate(pieces, LENGTH(pieces));
  if (!memory) return 1;
  for (long series = begin; series < end; series++) {
    const Parameters mine = N(of_series)(shape, weights, series);
    const N(Packed) packed = N(pack)(shape, &mine, room, 0, 0);
    float *kept = stash ? stash + series * N(stash_floats)(shape) : NULL;
    N(forward)(shape, &packed, x + series * size * shape->I, kept ? kept : h, c,
               kept ? kept + N(state_floats)(shape) : NULL, outputs ? outputs + series * size * shape->H : NULL,
               last ? last + series * B * shape->H : NULL);
  }
  free(memory);
  return 0;
}

static int N(run_backward)(const Shape *shape, const Parameters *weights, const float *x, const float *stash,
                           const float *d_outputs, const float *d_last, float *dx, float *d_input, float *d_bias_input,
                           float *d_hidden, float *d_bias_hidden, int64_t begin, int64_t end) {
  const long B = shape->B, T = shape->T, I = shape->I, H = shape->H, gates = NUM_GATES(shape->cell), G = gates * H;
  const N(Layout) at = {.U = N(units)(shape), .gates = gates, .P = N(units)(shape) * W};
  const long rows = HIDDEN_ROWS(shape->cell, H), sizes[3] = {I * gates * at.P, rows * gates * at.P, 4 * at.P};
  float *room, *back;
  N(Gradients) to;
  const Piece pieces[] = {{&room, N(packed_floats)(shape)}, {&back, N(backward_floats)(shape)},
                          {&to.input, sizes[0]}, {&to.hidden, sizes[1]}, {&to.bias, sizes[2]}};
  float *memory = allocate(pieces, LENGTH(pieces));
  if (!memory) return 1;
  for (long series = begin; series < end; series++) {
    const Parameters mine = N(of_series)(shape, weights, series);
    const N(Packed) packed = N(pack)(shape, &mine, room, 1, dx != NULL);
    const float *kept = stash + series * N(stash_floats)(shape);
    memset(to.input, 0, sizeof(float) * sizes[0]);
    memset(to.hidden, 0, sizeof(float) * sizes[1]);
    memset(to.bias, 0, sizeof(float) * sizes[2]);
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
  free(memory);
  return 0;
}
