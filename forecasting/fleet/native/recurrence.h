/* Recurrences over the windows of one series, forward and backward through time: LSTM, GRU, Elman, IndRNN.

   Lanes are hidden units. A tile of rows (windows) times the gates of W units stays in registers from the first input
   to the activation. Gates are written to memory once, as activations, and only if a gradient is required. The input's
   projection is part of the same tile; weight gradients are accumulated over several steps.

   B windows · T steps · I inputs · H hidden · U = ceil(H / W) blocks of units · P = U W padded units
   A tile has four accumulators per unit. LSTM: i, f, g, o. GRU: r, z, the input's part of n, the state's part of n.
   Elman and IndRNN use the first only. A unit of an IndRNN is connected to itself only and needs no product.
   Units beyond H have zero weights: their state stays 0 and their gradients are not read. */

/* Gates in torch's order, the accumulator of a gate's part from the state, and stashed values per unit. */
#define NUM_GATES(cell) ((cell) == LSTM ? 4 : (cell) == GRU ? 3 : 1)
#define STATE_SLOT(cell, gate) ((cell) == GRU && (gate) == 2 ? 3 : (gate))
#define NUM_STASHED(cell) ((cell) == LSTM ? 6 : (cell) == GRU ? 4 : 1)
#define HIDDEN_ROWS(cell, H) ((cell) == INDRNN ? 1 : (H))

typedef struct {
  const float *input;    /* [U][I][gates][W] */
  const float *hidden;   /* [U][HIDDEN_ROWS][gates][W] */
  const float *bias;     /* [U][4][W] */
  const float *hidden_t; /* [U][gates][W][P], for the gradient of the state */
  const float *input_t;  /* [U][gates][W][padded D], for the gradient of the last D inputs */
} N(Packed);

static long N(units)(const Shape *shape) { return (shape->H + W - 1) / W; }
static long N(pad)(long size) { return (size + W - 1) / W * W; }

static long N(packed_floats)(const Shape *shape) {
  const long gates = NUM_GATES(shape->cell), units = N(units)(shape), padded = units * W;
  return units * W * (gates * (shape->I + shape->H) + 4) + units * gates * W * (padded + N(pad)(shape->I));
}

static void N(pack_rows)(float *to, const float *from, long num_rows, const Shape *shape) {
  const long H = shape->H, gates = NUM_GATES(shape->cell), units = N(units)(shape);
  for (long u = 0; u < units; u++)
    for (long k = 0; k < num_rows; k++)
      for (long gate = 0; gate < gates; gate++, to += W) {
        const float *row = from + (k * gates + gate) * H + u * W;
        if (H - u * W >= W) store(to, load(row));
        else for (long lane = 0; lane < W; lane++) to[lane] = u * W + lane < H ? row[lane] : 0.0f;
      }
}

static void N(pack_transposed)(float *to, const float *from, long num_rows, long padded, const Shape *shape) {
  const long H = shape->H, gates = NUM_GATES(shape->cell), units = N(units)(shape);
  memset(to, 0, sizeof(float) * units * gates * W * padded);
  for (long k = 0; k < num_rows; k++)
    for (long gate = 0; gate < gates; gate++)
      for (long unit = 0; unit < H; unit++)
        to[((unit / W * gates + gate) * W + unit % W) * padded + k] = from[(k * gates + gate) * H + unit];
}

/* Arrange the weights of one series in the order in which tiles read them, for a backward pass transposed too. */
static N(Packed) N(pack)(const Shape *shape, const Parameters *from, float *room, int backward, int inputs_too) {
  const long I = shape->I, H = shape->H, gates = NUM_GATES(shape->cell), units = N(units)(shape), padded = units * W;
  float *input = room, *hidden = input + units * I * gates * W, *bias = hidden + units * H * gates * W;
  float *hidden_t = bias + units * 4 * W, *input_t = hidden_t + units * gates * W * padded;
  N(pack_rows)(input, from->input, I, shape);
  N(pack_rows)(hidden, from->hidden, HIDDEN_ROWS(shape->cell, H), shape);
  memset(bias, 0, sizeof(float) * units * 4 * W);
  for (long unit = 0; unit < H; unit++) {
    float *slots = bias + unit / W * 4 * W + unit % W;
    for (long gate = 0; gate < gates; gate++) {
      slots[gate * W] += from->bias_input[gate * H + unit];
      if (from->bias_hidden) slots[STATE_SLOT(shape->cell, gate) * W] += from->bias_hidden[gate * H + unit];
    }
  }
  if (backward && shape->cell != INDRNN) N(pack_transposed)(hidden_t, from->hidden, H, padded, shape);
  if (backward && inputs_too) N(pack_transposed)(input_t, from->input, I, N(pad)(I), shape);
  return (N(Packed)){input, hidden, bias, hidden_t, input_t};
}

/* Advance nr windows and W units by one step. Rows of x are x_stride apart, rows of the state P. */
INLINE void N(forward_tile)(const int cell, const int nr, const N(Packed) *packed, long u, long I, long H, long P,
                            const float *x, long x_stride, const float *h, float *c, float *h_next, float *stash,
                            long stash_stride) {
  const int gates = NUM_GATES(cell);
  V acc[8][4];
#pragma GCC unroll 8
  for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) acc[r][v] = load(packed->bias + (u * 4 + v) * W);
  product(nr, gates, 0, acc, x, x_stride, 1, packed->input + u * I * gates * W, gates * W, I);
  if (cell == INDRNN) {
    const V own = load(packed->hidden + u * W);
#pragma GCC unroll 8
    for (int r = 0; r < nr; r++) acc[r][0] += own * load(h + r * P + u * W);
  } else if (cell != GRU) {
    product(nr, gates, 0, acc, h, P, 1, packed->hidden + u * H * gates * W, gates * W, H);
  } else { /* the reset gate multiplies the state's part of n, which stays separate */
    V state[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < nr; r++) state[r][0] = acc[r][0], state[r][1] = acc[r][1], state[r][2] = acc[r][3];
    product(nr, 3, 0, state, h, P, 1, packed->hidden + u * H * 3 * W, 3 * W, H);
#pragma GCC unroll 8
    for (int r = 0; r < nr; r++) acc[r][0] = state[r][0], acc[r][1] = state[r][1], acc[r][3] = state[r][2];
  }
#pragma GCC unroll 8
  for (int r = 0; r < nr; r++) {
    float *kept = stash + r * stash_stride + u * NUM_STASHED(cell) * W;
    if (cell == ELMAN || cell == INDRNN) {
      const V sum = acc[r][0], next = cell == ELMAN ? exact_tanh_V(sum) : choose(sum < spread(0.0f), spread(0.0f), sum);
      store(h_next + r * P + u * W, next);
      if (stash) store(kept, next);
      continue;
    }
    V first = acc[r][0] * 0.5f, second = acc[r][1] * 0.5f;
    tanh_two(&first, &second);
    first = sigmoid_of_tanh(first), second = sigmoid_of_tanh(second);
    if (cell == LSTM) {
      V candidate = acc[r][2], out = acc[r][3] * 0.5f;
      tanh_two(&candidate, &out);
      out = sigmoid_of_tanh(out);
      const V next = second * load(c + r * P + u * W) + first * candidate, seen = tanh_V(next);
      store(c + r * P + u * W, next);
      store(h_next + r * P + u * W, out * seen);
      if (stash) {
        store(kept, first), store(kept + W, second), store(kept + 2 * W, candidate);
        store(kept + 3 * W, out), store(kept + 4 * W, next), store(kept + 5 * W, seen);
      }
    } else {
      const V proposal = tanh_V(acc[r][2] + first * acc[r][3]);
      store(h_next + r * P + u * W, proposal + second * (load(h + r * P + u * W) - proposal));
      if (stash) {
        store(kept, first), store(kept + W, second);
        store(kept + 2 * W, proposal), store(kept + 3 * W, acc[r][3]);
      }
    }
  }
}

/* Run all steps from a state of zeros. h has room for T + 1 states of B x P with `stash`, for two without; c for one.
   `outputs` (B, T, H) or `last` (B, H) may be null. */
INLINE void N(forward_cell)(const int cell, const Shape *shape, const N(Packed) *packed, const float *x, float *h,
                            float *c, float *stash, float *outputs, float *last) {
  const long B = shape->B, T = shape->T, I = shape->I, H = shape->H, U = N(units)(shape), P = U * W;
  const long stash_stride = P * NUM_STASHED(cell);
  memset(h, 0, sizeof(float) * B * P);
  if (cell == LSTM) memset(c, 0, sizeof(float) * B * P);
  for (long t = 0; t < T; t++) {
    const float *now = h + (stash ? t : t & 1) * B * P;
    float *next = h + (stash ? t + 1 : (t + 1) & 1) * B * P;
    for (long u = 0; u < U; u++) {
#define CALL(nr) N(forward_tile)(cell, nr, packed, u, I, H, P, x + (b * T + t) * I, T * I, now + b * P, c + b * P, \
                                 next + b * P, stash ? stash + (t * B + b) * stash_stride : NULL, stash_stride)
      FOR_TILES(b, B, CALL)
#undef CALL
    }
    if (outputs)
      for (long b = 0; b < B; b++) memcpy(outputs + (b * T + t) * H, next + b * P, sizeof(float) * H);
    if (last && t == T - 1)
      for (long b = 0; b < B; b++) memcpy(last + b * H, next + b * P, sizeof(float) * H);
  }
}

static void N(forward)(const Shape *shape, const N(Packed) *packed, const float *x, float *h, float *c, float *stash,
                       float *outputs, float *last) {
  if (shape->cell == LSTM) N(forward_cell)(LSTM, shape, packed, x, h, c, stash, outputs, last);
  else if (shape->cell == GRU) N(forward_cell)(GRU, shape, packed, x, h, c, stash, outputs, last);
  else if (shape->cell == ELMAN) N(forward_cell)(ELMAN, shape, packed, x, h, c, stash, outputs, last);
  else N(forward_cell)(INDRNN, shape, packed, x, h, c, stash, outputs, last);
}

/* Compute the gate gradients dG [U][4][W] of one window and step from dh and dc. dc and dh become those of the previous
   step, without the part that passes through the recurrent weights. For an IndRNN that part is included: its weights
   are `own` [U][W], and `d_own` accumulates their gradient. `bias` accumulates dG. */
INLINE void N(gate_gradients)(const int cell, long U, const float *stash, const float *c_before, const float *h_before,
                              const float *own, float *dh, float *dc, float *dg, float *bias, float *d_own) {
  for (long u = 0; u < U; u++, stash += NUM_STASHED(cell) * W, dg += 4 * W, bias += 4 * W) {
    const V grad = load(dh + u * W);
    V d[4] = {{0}, {0}, {0}, {0}};
    if (cell == ELMAN) {
      const V h = load(stash), none = {0};
      d[0] = grad * (1.0f - h * h);
      store(dh + u * W, none);
    } else if (cell == INDRNN) {
      d[0] = choose(load(stash) <= spread(0.0f), spread(0.0f), grad);
      store(dh + u * W, d[0] * load(own + u * W));
      store(d_own + u * W, load(d_own + u * W) + d[0] * load(h_before + u * W));
    } else if (cell == LSTM) {
      const V i = load(stash), f = load(stash + W), g = load(stash + 2 * W), o = load(stash + 3 * W);
      const V seen = load(stash + 5 * W), none = {0};
      const V state = load(dc + u * W) + grad * o * (1.0f - seen * seen);
      d[0] = state * g * i * (1.0f - i);
      d[1] = c_before ? state * load(c_before + u * NUM_STASHED(LSTM) * W) * f * (1.0f - f) : none;
      d[2] = state * i * (1.0f - g * g);
      d[3] = grad * seen * o * (1.0f - o);
      store(dc + u * W, state * f);
      store(dh + u * W, none);
    } else {
      const V reset = load(stash), keep = load(stash + W), n = load(stash + 2 * W), hidden = load(stash + 3 * W);
      const V proposal = grad * (1.0f - keep) * (1.0f - n * n);
      d[0] = proposal * hidden * reset * (1.0f - reset);
      d[1] = grad * (load(h_before + u * W) - n) * keep * (1.0f - keep);
      d[2] = proposal;
      d[3] = proposal * reset;
      store(dh + u * W, grad * keep);
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
      store(dg + v * W, d[v]);
      store(bias + v * W, load(bias + v * W) + d[v]);
    }
  }
}

/* to[b][lanes] += Σ over gates of dG[b] · transposed weights; `padded` is the number of lanes, a multiple of W. */
INLINE void N(back_tile)(const int cell, const int of_state, const int nr, const int nv, float *to, long to_stride,
                         const float *dg, const float *weights, long padded, long U) {
  const int gates = NUM_GATES(cell);
  V acc[8][4];
#pragma GCC unroll 8
  for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) acc[r][v] = load(to + r * to_stride + v * W);
  for (long u = 0; u < U; u++)
    for (int gate = 0; gate < gates; gate++) {
      const int slot = of_state ? STATE_SLOT(cell, gate) : gate;
      const float *of_gate = weights + (u * gates + gate) * W * padded;
      product(nr, nv, 0, acc, dg + (u * 4 + slot) * W, U * 4 * W, 1, of_gate, padded, W);
    }
#pragma GCC unroll 8
  for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) store(to + r * to_stride + v * W, acc[r][v]);
}

INLINE void N(back)(const int cell, const int of_state, long B, float *to, long to_stride, const float *dg,
                    const float *weights, long padded, long U) {
#define TILE(nr, nv) N(back_tile)(cell, of_state, nr, nv, to + b * to_stride + v * W, to_stride, dg + b * U * 4 * W, \
                                  weights + v * W, padded, U)
#define CALL4(nr) TILE(nr, 4)
#define CALL2(nr) TILE(nr, 2)
#define CALL1(nr) TILE(nr, 1)
  for (long v = 0, left = padded / W; left;) {
    if (left >= 4) { FOR_TILES(b, B, CALL4) v += 4, left -= 4; }
    else if (left >= 2) { FOR_TILES(b, B, CALL2) v += 2, left -= 2; }
    else { FOR_TILES(b, B, CALL1) v += 1, left -= 1; }
  }
#undef TILE
#undef CALL4
#undef CALL2
#undef CALL1
}

/* gradient[u][k][gates][W] += Σ over steps and windows of rows[t][b][k] · dG[t][b][u], for nk columns of rows. */
INLINE void N(weight_tile)(const int cell, const int of_state, const int nk, float *gradient, const float *rows,
                           long step_stride, long row_stride, const float *dg, long U, long B, long num_steps) {
  const int gates = NUM_GATES(cell);
  V acc[8][4];
#pragma GCC unroll 8
  for (int k = 0; k < nk; k++)
#pragma GCC unroll 4
    for (int v = 0; v < gates; v++) acc[k][v] = load(gradient + (k * gates + v) * W);
  for (long t = 0; t < num_steps; t++)
    product(nk, gates, of_state && cell == GRU, acc, rows + t * step_stride, 1, row_stride, dg + t * B * U * 4 * W,
            U * 4 * W, B);
#pragma GCC unroll 8
  for (int k = 0; k < nk; k++)
#pragma GCC unroll 4
    for (int v = 0; v < gates; v++) store(gradient + (k * gates + v) * W, acc[k][v]);
}

INLINE void N(weight_gradients)(const int cell, const int of_state, long num_k, float *gradient, const float *rows,
                                long step_stride, long row_stride, const float *dg, long U, long B, long num_steps) {
  for (long u = 0; u < U; u++, gradient += num_k * NUM_GATES(cell) * W, dg += 4 * W) {
#define CALL(nk) N(weight_tile)(cell, of_state, nk, gradient + k * NUM_GATES(cell) * W, rows + k, step_stride, \
                                row_stride, dg, U, B, num_steps)
    FOR_TILES(k, num_k, CALL)
#undef CALL
  }
}

/* Rows of dG per update of the weight gradients: enough to pay for loading those, and few enough for the L1 cache. */
#define ROWS_AT_ONCE 64

static long N(steps_at_once)(const Shape *shape) {
  const long steps = (ROWS_AT_ONCE + shape->B - 1) / shape->B;
  return steps < shape->T ? steps : shape->T;
}

static long N(backward_floats)(const Shape *shape) {
  const long P = N(units)(shape) * W;
  return shape->B * (2 * P + N(pad)(shape->I)) + N(steps_at_once)(shape) * shape->B * 4 * P;
}

/* Gradients of one series: input [U][I][gates][W], hidden [U][HIDDEN_ROWS][gates][W], bias [U][4][W]. */
typedef struct {
  float *input, *hidden, *bias;
} N(Gradients);

/* Backpropagate through time over the stash of `forward` and add to the gradients `to`. `d_outputs` (B, T, H) or
   `d_last` (B, H) may be null, and so may `dx` (B, T, D), the gradient of the last D inputs. `room` has
   backward_floats. */
INLINE void N(backward_cell)(const int cell, const Shape *shape, const N(Packed) *packed, const float *x,
                             const float *h, const float *stash, const float *d_outputs, const float *d_last, float *dx,
                             long D, N(Gradients) to, float *room) {
  const long B = shape->B, T = shape->T, I = shape->I, H = shape->H, U = N(units)(shape), P = U * W;
  const long padded = N(pad)(D), kept = P * NUM_STASHED(cell), at_once = N(steps_at_once)(shape);
  float *dh = room, *dc = dh + B * P, *dx_row = dc + B * P, *ring = dx_row + B * padded;
  memset(dh, 0, sizeof(float) * 2 * B * P);
  for (long t = T - 1, left = at_once; t >= 0; t--) {
    if (--left < 0) left = at_once - 1;
    float *dg = ring + left * B * 4 * P; /* filled from its end, so that steps are in ascending order */
    for (long b = 0; b < B; b++) {
      const float *arriving = d_outputs ? d_outputs + (b * T + t) * H : d_last && t == T - 1 ? d_last + b * H : NULL;
      if (arriving)
        for (long unit = 0; unit < H; unit++) dh[b * P + unit] += arriving[unit];
      const float *now = stash + (t * B + b) * kept;
      N(gate_gradients)(cell, U, now, t ? now - B * kept + 4 * W : NULL, h + (t * B + b) * P,
                        packed->hidden, dh + b * P, dc + b * P, dg + b * 4 * P, to.bias, to.hidden);
    }
    if (t && cell != INDRNN) N(back)(cell, 1, B, dh, P, dg, packed->hidden_t, P, U);
    if (dx) {
      memset(dx_row, 0, sizeof(float) * B * padded);
      N(back)(cell, 0, B, dx_row, padded, dg, packed->input_t, padded, U);
      for (long b = 0; b < B; b++) memcpy(dx + (b * T + t) * D, dx_row + b * padded, sizeof(float) * D);
    }
    if (left == 0 || t == 0) {
      const long num_steps = t == 0 && left ? at_once - left : at_once;
      N(weight_gradients)(cell, 0, I, to.input, x + t * I, I, T * I, dg, U, B, num_steps);
      if (cell != INDRNN)
        N(weight_gradients)(cell, 1, H, to.hidden, h + t * B * P, B * P, P, dg, U, B, num_steps);
    }
  }
}

static void N(backward)(const Shape *shape, const N(Packed) *packed, const float *x, const float *h, const float *stash,
                        const float *d_outputs, const float *d_last, float *dx, long D, N(Gradients) to, float *room) {
  if (shape->cell == LSTM)
    N(backward_cell)(LSTM, shape, packed, x, h, stash, d_outputs, d_last, dx, D, to, room);
  else if (shape->cell == GRU)
    N(backward_cell)(GRU, shape, packed, x, h, stash, d_outputs, d_last, dx, D, to, room);
  else if (shape->cell == ELMAN)
    N(backward_cell)(ELMAN, shape, packed, x, h, stash, d_outputs, d_last, dx, D, to, room);
  else
    N(backward_cell)(INDRNN, shape, packed, x, h, stash, d_outputs, d_last, dx, D, to, room);
}
