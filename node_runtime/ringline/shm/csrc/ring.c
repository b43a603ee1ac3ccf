/* The steps on a ring: commit (C0-C7), drop (D1-D4), next (N1-N6), release (R1-R2).
 *
 * A process may be killed between any two instructions. What it leaves is a prefix of its program order, so the order
 * of the stores below is the proof that reclaim.c can repair it: do not reorder. */
#include "core.h"

#include <string.h>

static uint64_t bit(uint32_t c) { return (uint64_t)1 << c; }
static rl_channel *channel_of(const rl_self *self, uint32_t c) { return &self->map->channel[c]; }
static uint32_t queued(uint64_t head, uint64_t tail) { return (uint32_t)head - rl_oldest(tail); }
static bool loses_oldest(uint32_t policy) { return policy == RL_DROP_OLDEST || policy == RL_LATEST || policy == RL_DEADLINE; }

/* The whole 64-bit position of the oldest message; `head` is whole, positions in words are its low half. */
static uint64_t whole(uint64_t head, uint32_t position) { return head - (uint32_t)((uint32_t)head - position); }

static uint32_t room_left(rl_self *self, uint32_t c) {
    rl_channel *channel = channel_of(self, c);
    uint64_t head = rl_load(&channel->words->head);
    uint32_t used = queued(head, self->tail_seen[c]);
    /* C0. SYNC POINT [SEQ load]: as acquire it pairs with N3: the reader's loads of the slot (N2) before our stores into it (C3). SEQ
     * because it is a recheck of W2: W1 → this load against N3 → B1. */
    if (used >= channel->capacity) {
        self->tail_seen[c] = atomic_load_explicit(&channel->words->tail, SEQ);
        used = queued(head, self->tail_seen[c]);
    }
    return used < channel->capacity ? channel->capacity - used : 0;
}

static bool oldest_is_flushed(rl_self *self, uint32_t c) {
    rl_channel_words *words = channel_of(self, c)->words;
    uint64_t head = rl_load(&words->head), mark = atomic_load_explicit(&words->mark, ACQ);
    return whole(head, rl_oldest(self->tail_seen[c])) < mark;
}

bool rl_has_room(rl_self *self, uint32_t c) { return room_left(self, c) > 0 || oldest_is_flushed(self, c); }

rl_result rl_room(rl_self *self, rl_targets *targets) {
    targets->full = 0;
    for (uint32_t i = 0; i < targets->count; i++) {
        uint32_t c = targets->channel[i];
        if (channel_of(self, c)->policy == RL_BLOCK && !(targets->skip & bit(c)) && !rl_has_room(self, c))
            targets->full |= bit(c);
    }
    return targets->full ? RL_FULL : RL_OK;
}

/* ---- the gate ---- */

rl_result rl_gate_state(const rl_self *self) {
    uint64_t gate = atomic_load_explicit(&rl_words(self)->gate, ACQ);
    if (rl_high(gate) != self->epoch || rl_low(gate) == RL_FENCED)
        return RL_IS_FENCED;
    return rl_low(gate) == RL_HOSTED ? RL_GATE : rl_low(gate) == RL_OPEN ? RL_OK : RL_CORRUPT;
}

/* C1. SYNC POINT [SEQ RMW]: pairs with H5 on the same word, so one of both swaps fails: either the host sees BUSY, or we see HOSTED.
 * As acquire it pairs with the host's opening of the gate: what H6 cleared is seen by C2 and C4. */
static rl_result enter(rl_self *self) {
    uint64_t open = rl_pair(self->epoch, RL_OPEN);
    if (!atomic_compare_exchange_strong_explicit(&rl_words(self)->gate, &open, rl_pair(self->epoch, RL_BUSY), SEQ, SEQ)) {
        rl_result state = rl_gate_state(self);
        return state == RL_OK ? RL_GATE : state;
    }
    FAILPOINT(FP_C1);
    return RL_OK;
}

/* C6. SYNC POINT [REL store]: pairs with H5 (acquire): C3-C5 and D1-D4 before it, so the commit is whole when the host enters. */
static void leave(rl_self *self) {
    atomic_store_explicit(&rl_words(self)->gate, rl_pair(self->epoch, RL_OPEN), REL);
    FAILPOINT(FP_C6);
}

/* ---- release ---- */

static void clear_bit(rl_map *map, uint32_t c, uint32_t block) {
    uint32_t owner;
    rl_block *entry = rl_block_at(map, block, &owner);
    if (!entry)
        return;
    /* R1. SYNC POINT [SEQ RMW]: as release it pairs with L1: our loads of the payload before its reuse. SEQ for the sleeper: R1 → B1 of R2
     * pairs with W1 → L1. */
    uint64_t before = atomic_fetch_and_explicit(&entry->refs, ~bit(c), SEQ);
    FAILPOINT(FP_R1);
    if (before == bit(c))
        rl_ring(map, owner, RL_SPACE);
    FAILPOINT(FP_R2);
}

void rl_unref(rl_self *self, uint32_t c, uint32_t block, uint32_t second) {
    clear_bit(self->map, c, block);
    if (second != RL_NONE)
        clear_bit(self->map, c, second);
}

/* ---- drop, inside the gate ---- */

typedef enum { BY_POLICY, BY_HEAP } drop_cause;

static void count_drop(rl_self *self, uint32_t c, const rl_slot *slot, bool flushed, drop_cause cause) {
    rl_channel *channel = channel_of(self, c);
    rl_channel_words *words = channel->words;
    if (flushed)
        rl_count(&words->flushed, 1);
    else if (channel->policy == RL_DEADLINE && rl_now() - rl_load(&slot->commit_ns) > channel->deadline_ns)
        rl_count(&words->deadline, 1);
    else
        rl_count(cause == BY_HEAP ? &words->heap_full : &words->overwritten, 1);
}

/* D1-D4: RL_OK dropped one, RL_EMPTY there was nothing or the reader was quicker, RL_CORRUPT. */
static rl_result drop_oldest(rl_self *self, uint32_t c, drop_cause cause) {
    rl_channel *channel = channel_of(self, c);
    rl_channel_words *words = channel->words;
    uint64_t tail = atomic_load_explicit(&words->tail, ACQ);
    self->tail_seen[c] = tail;
    uint32_t position = rl_oldest(tail), owner;
    if (position == (uint32_t)rl_load(&words->head))
        return RL_EMPTY;
    rl_slot *slot = &channel->slots[position & channel->mask];
    uint64_t w0 = rl_load(&slot->w0);
    uint32_t block = rl_low(w0), second = rl_low(rl_load(&slot->stamp));
    if (rl_high(w0) != position || !rl_block_at(self->map, block, &owner))
        return RL_CORRUPT;
    bool flushed = oldest_is_flushed(self, c);
    rl_store(&words->drop_second, second);
    /* D2. SYNC POINT [REL, against a kill]: `drop_second` before it and D3 after it, since the intention is the evidence for H3, its partner. */
    atomic_store_explicit(&words->drop, (uint64_t)1 << 63 | rl_pair(rl_low(tail) & 0x7fffffffu, block), REL);
    FAILPOINT(FP_D2);
    /* D3. SYNC POINT [SEQ RMW]: pairs with N3 on the same word; exactly one of both sides gets this message. Lost: as acquire the reader's
     * copy (N2) is done before the slot is written again. Won: its swap fails, whatever it copied. */
    bool won = atomic_compare_exchange_strong_explicit(&words->tail, &tail, rl_pair(rl_high(tail), rl_low(tail) + 1), SEQ, SEQ);
    FAILPOINT(FP_D3);
    if (won) {
        self->tail_seen[c] = rl_pair(rl_high(tail), rl_low(tail) + 1);
        count_drop(self, c, slot, flushed, cause);
        rl_unref(self, c, block, second);
        FAILPOINT(FP_D4);
    } else
        self->tail_seen[c] = tail;
    atomic_store_explicit(&words->drop, 0, REL);
    return won ? RL_OK : RL_EMPTY;
}

/* C2 for one channel: room for one message, by dropping if need be. */
static rl_result clear_way(rl_self *self, uint32_t c) {
    while (room_left(self, c) == 0) {
        rl_channel *channel = channel_of(self, c);
        if (queued(rl_load(&channel->words->head), self->tail_seen[c]) > channel->mask + 1)
            return RL_CORRUPT;
        if (drop_oldest(self, c, BY_POLICY) == RL_CORRUPT)
            return RL_CORRUPT;
    }
    return RL_OK;
}

/* ---- commit ---- */

/* C0: which channels take this message now, and which refuse it as the newest (recorded once that is final). */
static rl_result choose(rl_self *self, const rl_targets *targets, uint64_t *bits, uint64_t *refuse) {
    *bits = *refuse = 0;
    for (uint32_t i = 0; i < targets->count; i++) {
        uint32_t c = targets->channel[i];
        if (targets->skip & bit(c))
            continue;
        if (channel_of(self, c)->policy == RL_DROP_NEWEST && !rl_has_room(self, c))
            *refuse |= bit(c);
        else
            *bits |= bit(c);
    }
    return *bits ? RL_OK : RL_DROPPED;
}

/* Not before: a commit that must copy, wait or be tried again would count the same message twice. */
static void refuse_newest(rl_self *self, rl_targets *targets, uint64_t refuse) {
    targets->skip |= refuse;
    for (uint64_t left = refuse; left; left &= left - 1)
        rl_count(&channel_of(self, (uint32_t)__builtin_ctzll(left))->words->newest, 1);
}

static void write_meta(rl_slot *slot, const uint8_t *meta, uint32_t length) {
    for (uint32_t at = 0; at < length; at += 8) {
        uint64_t word = 0;
        memcpy(&word, meta + at, length - at < 8 ? length - at : 8);
        rl_store(&slot->meta[at / 8], word);
    }
}

/* C3. `w0` last: position == head tells H4 that the rest, the second block above all, is whole. SYNC POINT [REL, against a kill]: a
 * dead process leaves a prefix of its program order, and its lock's drop orders that before H4, which pairs with it. For a live reader C5 orders it all. */
static void write_slot(rl_channel *channel, uint64_t head, const rl_message *message, const uint8_t *meta) {
    rl_slot *slot = &channel->slots[head & channel->mask];
    rl_store(&slot->extent, rl_pair(message->offset, message->length));
    rl_store(&slot->shape, rl_pair(message->kind, message->meta_length));
    rl_store(&slot->timestamp, (uint64_t)message->timestamp);
    rl_store(&slot->origin, (uint64_t)message->origin);
    rl_store(&slot->sequence, head);
    rl_store(&slot->stamp, rl_pair(message->stamp, message->second));
    if (channel->policy == RL_DEADLINE)
        rl_store(&slot->commit_ns, message->commit_ns);
    if (message->second == RL_NONE)
        write_meta(slot, meta, message->meta_length);
    atomic_store_explicit(&slot->w0, rl_pair(head, message->block), REL);
}

static void publish(rl_self *self, uint64_t bits, const rl_message *message) {
    rl_map *map = self->map;
    for (uint64_t left = bits; left; left &= left - 1) {
        rl_channel_words *words = map->channel[__builtin_ctzll(left)].words;
        rl_count(&words->bytes, message->length);
        /* C5. SYNC POINT [SEQ store]: as release it pairs with N1: payload, slot (C3) and bit (C4) before the position. SEQ for the
         * sleeper: C5 → B1 pairs with W1 → W2, one of the two loads sees the other side's store. Visible from here. */
        atomic_store_explicit(&words->head, rl_load(&words->head) + 1, SEQ);
        FAILPOINT(FP_C5);
    }
    leave(self);
    for (uint64_t left = bits; left; left &= left - 1) {
        rl_channel *channel = &map->channel[__builtin_ctzll(left)];
        if (rl_ring(map, channel->consumer, RL_INPUT))
            rl_count(&channel->words->wakeups, 1);
        FAILPOINT(FP_C7);
    }
}

rl_result rl_commit(rl_self *self, rl_targets *targets, rl_message *message, const uint8_t *meta, bool fresh) {
    uint64_t bits, refuse;
    uint32_t owner;
    rl_map *map = self->map;
    if (rl_load(&map->global->needs) & ~bit(self->node))
        rl_help_needy(self);
    if (rl_room(self, targets) == RL_FULL)
        return RL_FULL;
    if (choose(self, targets, &bits, &refuse) == RL_DROPPED) {
        refuse_newest(self, targets, refuse);
        return RL_DROPPED;
    }
    rl_block *entry = rl_block_at(map, message->block, &owner);
    if (!fresh && rl_load(&entry->refs) & bits)
        return RL_COPY_FIRST;
    message->stamp = self->stamped ? self->stamp : (uint32_t)rl_load(&rl_words(self)->flush);
    rl_result entered = enter(self);
    if (entered != RL_OK)
        return entered;
    refuse_newest(self, targets, refuse);
    for (uint64_t left = bits; left; left &= left - 1) {
        uint32_t c = (uint32_t)__builtin_ctzll(left);
        if (clear_way(self, c) != RL_OK) {
            leave(self);
            return RL_CORRUPT;
        }
        if (map->channel[c].policy == RL_DEADLINE)
            message->commit_ns = rl_now();
        write_slot(&map->channel[c], rl_load(&map->channel[c].words->head), message, meta);
        FAILPOINT(FP_C3);
    }
    /* C4, after C3: nobody else can touch a fresh block's word, so a store is enough. SYNC POINT [REL store or ACQ_REL RMW]: after C3
     * for H4, before C5 so that a reader's R1 finds its bit; the RMW goes on with the release sequence that L1 pairs with. */
    if (fresh)
        atomic_store_explicit(&entry->refs, bits, REL);
    else
        atomic_fetch_or_explicit(&entry->refs, bits, ACQ_REL);
    if (message->second != RL_NONE)
        atomic_store_explicit(&rl_block_at(map, message->second, &owner)->refs, bits, REL);
    FAILPOINT(FP_C4);
    rl_note_cpu(self);
    publish(self, bits, message);
    return RL_OK;
}

/* ---- next ---- */

static void copy_slot(rl_slot *slot, uint64_t word[8], uint8_t *meta) {
    word[0] = rl_load(&slot->w0);
    word[1] = rl_load(&slot->extent);
    word[2] = rl_load(&slot->shape);
    word[3] = rl_load(&slot->timestamp);
    word[4] = rl_load(&slot->origin);
    word[5] = rl_load(&slot->sequence);
    word[6] = rl_load(&slot->stamp);
    word[7] = rl_load(&slot->commit_ns);
    uint32_t length = rl_low(word[2]) <= RL_INLINE_META ? rl_low(word[2]) : 0;
    for (uint32_t at = 0; at < length; at += 8) {
        uint64_t part = rl_load(&slot->meta[at / 8]);
        memcpy(meta + at, &part, 8);
    }
}

/* Whether [offset, offset + length) lies in a block that channel c refers to, and that block in its owner's heap. */
static bool holds(rl_map *map, uint32_t c, uint32_t block, uint64_t offset, uint64_t length, uint64_t *start) {
    uint32_t owner;
    rl_block *entry = rl_block_at(map, block, &owner);
    if (!entry || !(atomic_load_explicit(&entry->refs, ACQ) & bit(c)))
        return false;
    uint64_t from = rl_load(&entry->offset), size = rl_load(&entry->size);
    uint64_t heap = map->node[owner].heap, bytes = map->node[owner].heap_bytes;
    if (from < heap || from - heap > bytes || size > bytes - (from - heap))
        return false;
    *start = from;
    if (offset == 0)
        return length <= size;
    return offset >= from && offset - from <= size && length <= size - (offset - from);
}

/* N4: nothing of the copy is used before it is bounded. */
static bool unpack(rl_map *map, uint32_t c, uint32_t position, const uint64_t word[8], rl_message *message, uint8_t *meta) {
    uint64_t start;
    *message = (rl_message){
        .block = rl_low(word[0]), .offset = rl_high(word[1]), .length = rl_low(word[1]), .kind = rl_high(word[2]),
        .meta_length = rl_low(word[2]), .timestamp = (int64_t)word[3], .origin = (int64_t)word[4], .sequence = word[5],
        .stamp = rl_high(word[6]), .second = rl_low(word[6]), .commit_ns = word[7],
    };
    if (rl_high(word[0]) != position || (uint32_t)word[5] != position || message->offset == 0 ||
        !holds(map, c, message->block, message->offset, message->length, &start))
        return false;
    if (message->second == RL_NONE)
        return message->meta_length <= RL_INLINE_META;
    if (message->second == message->block || message->meta_length <= RL_INLINE_META || message->meta_length > RL_MAX_META ||
        !holds(map, c, message->second, 0, message->meta_length, &start))
        return false;
    memcpy(meta, map->base + start, message->meta_length);
    return true;
}

static bool stale(rl_self *self, const rl_channel *channel, const rl_message *message, uint64_t position) {
    if (position < atomic_load_explicit(&channel->words->mark, ACQ))
        return true;
    uint32_t generation = (uint32_t)rl_load(&self->map->node[channel->producer].words->flush);
    return (int32_t)(message->stamp - generation) < 0;
}

/* N6: flushed or expired messages are released at once and counted. */
static bool discard(rl_reader *reader, const rl_message *message, uint64_t position) {
    rl_channel *channel = channel_of(reader->self, reader->channel);
    rl_word *counter = NULL;
    if (stale(reader->self, channel, message, position))
        counter = &channel->words->r_flushed;
    else if (channel->policy == RL_DEADLINE && rl_now() - message->commit_ns > channel->deadline_ns)
        counter = &channel->words->r_deadline;
    if (!counter)
        return false;
    rl_count(counter, 1);
    rl_unref(reader->self, reader->channel, message->block, message->second);
    return true;
}

static rl_result take(rl_reader *reader, rl_message *message, uint8_t *meta) {
    rl_self *self = reader->self;
    rl_channel *channel = channel_of(self, reader->channel);
    rl_channel_words *words = channel->words;
    uint64_t word[8];
    uint64_t tail = atomic_load_explicit(&words->tail, ACQ);
    uint64_t head = atomic_load_explicit(&words->head, ACQ); /* N1. SYNC POINT [ACQ load]: pairs with C5; slot, bit and payload are read after it */
    uint32_t position = rl_oldest(tail);
    if ((uint32_t)head == position)
        return RL_EMPTY;
    if (queued(head, tail) > channel->mask + 1) /* either both moved between the loads, or somebody wrote nonsense */
        return atomic_load_explicit(&words->tail, SEQ) == tail ? RL_CORRUPT : RL_DROPPED;
    copy_slot(&channel->slots[position & channel->mask], word, meta); /* N2: may be torn */
    /* N3. SYNC POINT [SEQ]: as release it orders N2 before it (partners D1, C0), as acquire it pairs with D3. */
    if (!atomic_compare_exchange_strong_explicit(&words->tail, &tail, tail + ((uint64_t)1 << 32), SEQ, SEQ))
        return RL_DROPPED; /* the producer dropped it: the copy is worthless */
    FAILPOINT(FP_N3);
    if (!unpack(self->map, reader->channel, position, word, message, meta))
        return RL_CORRUPT;
    FAILPOINT(FP_N4);
    rl_ring(self->map, channel->producer, RL_SPACE);
    FAILPOINT(FP_N5);
    return discard(reader, message, whole(head, position)) ? RL_DROPPED : RL_OK;
}

rl_result rl_next(rl_reader *reader, rl_message *message, uint8_t *meta) {
    rl_result result;
    do {
        if (rl_gate_state(reader->self) == RL_IS_FENCED) /* N1 */
            return RL_IS_FENCED;
        result = take(reader, message, meta);
    } while (result == RL_DROPPED);
    if (result == RL_CORRUPT)
        reader->corrupt = true;
    return result;
}

bool rl_ended(rl_reader *reader) {
    rl_channel_words *words = channel_of(reader->self, reader->channel)->words;
    uint64_t end = atomic_load_explicit(&words->end, ACQ);
    return end && (int32_t)(rl_oldest(atomic_load_explicit(&words->tail, ACQ)) - (uint32_t)(end - 1)) >= 0;
}

/* ---- heap full ---- */

/* The oldest messages of one's own dropping channels go until a block fits or the queues are empty. */
rl_result rl_make_room_in_heap(rl_self *self, uint64_t bytes, uint32_t *block) {
    rl_result entered = enter(self);
    if (entered != RL_OK)
        return entered;
    bool progress = true;
    *block = RL_NONE;
    while (progress && *block == RL_NONE) {
        progress = false;
        for (uint64_t left = self->produces; left && *block == RL_NONE; left &= left - 1) {
            uint32_t c = (uint32_t)__builtin_ctzll(left);
            if (!loses_oldest(channel_of(self, c)->policy) || drop_oldest(self, c, BY_HEAP) != RL_OK)
                continue;
            progress = true;
            *block = rl_heap_loan(&self->heap, bytes);
        }
    }
    leave(self);
    return *block == RL_NONE ? RL_NO_BLOCK : RL_OK;
}

/* L3. SYNC POINT [SEQ RMW, then B2 on every bell]: pairs with W1 on the bell and the helper's look at `needs` after it: whoever armed
 * after our B2 read what it wrote, and sees the bit. Everybody is rung even if the bit was set: whoever helped before sleeps again, and knows nothing of one waiter more. */
void rl_need(rl_self *self) {
    atomic_fetch_or_explicit(&self->map->global->needs, bit(self->node), SEQ);
    FAILPOINT(FP_L3);
    rl_ring_all(self->map);
}

void rl_no_need(rl_self *self) { atomic_fetch_and_explicit(&self->map->global->needs, ~bit(self->node), SEQ); }

/* How many of the oldest messages must go until one block of a node in need is free; 0 if none is queued. */
static uint32_t to_drop(rl_self *self, uint32_t c, uint64_t needs) {
    rl_channel *channel = channel_of(self, c);
    uint64_t head = rl_load(&channel->words->head), tail = atomic_load_explicit(&channel->words->tail, ACQ);
    uint32_t count = queued(head, tail), owner;
    for (uint32_t i = 0; i < count && i <= channel->mask; i++) {
        uint32_t block = rl_low(rl_load(&channel->slots[(rl_oldest(tail) + i) & channel->mask].w0));
        if (rl_block_at(self->map, block, &owner) && needs & bit(owner))
            return i + 1;
    }
    return 0;
}

bool rl_help_needy(rl_self *self) {
    uint64_t needs = atomic_load_explicit(&self->map->global->needs, SEQ) & ~bit(self->node);
    bool helped = false;
    if (!needs)
        return false;
    for (uint64_t left = self->produces; left; left &= left - 1) {
        uint32_t c = (uint32_t)__builtin_ctzll(left);
        uint32_t count = loses_oldest(channel_of(self, c)->policy) ? to_drop(self, c, needs) : 0;
        if (count == 0 || enter(self) != RL_OK)
            continue;
        for (; count > 0 && drop_oldest(self, c, BY_HEAP) == RL_OK; count--)
            helped = true;
        leave(self);
    }
    return helped;
}
