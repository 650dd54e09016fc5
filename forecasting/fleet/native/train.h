/* Whole training steps and forecasts of one series: gathering, recurrence, head, loss, gradients, Adam, average.

   The weights and the optimiser's state of a series stay in the cache for all steps of a call. */

/* A network's parameters and the optimiser's state, as padded vectors. */
typedef struct {
  float *vector, *moment, *square, *average;
} N(State);

/* What one batch of windows needs. */
typedef struct {
  float *recurrent, *h, *c, *stash, *d_last, *dx, *back;
  float *share, *mixed, *d_mixed, *output, *below, *room;
  N(Batch) batch;
} N(Scratch);

/* Allocate a network's state; return the memory, which the caller frees, or null if there is not enough. */
static float *N(allocate_state)(const N(Layout) *at, int training, N(State) *state) {
  const long trained = training ? at->size : 0;
  const Piece pieces[] = {
      {&state->vector, at->size}, {&state->moment, trained}, {&state->square, trained}, {&state->average, trained}};
  return allocate(pieces, LENGTH(pieces));
}

/* Read a network's state from torch's tensors, or write it back. The average is zero where torch has none. */
static void N(copy_state)(const N(State) *state, const Network *network, const N(Layout) *at, long series,
                          int to_torch) {
  N(copy_network)(state->vector, VALUE, network, at, series, to_torch);
  N(copy_network)(state->moment, MOMENT, network, at, series, to_torch);
  N(copy_network)(state->square, SQUARE, network, at, series, to_torch);
  if (network->parameters[INPUT].average) N(copy_network)(state->average, AVERAGE, network, at, series, to_torch);
  else if (!to_torch) memset(state->average, 0, sizeof(float) * at->size);
}

static void N(fill_below)(const Network *network, const N(Layout) *at, float *below) {
  memset(below, 0, sizeof(float) * at->padded_O);
  for (long o = 0; o < at->O; o++) below[o] = 1.0f - network->quantiles[o % network->Q];
}

/* Allocate what batches of up to B windows need in turn; return the memory, which the caller frees, or null if there is
   not enough. */
static float *N(scratch)(const Network *network, const N(Layout) *at, long B, int training, N(Scratch) *s) {
  const Shape shape = {network->shape.cell, B, network->shape.T, network->shape.I, network->shape.H};
  const long F = at->F, M = at->M, states = training ? shape.T + 1 : 2, trained = training ? 1 : 0;
  float *series, *origins, *hidden, *usable, *young;
  const Piece pieces[] = {
      {&s->recurrent, N(recurrent_floats)(at)},
      {&s->h, states * B * at->P},
      {&s->c, B * at->P},
      {&s->share, F * M},
      {&s->mixed, B * F},
      {&s->output, B * at->padded_O},
      {&s->below, at->padded_O},
      {&s->room, 2 * (at->padded_O + 2 * W)},
      {&series, 2 * B}, /* two floats have the size of an index */
      {&origins, 2 * B},
      {&hidden, (B * network->windows.K + 3) / 4},
      {&usable, (B * M + 3) / 4},
      {&young, (B + 3) / 4},
      {&s->batch.x, B * shape.T * shape.I},
      {&s->batch.reference, B * F * M},
      {&s->batch.target, B * F},
      {&s->batch.observed, B * F},
      {&s->batch.share, B * F * M},
      {&s->stash, trained * shape.T * B * at->P * NUM_STASHED(shape.cell)},
      {&s->d_last, trained * B * shape.H},
      {&s->dx, trained * B * shape.T * at->D},
      {&s->d_mixed, trained * B * F},
      {&s->back, trained ? N(backward_floats)(&shape) : 0},
  };
  float *memory = allocate(pieces, LENGTH(pieces));
  if (!memory) return NULL;
  s->batch.series = (int64_t *)series, s->batch.origins = (int64_t *)origins, s->batch.hidden = (uint8_t *)hidden;
  s->batch.usable = (uint8_t *)usable, s->batch.young = (uint8_t *)young;
  if (network->windows.K) memset(hidden, 0, B * network->windows.K);
  N(fill_below)(network, at, s->below);
  return memory;
}

/* The finaliser of SplitMix64 (Steele, Lea & Flood 2014), as in forecasting.fleet.random. */
static uint64_t N(mix_bits)(uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  return bits ^ (bits >> 31);
}

/* Return 63 random bits, as forecasting.fleet.random.draw_bits. */
static uint64_t N(draw_bits)(int64_t key, long counter) {
  return N(mix_bits)((uint64_t)key + (uint64_t)(counter + 1) * 0x9E3779B97F4A7C15u) & 0x7FFFFFFFFFFFFFFFu;
}

/* Draw the categories that the windows of a batch do not see; its first window has number `first` of all draws. */
static void N(hide)(const Network *network, int64_t key, float share, long first, long B, const N(Batch) *batch) {
  const long K = network->windows.K;
  for (long place = 0; place < B * K; place++)
    batch->hidden[place] = (double)(N(draw_bits)(key, first * K + place) >> 10) * 0x1p-53 < share;
}

static void N(draw)(const Network *network, const StepTables *tables, long series, long step, const N(Batch) *batch) {
  const long B = network->shape.B;
  for (long b = 0; b < B; b++) {
    const uint64_t bits = N(draw_bits)(tables->keys[series], step * B + b);
    batch->series[b] = series;
    batch->origins[b] = tables->first[series] + (int64_t)(bits % (uint64_t)tables->num_windows[series]);
  }
  if (network->windows.K)
    N(hide)(network, tables->hiding_keys[series], tables->hidden_share, step * B, B, batch);
}

static long N(gradient_floats)(const N(Layout) *at) { return at->size + at->U * 4 * W; }

/* Return the loss of the batch of B windows that was gathered, the sum over its targets and quantiles times `scale`.
   `gradient`, which has gradient_floats, receives its gradient with respect to every parameter. */
static float N(gradients)(const Network *network, const N(Layout) *at, const float *vector, long B, float scale,
                          const N(Scratch) *s, float *gradient) {
  const Shape shape = {network->shape.cell, B, network->shape.T, network->shape.I, network->shape.H};
  const long H = shape.H;
  const N(Packed) packed = N(recurrent_weights)(vector, at, &shape, s->recurrent, 1);
  N(forward)(&shape, &packed, s->batch.x, s->h, s->c, s->stash, NULL, NULL);
  const float *last = s->h + shape.T * B * at->P;
  N(softmax)(vector + at->mixture, at->F, at->M, s->share);
  N(young_shares)(network, vector + at->mixture, &s->batch, B);
  N(mix)(&s->batch, s->share, B, at->F, at->M, s->mixed);
  N(head)(vector, at, B, H, last, s->output);
  float *d_mixed = at->M > 1 ? s->d_mixed : NULL;
  const float loss = N(pinball)(at, B, network->Q, s->mixed, &s->batch, scale, s->below, s->output, d_mixed, s->room);
  memset(gradient, 0, sizeof(float) * N(gradient_floats)(at));
  float *bias = gradient + at->size;
  N(head_gradients)(gradient, at, B, H, last, s->output);
  if (d_mixed)
    N(mixture_gradient)(gradient + at->mixture, s->share, &s->batch, s->mixed, d_mixed, B, at->F, at->M);
  N(head_back)(vector, at, B, H, s->output, s->d_last);
  N(backward)(&shape, &packed, s->batch.x, s->h, s->stash, NULL, s->d_last, at->D ? s->dx : NULL, at->D,
              (N(Gradients)){gradient, gradient + at->hidden, bias}, s->back);
  if (at->D) N(embedding_gradients)(network, &s->batch, B, s->dx, gradient + at->tables);
  for (long u = 0; u < at->U; u++)
    for (long gate = 0; gate < at->gates; gate++) {
      store(gradient + at->bias_input + (u * at->gates + gate) * W, load(bias + (u * 4 + gate) * W));
      if (shape.cell == GRU)
        store(gradient + at->bias_hidden + (u * at->gates + gate) * W,
              load(bias + (u * 4 + STATE_SLOT(GRU, gate)) * W));
    }
  return loss;
}

static float N(norm)(const float *gradient, long size) {
  V total = {0};
  for (long entry = 0; entry < size; entry += W) total += load(gradient + entry) * load(gradient + entry);
  return sqrtf(sum_lanes(total));
}

/* Update weights by Adam (Kingma & Ba 2015) on the gradient times `factor`, after decoupled decay (Loshchilov & Hutter
   2019), and their average. */
static void N(adam)(const Optimiser *optimiser, long n, float factor, long size, float *restrict value,
                    float *restrict moment, float *restrict square, float *restrict average,
                    const float *restrict gradient) {
  const float beta1 = optimiser->beta1, beta2 = optimiser->beta2, epsilon = optimiser->epsilon;
  const float step_size = optimiser->step_size[n], correction = 1.0f / optimiser->correction[n];
  const float fresh = optimiser->averaging[n], decay = optimiser->decay[n];
  for (long entry = 0; entry < size; entry++) {
    const float slope = gradient[entry] * factor;
    moment[entry] += (slope - moment[entry]) * (1.0f - beta1);
    square[entry] = square[entry] * beta2 + slope * slope * (1.0f - beta2);
    value[entry] = value[entry] * decay - step_size * moment[entry] / (sqrtf(square[entry]) * correction + epsilon);
    average[entry] += (value[entry] - average[entry]) * fresh;
  }
}

/* Limit an IndRNN's recurrent weights so that a gradient at most doubles over all steps, and correct the average. */
static void N(bound)(const Optimiser *optimiser, long n, const N(Layout) *at, long T, float *value, float *average) {
  const float most = powf(2.0f, 1.0f / T), fresh = optimiser->averaging[n];
  for (long entry = at->hidden; entry < at->hidden + at->P; entry++) {
    const float bounded = value[entry] > most ? most : value[entry] < -most ? -most : value[entry];
    average[entry] += (bounded - value[entry]) * fresh;
    value[entry] = bounded;
  }
}

/* Take step n of a call: clip the gradient, update the state. */
static void N(take_step)(const Network *network, const N(Layout) *at, const Optimiser *optimiser, long n, float scale,
                         float norm, const N(State) *state, const float *gradient) {
  const float factor = optimiser->clip / (norm + 1e-12f);
  N(adam)(optimiser, n, factor < 1 ? scale * factor : scale, at->size, state->vector, state->moment, state->square,
          state->average, gradient);
  if (network->shape.cell == INDRNN) N(bound)(optimiser, n, at, network->shape.T, state->vector, state->average);
}

static void N(train_series)(const Network *network, const StepTables *tables, const N(Layout) *at, long series,
                            const N(State) *state, const N(Scratch) *s, float *gradient) {
  const Optimiser *optimiser = &tables->optimiser;
  const long B = network->shape.B;
  N(copy_state)(state, network, at, series, 0);
  for (long n = 0; n < optimiser->num_steps; n++) {
    N(draw)(network, tables, series, optimiser->first_step + n, &s->batch);
    N(gather)(network, state->vector + at->tables, B, s->batch);
    const float count = N(num_observed)(&s->batch, B * at->F);
    const float scale = 1.0f / ((count > 1 ? count : 1) * network->Q);
    const float loss = N(gradients)(network, at, state->vector, B, scale, s, gradient);
    const float norm = N(norm)(gradient, at->size);
    if (!isfinite(loss) || !isfinite(norm)) {
      tables->broken_step[series] = optimiser->first_step + n + 1;
      break;
    }
    N(take_step)(network, at, optimiser, n, 1.0f, norm, state, gradient);
  }
  N(copy_state)(state, network, at, series, 1);
}

static int N(train)(const Network *network, const StepTables *tables, int64_t begin, int64_t end) {
  const N(Layout) at = N(layout)(network);
  N(Scratch) scratch;
  N(State) state;
  float *gradient;
  const Piece pieces[] = {{&gradient, N(gradient_floats)(&at)}};
  float *memory[] = {N(scratch)(network, &at, network->shape.B, 1, &scratch), N(allocate_state)(&at, 1, &state),
                     allocate(pieces, LENGTH(pieces))};
  const int failed = !memory[0] || !memory[1] || !memory[2];
  for (long series = begin; series < end && !failed; series++)
    if (tables->is_running[series] && tables->broken_step[series] < 0)
      N(train_series)(network, tables, &at, series, &state, &scratch, gradient);
  for (int n = 0; n < LENGTH(memory); n++) free(memory[n]);
  return failed;
}

/* Forecast the windows that end at `origins` (S, B): quantiles (S, B, F, Q), mean losses (S), or both. */
static int N(forecast)(const Network *network, const int64_t *origins, int64_t begin, int64_t end, float *quantiles,
                       float *loss) {
  const N(Layout) at = N(layout)(network);
  const Shape *shape = &network->shape;
  const long B = shape->B, F = at.F, Q = network->Q;
  N(Scratch) s;
  N(State) state;
  float *memory[] = {N(scratch)(network, &at, B, 0, &s), N(allocate_state)(&at, 0, &state)};
  const int failed = !memory[0] || !memory[1];
  for (long series = begin; series < end && !failed; series++) {
    const float *vector = state.vector;
    N(copy_network)(state.vector, VALUE, network, &at, series, 0);
    for (long b = 0; b < B; b++) s.batch.series[b] = series, s.batch.origins[b] = origins[series * B + b];
    N(gather)(network, vector + at.tables, B, s.batch);
    const N(Packed) packed = N(recurrent_weights)(vector, &at, shape, s.recurrent, 0);
    N(forward)(shape, &packed, s.batch.x, s.h, s.c, NULL, NULL, NULL);
    N(softmax)(vector + at.mixture, F, at.M, s.share);
    N(young_shares)(network, vector + at.mixture, &s.batch, B);
    N(mix)(&s.batch, s.share, B, F, at.M, s.mixed);
    N(head)(vector, &at, B, shape->H, s.h + (shape->T & 1) * B * at.P, s.output);
    if (quantiles)
      for (long entry = 0; entry < B * F; entry++)
        for (long q = 0; q < Q; q++)
          quantiles[(series * B * F + entry) * Q + q] =
              s.mixed[entry] + s.output[entry / F * at.padded_O + entry % F * Q + q];
    if (loss) {
      const float count = N(num_observed)(&s.batch, B * F), scale = 1.0f / ((count > 1 ? count : 1) * Q);
      loss[series] = N(pinball)(&at, B, Q, s.mixed, &s.batch, scale, s.below, s.output, NULL, s.room);
    }
  }
  for (int n = 0; n < LENGTH(memory); n++) free(memory[n]);
  return failed;
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
                dx ? dx + series * B * T * I : NULL, I, to, back);
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
