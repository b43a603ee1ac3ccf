/* The allocator of one node's heap: private to its owner, rebuilt from the block table after a restart.
 *
 * A freed block first keeps its memory on a short "hot" list, newest last, so that a ping-pong writes the same bytes
 * again while they are in the cache and a steady stream allocates in constant time. When that does not fit, hot blocks
 * give their memory back, neighbours are joined, and the first fit of the most recently freed extents is taken. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 64u

static void push_free(rl_heap *heap, int32_t e) {
    heap->extents[e].free = true;
    heap->extents[e].newer = -1;
    heap->extents[e].older = heap->newest;
    if (heap->newest >= 0)
        heap->extents[heap->newest].newer = e;
    heap->newest = e;
}

static void take_free(rl_heap *heap, int32_t e) {
    rl_extent *extent = &heap->extents[e];
    extent->free = false;
    if (extent->newer >= 0)
        heap->extents[extent->newer].older = extent->older;
    else
        heap->newest = extent->older;
    if (extent->older >= 0)
        heap->extents[extent->older].newer = extent->newer;
}

/* Put `e` between its neighbours by address. */
static void link_after(rl_heap *heap, int32_t before, int32_t e) {
    rl_extent *extent = &heap->extents[e];
    extent->before = before;
    extent->after = before >= 0 ? heap->extents[before].after : -1;
    if (before >= 0)
        heap->extents[before].after = e;
    if (extent->after >= 0)
        heap->extents[extent->after].before = e;
}

/* Join `e` with the free extent after it; the later one's record becomes spare. */
static void join_after(rl_heap *heap, int32_t e) {
    int32_t gone = heap->extents[e].after;
    heap->extents[e].size += heap->extents[gone].size;
    heap->extents[e].after = heap->extents[gone].after;
    if (heap->extents[e].after >= 0)
        heap->extents[heap->extents[e].after].before = e;
    heap->spare[heap->spare_count++] = gone;
}

static void give_back(rl_heap *heap, int32_t e) {
    int32_t after = heap->extents[e].after, before = heap->extents[e].before;
    if (after >= 0 && heap->extents[after].free) {
        take_free(heap, after);
        join_after(heap, e);
    }
    if (before >= 0 && heap->extents[before].free) {
        take_free(heap, before);
        join_after(heap, before);
        e = before;
    }
    push_free(heap, e);
}

static void cool(rl_heap *heap, uint32_t block) {
    give_back(heap, heap->extent_of[block]);
    heap->extent_of[block] = -1;
    heap->free_blocks[heap->free_count++] = block;
}

static void cool_all(rl_heap *heap) {
    for (uint32_t i = 0; i < heap->hot_count; i++)
        cool(heap, heap->hot[i]);
    heap->hot_count = 0;
}

static void account(rl_heap *heap, int64_t change) {
    heap->used += (uint64_t)change;
    rl_store(&heap->map->node[heap->node].words->heap_used, heap->used);
}

/* `block` (own number, not the arena's) is free again: it becomes the hottest. */
static void freed(rl_heap *heap, uint32_t block) {
    account(heap, -(int64_t)heap->extents[heap->extent_of[block]].size);
    if (heap->hot_count == RL_HOT) {
        cool(heap, heap->hot[0]);
        memmove(heap->hot, heap->hot + 1, --heap->hot_count * sizeof *heap->hot);
    }
    heap->hot[heap->hot_count++] = block;
}

static void came_back(rl_heap *heap, uint32_t block) {
    heap->returned++;
    freed(heap, block);
}

static void push_out(rl_heap *heap, uint32_t block) {
    heap->out[(heap->out_first + heap->out_count++) % heap->blocks] = block;
}

static uint32_t pop_out(rl_heap *heap) {
    uint32_t block = heap->out[heap->out_first];
    heap->out_first = (heap->out_first + 1) % heap->blocks;
    heap->out_count--;
    return block;
}

/* L1. SYNC POINT [SEQ load]: as acquire it pairs with R1 and D4 (their RMWs form one release sequence, so the last loads of the
 * payload by every reader come before its reuse). SEQ because it is a recheck of W2 too: W1 → this load against R1 → B1. */
static bool unreferenced(const rl_heap *heap, uint32_t block) {
    return atomic_load_explicit(&heap->table[block].refs, SEQ) == 0;
}

void rl_heap_reap(rl_heap *heap) {
    for (uint32_t left = heap->out_count; left > 0; left--) {
        uint32_t block = pop_out(heap);
        if (unreferenced(heap, block))
            came_back(heap, block);
        else
            push_out(heap, block);
    }
}

/* Take what came back at the front; one that is still held goes to the back, so that a hoarder hides nothing. */
static void reap_front(rl_heap *heap) {
    for (uint32_t tries = heap->out_count < 4 ? heap->out_count : 4; tries > 0; tries--) {
        uint32_t block = heap->out[heap->out_first];
        bool back = unreferenced(heap, block);
        (void)pop_out(heap);
        if (back)
            came_back(heap, block);
        else {
            push_out(heap, block);
            return;
        }
    }
}

static uint32_t take_hot(rl_heap *heap, uint64_t size) {
    uint64_t most = size + (size >> 3) + UNIT;
    for (uint32_t i = heap->hot_count; i-- > 0;) {
        uint32_t block = heap->hot[i];
        uint64_t has = heap->extents[heap->extent_of[block]].size;
        if (has < size || has > most)
            continue;
        memmove(heap->hot + i, heap->hot + i + 1, (--heap->hot_count - i) * sizeof *heap->hot);
        return block;
    }
    return RL_NONE;
}

static uint32_t carve(rl_heap *heap, uint64_t size) {
    int32_t e = heap->newest;
    while (e >= 0 && heap->extents[e].size < size)
        e = heap->extents[e].older;
    if (e < 0 || heap->free_count == 0)
        return RL_NONE;
    take_free(heap, e);
    if (heap->extents[e].size > size && heap->spare_count > 0) {
        int32_t rest = heap->spare[--heap->spare_count];
        heap->extents[rest].offset = heap->extents[e].offset + size;
        heap->extents[rest].size = heap->extents[e].size - size;
        heap->extents[e].size = size;
        link_after(heap, e, rest);
        push_free(heap, rest);
    }
    uint32_t block = heap->free_blocks[--heap->free_count];
    heap->extent_of[block] = e;
    rl_store(&heap->table[block].offset, heap->extents[e].offset);
    rl_store(&heap->table[block].size, heap->extents[e].size);
    return block;
}

static uint32_t find_block(rl_heap *heap, uint64_t size) {
    uint32_t block = take_hot(heap, size);
    if (block == RL_NONE)
        block = carve(heap, size);
    if (block == RL_NONE) {
        rl_heap_reap(heap);
        block = take_hot(heap, size);
    }
    if (block == RL_NONE) {
        cool_all(heap);
        block = carve(heap, size);
    }
    return block;
}

uint32_t rl_heap_loan(rl_heap *heap, uint64_t bytes) {
    uint64_t size = bytes < UNIT ? UNIT : (bytes + UNIT - 1) / UNIT * UNIT;
    if (heap->blocks == 0)
        return RL_NONE;
    reap_front(heap);
    uint32_t block = find_block(heap, size);
    if (block == RL_NONE)
        return RL_NONE;
    account(heap, (int64_t)heap->extents[heap->extent_of[block]].size);
    FAILPOINT(FP_L2);
    return heap->first + block;
}

void rl_heap_discard(rl_heap *heap, uint32_t block) { freed(heap, block - heap->first); }

void rl_heap_committed(rl_heap *heap, uint32_t block) { push_out(heap, block - heap->first); }

/* ---- attach: A3 ---- */

static int by_offset(const void *left, const void *right) {
    const rl_extent *a = left, *b = right;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Blocks that are still referenced keep their memory; false if the table contradicts itself. */
static bool adopt_used(rl_heap *heap, uint64_t start, uint64_t end, uint32_t *count) {
    for (uint32_t b = 0; b < heap->blocks; b++) {
        if (unreferenced(heap, b))
            continue;
        uint64_t offset = rl_load(&heap->table[b].offset), size = rl_load(&heap->table[b].size);
        if (offset < start || offset > end || size == 0 || size > end - offset || offset % UNIT || size % UNIT)
            return false;
        heap->extents[*count] = (rl_extent){.offset = offset, .size = size, .newer = (int32_t)b};
        (*count)++;
    }
    qsort(heap->extents, *count, sizeof *heap->extents, by_offset);
    for (uint32_t i = 1; i < *count; i++)
        if (heap->extents[i - 1].offset + heap->extents[i - 1].size > heap->extents[i].offset)
            return false;
    return true;
}

static void add_gap(rl_heap *heap, int32_t before, uint64_t offset, uint64_t end) {
    if (offset >= end)
        return;
    int32_t e = heap->spare[--heap->spare_count];
    heap->extents[e].offset = offset;
    heap->extents[e].size = end - offset;
    if (before >= 0)
        link_after(heap, before, e);
    else
        heap->extents[e].before = heap->extents[e].after = -1;
    push_free(heap, e);
}

static void rebuild(rl_heap *heap, uint64_t start, uint64_t end, uint32_t used) {
    uint32_t records = 2 * heap->blocks + 1;
    for (uint32_t e = records; e-- > used;)
        heap->spare[heap->spare_count++] = (int32_t)e;
    uint64_t at = start;
    int32_t last = -1;
    for (uint32_t i = 0; i < used; i++) {
        uint32_t block = (uint32_t)heap->extents[i].newer;
        add_gap(heap, last, at, heap->extents[i].offset);
        if (heap->newest >= 0 && heap->extents[heap->newest].offset == at && at < heap->extents[i].offset)
            last = heap->newest;
        link_after(heap, last, (int32_t)i);
        heap->extent_of[block] = last = (int32_t)i;
        at = heap->extents[i].offset + heap->extents[i].size;
        heap->used += heap->extents[i].size;
        push_out(heap, block);
    }
    add_gap(heap, last, at, end);
    for (uint32_t b = heap->blocks; b-- > 0;)
        if (heap->extent_of[b] < 0)
            heap->free_blocks[heap->free_count++] = b;
}

int rl_heap_open(rl_heap *heap, rl_map *map, uint32_t node, rl_error *error) {
    rl_node *own = &map->node[node];
    *heap = (rl_heap){.map = map, .node = node, .first = own->first, .blocks = own->blocks, .table = own->table, .newest = -1};
    if (own->blocks == 0)
        return 0;
    heap->extents = calloc(2 * (size_t)own->blocks + 1, sizeof *heap->extents);
    heap->spare = calloc(2 * (size_t)own->blocks + 1, sizeof *heap->spare);
    heap->extent_of = malloc(own->blocks * sizeof *heap->extent_of);
    heap->free_blocks = calloc(own->blocks, sizeof *heap->free_blocks);
    heap->out = calloc(own->blocks, sizeof *heap->out);
    if (!heap->extents || !heap->spare || !heap->extent_of || !heap->free_blocks || !heap->out) {
        rl_heap_close(heap);
        return rl_fail(error, RL_E_MEMORY, ENOMEM, "out of memory");
    }
    memset(heap->extent_of, 0xff, own->blocks * sizeof *heap->extent_of);
    uint32_t used = 0;
    if (!adopt_used(heap, own->heap, own->heap + own->heap_bytes, &used)) {
        rl_heap_close(heap);
        return rl_fail(error, RL_E_ARENA, EINVAL, "the block table of node '%s' contradicts itself: this session can't go on", own->name);
    }
    rebuild(heap, own->heap, own->heap + own->heap_bytes, used);
    account(heap, 0);
    return 0;
}

void rl_heap_close(rl_heap *heap) {
    free(heap->extents);
    free(heap->spare);
    free(heap->extent_of);
    free(heap->free_blocks);
    free(heap->out);
    *heap = (rl_heap){.newest = -1};
}
