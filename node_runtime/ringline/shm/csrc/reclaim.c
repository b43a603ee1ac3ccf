/* What only the host does: reclaim of a dead node (H1-H9), fence, flush.
 *
 * Evidence of death: life[n] is {e, ATTACHED} and the host obtained n's lock. No record is written, so a host that dies
 * anywhere below is followed by one that starts at H1 again: every step may be done twice. */
#include "core.h"

#include <stdlib.h>
#include <unistd.h>

static uint64_t bit(uint32_t c) { return (uint64_t)1 << c; }

static void clear(rl_map *map, uint32_t c, uint32_t block) {
    uint32_t owner;
    rl_block *entry = block == RL_NONE ? NULL : rl_block_at(map, block, &owner);
    if (entry)
        atomic_fetch_and_explicit(&entry->refs, ~bit(c), SEQ);
}

/* H3, H4: n as producer of c. Its reader may live and run: it touches bit c only of blocks that it took from the ring. */
static void repair_producer(rl_map *map, uint32_t c) {
    rl_channel *channel = &map->channel[c];
    rl_channel_words *words = channel->words;
    uint64_t drop = atomic_load_explicit(&words->drop, ACQ);
    if (drop >> 63) {
        uint32_t dropped = rl_low(atomic_load_explicit(&words->tail, ACQ)) & 0x7fffffffu;
        if (dropped != (rl_high(drop) & 0x7fffffffu)) { /* D3 happened: the message left the ring */
            clear(map, c, rl_low(drop));
            clear(map, c, rl_low(rl_load(&words->drop_second)));
        }
        atomic_store_explicit(&words->drop, 0, REL);
    }
    FAILPOINT(FP_H3);
    uint64_t head = rl_load(&words->head);
    rl_slot *slot = &channel->slots[head & channel->mask];
    uint64_t w0 = atomic_load_explicit(&slot->w0, ACQ);
    if (rl_high(w0) == (uint32_t)head) { /* begun, not published */
        clear(map, c, rl_low(w0));
        clear(map, c, rl_low(rl_load(&slot->stamp)));
    }
    rl_store(&words->blocked_since, 0);
    FAILPOINT(FP_H4);
}

/* H5. SYNC POINT [SEQ RMW]: pairs with C1 (one swap fails) and, as acquire, with C6: the ring and the bits are whole. False: a live producer sits inside its gate; the host comes back later. */
static bool take_gate(rl_map *map, rl_locks *locks, uint32_t producer, bool *taken) {
    rl_word *gate = &map->node[producer].words->gate;
    for (int tries = 0; tries < 400; tries++) {
        uint64_t now = atomic_load_explicit(gate, ACQ);
        *taken = rl_low(now) != RL_FENCED;
        if (rl_low(now) == RL_FENCED || rl_low(now) == RL_HOSTED)
            return true; /* FENCED: it can commit nothing any more */
        bool open = rl_low(now) == RL_OPEN || rl_lock_held(locks, (int)producer) == 0; /* a dead one left it BUSY */
        if (open && atomic_compare_exchange_strong_explicit(gate, &now, rl_pair(rl_high(now), RL_HOSTED), SEQ, SEQ))
            return true;
        if (tries > 50)
            usleep(50);
    }
    return false;
}

static void open_gate(rl_map *map, uint32_t producer) {
    rl_word *gate = &map->node[producer].words->gate;
    uint64_t now = atomic_load_explicit(gate, ACQ);
    if (rl_low(now) == RL_HOSTED)
        atomic_compare_exchange_strong_explicit(gate, &now, rl_pair(rl_high(now), RL_OPEN), SEQ, SEQ);
    rl_futex_wake((rl_word32 *)gate);
}

/* Blocks with bit c, collected before the gate is closed: a bit that appears later belongs to a queued message. */
static uint32_t collect(rl_map *map, uint32_t c, rl_block **found) {
    uint32_t count = 0;
    for (uint32_t n = 0; n < map->nodes; n++)
        for (uint32_t b = 0; b < map->node[n].blocks; b++)
            if (rl_load(&map->node[n].table[b].refs) & bit(c))
                found[count++] = &map->node[n].table[b];
    return count;
}

static void mark_queued(rl_map *map, uint32_t c, uint8_t *queued) {
    rl_channel *channel = &map->channel[c];
    uint64_t head = rl_load(&channel->words->head), tail = rl_load(&channel->words->tail);
    uint32_t count = (uint32_t)head - rl_oldest(tail);
    for (uint32_t i = 0; i < count && i <= channel->mask; i++) {
        rl_slot *slot = &channel->slots[(rl_oldest(tail) + i) & channel->mask];
        uint32_t blocks[2] = {rl_low(rl_load(&slot->w0)), rl_low(rl_load(&slot->stamp))};
        for (int k = 0; k < 2; k++)
            if (blocks[k] < map->blocks)
                queued[blocks[k] / 8] |= (uint8_t)(1u << blocks[k] % 8);
    }
}

/* What is about to be dropped: a message that was committed after `collect` is among it. */
static uint32_t collect_queued(rl_map *map, uint32_t c, rl_block **found, uint32_t count) {
    rl_channel *channel = &map->channel[c];
    uint64_t head = rl_load(&channel->words->head), tail = rl_load(&channel->words->tail);
    uint32_t queued = (uint32_t)head - rl_oldest(tail), owner;
    for (uint32_t i = 0; i < queued && i <= channel->mask; i++) {
        rl_slot *slot = &channel->slots[(rl_oldest(tail) + i) & channel->mask];
        rl_block *entries[2] = {rl_block_at(map, rl_low(rl_load(&slot->w0)), &owner), rl_block_at(map, rl_low(rl_load(&slot->stamp)), &owner)};
        for (int k = 0; k < 2; k++)
            if (entries[k])
                found[count++] = entries[k];
    }
    return count;
}

static void drop_queue(rl_channel *channel) {
    uint64_t tail = atomic_load_explicit(&channel->words->tail, ACQ);
    uint32_t count;
    do
        count = (uint32_t)rl_load(&channel->words->head) - rl_oldest(tail);
    while (!atomic_compare_exchange_strong_explicit(&channel->words->tail, &tail, rl_pair(rl_high(tail), rl_low(tail) + count), SEQ, SEQ));
    rl_count(&channel->words->reader_lost, count);
}

/* H6, the gate closed: reader dead, producer outside, so bit c and the ring stand still. */
static void repair_reader(rl_map *map, uint32_t c, bool keep_queue, rl_block **found, uint32_t count, uint8_t *queued) {
    if (!keep_queue) { /* the swap before the bits: a host that dies in between leaves bits that the next one collects */
        count = collect_queued(map, c, found, count);
        drop_queue(&map->channel[c]);
    }
    mark_queued(map, c, queued);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t n = 0; n < map->nodes; n++) {
            uint32_t own = (uint32_t)(found[i] - map->node[n].table);
            if (found[i] < map->node[n].table || own >= map->node[n].blocks)
                continue;
            uint32_t block = map->node[n].first + own;
            if (!(queued[block / 8] >> block % 8 & 1))
                atomic_fetch_and_explicit(&found[i]->refs, ~bit(c), SEQ);
        }
    FAILPOINT(FP_H6);
}

static bool reclaim_input(rl_map *map, rl_locks *locks, uint32_t c, uint32_t dead, bool keep_queue) {
    uint32_t producer = map->channel[c].producer;
    rl_block **found = calloc(map->blocks + 2u * (map->channel[c].mask + 1u), sizeof *found);
    uint8_t *queued = calloc(map->blocks / 8 + 1u, 1);
    bool taken = false, done = false;
    if (found && queued) {
        uint32_t count = collect(map, c, found);
        done = producer == dead || take_gate(map, locks, producer, &taken);
        if (done) {
            FAILPOINT(FP_H5);
            repair_reader(map, c, keep_queue, found, count, queued);
        }
        if (taken)
            open_gate(map, producer);
    }
    free(found);
    free(queued);
    return done;
}

static bool repair(rl_map *map, rl_locks *locks, uint32_t node, bool keep_queue) {
    bool done = true;
    for (uint32_t c = 0; c < map->channels; c++)
        if (map->channel[c].producer == node)
            repair_producer(map, c);
    for (uint32_t c = 0; c < map->channels; c++)
        if (map->channel[c].consumer == node)
            done &= reclaim_input(map, locks, c, node, keep_queue);
    return done;
}

rl_reclaimed rl_reclaim(rl_map *map, rl_locks *locks, uint32_t node, bool keep_queue) {
    rl_node_words *words = map->node[node].words;
    if (rl_lock_take(locks, (int)node) != 0) /* H1; also blocks a new incarnation */
        return RL_ALIVE;
    FAILPOINT(FP_H1);
    uint64_t life = atomic_load_explicit(&words->life, ACQ);
    if (rl_low(life) != RL_ATTACHED) {
        rl_lock_drop(locks, (int)node);
        return RL_VACANT_ALREADY;
    }
    FAILPOINT(FP_H2);
    bool done = repair(map, locks, node, keep_queue);
    if (done) {
        atomic_fetch_and_explicit(&map->global->needs, ~bit(node), SEQ);
        rl_store(&words->busy_since, 0);
        /* H7. SYNC POINT [REL]: pairs with A2. */
        atomic_store_explicit(&words->gate, rl_pair(rl_high(life) + 1, RL_OPEN), SEQ);
        atomic_store_explicit(&words->life, rl_pair(rl_high(life) + 1, RL_VACANT), REL);
        FAILPOINT(FP_H7);
    }
    rl_ring_all(map); /* H8: the dead may have owed somebody a ring */
    FAILPOINT(FP_H8);
    rl_lock_drop(locks, (int)node); /* H9 */
    FAILPOINT(FP_H9);
    return done ? RL_RECLAIMED : RL_SET_ASIDE;
}

bool rl_fence(rl_map *map, uint32_t node) {
    rl_word *gate = &map->node[node].words->gate;
    uint64_t life = atomic_load_explicit(&map->node[node].words->life, ACQ);
    uint64_t open = rl_pair(rl_high(life), RL_OPEN);
    rl_store(map->node[node].kill, rl_high(life));
    FAILPOINT(FP_G1);
    return atomic_compare_exchange_strong_explicit(gate, &open, rl_pair(rl_high(life), RL_FENCED), SEQ, SEQ) || rl_low(open) == RL_FENCED;
}

static void raise_mark(rl_channel *channel) {
    uint64_t head = atomic_load_explicit(&channel->words->head, ACQ), mark = rl_load(&channel->words->mark);
    while (mark < head && !atomic_compare_exchange_weak_explicit(&channel->words->mark, &mark, head, SEQ, SEQ))
        ;
}

/* F1, F2. SYNC POINT [SEQ RMWs, then B2]: pairs with N6, or with W1 of a reader that sleeps. Stamps first, marks second: what a covered node commits in between carries the old stamp or lies below the mark. */
void rl_flush(rl_map *map, const uint8_t *nodes, uint32_t node_count, const uint8_t *channels, uint32_t channel_count) {
    for (uint32_t i = 0; i < node_count; i++)
        atomic_fetch_add_explicit(&map->node[nodes[i]].words->flush, 1, SEQ);
    FAILPOINT(FP_F1);
    for (uint32_t i = 0; i < channel_count; i++)
        raise_mark(&map->channel[channels[i]]);
    FAILPOINT(FP_F2);
    for (uint32_t i = 0; i < channel_count; i++) {
        rl_ring_always(map, map->channel[channels[i]].consumer);
        rl_ring_always(map, map->channel[channels[i]].producer);
    }
}

void rl_end(rl_map *map, uint32_t c) {
    rl_channel_words *words = map->channel[c].words;
    atomic_store_explicit(&words->end, rl_load(&words->head) + 1, SEQ);
    FAILPOINT(FP_E1);
    rl_ring_always(map, map->channel[c].consumer);
}

/* Host start: its predecessor may have died with gates closed. */
void rl_open_hosted_gates(rl_map *map) {
    for (uint32_t n = 0; n < map->nodes; n++)
        open_gate(map, n);
    rl_ring_all(map);
}
