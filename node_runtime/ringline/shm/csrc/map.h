/* One mapping of an arena file, its constant tables as this process validated them, and the session's lock file. */
#ifndef RINGLINE_MAP_H
#define RINGLINE_MAP_H

#include "words.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Why a call failed; the Python layer turns `kind` into an exception of ringline.errors. */
typedef enum { RL_E_NONE, RL_E_ARENA, RL_E_RESOURCE, RL_E_MEMORY } rl_error_kind;
typedef struct {
    rl_error_kind kind;
    int number; /* errno, or 0 */
    char text[512];
} rl_error;
int rl_fail(rl_error *error, rl_error_kind kind, int number, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- the lock file: POSIX record locks, one byte each ---- */
#define RL_BYTE_HOST 64
#define RL_BYTE_ZYGOTE 65
#define RL_BYTES 128

typedef struct rl_locks {
    dev_t device;
    ino_t inode;
    int fd, users;
    bool held[RL_BYTES];
    struct rl_locks *next;
} rl_locks;

rl_locks *rl_locks_open(const char *directory, bool create, rl_error *error);
void rl_locks_close(rl_locks *locks);
/* 0 taken, 1 somebody holds it (this process included), -1 error in errno */
int rl_lock_take(rl_locks *locks, int byte);
void rl_lock_drop(rl_locks *locks, int byte);
/* 1 held by a live process, 0 free, -1 error in errno */
int rl_lock_held(rl_locks *locks, int byte);
int rl_locks_probe(const char *directory, int byte);

/* ---- the mapping ---- */
typedef struct {
    char name[56];
    rl_node_words *words;
    rl_word *kill;
    rl_block *table;
    uint64_t heap, heap_bytes;
    uint32_t blocks, first;
    int bell_fd; /* the node's FIFO, opened when first needed; -1 not yet */
} rl_node;

typedef struct {
    char name[192];
    rl_channel_words *words;
    rl_slot *slots;
    uint32_t capacity, mask, producer, consumer, policy;
    uint64_t block_timeout_ns, deadline_ns;
} rl_channel;

typedef struct rl_map {
    uint8_t *base;
    uint64_t size, max_message;
    rl_global_words *global;
    uint32_t nodes, channels, blocks;
    rl_node node[RL_MAX_NODES];
    rl_channel channel[RL_MAX_CHANNELS];
    char directory[1024];
    uint32_t rung[RL_MAX_NODES]; /* the value at which this process left each bell: see rl_ring */
    unsigned generation; /* of this process; a forked child has the next one */
    int users;
    struct rl_map *next;
} rl_map;

/* Grows in every forked child: whoever was made before is inert there. */
extern unsigned rl_generation;
void rl_fork_init(void);
void rl_locks_forget(void); /* in a forked child: drop the descriptors, the parent keeps its locks */

rl_map *rl_map_create(const char *directory, const void *table, size_t table_bytes, mode_t mode, rl_error *error);
rl_map *rl_map_open(const char *directory, bool writable, rl_error *error);
void rl_map_release(rl_map *map);
void rl_map_prefault(rl_map *map, uint64_t offset, uint64_t bytes, bool write);
static inline bool rl_map_inert(const rl_map *map) { return map->generation != rl_generation; }
int rl_find_node(const rl_map *map, const char *name);
int rl_find_channel(const rl_map *map, const char *name);

/* The table entry of a block and its owner, or NULL if there is no such block. */
static inline rl_block *rl_block_at(rl_map *map, uint32_t block, uint32_t *owner) {
    for (uint32_t n = 0; n < map->nodes; n++)
        if (block - map->node[n].first < map->node[n].blocks) {
            *owner = n;
            return &map->node[n].table[block - map->node[n].first];
        }
    return NULL;
}

#endif
