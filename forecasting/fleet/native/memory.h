/* Scratch memory: one allocation that holds several arrays, each on a cache line of its own. */

#ifndef FLEETCAST_MEMORY_H
#define FLEETCAST_MEMORY_H

#include "fleet.h"

#define LENGTH(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define FLOATS_PER_LINE 16

/* Under AddressSanitizer a poisoned line follows each array. One allocation would otherwise hide an overrun from one
   array into the next. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define GUARD_FLOATS FLOATS_PER_LINE
#else
#define GUARD_FLOATS 0
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

typedef struct {
  float **array;
  long num_floats;
} Piece;

static long padded_floats(const Piece *piece) {
  if (!piece->num_floats) return 0;
  return (piece->num_floats + FLOATS_PER_LINE - 1) / FLOATS_PER_LINE * FLOATS_PER_LINE + GUARD_FLOATS;
}

/* Allocate all pieces at once and set their arrays; a piece of zero floats becomes null. Return the memory, which the
   caller frees, or null if there is not enough. */
static float *allocate(const Piece *pieces, int num_pieces) {
  long total = 0;
  for (int n = 0; n < num_pieces; n++) total += padded_floats(&pieces[n]);
  float *memory = aligned_alloc(sizeof(float) * FLOATS_PER_LINE, sizeof(float) * total), *next = memory;
  if (!memory) return NULL;
  for (int n = 0; n < num_pieces; n++) {
    const long used = pieces[n].num_floats, padded = padded_floats(&pieces[n]);
    *pieces[n].array = used ? next : NULL;
    ASAN_POISON_MEMORY_REGION(next + used, sizeof(float) * (padded - used));
    next += padded;
  }
  return memory;
}

#endif
