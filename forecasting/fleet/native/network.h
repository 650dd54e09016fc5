/* The network around the recurrence: gathering of windows, head, mixture of seasonal references, loss.

   For the duration of a call one padded vector holds the parameters of a network in the order in which tiles read them;
   vectors of the same layout hold the optimiser's state. O = F Q outputs, padded to a multiple of W. D = K E inputs, the
   last ones, are vectors of categories. */

typedef struct {
  long U, P, O, padded_O, D, gates, M, F;
  long input, bias_input, hidden, bias_hidden, head, bias_head, mixture, tables, size; /* offsets into the vector */
} N(Layout);

static N(Layout) N(layout)(const Network *network) {
  const Shape *shape = &network->shape;
  const WindowTensors *windows = &network->windows;
  N(Layout) at = {.U = N(units)(shape), .gates = NUM_GATES(shape->cell), .M = windows->M, .F = windows->F};
  at.P = at.U * W, at.O = at.F * network->Q, at.padded_O = N(pad)(at.O), at.D = windows->K * windows->E;
  at.bias_input = shape->I * at.gates * at.P;
  at.hidden = at.bias_input + at.gates * at.P;
  at.bias_hidden = at.hidden + HIDDEN_ROWS(shape->cell, shape->H) * at.gates * at.P;
  at.head = at.bias_hidden + (shape->cell == GRU ? at.gates * at.P : 0);
  at.bias_head = at.head + shape->H * at.padded_O;
  at.mixture = at.bias_head + at.padded_O;
  at.tables = at.mixture + at.F * at.M;
  long num_rows = 0;
  for (long k = 0; k < windows->K; k++) num_rows += network->tables[k].num_rows;
  at.size = N(pad)(at.tables + num_rows * windows->E);
  return at;
}

/* Copy one parameter of one series from torch's order to the padded vector, or back. */
static void N(copy_gates)(float *vector, float *torch, long num_rows, const N(Layout) *at, long H, int to_torch) {
  for (long u = 0; u < at->U; u++)
    for (long k = 0; k < num_rows; k++)
      for (long gate = 0; gate < at->gates; gate++, vector += W) {
        const long width = H - u * W < W ? H - u * W : W;
        float *row = torch + (k * at->gates + gate) * H + u * W;
        memcpy(to_torch ? row : vector, to_torch ? vector : row, sizeof(float) * width);
      }
}

/* Copy one kind of array of a network's parameters from torch's tensors to the padded vector, or back. */
static void N(copy_network)(float *vector, int kind, const Network *network, const N(Layout) *at, long series,
                            int to_torch) {
  const long I = network->shape.I, H = network->shape.H, G = at->gates * H, O = at->O;
  float *torch[NUM_PARAMETERS];
  for (int name = 0; name < NUM_PARAMETERS; name++) torch[name] = array_of(&network->parameters[name], kind);
  if (!to_torch) memset(vector, 0, sizeof(float) * at->size);
  N(copy_gates)(vector, torch[INPUT] + series * I * G, I, at, H, to_torch);
  N(copy_gates)(vector + at->bias_input, torch[BIAS_INPUT] + series * G, 1, at, H, to_torch);
  const long rows = HIDDEN_ROWS(network->shape.cell, H);
  N(copy_gates)(vector + at->hidden, torch[HIDDEN] + series * rows * G, rows, at, H, to_torch);
  if (network->shape.cell == GRU)
    N(copy_gates)(vector + at->bias_hidden, torch[BIAS_HIDDEN] + series * G, 1, at, H, to_torch);
  for (long k = 0; k <= H; k++) { /* the bias is row H */
    float *mine = vector + at->head + k * at->padded_O;
    float *theirs = k < H ? torch[HEAD] + (series * H + k) * O : torch[BIAS_HEAD] + series * O;
    memcpy(to_torch ? theirs : mine, to_torch ? mine : theirs, sizeof(float) * O);
  }
  float *theirs = torch[MIXTURE] + series * at->F * at->M, *mine = vector + at->mixture;
  memcpy(to_torch ? theirs : mine, to_torch ? mine : theirs, sizeof(float) * at->F * at->M);
  mine = vector + at->tables;
  for (long k = 0; k < network->windows.K; k++) {
    const long size = network->tables[k].num_rows * network->windows.E;
    theirs = array_of(&network->tables[k].trained, kind) + series * size;
    memcpy(to_torch ? theirs : mine, to_torch ? mine : theirs, sizeof(float) * size);
    mine += size;
  }
}

static long N(recurrent_floats)(const N(Layout) *at) {
  return at->U * 4 * W + at->gates * at->P * (at->P + N(pad)(at->D));
}

/* Return the weights for the recurrence: those of the vector itself, the sum of the biases, and transposed copies. */
static N(Packed) N(recurrent_weights)(const float *vector, const N(Layout) *at, const Shape *shape, float *room,
                                      int backward) {
  const long gates = at->gates, padded_D = N(pad)(at->D), first = shape->I - at->D;
  float *bias = room, *hidden_t = room + at->U * 4 * W, *input_t = hidden_t + gates * at->P * at->P;
  memset(bias, 0, sizeof(float) * at->U * 4 * W);
  for (long u = 0; u < at->U; u++)
    for (long gate = 0; gate < gates; gate++) {
      float *of_input = bias + (u * 4 + gate) * W, *of_state = bias + (u * 4 + STATE_SLOT(shape->cell, gate)) * W;
      store(of_input, load(of_input) + load(vector + at->bias_input + (u * gates + gate) * W));
      if (shape->cell == GRU) store(of_state, load(of_state) + load(vector + at->bias_hidden + (u * gates + gate) * W));
    }
  if (backward && shape->cell != INDRNN)
    for (long k = 0; k < at->P; k++)
      for (long u = 0; u < at->U; u++)
        for (long gate = 0; gate < gates; gate++)
          for (long lane = 0; lane < W; lane++)
            hidden_t[((u * gates + gate) * W + lane) * at->P + k] =
                k < shape->H ? vector[at->hidden + ((u * shape->H + k) * gates + gate) * W + lane] : 0.0f;
  if (backward)
    for (long d = 0; d < padded_D; d++)
      for (long u = 0; u < at->U; u++)
        for (long gate = 0; gate < gates; gate++)
          for (long lane = 0; lane < W; lane++)
            input_t[((u * gates + gate) * W + lane) * padded_D + d] =
                d < at->D ? vector[((u * shape->I + first + d) * gates + gate) * W + lane] : 0.0f;
  return (N(Packed)){vector, vector + at->hidden, bias, hidden_t, input_t};
}

/* A batch: of each window its series, origin and hidden categories (B, K); its inputs (B, T, I), references (B, F, M)
   and targets (B, F), and which targets are observed (B, F). A window is young where some of its references are not usable
   or unknown (B, M and B); it mixes the others in shares of its own (B, F, M). */
typedef struct {
  int64_t *series, *origins;
  uint8_t *hidden, *usable, *young;
  float *x, *reference, *target, *observed, *share;
} N(Batch);

/* Return the row of a category's table at a grid point of a window; a hidden category has the row of the unseen. */
static long N(row_of)(const WindowTensors *windows, const N(Batch) *batch, long b, long at, long k) {
  if (batch->hidden[b * windows->K + k]) return 0;
  return windows->rows[(batch->series[b] * (windows->N + windows->F) + at) * windows->K + k];
}

/* Write the vectors of a step's categories, each the mean over the points of its segment from `at` on. */
static void N(embed)(const Network *network, const float *tables, const N(Batch) *batch, long b, long at, float *to) {
  const WindowTensors *windows = &network->windows;
  const long E = windows->E, L = windows->L;
  for (long k = 0; k < windows->K; k++, to += E) {
    for (long e = 0; e < E; e++) to[e] = 0;
    for (long point = 0; point < L; point++) {
      const float *vector = tables + N(row_of)(windows, batch, b, at + point, k) * E;
      for (long e = 0; e < E; e++) to[e] += vector[e];
    }
    for (long e = 0; e < E; e++) to[e] /= L;
    tables += network->tables[k].num_rows * E;
  }
}

/* Add the gradient `dx` (B, T, D) of the categories' vectors to that of their tables. */
static void N(embedding_gradients)(const Network *network, const N(Batch) *batch, long B, const float *dx,
                                   float *tables) {
  const WindowTensors *windows = &network->windows;
  const long T = network->shape.T, E = windows->E, L = windows->L;
  for (long k = 0; k < windows->K; k++) {
    for (long b = 0; b < B; b++)
      for (long t = 0; t < T; t++) {
        const float *of_step = dx + ((b * T + t) * windows->K + k) * E;
        const long at = batch->origins[b] + windows->padding + 1 - (T - t) * L;
        for (long point = 0; point < L; point++) {
          float *row = tables + N(row_of)(windows, batch, b, at + point, k) * E;
          for (long e = 0; e < E; e++) row[e] += of_step[e] / L;
        }
      }
    tables += network->tables[k].num_rows * E;
  }
}

/* Return the newest column up to `end` that lies whole seasons before the point f + 1 steps after it. */
static long N(seasons_back)(long end, long f, long length) { return end + 1 + f - (f + length) / length * length; }

/* Return whether a window that ends at `end` may read the reference of season m. In a series that began less than two
   of its seasons ago, a season must have been better than the last value, on as many of the newest points as there are
   with a point a season before them. The shortest season is always usable. */
static uint8_t N(is_usable)(const WindowTensors *windows, const float *y, long began, long end, long m) {
  const long length = windows->season_lengths[m], span = end + 1 - began;
  long shortest = length;
  for (long other = 0; other < windows->M; other++)
    if (windows->season_lengths[other] < shortest) shortest = windows->season_lengths[other];
  if (!began || length == shortest || span >= 2 * length) return 1;
  const long num_pairs = span - length < windows->F ? span - length : windows->F;
  float seasonal = 0, naive = 0;
  for (long t = end - num_pairs + 1; t <= end; t++)
    seasonal += fabsf(y[t] - y[t - length]), naive += fabsf(y[t] - y[end - num_pairs]);
  return num_pairs > 0 && seasonal <= naive;
}

/* Gather the windows of `to.series` that end at `to.origins`; `tables` has the vectors of categories. */
static void N(gather)(const Network *network, const float *tables, long B, N(Batch) to) {
  const WindowTensors *windows = &network->windows;
  const long T = network->shape.T, I = network->shape.I, L = windows->L, C = windows->C, F = windows->F, M = windows->M;
  const long season = windows->season_lengths[0];
  for (long b = 0; b < B; b++) {
    const long series = to.series[b], end = to.origins[b] + windows->padding, start = end + 1 - T * L;
    const float *y = windows->y + series * windows->N, *observed = windows->observed + series * windows->N;
    const float *calendar = windows->calendar + series * windows->N * C, unit = windows->unit[series];
    const long began = windows->began[series];
    const float flat = windows->flat[series];
    float level = 0;
    long num_known = 0;
    for (long point = end + 1 - L; point <= end; point++)
      if (point >= began || point == end) level += y[point], num_known++;
    level /= num_known;
    for (long t = 0; t < T; t++) {
      float *row = to.x + (b * T + t) * I;
      const long at = start + t * L;
      float share = 0;
      for (long point = 0; point < L; point++) {
        row[point] = y[at + point] - level;
        share += observed[at + point];
      }
      const long clamped = season > at ? season - at : 0; /* number of points without a point one season earlier */
      for (long point = 0; point < L && point < clamped; point++) row[L + point] = (y[at + point] - y[0]) * unit;
      for (long point = clamped; point < L; point++) row[L + point] = (y[at + point] - y[at + point - season]) * unit;
      for (long point = 0; began && point < L && at + point < began + season; point++) {
        row[L + point] = 0;
        if (at + point < began) row[point] = 0;
      }
      row[2 * L] = share / L;
      memcpy(row + 2 * L + 1, calendar + (at + L - 1) * C, sizeof(float) * C);
      if (windows->K) N(embed)(network, tables, &to, b, at, row + 2 * L + 1 + C);
    }
    uint8_t *usable = to.usable + b * M;
    to.young[b] = 0;
    for (long m = 0; m < M; m++) usable[m] = N(is_usable)(windows, y, began, end, m);
    for (long f = 0; f < F; f++) {
      long num_unknown = 0;
      for (long m = 0; m < M; m++) {
        const long from = N(seasons_back)(end, f, windows->season_lengths[m]);
        to.reference[(b * F + f) * M + m] = y[from > 0 ? from : 0] * unit;
        num_unknown += from < began || !usable[m];
      }
      to.young[b] |= num_unknown > 0;
      if (num_unknown == M)
        for (long m = 0; m < M; m++) to.reference[(b * F + f) * M + m] = y[end] * unit;
      if (!isnan(flat))
        for (long m = 0; m < M; m++) to.reference[(b * F + f) * M + m] = flat * unit;
      const long future = end + 1 + f < windows->N ? end + 1 + f : windows->N - 1;
      to.target[b * F + f] = y[future] * unit;
      to.observed[b * F + f] = end + 1 + f < windows->N && num_unknown < M ? observed[future] : 0.0f;
    }
  }
}

#define MIXTURE_GAIN 10.0f

static void N(softmax)(const float *mixture, long F, long M, float *share) {
  for (long f = 0; f < F; f++, mixture += M, share += M) {
    float largest = mixture[0], total = 0;
    for (long m = 1; m < M; m++) largest = mixture[m] > largest ? mixture[m] : largest;
    for (long m = 0; m < M; m++) total += share[m] = expf(MIXTURE_GAIN * (mixture[m] - largest));
    for (long m = 0; m < M; m++) share[m] /= total;
  }
}

/* Write the shares of the young windows: references that are known share the weight of those that are not, equally
   so where none is. */
static void N(young_shares)(const Network *network, const float *mixture, const N(Batch) *batch, long B) {
  const WindowTensors *windows = &network->windows;
  const long F = windows->F, M = windows->M;
  for (long b = 0; b < B; b++) {
    if (!batch->young[b]) continue;
    const long end = batch->origins[b] + windows->padding, began = windows->began[batch->series[b]];
    for (long f = 0; f < F; f++) {
      const float *raw = mixture + f * M;
      float *share = batch->share + (b * F + f) * M, largest = -INFINITY, total = 0;
      for (long m = 0; m < M; m++) {
        const long from = N(seasons_back)(end, f, windows->season_lengths[m]);
        share[m] = from < began || !batch->usable[b * M + m] ? -INFINITY : raw[m];
        largest = share[m] > largest ? share[m] : largest;
      }
      for (long m = 0; m < M; m++) total += share[m] = largest == -INFINITY ? 1 : expf(MIXTURE_GAIN * (share[m] - largest));
      for (long m = 0; m < M; m++) share[m] /= total;
    }
  }
}

/* Σ over seasons of share · reference, (B, F). */
static void N(mix)(const N(Batch) *batch, const float *share, long B, long F, long M, float *mixed) {
  for (long b = 0; b < B; b++)
    for (long f = 0; f < F; f++) {
      const float *own = batch->young[b] ? batch->share + (b * F + f) * M : share + f * M;
      float total = 0;
      for (long m = 0; m < M; m++) total += batch->reference[(b * F + f) * M + m] * own[m];
      mixed[b * F + f] = total;
    }
}

/* to[b][o] = bias[o] + Σ_k last[b][k] · head[k][o]; rows of `last` are P apart. */
INLINE void N(head_tile)(const int nr, const int nv, float *to, const float *last, long P, const float *head,
                         const float *bias, long padded_O, long H) {
  V acc[8][4];
#pragma GCC unroll 8
  for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) acc[r][v] = load(bias + v * W);
  product(nr, nv, 0, acc, last, P, 1, head, padded_O, H);
#pragma GCC unroll 8
  for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) store(to + r * padded_O + v * W, acc[r][v]);
}

static void N(head)(const float *vector, const N(Layout) *at, long B, long H, const float *last, float *to) {
  const float *head = vector + at->head, *bias = vector + at->bias_head;
#define TILE(nr, nv) N(head_tile)(nr, nv, to + b * at->padded_O + o, last + b * at->P, at->P, head + o, bias + o, \
                                  at->padded_O, H)
#define CALL4(nr) TILE(nr, 4)
#define CALL1(nr) TILE(nr, 1)
  for (long o = 0; o < at->padded_O;) {
    if (at->padded_O - o >= 4 * W) { FOR_TILES(b, B, CALL4) o += 4 * W; }
    else { FOR_TILES(b, B, CALL1) o += W; }
  }
#undef TILE
#undef CALL4
#undef CALL1
}

/* Repeat each of F values Q times; this writes up to W floats beyond the end. */
static void N(repeat)(const float *values, long F, long Q, float *to) {
  for (long f = 0; f < F; f++)
    for (long q = 0; q < Q; q += W) store(to + f * Q + q, spread(values[f]));
}

static float N(num_observed)(const N(Batch) *batch, long num_targets) {
  float count = 0;
  for (long entry = 0; entry < num_targets; entry++) count += batch->observed[entry];
  return count;
}

/* Return the pinball loss of the observed targets, their sum over targets and quantiles times `scale`. `output` is
   replaced by its gradient; `d_mixed` (B, F) receives that of the mixed reference unless it is null. `below` is 1 - q
   for each padded output; `room` has 2 (O + 2 W) floats. */
static float N(pinball)(const N(Layout) *at, long B, long Q, const float *mixed, const N(Batch) *batch, float scale,
                        const float *below, float *output, float *d_mixed, float *room) {
  const long F = at->F, padded = at->padded_O;
  float *residual = room, *weight = room + padded + 2 * W;
  V total = {0};
  for (long b = 0; b < B; b++, output += padded) {
    for (long f = 0; f < F; f++) residual[f] = batch->target[b * F + f] - mixed[b * F + f];
    memcpy(weight, residual, sizeof(float) * F);
    N(repeat)(weight, F, Q, residual);
    N(repeat)(batch->observed + b * F, F, Q, weight);
    memset(residual + at->O, 0, sizeof(float) * (padded - at->O));
    memset(weight + at->O, 0, sizeof(float) * (padded - at->O));
    for (long o = 0; o < padded; o += W) {
      const V error = load(residual + o) - load(output + o), share = load(weight + o) * scale, under = load(below + o);
      const V slope = choose(error >= spread(0.0f), spread(1.0f), spread(0.0f)) - under;
      total += share * slope * error;
      store(output + o, -share * slope);
    }
    if (d_mixed)
      for (long f = 0; f < F; f++) {
        float sum = 0;
        for (long q = 0; q < Q; q++) sum += output[f * Q + q];
        d_mixed[b * F + f] = sum;
      }
  }
  return sum_lanes(total);
}

/* d_last[b][k] = Σ_o d[b][o] · head[k][o]; lanes are outputs, summed at the end. */
INLINE void N(head_back_tile)(const int nr, const int nk, float *d_last, long H, const float *d, const float *head,
                              long padded_O) {
  V acc[4][4];
  for (int r = 0; r < nr; r++)
    for (int k = 0; k < nk; k++) acc[r][k] = (V){0};
  for (long o = 0; o < padded_O; o += W) {
    V w[4];
#pragma GCC unroll 4
    for (int k = 0; k < nk; k++) w[k] = load(head + k * padded_O + o);
#pragma GCC unroll 4
    for (int r = 0; r < nr; r++) {
      const V row = load(d + r * padded_O + o);
#pragma GCC unroll 4
      for (int k = 0; k < nk; k++) acc[r][k] += row * w[k];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
    for (int k = 0; k < nk; k++) d_last[r * H + k] = sum_lanes(acc[r][k]);
}

static void N(head_back)(const float *vector, const N(Layout) *at, long B, long H, const float *d, float *d_last) {
  const float *head = vector + at->head;
  for (long b = 0; b < B; b += b + 2 <= B ? 2 : 1)
    for (long k = 0; k < H; k += k + 4 <= H ? 4 : 1) {
      float *to = d_last + b * H + k;
      const float *rows = d + b * at->padded_O, *columns = head + k * at->padded_O;
      if (b + 2 <= B && k + 4 <= H) N(head_back_tile)(2, 4, to, H, rows, columns, at->padded_O);
      else if (b + 2 <= B) N(head_back_tile)(2, 1, to, H, rows, columns, at->padded_O);
      else if (k + 4 <= H) N(head_back_tile)(1, 4, to, H, rows, columns, at->padded_O);
      else N(head_back_tile)(1, 1, to, H, rows, columns, at->padded_O);
    }
}

/* gradient[k][o] = Σ_b last[b][k] · d[b][o]. */
INLINE void N(head_weight_tile)(const int nk, const int nv, float *gradient, const float *last, long P, const float *d,
                                long padded_O, long B) {
  V acc[8][4];
#pragma GCC unroll 8
  for (int k = 0; k < nk; k++)
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) acc[k][v] = (V){0};
  product(nk, nv, 0, acc, last, 1, P, d, padded_O, B);
#pragma GCC unroll 8
  for (int k = 0; k < nk; k++)
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) store(gradient + k * padded_O + v * W, acc[k][v]);
}

static void N(head_gradients)(float *gradient, const N(Layout) *at, long B, long H, const float *last, const float *d) {
  float *head = gradient + at->head, *bias = gradient + at->bias_head;
#define TILE(nk, nv) N(head_weight_tile)(nk, nv, head + k * at->padded_O + o, last + k, at->P, d + o, at->padded_O, B)
#define CALL4(nk) TILE(nk, 4)
#define CALL1(nk) TILE(nk, 1)
  for (long o = 0; o < at->padded_O;) {
    if (at->padded_O - o >= 4 * W) { FOR_TILES(k, H, CALL4) o += 4 * W; }
    else { FOR_TILES(k, H, CALL1) o += W; }
  }
#undef TILE
#undef CALL4
#undef CALL1
  for (long o = 0; o < at->padded_O; o += W) {
    V total = {0};
    for (long b = 0; b < B; b++) total += load(d + b * at->padded_O + o);
    store(bias + o, total);
  }
}

/* Gradient of the mixture's logits through the softmax; with a single season it is zero. */
static void N(mixture_gradient)(float *gradient, const float *share, const N(Batch) *batch, const float *mixed,
                                const float *d_mixed, long B, long F, long M) {
  const float *reference = batch->reference;
  for (long f = 0; f < F; f++, gradient += M) {
    float mean = 0;
    for (long m = 0; m < M; m++) {
      float total = 0;
      for (long b = 0; b < B; b++)
        if (!batch->young[b]) total += d_mixed[b * F + f] * reference[(b * F + f) * M + m];
      gradient[m] = total;
      mean += total * share[f * M + m];
    }
    for (long m = 0; m < M; m++) gradient[m] = MIXTURE_GAIN * share[f * M + m] * (gradient[m] - mean);
    for (long b = 0; b < B; b++)
      for (long m = 0; batch->young[b] && m < M; m++) {
        const long entry = b * F + f;
        const float excess = reference[entry * M + m] - mixed[entry];
        gradient[m] += MIXTURE_GAIN * batch->share[entry * M + m] * d_mixed[entry] * excess;
      }
  }
}
