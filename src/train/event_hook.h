/* SPDX-License-Identifier: MIT */
/* on_event: a command of the user is run by /bin/sh when something happens, with one JSON object as
 * its standard input. The run never waits for it, except for a moment at the very end. */
#ifndef NBI_EVENT_HOOK_H
#define NBI_EVENT_HOOK_H

#include <stddef.h>
#include "nibble/log.h"

typedef struct nbi_event_hook nbi_event_hook;

/* NULL without memory, which is fine for the other functions. `command` and `log` are borrowed. */
nbi_event_hook *nbi_event_hook_open(const char *command, const nb_log *log);
/* Starts the command; text[n] (at most NBI_EVENT_MAX bytes) becomes its standard input, what it
 * prints goes to standard error. Commands that ended are collected here; a failing one is said
 * once. While NBI_EVENTS_RUNNING of them run, further events are dropped, which is said once. */
void nbi_event_hook_send(nbi_event_hook *h, const char *text, size_t n);
/* Waits up to NBI_EVENT_WAIT seconds for commands that still run; they are not ended. */
void nbi_event_hook_close(nbi_event_hook **h);

#define NBI_EVENT_MAX 32768
#define NBI_EVENTS_RUNNING 8
#define NBI_EVENT_WAIT 5.0

#endif
