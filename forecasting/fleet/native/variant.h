/* The engine for one kind of processor: included once per variant, with VARIANT, W and MAX_ROWS defined. */

#define PASTE_(name, variant) name##_##variant
#define PASTE(name, variant) PASTE_(name, variant)
#define N(name) PASTE(name, VARIANT)
#define V N(V)
#define VI N(VI)
#define Unaligned N(Unaligned)
#define load N(load)
#define store N(store)
#define spread N(spread)
#define choose N(choose)
#define bound N(bound)
#define tanh_parts N(tanh_parts)
#define tanh_V N(tanh_V)
#define tanh_two N(tanh_two)
#define exp_V N(exp_V)
#define exact_tanh_V N(exact_tanh_V)
#define sigmoid_of_tanh N(sigmoid_of_tanh)
#define sum_lanes N(sum_lanes)
#define product N(product)
#define tile_end N(tile_end)

#include "lanes.h"
#include "recurrence.h"
#include "network.h"
#include "train.h"
#include "prior.h"

static const Engine N(engine) = {N(train), N(train_prior), N(forecast), N(run_forward), N(run_backward), N(stash_floats), W};

#undef V
#undef VI
#undef Unaligned
#undef load
#undef store
#undef spread
#undef choose
#undef bound
#undef tanh_parts
#undef tanh_V
#undef tanh_two
#undef exp_V
#undef exact_tanh_V
#undef sigmoid_of_tanh
#undef sum_lanes
#undef product
#undef tile_end
#undef NUM_GATES
#undef STATE_SLOT
#undef NUM_STASHED
#undef ROWS_CASE
#undef ROWS_SWITCH
#undef FOR_TILES
#undef ROWS_AT_ONCE
#undef MIXTURE_GAIN
#undef N
#undef PASTE
#undef PASTE_
#undef VARIANT
#undef W
#undef MAX_ROWS
