/* One message on its way out: shared by writer.c (the Python methods) and send.c (waiting, copying, committing). */
#ifndef RINGLINE_SEND_H
#define RINGLINE_SEND_H

#include "pycore.h"

typedef struct {
    const uint8_t *data; /* to be copied into a block, unless `loan` or `lease` brings one */
    uint64_t length;
    LoanObject *loan;
    LeaseObject *lease;
    const uint8_t *meta;
    uint32_t kind, meta_length;
    int64_t timestamp, origin;
    bool wait;
    uint64_t deadline;
} rl_request;

typedef enum { SEND_ERROR = -1, SEND_DROPPED = 0, SEND_DONE = 1, SEND_WOULD_BLOCK = 2 } rl_sent;

rl_sent rl_send(WriterObject *writer, rl_request *request);
/* A block of one's own heap, waiting for it if the request does. */
rl_sent rl_obtain(WriterObject *writer, const rl_request *request, uint64_t bytes, uint32_t *block);
void rl_copy(ArenaObject *arena, uint8_t *to, const uint8_t *from, uint64_t bytes);
void rl_stop_waiting(WriterObject *writer);
void rl_free_loan(LoanObject *loan);
int rl_check_size(WriterObject *writer, uint64_t bytes, uint64_t meta_bytes);

#endif
