/* Sending: wait for room, get a block, copy, commit. Waiting is outside the gate; copies of 64 KiB and more run
 * without the GIL. */
#include "send.h"

#include <string.h>

#define COPY_WITHOUT_GIL 65536u

static uint64_t bit(uint32_t c) { return (uint64_t)1 << c; }
static rl_channel *channel_of(WriterObject *writer, uint32_t c) { return &writer->arena->self.map->channel[c]; }

void rl_copy(ArenaObject *arena, uint8_t *to, const uint8_t *from, uint64_t bytes) {
    if (bytes < COPY_WITHOUT_GIL) {
        memcpy(to, from, bytes);
        return;
    }
    rl_pin(arena);
    Py_BEGIN_ALLOW_THREADS
    rl_copy_bytes(to, from, bytes);
    Py_END_ALLOW_THREADS
    rl_unpin(arena);
}

/* ---- how long a channel has been blocked: visible from outside while it is ---- */

static void start_blocked(WriterObject *writer, uint64_t channels) {
    uint64_t now = rl_now();
    if (!writer->blocked)
        writer->blocked_since = now;
    for (uint64_t left = channels & ~writer->blocked; left; left &= left - 1)
        rl_store(&channel_of(writer, (uint32_t)__builtin_ctzll(left))->words->blocked_since, now);
    writer->blocked |= channels;
}

void rl_stop_waiting(WriterObject *writer) {
    uint64_t now = writer->blocked ? rl_now() : 0;
    for (uint64_t left = writer->blocked; left; left &= left - 1) {
        rl_channel_words *words = channel_of(writer, (uint32_t)__builtin_ctzll(left))->words;
        uint64_t since = rl_load(&words->blocked_since);
        rl_count(&words->blocked_ns, since && now > since ? now - since : 0);
        rl_store(&words->blocked_since, 0);
    }
    if (writer->waiting_bytes)
        rl_stop_needing(writer->arena);
    writer->blocked = writer->waiting_bytes = 0;
    writer->waiting = false;
}

/* ---- room in the block channels ---- */

static int room_or_fenced(rl_wait *wait) {
    rl_self *self = &wait->arena->self;
    return rl_room(self, wait->targets) == RL_OK || rl_gate_state(self) == RL_IS_FENCED;
}

static void watch_tails(rl_wait *wait, rl_watch *watch) {
    for (uint64_t left = wait->writer->blocked; left; left &= left - 1)
        rl_watch_add(watch, &channel_of(wait->writer, (uint32_t)__builtin_ctzll(left))->words->tail);
}

static uint64_t first_expiry(WriterObject *writer, uint64_t full) {
    uint64_t first = UINT64_MAX;
    for (uint64_t left = full; left; left &= left - 1) {
        uint64_t timeout = channel_of(writer, (uint32_t)__builtin_ctzll(left))->block_timeout_ns;
        if (timeout && writer->blocked_since + timeout < first)
            first = writer->blocked_since + timeout;
    }
    return first;
}

/* In a node a message that waited its channel's block timeout is dropped there; the others still get it. */
static void give_up(WriterObject *writer, rl_targets *targets, uint64_t now) {
    for (uint64_t left = targets->full; left; left &= left - 1) {
        uint32_t c = (uint32_t)__builtin_ctzll(left);
        rl_channel *channel = channel_of(writer, c);
        if (!channel->block_timeout_ns || writer->blocked_since + channel->block_timeout_ns > now)
            continue;
        targets->skip |= bit(c);
        rl_count(&channel->words->timeout, 1);
    }
}

static rl_sent full_error(WriterObject *writer, uint64_t full) {
    rl_channel *channel = channel_of(writer, (uint32_t)__builtin_ctzll(full));
    rl_stop_waiting(writer);
    PyErr_Format(rl_exceptions.full,
                 "Buffer at capacity (backpressure active): channel '%s' has %u of %u messages queued; send more slowly, raise its capacity, "
                 "or choose an overflow that drops",
                 channel->name, channel->capacity, channel->capacity);
    return SEND_ERROR;
}

static bool nothing_left(const rl_targets *targets) {
    for (uint32_t i = 0; i < targets->count; i++)
        if (!(targets->skip & bit(targets->channel[i])))
            return false;
    return true;
}

/* Not full any more, given up, or to be tried later. */
static rl_sent one_wait(WriterObject *writer, rl_targets *targets, const rl_request *request) {
    ArenaObject *arena = writer->arena;
    start_blocked(writer, targets->full);
    if (!request->wait) { /* the caller keeps the time, and says give_up() */
        writer->waiting = true;
        return rl_want_space(arena) ? SEND_DONE : SEND_WOULD_BLOCK; /* armed just now: look once more */
    }
    uint64_t now = rl_now(), expiry = first_expiry(writer, targets->full);
    if (now >= expiry && !arena->host) {
        give_up(writer, targets, now);
        return SEND_DONE;
    }
    if (now >= expiry || now >= request->deadline)
        return full_error(writer, targets->full);
    rl_wait wait = {.arena = arena, .flags = RL_SPACE, .ready = room_or_fenced, .watch = watch_tails, .writer = writer, .targets = targets};
    return rl_block_until(&wait, expiry < request->deadline ? expiry : request->deadline) < 0 ? SEND_ERROR : SEND_DONE;
}

/* C0 */
static rl_sent await_room(WriterObject *writer, rl_targets *targets, const rl_request *request) {
    while (rl_room(&writer->arena->self, targets) != RL_OK) {
        if (rl_gate_state(&writer->arena->self) == RL_IS_FENCED) {
            rl_raise_result(RL_IS_FENCED, "");
            return SEND_ERROR;
        }
        rl_sent waited = one_wait(writer, targets, request);
        if (waited == SEND_ERROR && rl_alive(writer->arena))
            rl_stop_waiting(writer);
        if (waited != SEND_DONE)
            return waited;
    }
    if (writer->blocked || writer->waiting)
        rl_stop_waiting(writer);
    return nothing_left(targets) ? SEND_DROPPED : SEND_DONE;
}

/* ---- a block of the heap ---- */

static int block_or_fenced(rl_wait *wait) {
    if (wait->block == RL_NONE && (wait->block = rl_heap_loan(&wait->arena->self.heap, wait->bytes)) == RL_NONE)
        rl_still_needing(wait->arena);
    return wait->block != RL_NONE || rl_gate_state(&wait->arena->self) == RL_IS_FENCED;
}

static void watch_blocks(rl_wait *wait, rl_watch *watch) {
    rl_heap *heap = &wait->arena->self.heap;
    for (uint32_t i = 0; i < heap->out_count && i < RL_WATCHED; i++)
        rl_watch_add(watch, &heap->table[heap->out[(heap->out_first + i) % heap->blocks]].refs);
}

static rl_sent heap_error(WriterObject *writer) {
    rl_self *self = &writer->arena->self;
    PyErr_Format(rl_exceptions.full,
                 "Buffer at capacity (backpressure active): the heap of node '%s' is full of messages that others hold; release them sooner, "
                 "or raise shm_segment_size",
                 self->map->node[self->node].name);
    return SEND_ERROR;
}

/* The host repairs a dead neighbour's channel. It rings every bell when it is done, so a try_ call need not wait here. */
static rl_sent await_gate(WriterObject *writer, const rl_request *request) {
    if (!request->wait) {
        writer->waiting = true;
        return SEND_WOULD_BLOCK;
    }
    if (rl_now() < request->deadline)
        return rl_wait_for_gate(writer->arena) < 0 ? SEND_ERROR : SEND_DONE;
    PyErr_SetString(rl_exceptions.full, "Buffer at capacity (backpressure active): the host is reclaiming what a dead node held; try again");
    return SEND_ERROR;
}

static rl_sent drop_for_heap(WriterObject *writer) {
    for (uint32_t i = 0; i < writer->targets.count; i++)
        rl_count(&channel_of(writer, writer->targets.channel[i])->words->heap_full, 1);
    return SEND_DROPPED;
}

static rl_sent await_block(WriterObject *writer, const rl_request *request, uint64_t bytes, uint32_t *block) {
    rl_wait wait = {.arena = writer->arena, .flags = RL_SPACE, .ready = block_or_fenced, .watch = watch_blocks,
                    .writer = writer, .bytes = bytes, .block = RL_NONE};
    rl_start_needing(writer->arena);
    int ready = rl_block_until(&wait, request->deadline);
    if (rl_alive(writer->arena))
        rl_stop_needing(writer->arena);
    *block = wait.block;
    if (ready < 0) { /* a signal handler raised just when a block had come free */
        if (wait.block != RL_NONE && rl_alive(writer->arena))
            rl_heap_discard(&writer->arena->self.heap, wait.block);
        return SEND_ERROR;
    }
    return ready == 0 ? heap_error(writer) : SEND_DONE;
}

/* A try_ call that had to wait is repeated, with or without a wait in between: others need not drop anything for it any more. */
static void served(WriterObject *writer) {
    if (!writer->waiting_bytes)
        return;
    writer->waiting_bytes = 0;
    rl_stop_needing(writer->arena);
}

static rl_sent obtain(WriterObject *writer, const rl_request *request, uint64_t bytes, uint32_t *block) {
    rl_self *self = &writer->arena->self;
    while ((*block = rl_heap_loan(&self->heap, bytes)) == RL_NONE) {
        rl_result made = rl_make_room_in_heap(self, bytes, block);
        if (made == RL_OK)
            return SEND_DONE;
        if (made == RL_GATE) {
            rl_sent opened = await_gate(writer, request);
            if (opened != SEND_DONE)
                return opened;
            continue;
        }
        if (made != RL_NO_BLOCK) {
            rl_raise_result(made, writer->targets.count ? channel_of(writer, writer->targets.channel[0])->name : "");
            return SEND_ERROR;
        }
        if (writer->all_drop)
            return drop_for_heap(writer);
        if (!request->wait) {
            bool first = writer->waiting_bytes == 0;
            writer->waiting = true;
            writer->waiting_bytes = bytes;
            if (first)
                rl_start_needing(writer->arena);
            if (rl_want_space(writer->arena))
                continue;
            return SEND_WOULD_BLOCK;
        }
        rl_sent waited = await_block(writer, request, bytes, block);
        if (waited != SEND_DONE || *block != RL_NONE)
            return waited;
    }
    return SEND_DONE;
}

rl_sent rl_obtain(WriterObject *writer, const rl_request *request, uint64_t bytes, uint32_t *block) {
    rl_sent got = obtain(writer, request, bytes, block);
    if (got == SEND_DONE && *block != RL_NONE)
        served(writer);
    return got;
}

void rl_free_loan(LoanObject *loan) {
    if (loan->block == RL_NONE || loan->exports) {
        loan->doomed = loan->exports != 0; /* the last buffer frees it: nobody may write into a block that is reused */
        return;
    }
    if (rl_alive(loan->arena))
        rl_heap_discard(&loan->arena->self.heap, loan->block);
    loan->block = RL_NONE;
}

bool rl_writer_has_room(WriterObject *writer) {
    rl_self *self = &writer->arena->self;
    if (rl_gate_state(self) == RL_GATE)
        return false;
    if (writer->waiting_bytes) {
        uint32_t block = rl_heap_loan(&self->heap, writer->waiting_bytes);
        if (block == RL_NONE) {
            rl_still_needing(writer->arena);
            return false;
        }
        rl_heap_discard(&self->heap, block);
        return true;
    }
    for (uint64_t left = writer->blocked; left; left &= left - 1)
        if (!rl_has_room(self, (uint32_t)__builtin_ctzll(left)))
            return false;
    return true;
}

/* ---- the message ---- */

typedef struct {
    rl_message message;
    rl_targets targets;
    bool fresh;  /* message.block is a loan of ours, not a forward */
    bool copied; /* … that this call took and filled */
} outgoing;

static rl_sent copy_in(WriterObject *writer, const rl_request *request, outgoing *out, const uint8_t *data) {
    rl_self *self = &writer->arena->self;
    uint32_t block;
    rl_sent got = rl_obtain(writer, request, request->length, &block);
    if (got != SEND_DONE)
        return got;
    out->fresh = out->copied = true;
    out->message.block = block;
    out->message.offset = (uint32_t)rl_heap_offset(&self->heap, block);
    out->message.length = (uint32_t)request->length;
    rl_copy(writer->arena, self->map->base + out->message.offset, data, request->length);
    return rl_usable(writer->arena) ? SEND_DONE : SEND_ERROR;
}

static rl_sent payload(WriterObject *writer, const rl_request *request, outgoing *out) {
    if (request->lease) {
        out->message.block = request->lease->message.block;
        out->message.offset = request->lease->message.offset;
        out->message.length = request->lease->message.length;
        return SEND_DONE;
    }
    if (!request->loan)
        return copy_in(writer, request, out, request->data);
    out->fresh = true;
    out->message.block = request->loan->block;
    out->message.offset = (uint32_t)request->loan->offset;
    out->message.length = (uint32_t)request->loan->length;
    return SEND_DONE;
}

static rl_sent metadata(WriterObject *writer, const rl_request *request, outgoing *out) {
    rl_self *self = &writer->arena->self;
    if (request->meta_length <= RL_INLINE_META)
        return SEND_DONE;
    rl_sent got = rl_obtain(writer, request, request->meta_length, &out->message.second);
    if (got == SEND_DONE)
        memcpy(self->map->base + rl_heap_offset(&self->heap, out->message.second), request->meta, request->meta_length);
    return got;
}

static rl_sent try_commit(WriterObject *writer, const rl_request *request, outgoing *out) {
    ArenaObject *arena = writer->arena;
    for (;;) {
        rl_result result = rl_commit(&arena->self, &out->targets, &out->message, request->meta, out->fresh);
        rl_sent next = SEND_DONE;
        if (result == RL_OK || result == RL_DROPPED)
            return result == RL_OK ? SEND_DONE : SEND_DROPPED;
        if (result == RL_FULL)
            next = await_room(writer, &out->targets, request);
        else if (result == RL_GATE)
            next = await_gate(writer, request);
        else if (result == RL_COPY_FIRST)
            next = copy_in(writer, request, out, request->data);
        else {
            rl_raise_result(result, channel_of(writer, out->targets.channel[0])->name);
            next = SEND_ERROR;
        }
        if (next != SEND_DONE)
            return next;
    }
}

/* Afterwards each block is outstanding, or free again, or still the caller's loan. */
static void settle(WriterObject *writer, outgoing *out, rl_sent sent) {
    rl_heap *heap = &writer->arena->self.heap;
    if (!rl_alive(writer->arena))
        return;
    if (sent == SEND_DONE) {
        if (out->fresh)
            rl_heap_committed(heap, out->message.block);
        if (out->message.second != RL_NONE)
            rl_heap_committed(heap, out->message.second);
        for (uint32_t i = 0; out->copied && i < out->targets.count; i++)
            if (!(out->targets.skip & bit(out->targets.channel[i])))
                rl_count(&channel_of(writer, out->targets.channel[i])->words->copies, 1);
        return;
    }
    if (out->copied)
        rl_heap_discard(heap, out->message.block);
    if (out->message.second != RL_NONE)
        rl_heap_discard(heap, out->message.second);
}

static void settle_loan(LoanObject *loan, rl_sent sent) {
    if (sent == SEND_DONE) {
        loan->spent = true;
        loan->block = RL_NONE;
    } else if (sent == SEND_DROPPED) {
        loan->spent = true;
        rl_free_loan(loan);
    } else
        loan->spent = false; /* still the caller's */
}

int rl_check_size(WriterObject *writer, uint64_t bytes, uint64_t meta_bytes) {
    rl_map *map = writer->arena->self.map;
    uint64_t heap = map->node[writer->arena->self.node].heap_bytes;
    const char *channel = writer->targets.count ? channel_of(writer, writer->targets.channel[0])->name : "(none)";
    if (bytes > map->max_message || (writer->targets.count && bytes > heap)) {
        PyErr_Format(rl_exceptions.too_large, "a message of %llu bytes for channel '%s' is larger than maxMessageSize (max_message_size), %llu bytes: raise it",
                     (unsigned long long)bytes, channel, (unsigned long long)map->max_message);
        return -1;
    }
    if (meta_bytes > RL_MAX_META) {
        PyErr_Format(rl_exceptions.too_large, "metadata of %llu bytes for channel '%s' is larger than %u bytes: put it into the payload",
                     (unsigned long long)meta_bytes, channel, RL_MAX_META);
        return -1;
    }
    return 0;
}

rl_sent rl_send(WriterObject *writer, rl_request *request) {
    outgoing out = {.targets = writer->targets};
    if (writer->targets.count == 0) {
        if (request->loan)
            settle_loan(request->loan, SEND_DROPPED);
        return SEND_DONE;
    }
    out.message = (rl_message){.block = RL_NONE, .second = RL_NONE, .kind = request->kind, .meta_length = request->meta_length,
                               .timestamp = request->timestamp, .origin = request->origin};
    rl_sent sent = await_room(writer, &out.targets, request);
    if (sent == SEND_DONE)
        sent = payload(writer, request, &out);
    if (sent == SEND_DONE)
        sent = metadata(writer, request, &out);
    if (sent == SEND_DONE)
        sent = try_commit(writer, request, &out);
    settle(writer, &out, sent);
    if (request->loan)
        settle_loan(request->loan, sent);
    return sent;
}
