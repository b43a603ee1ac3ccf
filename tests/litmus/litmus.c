/* One litmus test for each pair of SYNC POINTs of node_runtime/ringline/shm/csrc, with the very words and orders of its code.
 *
 *     litmus ROUNDS [NAME]    prints "NAME ROUNDS SEEN": how often the outcome that the protocol forbids was seen
 *
 * Two threads run a test's two sides in step, round after round, each with words of its own lines. `weak` at the end of a name is
 * the same with the order taken away: it shows that the test can see anything at all, where the machine (or the compiler) lets
 * it; `fence` is the same with one order more, for an emulator that leaves the first out. x86 reorders stores with later loads only, arm64 almost everything; an emulator reorders what its host does. */
#include "words.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 512
typedef struct {
    RL_LINE rl_word a;
    RL_LINE rl_word b;
    RL_LINE rl_word c;
    RL_LINE rl_word d;
    RL_LINE uint64_t r[2], q[2], data[8]; /* r: results of side 0, q: of side 1 */
} cell;
static cell cells[BATCH];

static uint64_t get(rl_word *w, memory_order order) { return atomic_load_explicit(w, order); }
static void set(rl_word *w, uint64_t v, memory_order order) { atomic_store_explicit(w, v, order); }
static uint64_t xchg(rl_word *w, uint64_t old, uint64_t new) {
    return atomic_compare_exchange_strong_explicit(w, &old, new, SEQ, SEQ) ? old : ~old;
}

/* C5 → B1 against W1 → W2: head a, bell b. Forbidden: the ringer sees no flag and the sleeper no message. */
static void c5_w1_0(cell *x) { set(&x->a, 1, SEQ); x->r[0] = get(&x->b, SEQ); }
static void c5_w1_1(cell *x) { xchg(&x->b, 0, RL_INPUT); x->q[0] = get(&x->a, SEQ); }
static bool c5_w1_bad(const cell *x) { return x->r[0] == 0 && x->q[0] == 0; }
static void c5_w1_fence_0(cell *x) { set(&x->a, 1, SEQ); atomic_thread_fence(SEQ); x->r[0] = get(&x->b, SEQ); }
static void c5_w1_weak_0(cell *x) { set(&x->a, 1, REL); x->r[0] = get(&x->b, ACQ); }
static void c5_w1_weak_1(cell *x) { set(&x->b, 1, REL); x->q[0] = get(&x->a, ACQ); }

/* N3 → B1 against W1 → W2 of a writer that waits for room: tail a, bell b. */
static void n3_w1_0(cell *x) { xchg(&x->a, 0, 1); x->r[0] = get(&x->b, SEQ); }
static void n3_w1_1(cell *x) { xchg(&x->b, 0, RL_SPACE); x->q[0] = get(&x->a, SEQ); }

/* R1 → B1 against W1 → L1: refs a, bell b. */
static void r1_w1_0(cell *x) { atomic_fetch_and_explicit(&x->a, ~(uint64_t)1, SEQ); x->r[0] = get(&x->b, SEQ); }
static void r1_w1_1(cell *x) { xchg(&x->b, 0, RL_SPACE); x->q[0] = get(&x->a, SEQ); }
static bool r1_w1_bad(const cell *x) { return x->r[0] == 0 && x->q[0] == 1; }

/* L3 → B2 against W1 → W2: needs a, bell b. B2 always moves the bell: forbidden is a helper that armed after it and sees no need. */
static void l3_w1_0(cell *x) { atomic_fetch_or_explicit(&x->a, 1, SEQ); atomic_fetch_add_explicit(&x->b, RL_BELL_STEP, SEQ); }
static void l3_w1_1(cell *x) {
    uint64_t before = atomic_fetch_add_explicit(&x->b, RL_BELL_STEP | RL_INPUT, SEQ);
    x->q[0] = before;
    x->q[1] = get(&x->a, SEQ);
}
static bool l3_w1_bad(const cell *x) { return x->q[0] == RL_BELL_STEP && x->q[1] == 0; }

/* C3, C4 → C5 against N1 → N2: payload data, slot b, refs c, head a. Forbidden: the position without all of them. */
static void c5_n1_0(cell *x) {
    x->data[0] = x->data[7] = 1;
    set(&x->d, 1, RLX);
    set(&x->b, 1, REL);
    set(&x->c, 1, REL);
    set(&x->a, 1, SEQ);
}
static void c5_n1_1(cell *x) {
    x->q[0] = get(&x->a, ACQ);
    x->q[1] = x->q[0] ? (get(&x->b, RLX) & get(&x->d, RLX) & get(&x->c, ACQ) & x->data[0] & x->data[7]) : 1;
}
static bool c5_n1_bad(const cell *x) { return x->q[0] == 1 && x->q[1] == 0; }
static void c5_n1_weak_0(cell *x) { set(&x->b, 1, RLX); set(&x->a, 1, RLX); }
static void c5_n1_weak_1(cell *x) { x->q[0] = get(&x->a, RLX); x->q[1] = x->q[0] ? get(&x->b, RLX) : 1; }

/* Last load of the payload → R1 against L1 → reuse: refs a, payload data. Forbidden: the reader sees the next message's bytes. */
static void r1_l1_0(cell *x) { x->r[0] = *(volatile uint64_t *)&x->data[0]; atomic_fetch_and_explicit(&x->a, ~(uint64_t)1, SEQ); }
static void r1_l1_1(cell *x) {
    if (get(&x->a, SEQ) == 0)
        *(volatile uint64_t *)&x->data[0] = 7;
}
static bool r1_l1_bad(const cell *x) { return x->r[0] == 7; }

/* N2 → N3 against C0 → C3: slot b, tail a. Forbidden: a copy that is taken although the producer has written over it. */
static void n3_c0_0(cell *x) { x->r[0] = get(&x->b, RLX); x->r[1] = xchg(&x->a, 0, 1) == 0; }
static void n3_c0_1(cell *x) {
    if (get(&x->a, SEQ) == 1)
        set(&x->b, 7, RLX);
}
static bool n3_c0_bad(const cell *x) { return x->r[0] == 7; }

/* N2 → N3 against D3 → C3: tail a, slot b. Forbidden: both win, neither wins, or the reader wins with the next message's slot. */
static void n3_d3_0(cell *x) { x->r[0] = get(&x->b, RLX); x->r[1] = xchg(&x->a, 0, (uint64_t)1 << 32) == 0; }
static void n3_d3_1(cell *x) { x->q[1] = xchg(&x->a, 0, 1) == 0; set(&x->b, 7, RLX); }
static bool n3_d3_bad(const cell *x) { return x->r[1] == x->q[1] || (x->r[1] && x->r[0] == 7); }

/* C1 → C5 → C6 against H5 → H6: gate a, head b. Forbidden: both inside, or the host inside after C6 without the commit. */
static void c1_h5_0(cell *x) {
    x->r[1] = xchg(&x->a, RL_OPEN, RL_BUSY) == RL_OPEN;
    if (x->r[1]) {
        set(&x->b, 1, SEQ);
        set(&x->a, RL_OPEN, REL);
    }
}
static void c1_h5_1(cell *x) {
    x->q[1] = xchg(&x->a, RL_OPEN, RL_HOSTED) == RL_OPEN;
    x->q[0] = get(&x->b, RLX);
}
static bool c1_h5_bad(const cell *x) { return (x->r[1] && x->q[1] && x->q[0] == 0) || (!x->r[1] && !x->q[1]); }

/* H3, H4, H6 → H7 against A2 → A3: refs b, gate c, life a. Forbidden: a new incarnation that sees what was repaired before. */
static void h7_a2_0(cell *x) {
    atomic_fetch_or_explicit(&x->b, 1, SEQ);
    set(&x->c, 1, SEQ);
    set(&x->a, 1, REL);
}
static void h7_a2_1(cell *x) {
    x->q[0] = get(&x->a, ACQ);
    x->q[1] = x->q[0] ? get(&x->b, SEQ) & get(&x->c, ACQ) : 1;
}

/* Stamps → marks of a flush against N6: flush a, mark b; ring, then W1. Forbidden: rung by it, and still the old mark. */
static void f2_w1_0(cell *x) {
    atomic_fetch_add_explicit(&x->a, 1, SEQ);
    xchg(&x->c, 0, 1);
    atomic_fetch_add_explicit(&x->b, RL_BELL_STEP, SEQ);
}
static void f2_w1_1(cell *x) {
    x->q[0] = atomic_fetch_or_explicit(&x->b, RL_INPUT, SEQ);
    x->q[1] = get(&x->c, ACQ) & get(&x->a, RLX);
}
static bool f2_w1_bad(const cell *x) { return x->q[0] == RL_BELL_STEP && x->q[1] == 0; }

/* E1 → B2 against W1 → W2: end c, bell b. */
static void e1_w1_0(cell *x) { set(&x->c, 1, SEQ); atomic_fetch_add_explicit(&x->b, RL_BELL_STEP, SEQ); }
static void e1_w1_1(cell *x) { x->q[0] = atomic_fetch_or_explicit(&x->b, RL_INPUT, SEQ); x->q[1] = get(&x->c, SEQ); }

typedef struct {
    const char *name;
    void (*side[2])(cell *);
    bool (*bad)(const cell *);
    uint64_t a; /* what word a starts with */
} litmus;
static const litmus TESTS[] = {
    {"C5-W1", {c5_w1_0, c5_w1_1}, c5_w1_bad, 0},
    {"C5-W1-fence", {c5_w1_fence_0, c5_w1_1}, c5_w1_bad, 0},
    {"C5-W1-weak", {c5_w1_weak_0, c5_w1_weak_1}, c5_w1_bad, 0},
    {"N3-W1", {n3_w1_0, n3_w1_1}, c5_w1_bad, 0},
    {"R1-W1", {r1_w1_0, r1_w1_1}, r1_w1_bad, 1},
    {"L3-W1", {l3_w1_0, l3_w1_1}, l3_w1_bad, 0},
    {"C5-N1", {c5_n1_0, c5_n1_1}, c5_n1_bad, 0},
    {"C5-N1-weak", {c5_n1_weak_0, c5_n1_weak_1}, c5_n1_bad, 0},
    {"R1-L1", {r1_l1_0, r1_l1_1}, r1_l1_bad, 1},
    {"N3-C0", {n3_c0_0, n3_c0_1}, n3_c0_bad, 0},
    {"N3-D3", {n3_d3_0, n3_d3_1}, n3_d3_bad, 0},
    {"C1-H5", {c1_h5_0, c1_h5_1}, c1_h5_bad, 0},
    {"H7-A2", {h7_a2_0, h7_a2_1}, c5_n1_bad, 0},
    {"F2-W1", {f2_w1_0, f2_w1_1}, f2_w1_bad, 0},
    {"E1-W1", {e1_w1_0, e1_w1_1}, f2_w1_bad, 0},
};

static const litmus *current;
static struct { RL_LINE _Atomic uint32_t word; } lines[2];
#define AT(side) lines[side].word
static _Atomic uint32_t turn[2];
static uint64_t batches, bad;

/* Both sides begin each batch together; within it they drift, which lets them meet at every distance. Yielding for one CPU. */
static void meet(int side, uint32_t number) {
    atomic_store(&turn[side], number);
    for (uint32_t spins = 0; atomic_load(&turn[1 - side]) < number; spins++)
        if (spins > 2000)
            sched_yield();
}

/* Wait a moment for the other one, who may not run at all just now. Relaxed: this must not order what is tried. */
static void keep_abreast(int side, uint32_t place) {
    atomic_store_explicit(&AT(side), place, RLX);
    for (int spins = 0; spins < 300 && atomic_load_explicit(&AT(1 - side), RLX) < place; spins++)
        ;
}

static void prepare(void) {
    for (int i = 0; i < BATCH; i++) {
        memset((void *)&cells[i], 0, sizeof cells[i]);
        set(&cells[i].a, current->a, RLX);
    }
}

static void *run_side(void *argument) {
    int side = argument != NULL;
    uint32_t number = 0;
    for (uint64_t batch = 0; batch < batches; batch++) {
        if (side == 0)
            prepare();
        meet(side, ++number);
        for (uint32_t i = 0; i < BATCH; i++) {
            keep_abreast(side, number * BATCH + i);
            current->side[side](&cells[i]);
        }
        meet(side, ++number);
        for (int i = 0; side == 0 && i < BATCH; i++)
            bad += current->bad(&cells[i]);
    }
    return NULL;
}

static void run(const litmus *test, uint64_t rounds) {
    pthread_t other;
    current = test;
    bad = 0;
    batches = (rounds + BATCH - 1) / BATCH;
    atomic_store(&turn[0], 0);
    atomic_store(&turn[1], 0);
    atomic_store(&AT(0), 0);
    atomic_store(&AT(1), 0);
    if (pthread_create(&other, NULL, run_side, &current))
        exit(2);
    run_side(NULL);
    pthread_join(other, NULL);
    printf("%s %llu %llu\n", test->name, (unsigned long long)(batches * BATCH), (unsigned long long)bad);
    fflush(stdout);
}

int main(int count, char **words) {
    uint64_t rounds = count > 1 ? strtoull(words[1], NULL, 10) : 100000;
    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++)
        if (count < 3 || strcmp(words[2], TESTS[i].name) == 0)
            run(&TESTS[i], rounds);
    return 0;
}
