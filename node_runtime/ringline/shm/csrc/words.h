/* The shared words: what lies in the arena file, byte for byte, and who may change it.
 *
 * Offsets of the parts come from the header (computed by ringline/graph/layout.py, bounded by map.c); the sizes
 * below must agree with that module, which a conformance test compares. Each word that is changed concurrently has
 * a 64-byte line of its own. Little-endian, 64-bit. */
#ifndef RINGLINE_WORDS_H
#define RINGLINE_WORDS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define RL_MAGIC "RINGLINE"
#define RL_VERSION 1u
#define RL_MAX_NODES 33
#define RL_MAX_CHANNELS 64
#define RL_MAX_BLOCKS 65536u
#define RL_INLINE_META 512u
#define RL_MAX_META 65536u
#define RL_BUCKETS 32
#define RL_NONE 0xffffffffu /* no block */

typedef _Atomic uint64_t rl_word;
typedef _Atomic uint32_t rl_word32;
#define RL_LINE _Alignas(64)

/* gate[n] = epoch:32 | state:32.  OPEN <-> BUSY by node n, the rest by the host. */
enum { RL_OPEN = 0, RL_BUSY = 1, RL_HOSTED = 2, RL_FENCED = 3 };
/* life[n] = epoch:32 | state:32.  VACANT -> ATTACHED by node n, back by the host with the next epoch. */
enum { RL_VACANT = 0, RL_ATTACHED = 1 };
/* bell[n] = sequence:29 | POLL | SPACE | INPUT */
enum { RL_INPUT = 1, RL_SPACE = 2, RL_POLL = 4, RL_BELL_STEP = 8 };
enum { RL_BLOCK = 0, RL_DROP_OLDEST = 1, RL_DROP_NEWEST = 2, RL_LATEST = 3, RL_DEADLINE = 4 };

typedef struct {
    char magic[8];
    uint32_t version, table_bytes;
    uint64_t size;
    uint32_t nodes, channels;
    uint64_t max_message;
    uint64_t kill_words, node_words, channel_words;
    uint8_t pad[64];
} rl_header;

typedef struct {
    char name[56];
    uint64_t heap, heap_bytes, table;
    uint32_t blocks, first_block;
    uint8_t pad[40];
} rl_node_info;

typedef struct {
    char name[192];
    uint64_t ring;
    uint32_t capacity, slots, producer, consumer, policy, pad0;
    uint64_t block_timeout_ns, deadline_ns;
    uint8_t pad[144];
} rl_channel_info;

typedef struct {
    RL_LINE rl_word needs; /* bit n: node n waits for a block. Bit n is changed by node n, and by the host after its death. */
} rl_global_words;

typedef struct {
    RL_LINE rl_word gate;
    RL_LINE rl_word life;
    RL_LINE rl_word32 bell; /* flags: node n. sequence: whoever rings, and node n when it sets flags */
    rl_word32 cpu;          /* hint: where node n last ran + 1; decides whether spinning can pay. Changes rarely. */
    RL_LINE rl_word flush;  /* flush generation, by the host */
    RL_LINE rl_word busy_since;
    rl_word beats, heap_used;
    RL_LINE rl_word bucket[RL_BUCKETS]; /* latency of process(), bucket i counts < 2^i microseconds */
    rl_word latency_ns, latency_count;
} rl_node_words;

typedef struct {
    RL_LINE rl_word head;
    RL_LINE rl_word tail; /* taken:32 | dropped:32 */
    RL_LINE rl_word drop; /* valid:1 | dropped_before:31 | block:32 */
    rl_word drop_second;  /* the dropped message's metadata block, written before `drop` becomes valid */
    RL_LINE rl_word mark;
    RL_LINE rl_word end;
    RL_LINE rl_word bytes; /* from here two lines of the producer's */
    rl_word copies, wakeups, overwritten, newest, timeout, heap_full, deadline;
    rl_word blocked_ns, blocked_since, flushed;
    RL_LINE rl_word r_flushed; /* the reader's */
    rl_word r_deadline;
    rl_word reader_lost; /* the host's, when the reader is dead */
} rl_channel_words;

/* A descriptor. `w0` is written last of a slot's words: position == head is the evidence of a commit that was begun. */
typedef struct {
    rl_word w0;      /* position:32 | block:32 */
    rl_word extent;  /* offset:32 | length:32 of the payload, offset from the start of the file */
    rl_word shape;   /* kind:32 | metadata length:32 */
    rl_word timestamp;
    rl_word origin;
    rl_word sequence;
    rl_word stamp;   /* flush stamp:32 | second block:32 */
    rl_word commit_ns;
    rl_word meta[RL_INLINE_META / 8];
} rl_slot;

/* One entry of a block table. offset and size are written by the owner before the first reference is set. */
typedef struct {
    RL_LINE rl_word refs; /* bit c: channel c refers to this block, queued or held */
    rl_word offset, size;
} rl_block;

_Static_assert(sizeof(rl_header) == 128 && sizeof(rl_node_info) == 128 && sizeof(rl_channel_info) == 384, "tables");
_Static_assert(sizeof(rl_global_words) == 64 && sizeof(rl_node_words) == 640 && sizeof(rl_channel_words) == 512, "words");
_Static_assert(sizeof(rl_slot) == 576 && sizeof(rl_block) == 64, "ring and table entries");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lock-free little-endian words");

#define RLX memory_order_relaxed
#define ACQ memory_order_acquire
#define REL memory_order_release
#define ACQ_REL memory_order_acq_rel
#define SEQ memory_order_seq_cst

static inline uint64_t rl_load(const rl_word *word) { return atomic_load_explicit((rl_word *)word, RLX); }
static inline void rl_store(rl_word *word, uint64_t value) { atomic_store_explicit(word, value, RLX); }
/* For counters with one writer: no read-modify-write needed. */
static inline void rl_count(rl_word *word, uint64_t more) { rl_store(word, rl_load(word) + more); }
static inline uint64_t rl_pair(uint64_t high, uint64_t low) { return high << 32 | (uint32_t)low; }
static inline uint32_t rl_high(uint64_t word) { return (uint32_t)(word >> 32); }
static inline uint32_t rl_low(uint64_t word) { return (uint32_t)word; }
/* Position of the oldest message: taken + dropped, modulo 2^32. */
static inline uint32_t rl_oldest(uint64_t tail) { return rl_high(tail) + rl_low(tail); }

#endif
