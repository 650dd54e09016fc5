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
    FIELD(WindowTensors, began),
    FIELD(WindowTensors, flat),
    FIELD(WindowTensors, season_lengths),
    FIELD(WindowTensors, rows),
    FIELD(WindowTensors, N),
    FIELD(WindowTensors, C),
    FIELD(WindowTensors, F),
    FIELD(WindowTensors, L),
    FIELD(WindowTensors, M),
    FIELD(WindowTensors, padding),
    FIELD(WindowTensors, K),
    FIELD(WindowTensors, E),
    STRUCTURE(Trained),
    FIELD(Trained, value),
    FIELD(Trained, moment),
    FIELD(Trained, square),
    FIELD(Trained, average),
    STRUCTURE(Table),
    FIELD(Table, trained),
    FIELD(Table, num_rows),
    STRUCTURE(Network),
    FIELD(Network, shape),
    FIELD(Network, windows),
    FIELD(Network, parameters),
    FIELD(Network, tables),
    FIELD(Network, quantiles),
    FIELD(Network, Q),
    STRUCTURE(Optimiser),
    FIELD(Optimiser, step_size),
    FIELD(Optimiser, correction),
    FIELD(Optimiser, averaging),
    FIELD(Optimiser, decay),
    FIELD(Optimiser, first_step),
    FIELD(Optimiser, num_steps),
    FIELD(Optimiser, clip),
    FIELD(Optimiser, beta1),
    FIELD(Optimiser, beta2),
    FIELD(Optimiser, epsilon),
    STRUCTURE(StepTables),
    FIELD(StepTables, keys),
    FIELD(StepTables, hiding_keys),
    FIELD(StepTables, first),
    FIELD(StepTables, num_windows),
    FIELD(StepTables, is_running),
    FIELD(StepTables, broken_step),
    FIELD(StepTables, hidden_share),
    FIELD(StepTables, optimiser),
    STRUCTURE(PriorTables),
    FIELD(PriorTables, series),
    FIELD(PriorTables, first),
    FIELD(PriorTables, num_windows),
    FIELD(PriorTables, loss),
    FIELD(PriorTables, R),
    FIELD(PriorTables, series_key),
    FIELD(PriorTables, window_key),
    FIELD(PriorTables, hiding_key),
    FIELD(PriorTables, num_threads),
    FIELD(PriorTables, part_windows),
    FIELD(PriorTables, hidden_share),
    FIELD(PriorTables, optimiser),
    {NULL, 0, 0},
};

#endif
