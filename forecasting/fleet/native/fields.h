/* The size of every structure of fleet.h, and the offset and size of each of its fields. structures.py compares them
   with its own declarations when the engine is loaded. */

#ifndef FLEETCAST_FIELDS_H
#define FLEETCAST_FIELDS_H

#include <stddef.h>

#include "fleet.h"

typedef struct {
  const char *name;
  int64_t offset, size; /* bytes */
} Field;

#define STRUCTURE(structure) {#structure, 0, sizeof(structure)}
#define FIELD(structure, field) {#structure "." #field, offsetof(structure, field), sizeof(((structure *)0)->field)}

extern const Field fleetcast_fields[];

const Field fleetcast_fields[] = {
    STRUCTURE(Shape),
    FIELD(Shape, cell),
    FIELD(Shape, B),
    FIELD(Shape, T),
    FIELD(Shape, I),
    FIELD(Shape, H),
    STRUCTURE(Parameters),
    FIELD(Parameters, input),
    FIELD(Parameters, bias_input),
    FIELD(Parameters, hidden),
    FIELD(Parameters, bias_hidden),
    STRUCTURE(WindowTensors),
    FIELD(WindowTensors, y),
    FIELD(WindowTensors, observed),
    FIELD(WindowTensors, calendar),
    FIELD(WindowTensors, unit),
    FIELD(WindowTensors, season_lengths),
    FIELD(WindowTensors, N),
    FIELD(WindowTensors, C),
    FIELD(WindowTensors, F),
    FIELD(WindowTensors, L),
    FIELD(WindowTensors, M),
    FIELD(WindowTensors, padding),
    STRUCTURE(Trained),
    FIELD(Trained, value),
    FIELD(Trained, moment),
    FIELD(Trained, square),
    FIELD(Trained, average),
    STRUCTURE(Network),
    FIELD(Network, shape),
    FIELD(Network, windows),
    FIELD(Network, parameters),
    FIELD(Network, quantiles),
    FIELD(Network, Q),
    STRUCTURE(StepTables),
    FIELD(StepTables, keys),
    FIELD(StepTables, first),
    FIELD(StepTables, num_windows),
    FIELD(StepTables, is_running),
    FIELD(StepTables, broken_step),
    FIELD(StepTables, step_size),
    FIELD(StepTables, correction),
    FIELD(StepTables, averaging),
    FIELD(StepTables, first_step),
    FIELD(StepTables, num_steps),
    FIELD(StepTables, clip),
    FIELD(StepTables, beta1),
    FIELD(StepTables, beta2),
    FIELD(StepTables, epsilon),
    {NULL, 0, 0},
};

#endif
