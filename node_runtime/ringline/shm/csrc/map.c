/* Creating, opening and checking the arena file.
 *
 * Everything constant is read once into private memory and checked there: a neighbour that changes the header later
 * changes nothing. The same check runs on the table that the creator passes in. */
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PAGE 4096u
#define TABLES_MAX (sizeof(rl_header) + RL_MAX_NODES * sizeof(rl_node_info) + RL_MAX_CHANNELS * sizeof(rl_channel_info))
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

unsigned rl_generation;
static rl_map *live_maps; /* for the fork handler; an arena is created without the GIL, hence the mutex */
static pthread_mutex_t live_mutex = PTHREAD_MUTEX_INITIALIZER;

int rl_fail(rl_error *error, rl_error_kind kind, int number, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    error->kind = kind;
    error->number = number;
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return -1;
}

static void in_child(void) {
    rl_generation++;
    rl_locks_forget();
    for (rl_map *map = live_maps; map; map = map->next)
        for (uint32_t n = 0; n < map->nodes; n++)
            if (map->node[n].bell_fd >= 0) {
                close(map->node[n].bell_fd);
                map->node[n].bell_fd = -1;
            }
    live_maps = NULL;
    pthread_mutex_unlock(&live_mutex);
}

static void before_fork(void) { pthread_mutex_lock(&live_mutex); }
static void in_parent(void) { pthread_mutex_unlock(&live_mutex); }

void rl_fork_init(void) { pthread_atfork(before_fork, in_parent, in_child); }

/* ---- checks ---- */

/* The part at `offset` must begin at or after the end of the one before, on its alignment, and end inside the file. */
static bool place(uint64_t *cursor, uint64_t offset, uint64_t bytes, uint64_t align, uint64_t size) {
    if (offset < *cursor || offset % align || offset > size || bytes > size - offset)
        return false;
    *cursor = offset + bytes;
    return true;
}

/* A non-empty, terminated name of printable ASCII. */
static bool named(const char *name, size_t size) {
    size_t length = strnlen(name, size);
    for (size_t i = 0; i < length; i++)
        if (name[i] < 0x21 || name[i] > 0x7e)
            return false;
    return length > 0 && length < size;
}

static bool parse_node(rl_map *map, uint32_t n, const rl_node_info *info) {
    rl_node *node = &map->node[n];
    if (!named(info->name, sizeof info->name) || info->blocks > RL_MAX_BLOCKS || info->first_block != map->blocks ||
        (info->blocks == 0) != (info->heap_bytes == 0) || info->heap_bytes % 64 || rl_find_node(map, info->name) >= 0)
        return false;
    memcpy(node->name, info->name, sizeof node->name);
    node->heap = info->heap;
    node->heap_bytes = info->heap_bytes;
    node->blocks = info->blocks;
    node->first = info->first_block;
    node->bell_fd = -1;
    map->blocks += info->blocks;
    map->nodes = n + 1;
    return true;
}

static bool parse_channel(rl_map *map, uint32_t c, const rl_channel_info *info) {
    rl_channel *channel = &map->channel[c];
    if (!named(info->name, sizeof info->name) || info->capacity < 1 || info->slots < info->capacity || info->slots > 4096 ||
        info->slots & (info->slots - 1) || info->producer >= map->nodes || info->consumer >= map->nodes ||
        info->policy > RL_DEADLINE || (info->policy == RL_LATEST && info->capacity != 1) || rl_find_channel(map, info->name) >= 0)
        return false;
    memcpy(channel->name, info->name, sizeof channel->name);
    channel->capacity = info->capacity;
    channel->mask = info->slots - 1;
    channel->producer = info->producer;
    channel->consumer = info->consumer;
    channel->policy = info->policy;
    channel->block_timeout_ns = info->block_timeout_ns;
    channel->deadline_ns = info->deadline_ns;
    map->channels = c + 1;
    return true;
}

/* Offsets are kept relative to the start of the file until the mapping exists. */
static bool parse_parts(rl_map *map, const rl_header *header, const rl_node_info *nodes, const rl_channel_info *channels) {
    uint64_t at = header->table_bytes, size = header->size;
    if (!place(&at, header->kill_words, PAGE, PAGE, size) ||
        !place(&at, header->node_words, sizeof(rl_global_words) + header->nodes * sizeof(rl_node_words), 64, size) ||
        !place(&at, header->channel_words, header->channels * sizeof(rl_channel_words), 64, size))
        return false;
    for (uint32_t c = 0; c < header->channels; c++)
        if (!place(&at, channels[c].ring, (uint64_t)channels[c].slots * sizeof(rl_slot), 64, size))
            return false;
    for (uint32_t n = 0; n < header->nodes; n++)
        if (!place(&at, nodes[n].table, (uint64_t)nodes[n].blocks * sizeof(rl_block), 64, size))
            return false;
    for (uint32_t n = 0; n < header->nodes; n++)
        if (!place(&at, nodes[n].heap, nodes[n].heap_bytes, PAGE, size))
            return false;
    return map->blocks > 0 || header->channels == 0;
}

static int parse(rl_map *map, const uint8_t *table, size_t bytes, uint64_t file_size, rl_error *error) {
    const rl_header *header = (const void *)table;
    if (bytes < sizeof *header || memcmp(header->magic, RL_MAGIC, 8))
        return rl_fail(error, RL_E_ARENA, EINVAL, "%s/arena is not a Ringline arena", map->directory);
    if (header->version != RL_VERSION)
        return rl_fail(error, RL_E_ARENA, EINVAL, "%s/arena has layout version %u, this process speaks %u: use the same Ringline on both sides",
                       map->directory, header->version, RL_VERSION);
    if (header->nodes < 1 || header->nodes > RL_MAX_NODES || header->channels > RL_MAX_CHANNELS || header->size != file_size ||
        file_size > UINT32_MAX || header->max_message == 0 || header->max_message > file_size ||
        header->table_bytes != bytes ||
        bytes != sizeof *header + header->nodes * sizeof(rl_node_info) + header->channels * sizeof(rl_channel_info))
        return rl_fail(error, RL_E_ARENA, EINVAL, "%s/arena: header and file (%llu bytes) do not fit each other", map->directory,
                       (unsigned long long)file_size);
    const rl_node_info *nodes = (const void *)(header + 1);
    const rl_channel_info *channels = (const void *)(nodes + header->nodes);
    for (uint32_t n = 0; n < header->nodes; n++)
        if (!parse_node(map, n, &nodes[n]))
            return rl_fail(error, RL_E_ARENA, EINVAL, "%s/arena: entry of node %u is not valid", map->directory, n);
    for (uint32_t c = 0; c < header->channels; c++)
        if (!parse_channel(map, c, &channels[c]))
            return rl_fail(error, RL_E_ARENA, EINVAL, "%s/arena: entry of channel %u is not valid", map->directory, c);
    if (!parse_parts(map, header, nodes, channels))
        return rl_fail(error, RL_E_ARENA, EINVAL, "%s/arena: a part lies outside the file or in another one", map->directory);
    map->size = file_size;
    map->max_message = header->max_message;
    return 0;
}

static void bind(rl_map *map, const uint8_t *table) {
    const rl_header *header = (const void *)table;
    const rl_node_info *nodes = (const void *)(header + 1);
    const rl_channel_info *channels = (const void *)(nodes + header->nodes);
    map->global = (void *)(map->base + header->node_words);
    rl_node_words *words = (void *)(map->global + 1);
    for (uint32_t n = 0; n < map->nodes; n++) {
        map->node[n].words = words + n;
        map->node[n].kill = (void *)(map->base + header->kill_words + 64 * n);
        map->node[n].table = (void *)(map->base + nodes[n].table);
    }
    rl_channel_words *ends = (void *)(map->base + header->channel_words);
    for (uint32_t c = 0; c < map->channels; c++) {
        map->channel[c].words = ends + c;
        map->channel[c].slots = (void *)(map->base + channels[c].ring);
    }
}

/* ---- files ---- */

static rl_map *new_map(const char *directory, rl_error *error) {
    rl_map *map = calloc(1, sizeof *map);
    if (!map)
        return rl_fail(error, RL_E_MEMORY, ENOMEM, "out of memory"), NULL;
    if (strlen(directory) >= sizeof map->directory) {
        free(map);
        return rl_fail(error, RL_E_ARENA, ENAMETOOLONG, "the session directory's path is too long: %s", directory), NULL;
    }
    strcpy(map->directory, directory);
    map->generation = rl_generation;
    map->users = 1;
    return map;
}

static int map_pages(rl_map *map, int fd, bool writable, rl_error *error) {
    void *base = mmap(NULL, map->size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return rl_fail(error, RL_E_RESOURCE, errno, "can't map the arena (%llu bytes): %s", (unsigned long long)map->size, strerror(errno));
    map->base = base;
    (void)madvise(base, map->size, MADV_DONTFORK); /* a forked child must not read blocks that it does not hold */
    pthread_mutex_lock(&live_mutex);
    map->next = live_maps;
    live_maps = map;
    pthread_mutex_unlock(&live_mutex);
    return 0;
}

void rl_map_prefault(rl_map *map, uint64_t offset, uint64_t bytes, bool write) {
    uint64_t start = offset / PAGE * PAGE, end = offset + bytes < map->size ? offset + bytes : map->size;
    if (end > start && madvise(map->base + start, end - start, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0)
        return;
    for (uint64_t at = start; at < end; at += PAGE)
        (void)*(volatile uint8_t *)(map->base + at); /* an older kernel */
}

static void initialise(rl_map *map) {
    for (uint32_t n = 0; n < map->nodes; n++) {
        rl_store(&map->node[n].words->gate, rl_pair(1, RL_OPEN));
        rl_store(&map->node[n].words->life, rl_pair(1, RL_VACANT));
    }
    for (uint32_t c = 0; c < map->channels; c++)
        for (uint32_t s = 0; s <= map->channel[c].mask; s++)
            rl_store(&map->channel[c].slots[s].w0, rl_pair(~s, RL_NONE)); /* a position that this slot never has */
}

static int no_space(rl_map *map, const char *directory, int number, rl_error *error) {
    struct statvfs disk = {0};
    unsigned long long free_bytes = statvfs(directory, &disk) == 0 ? (unsigned long long)disk.f_bavail * disk.f_frsize : 0;
    return rl_fail(error, RL_E_RESOURCE, number,
                   "the session's shared memory needs %llu bytes in %s (on /dev/shm by default), %llu are free: %s; "
                   "lower shm_segment_size or max_message_size, or free some of it",
                   (unsigned long long)map->size, directory, free_bytes, strerror(number));
}

static int fill(rl_map *map, int fd, const void *table, size_t bytes, rl_error *error) {
    int number = posix_fallocate(fd, 0, (off_t)map->size);
    if (number)
        return no_space(map, map->directory, number, error);
    if (pwrite(fd, table, bytes, 0) != (ssize_t)bytes)
        return rl_fail(error, RL_E_ARENA, errno, "can't write the arena's header: %s", strerror(errno));
    if (map_pages(map, fd, true, error) < 0)
        return -1;
    bind(map, table);
    rl_map_prefault(map, 0, map->size, true); /* charges every page to the host, and the first message meets no cold page */
    initialise(map);
    return 0;
}

rl_map *rl_map_create(const char *directory, const void *table, size_t bytes, mode_t mode, rl_error *error) {
    char draft[1100], path[1100];
    rl_map *map = new_map(directory, error);
    if (!map)
        return NULL;
    const rl_header *header = table;
    snprintf(draft, sizeof draft, "%s/arena.%ld", directory, (long)getpid());
    snprintf(path, sizeof path, "%s/arena", directory);
    int fd = -1;
    if (bytes < sizeof *header || parse(map, table, bytes, header->size, error) < 0)
        goto failed;
    fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        rl_fail(error, errno == ENOSPC || errno == EMFILE || errno == ENFILE ? RL_E_RESOURCE : RL_E_ARENA, errno, "can't create %s: %s",
                draft, strerror(errno));
        goto failed;
    }
    if (fill(map, fd, table, bytes, error) < 0)
        goto failed;
    if (link(draft, path) < 0) { /* unlike rename it never replaces a live arena */
        rl_fail(error, RL_E_ARENA, errno, "can't publish %s: %s", path, strerror(errno));
        goto failed;
    }
    unlink(draft);
    close(fd);
    return map;
failed:
    if (fd >= 0) {
        unlink(draft);
        close(fd);
    }
    rl_map_release(map);
    return NULL;
}

static int check_file(rl_map *map, int fd, uint64_t *size, rl_error *error) {
    struct stat status;
    if (fstat(fd, &status) < 0)
        return rl_fail(error, RL_E_ARENA, errno, "can't look at %s/arena: %s", map->directory, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return rl_fail(error, RL_E_ARENA, EINVAL, "%s/arena is not a regular file", map->directory);
    if (status.st_uid != geteuid() || status.st_mode & 0002)
        return rl_fail(error, RL_E_ARENA, EPERM, "%s/arena belongs to user %u or is writable by others: it is not this session's",
                       map->directory, (unsigned)status.st_uid);
    *size = (uint64_t)status.st_size;
    return 0;
}

static ssize_t read_tables(int fd, uint8_t *copy) {
    ssize_t got = pread(fd, copy, TABLES_MAX, 0);
    if (got < (ssize_t)sizeof(rl_header))
        return got < 0 ? 0 : got;
    uint32_t wanted = ((rl_header *)(void *)copy)->table_bytes;
    return wanted <= (size_t)got ? (ssize_t)wanted : got;
}

rl_map *rl_map_open(const char *directory, bool writable, rl_error *error) {
    _Alignas(64) static uint8_t copy[TABLES_MAX]; /* under the GIL; too large for a small thread's stack */
    char path[1100];
    uint64_t size = 0;
    rl_map *map = new_map(directory, error);
    if (!map)
        return NULL;
    snprintf(path, sizeof path, "%s/arena", directory);
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        rl_fail(error, RL_E_ARENA, errno, "can't open %s: %s", path, strerror(errno));
        goto failed;
    }
    if (check_file(map, fd, &size, error) < 0 || parse(map, copy, (size_t)read_tables(fd, copy), size, error) < 0 ||
        map_pages(map, fd, writable, error) < 0)
        goto failed;
    bind(map, copy);
    close(fd);
    return map;
failed:
    if (fd >= 0)
        close(fd);
    rl_map_release(map);
    return NULL;
}

void rl_map_release(rl_map *map) {
    if (!map || --map->users > 0)
        return;
    pthread_mutex_lock(&live_mutex);
    for (rl_map **entry = &live_maps; *entry; entry = &(*entry)->next)
        if (*entry == map) {
            *entry = map->next;
            break;
        }
    pthread_mutex_unlock(&live_mutex);
    for (uint32_t n = 0; n < map->nodes; n++)
        if (map->node[n].bell_fd >= 0)
            close(map->node[n].bell_fd);
    if (map->base && !rl_map_inert(map))
        munmap(map->base, map->size);
    free(map);
}

int rl_find_node(const rl_map *map, const char *name) {
    for (uint32_t n = 0; n < map->nodes; n++)
        if (strcmp(map->node[n].name, name) == 0)
            return (int)n;
    return -1;
}

int rl_find_channel(const rl_map *map, const char *name) {
    for (uint32_t c = 0; c < map->channels; c++)
        if (strcmp(map->channel[c].name, name) == 0)
            return (int)c;
    return -1;
}
