/* Vectors of W floats, activations on them, and the register-tiled product on which everything else is built.

   Included once per processor variant, with W and MAX_ROWS defined. Every function is inlined into its caller, so that
   the numbers of rows and vectors are constants and the accumulators stay in registers. */

typedef float V __attribute__((vector_size(W * 4)));
typedef int32_t VI __attribute__((vector_size(W * 4)));
typedef float Unaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));

INLINE V load(const float *p) { return *(const Unaligned *)p; }
INLINE void store(float *p, V v) { *(Unaligned *)p = v; }
INLINE V spread(float x) { return x - (V){0}; }
INLINE V choose(VI mask, V yes, V no) { return (V)(((VI)yes & mask) | ((VI)no & ~mask)); }

/* Limit x to ±limit; NaN stays NaN, because every comparison with it is false. */
INLINE V bound(V x, float limit) {
  x = choose(x > spread(limit), spread(limit), x);
  return choose(x < spread(-limit), spread(-limit), x);
}

/* Numerator and denominator of tanh as x P(x²) / Q(x²). Lawson's iteration fitted the coefficients to the relative
   error on [0, 8.4], which is 1.1e-8 in exact arithmetic; beyond, tanh is 1 to the last bit of a float but one. All
   coefficients are positive, so that nothing cancels. */
INLINE void tanh_parts(V x, V *above, V *below) {
  x = bound(x, 8.4f);
  const V s = x * x;
  V p = s * 1.44577559737128481e-08f + 2.13797054711586532e-05f;
  p = p * s + 3.54161330331374813e-03f;
  p = p * s + 1.34195762748647446e-01f;
  p = p * s + 9.99999989482781348e-01f;
  V q = s * 8.21992195428984904e-07f + 3.36142048749858095e-04f;
  q = q * s + 2.60514239686784645e-02f;
  q = q * s + 4.67529001025043967e-01f;
  *below = q * s + 1.0f;
  *above = x * p;
}

INLINE V tanh_V(V x) {
  V above, below;
  tanh_parts(x, &above, &below);
  return above / below;
}

/* tanh of two vectors with one division, which costs as much as ten products. */
INLINE void tanh_two(V *x, V *y) {
  V p, q, r, s;
  tanh_parts(*x, &p, &q);
  tanh_parts(*y, &r, &s);
  const V inverse = 1.0f / (q * s);
  *x = p * s * inverse;
  *y = r * q * inverse;
}

/* e to the power of x in [0, 20]: a power of two, times a polynomial on ±ln 2 / 2 (Cephes, expf). Adding a number so
   large that the sum has no fraction leaves the exponent in the last bits. NaN stays NaN. */
INLINE V exp_V(V x) {
  const V shifted = x * 1.44269504088896341f + 12582912.0f, n = shifted - 12582912.0f;
  const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const V power = (V)(((VI)shifted << 23) + (VI)spread(1.0f));
  return p * power;
}

/* tanh within 1e-7, at twice the cost. tanh_parts has errors of up to 5e-7 where tanh is near one, because P and Q
   round independently. As in Cephes (tanhf), a polynomial adds a small correction to x, and beyond 0.625 a small
   correction is subtracted from one. */
INLINE V exact_tanh_V(V x) {
  const V size = choose(x < spread(0.0f), -x, x), s = x * x;
  V p = s * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * s - 5.37397155531e-2f;
  p = p * s + 1.33314422036e-1f;
  p = p * s - 3.33332819422e-1f;
  const V inner = x * s * p + x, outer = 1.0f - 2.0f / (exp_V(2.0f * bound(size, 10.0f)) + 1.0f);
  return choose(size < spread(0.625f), inner, choose(x < spread(0.0f), -outer, outer));
}

INLINE V sigmoid_of_tanh(V tanh_of_half) { return tanh_of_half * 0.5f + 0.5f; }

INLINE float sum_lanes(V v) {
  float total = 0;
  for (int lane = 0; lane < W; lane++) total += v[lane];
  return total;
}

/* acc[r][v] += Σ_k rows[r][k] · weights[k][v]: `rows` broadcasts one float, `weights` has nv adjacent vectors. With
   `skip` the third vector is one further: the state's part of a GRU's candidate. */
INLINE void product(const int nr, const int nv, const int skip, V acc[][4], const float *rows, long row_stride,
                    long k_stride, const float *weights, long weight_stride, long num_k) {
  for (long k = 0; k < num_k; k++) {
    V w[4];
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) w[v] = load(weights + k * weight_stride + (skip && v == 2 ? 3 : v) * W);
#pragma GCC unroll 8
    for (int r = 0; r < nr; r++) {
      const V x = spread(rows[r * row_stride + k * k_stride]);
#pragma GCC unroll 4
      for (int v = 0; v < nv; v++) acc[r][v] += x * w[v];
    }
  }
}

/* Return the end of tile n if `total` rows are divided as evenly as possible into tiles of at most MAX_ROWS. */
INLINE long tile_end(long total, long n) {
  const long tiles = (total + MAX_ROWS - 1) / MAX_ROWS;
  return total * (n + 1) / tiles;
}

/* Expand CALL(rows), with a constant number of rows, for each tile of `total` rows from `at` to `end`. */
#define ROWS_CASE(nr, CALL) case nr: CALL(nr); break;
#if MAX_ROWS == 6
#define ROWS_SWITCH(rows, CALL) switch (rows) { ROWS_CASE(1, CALL) ROWS_CASE(2, CALL) ROWS_CASE(3, CALL) \
                                                ROWS_CASE(4, CALL) ROWS_CASE(5, CALL) ROWS_CASE(6, CALL) }
#else
#define ROWS_SWITCH(rows, CALL) switch (rows) { ROWS_CASE(1, CALL) ROWS_CASE(2, CALL) ROWS_CASE(3, CALL) }
#endif
#define FOR_TILES(at, total, CALL) \
  for (long at = 0, tile_number = 0, end; at < (total); at = end, tile_number++) { \
    end = tile_end(total, tile_number); \
    ROWS_SWITCH(end - at, CALL) \
  }
