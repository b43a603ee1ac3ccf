/* Doorbells: one futex word per node, for "input arrived" and "space freed", and a FIFO for event loops.
 *
 * No lost wake-up: commit (C5) then load of the bell (B1), and setting of the flag (W1) then recheck (W2), are
 * store-load pairs in one total order: either the ringer sees the flag, or the sleeper sees the message. If the ring
 * comes before the sleep, the sequence has moved and the sleep returns at once. The ringer never clears a flag, so a
 * ringer that dies between B2 and B3 takes nobody else's wake-up with it. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t rl_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int rl_futex_wait(rl_word32 *word, uint32_t value, uint64_t timeout_ns) {
    struct timespec limit = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};
    if (syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0) == 0)
        return 0;
    return errno == ETIMEDOUT || errno == EINTR ? errno : 0; /* EAGAIN: the word has moved */
}

void rl_futex_wake(rl_word32 *word) { (void)syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0); }

int rl_bell_fd(rl_map *map, uint32_t node) {
    char path[1100];
    struct stat status;
    if (map->node[node].bell_fd != -1)
        return map->node[node].bell_fd;
    snprintf(path, sizeof path, "%s/bell.%u", map->directory, node);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1; /* no descriptor left, perhaps: the sleeper's 1 s limit covers it, and the next ring tries again */
    if (fstat(fd, &status) < 0 || !S_ISFIFO(status.st_mode) || status.st_uid != geteuid()) {
        close(fd);
        map->node[node].bell_fd = -2; /* swapped for something else: never again */
        return -2;
    }
    map->node[node].bell_fd = fd;
    return fd;
}

/* B2 and B3. SYNC POINT [SEQ RMW]: pairs with W1 on the same word: what we stored before (end, mark, needs, gate) is seen by whoever arms
 * after it, and who armed before finds the sequence moved and does not sleep. A full FIFO is loud enough, so a short or refused write is no loss. */
void rl_ring_always(rl_map *map, uint32_t node) {
    rl_word32 *bell = &map->node[node].words->bell;
    uint32_t before = atomic_fetch_add_explicit(bell, RL_BELL_STEP, SEQ);
    FAILPOINT(FP_B2);
    map->rung[node] = before + RL_BELL_STEP;
    rl_futex_wake(bell);
    if (before & RL_POLL) {
        int fd = rl_bell_fd(map, node);
        if (fd >= 0 && write(fd, "!", 1) < 0)
            errno = 0;
    }
}

void rl_ring_all(rl_map *map) {
    for (uint32_t n = 0; n < map->nodes; n++)
        rl_ring_always(map, n);
}

/* W1 [SEQ: before the rechecks of W2; partner B1]: sets the flags and moves the sequence (see rl_ring). Several threads may wait: a flag stays while one of them does. */
uint32_t rl_bell_arm(rl_self *self, uint32_t flags) {
    self->input_waiters += (flags & RL_INPUT) != 0;
    self->space_waiters += (flags & RL_SPACE) != 0;
    self->poll_waiters += (flags & RL_POLL) != 0;
    rl_note_cpu(self);
    rl_word32 *bell = &rl_words(self)->bell;
    uint32_t before = atomic_load_explicit(bell, RLX), value;
    do
        value = (before + RL_BELL_STEP) | flags;
    while (!atomic_compare_exchange_weak_explicit(bell, &before, value, SEQ, RLX));
    FAILPOINT(FP_W1);
    return value;
}

/* W4 */
void rl_bell_disarm(rl_self *self, uint32_t flags) {
    uint32_t clear = 0;
    if (flags & RL_INPUT && --self->input_waiters == 0)
        clear |= RL_INPUT;
    if (flags & RL_SPACE && --self->space_waiters == 0)
        clear |= RL_SPACE;
    if (flags & RL_POLL && --self->poll_waiters == 0)
        clear |= RL_POLL;
    if (clear)
        atomic_fetch_and_explicit(&rl_words(self)->bell, ~clear, SEQ);
    FAILPOINT(FP_W4);
    rl_note_cpu(self);
}

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

bool rl_spin(const rl_watch *watch, uint64_t budget_ns) {
    uint64_t end = rl_now() + budget_ns;
    do {
        for (int turn = 0; turn < 16; turn++) {
            for (uint32_t i = 0; i < watch->count; i++)
                if (atomic_load_explicit((rl_word *)watch->word[i], ACQ) != watch->seen[i])
                    return true;
            pause_briefly();
        }
    } while (rl_now() < end);
    return false;
}
