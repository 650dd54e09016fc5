/* Training of a prior: one network on windows of many series.

   The windows of a step are divided into parts, whose number depends on the number of windows alone. Threads compute
   the gradients of whole parts, and one of them adds the parts up in order. So the bits do not depend on the threads. */

typedef struct {
  const Network *network;
  const PriorTables *tables;
  N(Layout) at;
  N(State) state;
  float *gradients, *losses, *counts; /* of each part; gradients are gradient_floats apart */
  long num_parts;
  Meeting meeting;
} N(Prior);

typedef struct {
  N(Prior) *prior;
  N(Scratch) scratch;
  float *memory;
  long number;
  pthread_t thread;
} N(Worker);

static long N(part_begin)(const N(Prior) *prior, long part) {
  return prior->network->shape.B * part / prior->num_parts;
}

/* Draw the windows of a part at a step over all series, each series equally often. */
static void N(draw_part)(const N(Prior) *prior, long step, long begin, long B, const N(Batch) *batch) {
  const PriorTables *tables = prior->tables;
  const long first = step * prior->network->shape.B + begin;
  for (long b = 0; b < B; b++) {
    const long series = tables->series[N(draw_bits)(tables->series_key, first + b) % (uint64_t)tables->R];
    const uint64_t bits = N(draw_bits)(tables->window_key, first + b);
    batch->series[b] = series;
    batch->origins[b] = tables->first[series] + (int64_t)(bits % (uint64_t)tables->num_windows[series]);
  }
  N(hide)(prior->network, tables->hiding_key, tables->hidden_share, first, B, batch);
}

/* Compute loss, gradient and number of observed targets of a part, each as a sum over its windows. */
static void N(run_part)(const N(Prior) *prior, long step, long part, const N(Scratch) *s) {
  const N(Layout) *at = &prior->at;
  const long begin = N(part_begin)(prior, part), B = N(part_begin)(prior, part + 1) - begin;
  N(draw_part)(prior, step, begin, B, &s->batch);
  N(gather)(prior->network, prior->state.vector + at->tables, B, s->batch);
  prior->counts[part] = N(num_observed)(&s->batch, B * at->F);
  prior->losses[part] = N(gradients)(prior->network, at, prior->state.vector, B, 1.0f / prior->network->Q, s,
                                     prior->gradients + part * N(gradient_floats)(at));
}

/* Add up the parts in order, and take step n of the call. */
static void N(end_step)(const N(Prior) *prior, long n) {
  const Optimiser *optimiser = &prior->tables->optimiser;
  const long size = prior->at.size, stride = N(gradient_floats)(&prior->at);
  float *total = prior->gradients, loss = prior->losses[0], count = prior->counts[0];
  for (long part = 1; part < prior->num_parts; part++) {
    const float *gradient = prior->gradients + part * stride;
    for (long entry = 0; entry < size; entry += W) store(total + entry, load(total + entry) + load(gradient + entry));
    loss += prior->losses[part], count += prior->counts[part];
  }
  const float scale = 1.0f / (count > 1 ? count : 1), norm = scale * N(norm)(total, size);
  N(take_step)(prior->network, &prior->at, optimiser, n, scale, norm, &prior->state, total);
  *prior->tables->loss += (scale * loss - *prior->tables->loss) * optimiser->averaging[n];
}

static void *N(work)(void *argument) {
  N(Worker) *worker = argument;
  N(Prior) *prior = worker->prior;
  const Optimiser *optimiser = &prior->tables->optimiser;
  meet(&prior->meeting); /* by then the number of threads is known */
  for (long n = 0; n < optimiser->num_steps; n++) {
    for (long part = worker->number; part < prior->num_parts; part += prior->meeting.num_threads)
      N(run_part)(prior, optimiser->first_step + n, part, &worker->scratch);
    meet(&prior->meeting);
    if (worker->number == 0) N(end_step)(prior, n);
    meet(&prior->meeting);
  }
  return NULL;
}

/* Run the workers, the first of them in this thread. If no more threads can be started, those that there are do all. */
static void N(run_workers)(N(Prior) *prior, N(Worker) *workers, long num_workers) {
  long num_started = 1;
  start_meeting(&prior->meeting);
  pthread_mutex_lock(&prior->meeting.mutex);
  while (num_started < num_workers &&
         !pthread_create(&workers[num_started].thread, NULL, N(work), &workers[num_started]))
    num_started++;
  prior->meeting.num_threads = num_started;
  pthread_mutex_unlock(&prior->meeting.mutex);
  N(work)(&workers[0]);
  for (long number = 1; number < num_started; number++) pthread_join(workers[number].thread, NULL);
  end_meeting(&prior->meeting);
}

static int N(train_prior)(const Network *network, const PriorTables *tables) {
  const long B = network->shape.B, num_parts = (B + tables->part_windows - 1) / tables->part_windows;
  const long num_workers = tables->num_threads < num_parts ? tables->num_threads : num_parts;
  N(Prior) prior = {.network = network, .tables = tables, .at = N(layout)(network), .num_parts = num_parts};
  const Piece pieces[] = {{&prior.gradients, num_parts * N(gradient_floats)(&prior.at)},
                          {&prior.losses, num_parts}, {&prior.counts, num_parts}};
  float *memory = allocate(pieces, LENGTH(pieces)), *state = N(allocate_state)(&prior.at, 1, &prior.state);
  N(Worker) *workers = calloc(num_workers, sizeof(*workers));
  int failed = !memory || !state || !workers;
  for (long number = 0; number < num_workers && !failed; number++) {
    N(Worker) *worker = &workers[number];
    worker->prior = &prior, worker->number = number;
    worker->memory = N(scratch)(network, &prior.at, (B + num_parts - 1) / num_parts, 1, &worker->scratch);
    failed = !worker->memory;
  }
  if (!failed) {
    N(copy_state)(&prior.state, network, &prior.at, 0, 0);
    N(run_workers)(&prior, workers, num_workers);
    N(copy_state)(&prior.state, network, &prior.at, 0, 1);
  }
  for (long number = 0; workers && number < num_workers; number++) free(workers[number].memory);
  free(workers), free(state), free(memory);
  return failed;
}
