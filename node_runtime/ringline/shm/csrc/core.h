/* What one attached process keeps for itself, and the steps of the protocol. No Python in here.
 *
 * The GIL is the mutex of everything private: each function is called with the GIL held and returns quickly, except
 * where it says otherwise. The steps' names (C1, N3 …) are those of docs/shared-memory.md. */
#ifndef RINGLINE_CORE_H
#define RINGLINE_CORE_H

#include "failpoint.h"
#include "map.h"

#include <sched.h>

typedef enum {
    RL_OK,
    RL_EMPTY,   /* nothing to read */
    RL_FULL,    /* a block channel has no room */
    RL_NO_BLOCK,/* the heap is full */
    RL_GATE,    /* the host holds our gate for a moment */
    RL_IS_FENCED,
    RL_CORRUPT,
    RL_COPY_FIRST, /* the block is in one of these channels already */
    RL_DROPPED,
} rl_result;

/* ---- the private allocator of one heap ---- */
#define RL_HOT 16

typedef struct {
    uint64_t offset, size;
    int32_t before, after;           /* neighbours by address */
    int32_t newer, older;            /* free list, most recently freed first */
    bool free;
} rl_extent;

typedef struct {
    rl_map *map;
    uint32_t node, first, blocks;
    rl_block *table;
    rl_extent *extents;
    int32_t *extent_of;              /* per block; -1 = the block has no memory */
    uint32_t *free_blocks;           /* stack of entries without memory */
    uint32_t free_count;
    int32_t *spare;                  /* stack of unused extents */
    uint32_t spare_count;
    int32_t newest;                  /* head of the free list */
    uint32_t hot[RL_HOT];            /* freed blocks that keep their memory, newest last */
    uint32_t hot_count;
    uint32_t *out;                   /* ring of committed blocks, oldest first */
    uint32_t out_first, out_count;
    uint64_t used, returned;         /* bytes taken; blocks that came back, counted for ever */
} rl_heap;

int rl_heap_open(rl_heap *heap, rl_map *map, uint32_t node, rl_error *error);
void rl_heap_close(rl_heap *heap);
uint32_t rl_heap_loan(rl_heap *heap, uint64_t bytes); /* L1, L2; RL_NONE = heap full */
void rl_heap_reap(rl_heap *heap);                     /* L1 for all outstanding blocks */
void rl_heap_discard(rl_heap *heap, uint32_t block);
void rl_heap_committed(rl_heap *heap, uint32_t block);
/* Where a block of ours lies: from private memory, since a neighbour may write into the table. */
static inline uint64_t rl_heap_offset(const rl_heap *heap, uint32_t block) {
    return heap->extents[heap->extent_of[block - heap->first]].offset;
}

/* ---- copy.c: whole when it returns, and ordered before every later store ---- */
void rl_copy_bytes(uint8_t *to, const uint8_t *from, uint64_t bytes);

/* ---- this process in the arena ---- */
typedef struct {
    rl_map *map;
    rl_locks *locks;
    uint32_t node, epoch;
    rl_heap heap;
    uint64_t tail_seen[RL_MAX_CHANNELS]; /* the producer rereads `tail` only when this copy says "full" */
    uint32_t stamp;
    bool stamped;      /* the runner calls stamp(); otherwise each commit takes the current generation */
    uint64_t produces; /* bit c: channel c is ours to write */
    uint32_t input_waiters, space_waiters, poll_waiters; /* threads of this process, per flag of the bell */
} rl_self;

static inline rl_node_words *rl_words(const rl_self *self) { return self->map->node[self->node].words; }

/* ---- ring.c: commit, drop, next, release ---- */
typedef struct {
    uint32_t block, second; /* second: RL_NONE unless the metadata has a block of its own */
    uint32_t offset, length, kind, meta_length;
    int64_t timestamp, origin;
    uint64_t sequence;
    uint32_t stamp;
    uint64_t commit_ns;
} rl_message;

typedef struct {
    rl_self *self;
    uint32_t channel;
    uint32_t held;
    bool corrupt;
    bool wanted;       /* rl_ready looks at it */
    bool end_reported; /* an end wakes the waiter once */
} rl_reader;

/* Which channels of a writer a commit skips, and why it could not go on. */
typedef struct {
    uint8_t channel[RL_MAX_CHANNELS];
    uint32_t count;
    uint64_t full;    /* channels that were full at the last try */
    uint64_t skip;    /* channels given up for this message */
} rl_targets;

bool rl_has_room(rl_self *self, uint32_t c);
rl_result rl_room(rl_self *self, rl_targets *targets);
rl_result rl_commit(rl_self *self, rl_targets *targets, rl_message *message, const uint8_t *meta, bool fresh);
rl_result rl_next(rl_reader *reader, rl_message *message, uint8_t *meta);
void rl_unref(rl_self *self, uint32_t c, uint32_t block, uint32_t second);
bool rl_ended(rl_reader *reader);
bool rl_help_needy(rl_self *self);
rl_result rl_make_room_in_heap(rl_self *self, uint64_t bytes, uint32_t *block);
rl_result rl_gate_state(const rl_self *self);
void rl_need(rl_self *self);
void rl_no_need(rl_self *self);

/* ---- bell.c ---- */
void rl_ring_all(rl_map *map);
void rl_ring_always(rl_map *map, uint32_t node);
int rl_bell_fd(rl_map *map, uint32_t node);
uint32_t rl_bell_arm(rl_self *self, uint32_t flags);    /* W1: returns the value to sleep on */
void rl_bell_disarm(rl_self *self, uint32_t flags);     /* W4 */
/* 0 woken or changed, ETIMEDOUT, EINTR; called without the GIL */
int rl_futex_wait(rl_word32 *word, uint32_t value, uint64_t timeout_ns);
void rl_futex_wake(rl_word32 *word);
uint64_t rl_now(void);

/* B1 [SEQ load, after the SEQ store or RMW of C5, N3 or R1; partner W1]: true if somebody was woken.
 * W1 moves the sequence too. So a bell that still has the value at which this process left it was rung by us, wholly, after
 * the last W1, and its W4 is yet to come: the recheck that follows W4 sees what we have just stored. One system call for
 * one sleep then, however many messages it covers. */
static inline bool rl_ring(rl_map *map, uint32_t node, uint32_t flag) {
    uint32_t value = atomic_load_explicit(&map->node[node].words->bell, SEQ);
    if (__builtin_expect((value & flag) == 0 || value == map->rung[node], 1))
        return false;
    rl_ring_always(map, node);
    return true;
}

/* A hint for others: spinning for us pays only while we run on another CPU than they do. */
static inline void rl_note_cpu(rl_self *self) {
    uint32_t cpu = (uint32_t)sched_getcpu() + 1;
    rl_word32 *hint = &rl_words(self)->cpu;
    if (atomic_load_explicit(hint, RLX) != cpu)
        atomic_store_explicit(hint, cpu, RLX);
}

/* ---- a short spin before sleeping, while it pays ---- */
#define RL_WATCHED 96
typedef struct {
    const rl_word *word[RL_WATCHED];
    uint64_t seen[RL_WATCHED];
    uint32_t count;
} rl_watch;

static inline void rl_watch_add(rl_watch *watch, const rl_word *word) {
    if (watch->count < RL_WATCHED) {
        watch->word[watch->count] = word;
        watch->seen[watch->count++] = atomic_load_explicit((rl_word *)word, ACQ);
    }
}
bool rl_spin(const rl_watch *watch, uint64_t budget_ns); /* without the GIL; true: a word changed */

/* ---- reclaim.c: what only the host does ---- */
typedef enum { RL_RECLAIMED, RL_ALIVE, RL_VACANT_ALREADY, RL_SET_ASIDE } rl_reclaimed;
rl_reclaimed rl_reclaim(rl_map *map, rl_locks *locks, uint32_t node, bool keep_queue);
bool rl_fence(rl_map *map, uint32_t node);
void rl_flush(rl_map *map, const uint8_t *nodes, uint32_t node_count, const uint8_t *channels, uint32_t channel_count);
void rl_end(rl_map *map, uint32_t c);
void rl_open_hosted_gates(rl_map *map);

#endif
