/* Waiting: spin a little while it pays, then sleep on the doorbell; for event loops, arm and disarm.
 *
 * Everything private is looked at with the GIL held; only the spin and the futex run without it. No sleep is longer
 * than one second, which bounds the one tail that the protocol leaves (a ringer stopped just before it rings). */
#include "pycore.h"

#include <math.h>
#include <unistd.h>

#define SPIN_LIMIT_NS 200000u   /* longer waits are left to the futex */
#define REMEMBERED_NS 1000000u  /* a long wait counts as this much, so that a few short ones bring the spin back */
#ifndef SLICE_NS
#define SLICE_NS 1000000000u /* tests build with a longer one: then a lost wake-up hangs */
#endif

bool rl_deadline(PyObject *timeout_s, uint64_t *deadline) {
    *deadline = UINT64_MAX;
    if (!timeout_s || timeout_s == Py_None)
        return true;
    double seconds = PyFloat_AsDouble(timeout_s);
    if (seconds == -1.0 && PyErr_Occurred())
        return false;
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout_s is not a number; give seconds, or None for ever");
        return false;
    }
    if (seconds < 4e9)
        *deadline = rl_now() + (seconds > 0 ? (uint64_t)(seconds * 1e9) : 0);
    return true;
}

void rl_start_needing(ArenaObject *arena) {
    arena->needing++;
    arena->need_seen = arena->self.heap.returned;
    rl_need(&arena->self);
}

void rl_stop_needing(ArenaObject *arena) {
    if (arena->needing && --arena->needing == 0)
        rl_no_need(&arena->self);
}

/* What came back was not enough: ask again, since each helper drops up to one block of ours and then sleeps. */
void rl_still_needing(ArenaObject *arena) {
    if (arena->need_seen == arena->self.heap.returned)
        return;
    arena->need_seen = arena->self.heap.returned;
    rl_need(&arena->self);
}

/* ---- readiness ---- */

static bool reader_ready(ReaderObject *object) {
    rl_reader *reader = &object->reader;
    if (!reader->wanted || reader->corrupt)
        return false;
    rl_channel_words *words = reader->self->map->channel[reader->channel].words;
    uint32_t head = (uint32_t)atomic_load_explicit(&words->head, SEQ); /* W2. SYNC POINT [SEQ load after W1]: pairs with C5 → B1 */
    if (head != rl_oldest(atomic_load_explicit(&words->tail, SEQ)))
        return true;
    if (reader->end_reported || !atomic_load_explicit(&words->end, SEQ) || !rl_ended(reader))
        return false;
    return reader->end_reported = true; /* wakes once; Reader.ended stays */
}

static bool writers_ready(ArenaObject *arena) {
    bool ready = false;
    for (WriterObject *writer = arena->writers; writer; writer = writer->next)
        if (writer->waiting && rl_writer_has_room(writer)) {
            writer->waiting = false; /* whoever waited tries again, and waits again if it must */
            if (writer->waiting_bytes)
                rl_stop_needing(arena);
            writer->waiting_bytes = 0;
            ready = true;
        }
    return ready;
}

/* Without it, every message that a neighbour takes would wake us for nothing. */
static bool wants_space(ArenaObject *arena) {
    for (WriterObject *writer = arena->writers; writer; writer = writer->next)
        if (writer->waiting)
            return true;
    return false;
}

/* A try_ call found no room while an event loop is armed for input alone: true if this made it wait for room as well. */
bool rl_want_space(ArenaObject *arena) {
    if (!arena->armed || arena->armed & RL_SPACE)
        return false;
    rl_bell_arm(&arena->self, RL_SPACE);
    arena->armed |= RL_SPACE;
    return true;
}

/* What is not a message: fenced, woken, flushed, room for a writer that waits. */
static bool called(ArenaObject *arena) {
    rl_self *self = &arena->self;
    bool ready = rl_gate_state(self) == RL_IS_FENCED; /* the next call on the arena raises */
    if (arena->woken) {
        arena->woken = false;
        ready = true;
    }
    uint32_t flush = (uint32_t)atomic_load_explicit(&rl_words(self)->flush, SEQ);
    if (flush != arena->seen_flush) {
        arena->seen_flush = flush;
        ready = true;
    }
    return writers_ready(arena) || ready;
}

static int anything_ready(rl_wait *wait) {
    ArenaObject *arena = wait->arena;
    bool ready = called(arena);
    for (uint32_t c = 0; c < arena->self.map->channels; c++)
        if (arena->readers[c] && reader_ready(arena->readers[c]))
            ready = true;
    return ready;
}

static void watch_everything(rl_wait *wait, rl_watch *watch) {
    ArenaObject *arena = wait->arena;
    rl_channel *channels = arena->self.map->channel;
    for (uint32_t c = 0; c < arena->self.map->channels; c++)
        if (arena->readers[c] && arena->readers[c]->reader.wanted) {
            rl_watch_add(watch, &channels[c].words->head);
            rl_watch_add(watch, &channels[c].words->end);
        }
    for (WriterObject *writer = arena->writers; writer; writer = writer->next)
        for (uint64_t left = writer->waiting ? writer->blocked : 0; left; left &= left - 1)
            rl_watch_add(watch, &channels[__builtin_ctzll(left)].words->tail);
    rl_watch_add(watch, &rl_words(&arena->self)->flush);
}

/* ---- blocking ---- */

static bool on_another_cpu(ArenaObject *arena) {
    rl_self *self = &arena->self;
    uint32_t mine = (uint32_t)sched_getcpu() + 1;
    uint64_t peers = 0;
    for (uint32_t c = 0; c < self->map->channels; c++) {
        rl_channel *channel = &self->map->channel[c];
        if (arena->readers[c])
            peers |= (uint64_t)1 << channel->producer;
        if (self->produces >> c & 1)
            peers |= (uint64_t)1 << channel->consumer;
    }
    for (peers &= ~((uint64_t)1 << self->node); peers; peers &= peers - 1) {
        uint32_t theirs = atomic_load_explicit(&self->map->node[__builtin_ctzll(peers)].words->cpu, RLX);
        if (theirs && theirs != mine)
            return true;
    }
    return false;
}

static uint64_t spin_budget(ArenaObject *arena) {
    if (arena->expected_wait_ns > SPIN_LIMIT_NS || !on_another_cpu(arena))
        return 0;
    uint64_t budget = 2 * arena->expected_wait_ns + 5000;
    return budget < SPIN_LIMIT_NS ? budget : SPIN_LIMIT_NS;
}

static void learn(ArenaObject *arena, uint64_t waited_ns) {
    uint64_t counted = waited_ns < REMEMBERED_NS ? waited_ns : REMEMBERED_NS;
    arena->expected_wait_ns = (arena->expected_wait_ns + counted) / 2;
}

/* W1-W4, once. 1 ready, 0 not, -1 exception. */
static int sleep_once(rl_wait *wait, uint64_t deadline) {
    ArenaObject *arena = wait->arena;
    uint32_t value = rl_bell_arm(&arena->self, wait->flags);
    (void)rl_help_needy(&arena->self); /* part of W2: a need that is set before W1 rings nobody else for us */
    int ready = wait->ready(wait); /* W2 */
    if (ready == 0) {
        rl_word32 *bell = &rl_words(&arena->self)->bell;
        uint64_t now = rl_now(), left = deadline > now ? deadline - now : 0;
        rl_pin(arena);
        FAILPOINT(FP_W3);
        Py_BEGIN_ALLOW_THREADS
        (void)rl_futex_wait(bell, value, left < SLICE_NS ? left : SLICE_NS);
        Py_END_ALLOW_THREADS
        if (rl_alive(arena))
            rl_bell_disarm(&arena->self, wait->flags);
        rl_unpin(arena);
    } else
        rl_bell_disarm(&arena->self, wait->flags);
    /* Not only after EINTR: a signal may come between two sleeps, and nobody else looks while a send is blocked. */
    if (PyErr_CheckSignals() < 0)
        return -1;
    return ready;
}

static void spin(rl_wait *wait, const rl_watch *watch, uint64_t budget) {
    rl_pin(wait->arena);
    Py_BEGIN_ALLOW_THREADS
    (void)rl_spin(watch, budget);
    Py_END_ALLOW_THREADS
    rl_unpin(wait->arena);
}

static int spin_or_sleep(rl_wait *wait, uint64_t deadline) {
    ArenaObject *arena = wait->arena;
    uint64_t budget = spin_budget(arena);
    if (budget) {
        rl_watch watch = {.count = 0};
        wait->watch(wait, &watch);
        int ready = wait->ready(wait); /* after the words were noted: a change from here on ends the spin */
        if (ready)
            return ready;
        spin(wait, &watch, budget);
        if (!rl_usable(arena))
            return -1;
        ready = wait->ready(wait);
        if (ready)
            return ready;
    }
    return sleep_once(wait, deadline);
}

int rl_block_until(rl_wait *wait, uint64_t deadline) {
    ArenaObject *arena = wait->arena;
    int ready = wait->ready(wait);
    if (ready)
        return ready;
    uint64_t start = rl_now();
    while (ready == 0) {
        if (rl_now() >= deadline)
            return 0;
        ready = spin_or_sleep(wait, deadline);
        if (ready >= 0 && !rl_usable(arena))
            return -1;
    }
    if (ready > 0)
        learn(arena, rl_now() - start);
    return ready;
}

/* The host holds our gate, usually for a fraction of a millisecond. */
int rl_wait_for_gate(ArenaObject *arena) {
    rl_word32 *low = (rl_word32 *)&rl_words(&arena->self)->gate; /* little-endian: the state */
    rl_pin(arena);
    Py_BEGIN_ALLOW_THREADS
    (void)rl_futex_wait(low, RL_HOSTED, 10000000u);
    Py_END_ALLOW_THREADS
    rl_unpin(arena);
    return PyErr_CheckSignals() < 0 || !rl_usable(arena) ? -1 : 0;
}

/* ---- methods ---- */

PyObject *Arena_wait(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    ArenaObject *arena = (ArenaObject *)object;
    Py_ssize_t given = nargs + (names ? PyTuple_Size(names) : 0);
    uint64_t deadline;
    if (given > 1 || (nargs == 0 && given && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "timeout_s")))
        return PyErr_Format(PyExc_TypeError, "wait takes one argument at most: timeout_s");
    if (!rl_usable(arena) || !rl_deadline(given ? args[0] : NULL, &deadline))
        return NULL;
    rl_wait wait = {.arena = arena, .flags = RL_INPUT | (wants_space(arena) ? RL_SPACE : 0), .ready = anything_ready, .watch = watch_everything};
    int ready = rl_block_until(&wait, deadline);
    return ready < 0 ? NULL : PyBool_FromLong(ready);
}

PyObject *Arena_wake(PyObject *object, PyObject *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    (void)unused;
    if (!rl_alive(arena))
        Py_RETURN_NONE;
    arena->woken = true;
    rl_ring_always(arena->self.map, arena->self.node);
    Py_RETURN_NONE;
}

/* Several tasks of an event loop may arm; what one of them finds ready does not disarm the others. */
PyObject *Arena_arm(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    ArenaObject *arena = (ArenaObject *)object;
    Py_ssize_t given = nargs + (names ? PyTuple_Size(names) : 0);
    if (given > 1 || (nargs == 0 && given && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "inputs")))
        return PyErr_Format(PyExc_TypeError, "arm takes one argument at most: inputs");
    int inputs = given ? PyObject_IsTrue(args[0]) : 1;
    if (inputs < 0 || !rl_usable(arena))
        return NULL;
    rl_wait wait = {.arena = arena};
    uint32_t wanted = RL_POLL | (inputs ? RL_INPUT : RL_SPACE) | (wants_space(arena) ? RL_SPACE : 0);
    uint32_t added = wanted & ~arena->armed;
    rl_bell_arm(&arena->self, added);
    rl_help_needy(&arena->self);
    bool ready = inputs ? anything_ready(&wait) : called(arena);
    if (ready)
        rl_bell_disarm(&arena->self, added);
    else
        arena->armed |= added;
    return PyBool_FromLong(ready);
}

PyObject *Arena_disarm(PyObject *object, PyObject *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    char drain[256];
    (void)unused;
    if (!rl_alive(arena))
        Py_RETURN_NONE;
    int fd = rl_bell_fd(arena->self.map, arena->self.node);
    while (fd >= 0 && read(fd, drain, sizeof drain) == (ssize_t)sizeof drain)
        ;
    rl_bell_disarm(&arena->self, arena->armed);
    arena->armed = 0;
    Py_RETURN_NONE;
}
