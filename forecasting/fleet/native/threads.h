/* Threads that compute the parts of a step and meet at its end. */

#ifndef FLEETCAST_THREADS_H
#define FLEETCAST_THREADS_H

#include <pthread.h>

typedef struct {
  pthread_mutex_t mutex;
  pthread_cond_t all_here;
  long num_threads, num_waiting, round;
} Meeting;

static void start_meeting(Meeting *meeting) {
  pthread_mutex_init(&meeting->mutex, NULL);
  pthread_cond_init(&meeting->all_here, NULL);
  meeting->num_threads = 1, meeting->num_waiting = meeting->round = 0;
}

static void end_meeting(Meeting *meeting) {
  pthread_cond_destroy(&meeting->all_here);
  pthread_mutex_destroy(&meeting->mutex);
}

/* Return when all threads have called this; what each wrote before is visible to all. */
static void meet(Meeting *meeting) {
  pthread_mutex_lock(&meeting->mutex);
  const long round = meeting->round;
  if (++meeting->num_waiting == meeting->num_threads) {
    meeting->num_waiting = 0, meeting->round++;
    pthread_cond_broadcast(&meeting->all_here);
  } else {
    while (meeting->round == round) pthread_cond_wait(&meeting->all_here, &meeting->mutex);
  }
  pthread_mutex_unlock(&meeting->mutex);
}

#endif
