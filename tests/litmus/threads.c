/* The protocol between threads on one mapping, for ThreadSanitizer: it knows C11's happens-before, not what this CPU allows, so a
 * payload that is read without the order of C5 → N1, or reused without that of R1 → L1, is a race to it on any machine.
 *
 *     threads DIRECTORY MESSAGES    prints what was delivered; exit code 1 for a wrong message or a leak
 *
 * a --c0--> b --c2--> d and a --c1--> c, in an arena that the caller made. Each thread has a copy of the private map, as a process
 * would. c dies again and again with messages in its hands, and the host (the main thread) reclaims it while the others run. */
#include "core.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES 200
#ifndef PATIENCE_NS
#define PATIENCE_NS 20000000000u /* an emulator that loses wake-ups by itself gets the second that nodes have */
#endif
enum { A, B, C, D };
typedef struct {
    rl_map map;
    rl_self self;
    pthread_t thread;
    uint64_t last, delivered;
} node;

static node nodes[4];
static rl_map *map;
static rl_locks *locks;
static uint64_t wanted;
static _Atomic bool wrong;

static void fail(const char *what, uint64_t number) {
    fprintf(stderr, "%s: %llu\n", what, (unsigned long long)number);
    atomic_store(&wrong, true);
}

static void attach(node *node, uint32_t n) {
    rl_error error;
    rl_node_words *words = map->node[n].words;
    memcpy(&node->map, map, sizeof *map);
    rl_lock_take(locks, (int)n);
    uint64_t life = atomic_load_explicit(&words->life, ACQ);
    atomic_store_explicit(&words->life, rl_pair(rl_high(life), RL_ATTACHED), SEQ);
    node->self = (rl_self){.map = &node->map, .locks = locks, .node = n, .epoch = rl_high(life), .produces = n == A ? 3 : n == B ? 4 : 0};
    if (rl_heap_open(&node->self.heap, &node->map, n, &error) < 0)
        exit(2);
}

typedef bool (*check)(node *, uint32_t);

/* W1-W4; `ready` is W2. No sleep is looked after here: a lost wake-up ends by the caller's patience. */
static void sleep_unless(check ready, node *node, uint32_t c, uint32_t flag) {
    uint32_t value = rl_bell_arm(&node->self, flag);
    (void)rl_help_needy(&node->self);
    if (!ready(node, c))
        (void)rl_futex_wait(&map->node[node->self.node].words->bell, value, PATIENCE_NS);
    rl_bell_disarm(&node->self, flag);
}

static bool has_input(node *node, uint32_t c) {
    rl_channel_words *words = node->map.channel[c].words;
    return (uint32_t)atomic_load_explicit(&words->head, SEQ) != rl_oldest(atomic_load_explicit(&words->tail, SEQ)) ||
           atomic_load_explicit(&words->end, SEQ);
}

static bool has_room(node *node, uint32_t c) { return rl_has_room(&node->self, c); }

static uint32_t taken_block = RL_NONE; /* thread a's */
static bool has_block(node *node, uint32_t c) {
    (void)c;
    if (taken_block == RL_NONE)
        taken_block = rl_heap_loan(&node->self.heap, BYTES);
    return taken_block != RL_NONE;
}

static uint32_t loan(node *node) {
    uint32_t block;
    taken_block = RL_NONE;
    if (has_block(node, 0))
        return taken_block;
    while (rl_make_room_in_heap(&node->self, BYTES, &block) == RL_GATE)
        sched_yield();
    if (block != RL_NONE)
        return block;
    rl_need(&node->self);
    while (!has_block(node, 0))
        sleep_unless(has_block, node, 0, RL_SPACE);
    rl_no_need(&node->self);
    return taken_block;
}

static void commit(node *node, rl_targets targets, rl_message *message, bool fresh) {
    rl_result result;
    while ((result = rl_commit(&node->self, &targets, message, (const uint8_t *)"", fresh)) != RL_OK)
        if (result == RL_FULL)
            sleep_unless(has_room, node, targets.channel[0], RL_SPACE);
        else if (result == RL_GATE)
            sched_yield();
        else {
            fail("a commit ended with", result);
            return;
        }
}

static void *write_all(void *argument) {
    node *a = argument;
    rl_targets targets = {.channel = {0, 1}, .count = 2};
    for (uint64_t number = 1; number <= wanted; number++) {
        rl_message message = {.second = RL_NONE, .length = BYTES, .block = loan(a)};
        message.offset = (uint32_t)rl_heap_offset(&a->self.heap, message.block);
        for (uint32_t i = 0; i < BYTES / 8; i++)
            memcpy(map->base + message.offset + 8 * i, &number, 8); /* plain stores: what the sanitizer watches */
        commit(a, targets, &message, true);
        rl_heap_committed(&a->self.heap, message.block);
    }
    rl_end(&a->map, 0);
    rl_end(&a->map, 1);
    return NULL;
}

static uint64_t look(const rl_message *message, const char *when) {
    uint64_t first, other;
    memcpy(&first, map->base + message->offset, 8);
    for (uint32_t i = 1; i < BYTES / 8; i++) {
        memcpy(&other, map->base + message->offset + 8 * i, 8);
        if (other != first)
            fail(when, first);
    }
    return first;
}

/* The next message; false at the end of the stream. */
static bool next(node *node, rl_reader *reader, rl_message *message) {
    static __thread uint8_t meta[RL_MAX_META];
    for (;;) {
        rl_result result = rl_next(reader, message, meta);
        if (result == RL_OK)
            break;
        if (result != RL_EMPTY) {
            fail("a read ended with", result);
            return false;
        }
        if (rl_ended(reader))
            return false;
        sleep_unless(has_input, node, reader->channel, RL_INPUT);
    }
    uint64_t number = look(message, "damaged when taken");
    if (number <= node->last)
        fail("out of order", number);
    node->last = number;
    node->delivered++;
    return true;
}

static void *forward_all(void *argument) {
    node *b = argument;
    rl_reader reader = {.self = &b->self, .channel = 0};
    rl_message message;
    while (next(b, &reader, &message)) {
        rl_message out = message;
        commit(b, (rl_targets){.channel = {2}, .count = 1}, &out, false);
        look(&message, "damaged after it was passed on");
        rl_unref(&b->self, 0, message.block, message.second);
    }
    rl_end(&b->map, 2);
    return NULL;
}

static void *read_all(void *argument) {
    node *d = argument;
    rl_reader reader = {.self = &d->self, .channel = 2};
    rl_message held[2];
    for (uint32_t count = 0; next(d, &reader, &held[count]);) {
        count++;
        while (count == 2 || (count > 0 && d->last == wanted)) {
            look(&held[--count], "damaged when released");
            rl_unref(&d->self, 2, held[count].block, held[count].second);
            if (count == 1 && d->last != wanted) { /* both, the newer one first */
                look(&held[--count], "damaged when released");
                rl_unref(&d->self, 2, held[count].block, held[count].second);
            }
        }
    }
    return NULL;
}

/* Takes some messages and dies with two of them; the answer is whether the stream has ended. */
static void *read_and_die(void *argument) {
    node *c = argument;
    rl_reader reader = {.self = &c->self, .channel = 1};
    rl_message message;
    for (uint64_t life = 20 + c->last % 50; life > 0; life--) {
        if (!next(c, &reader, &message))
            return c;
        if (life > 2) {
            look(&message, "damaged when released");
            rl_unref(&c->self, 1, message.block, message.second);
        }
    }
    return NULL;
}

static void start(node *node, uint32_t n, void *(*run)(void *)) {
    attach(node, n);
    if (pthread_create(&node->thread, NULL, run, node))
        exit(2);
}

/* Let c die and be reclaimed until its stream ends; returns how often. */
static uint64_t host(void) {
    void *ended = NULL;
    uint64_t deaths = 0;
    while (!ended) {
        start(&nodes[C], C, read_and_die);
        pthread_join(nodes[C].thread, &ended);
        rl_heap_close(&nodes[C].self.heap);
        rl_lock_drop(locks, C);
        deaths++;
        while (rl_reclaim(map, locks, C, deaths % 2) == RL_SET_ASIDE)
            sched_yield();
    }
    return deaths;
}

int main(int count, char **words) {
    rl_error error = {0};
    uint64_t leaked = 0;
    if (count != 3 || !(locks = rl_locks_open(words[1], false, &error)) || !(map = rl_map_open(words[1], true, &error))) {
        fprintf(stderr, "usage: threads DIRECTORY MESSAGES (%s)\n", error.text);
        return 2;
    }
    wanted = strtoull(words[2], NULL, 10);
    start(&nodes[D], D, read_all);
    start(&nodes[B], B, forward_all);
    start(&nodes[A], A, write_all);
    uint64_t deaths = host();
    pthread_join(nodes[A].thread, NULL);
    pthread_join(nodes[B].thread, NULL);
    pthread_join(nodes[D].thread, NULL);
    for (uint32_t n = 0; n < map->nodes; n++)
        for (uint32_t b = 0; b < map->node[n].blocks; b++)
            leaked += rl_load(&map->node[n].table[b].refs) != 0;
    if (leaked)
        fail("blocks leaked", leaked);
    if (nodes[D].delivered != wanted)
        fail("a blocking chain lost messages; delivered", nodes[D].delivered);
    printf("%llu through two hops, %llu to a reader that died %llu times\n", (unsigned long long)nodes[D].delivered,
           (unsigned long long)nodes[C].delivered, (unsigned long long)deaths);
    return wrong;
}
