/*
 * ask.h - the worker's end of the channel to the spawner: questions go out, answers come back to the
 * row that asked. The slot of the row outlives both.
 */
#ifndef PROXY_ASK_H
#define PROXY_ASK_H

#include "program/question.h"
#include "proxy/step.h"

#define ASK_RETRY_MS 5 /* when the channel is full, or there is no spawner now */

/* Sends the question of this row; fds stay the caller's. The first time the row's slot is made ready
 * (cold->question is its serial from then on); asking again is harmless as long as the slot's
 * pid is 0. Returns 0, or -errno: then ask again ASK_RETRY_MS later. */
int ask_send(struct step_env *env, struct row *row, struct row_cold *cold, enum question_kind kind, const int *fds,
             size_t n_fds);
/* The row's program is not wanted any more. */
void ask_kill(struct step_env *env, struct row *row, struct row_cold *cold);

#endif
