/* SPDX-License-Identifier: MIT */
/* Where the library's messages go. */
#ifndef NIBBLE_LOG_H
#define NIBBLE_LOG_H

typedef enum nb_log_level { NB_LOG_INFO, NB_LOG_NOTE, NB_LOG_WARN } nb_log_level;

/* `write` gets one line without a final line feed, from one thread at a time. Pass NULL instead of
 * a record to drop all messages. Borrowed by the functions that take it. */
typedef struct nb_log {
    void (*write)(void *user, nb_log_level level, const char *line);
    void *user;
} nb_log;

#endif
