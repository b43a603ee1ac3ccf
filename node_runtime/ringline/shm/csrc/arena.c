/* Arena: one process attached to a session's shared memory under one node's name. */
#include "pycore.h"

#include <errno.h>
#include <string.h>
#include <structmember.h>
#include <unistd.h>

#define WARM_BYTES (2u << 20) /* pages touched before the first message, of each heap that this node reads or writes */

bool rl_alive(ArenaObject *arena) { return arena->attached && !arena->closed && !rl_map_inert(arena->self.map); }

bool rl_usable(ArenaObject *arena) {
    if (rl_alive(arena))
        return true;
    if (arena->attached && rl_map_inert(arena->self.map))
        PyErr_SetString(rl_exceptions.arena,
                        "this process was forked from one that is attached to the arena: shared memory is not usable here");
    else
        PyErr_SetString(rl_exceptions.arena, "this arena is closed");
    return false;
}

static void drop_mapping(ArenaObject *arena) {
    if (arena->self.map) {
        rl_heap_close(&arena->self.heap);
        rl_map_release(arena->self.map);
        arena->self.map = NULL;
        arena->attached = false;
    }
}

void rl_pin(ArenaObject *arena) { arena->exports++; }

void rl_unpin(ArenaObject *arena) {
    if (--arena->exports == 0 && arena->closed)
        drop_mapping(arena);
}

/* ---- attach: A1-A3 ---- */

/* 0 attached, 1 not yet (the last incarnation was not reclaimed), -1 error */
static int try_attach(rl_self *self, rl_error *error) {
    rl_node_words *words = rl_words(self);
    int taken = rl_lock_take(self->locks, (int)self->node);
    if (taken < 0)
        return rl_fail(error, RL_E_ARENA, errno, "can't lock node '%s': %s", self->map->node[self->node].name, strerror(errno));
    if (taken > 0)
        return 1;
    uint64_t life = atomic_load_explicit(&words->life, ACQ); /* A2. SYNC POINT [ACQ]: pairs with H7: all repairs before A3 reads the table */
    if (rl_low(life) == RL_VACANT &&
        atomic_compare_exchange_strong_explicit(&words->life, &life, rl_pair(rl_high(life), RL_ATTACHED), SEQ, SEQ)) {
        self->epoch = rl_high(life);
        FAILPOINT(FP_A2);
        return 0;
    }
    rl_lock_drop(self->locks, (int)self->node);
    return 1;
}

static int attach_before(ArenaObject *arena, uint64_t deadline, rl_error *error) {
    rl_self *self = &arena->self;
    for (;;) {
        int state = try_attach(self, error);
        if (state <= 0)
            return state;
        if (rl_now() >= deadline)
            return rl_fail(error, RL_E_ARENA, EBUSY, "node '%s' is attached already, or its last process was not reclaimed yet",
                           self->map->node[self->node].name);
        Py_BEGIN_ALLOW_THREADS
        usleep(2000);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0)
            return -2;
    }
}

/* The first message must not be slower than the next ones: its pages are in the page table already. */
static void warm(rl_self *self) {
    rl_map *map = self->map;
    rl_node *own = &map->node[self->node];
    rl_map_prefault(map, 0, map->node[0].heap, true); /* header, words, rings, tables */
    rl_map_prefault(map, own->heap, own->heap_bytes < WARM_BYTES ? own->heap_bytes : WARM_BYTES, true);
    for (uint32_t c = 0; c < map->channels; c++)
        if (map->channel[c].consumer == self->node) {
            rl_node *producer = &map->node[map->channel[c].producer];
            rl_map_prefault(map, producer->heap, producer->heap_bytes < WARM_BYTES ? producer->heap_bytes : WARM_BYTES, false);
        }
}

static int settle_in(ArenaObject *arena, rl_error *error) {
    rl_self *self = &arena->self;
    atomic_fetch_and_explicit(&rl_words(self)->bell, ~(uint32_t)(RL_INPUT | RL_SPACE | RL_POLL), SEQ);
    atomic_fetch_and_explicit(&self->map->global->needs, ~((uint64_t)1 << self->node), SEQ);
    if (rl_heap_open(&self->heap, self->map, self->node, error) < 0)
        return -1;
    arena->seen_flush = self->stamp = (uint32_t)rl_load(&rl_words(self)->flush);
    arena->expected_wait_ns = 20000;
    warm(self);
    rl_note_cpu(self);
    FAILPOINT(FP_A3);
    return 0;
}

static int take_host_lock(ArenaObject *arena, const char *directory, rl_error *error) {
    int taken = rl_lock_take(arena->self.locks, RL_BYTE_HOST);
    if (taken > 0)
        return rl_fail(error, RL_E_ARENA, EBUSY, "a live host owns the session in %s", directory);
    if (taken < 0)
        return rl_fail(error, RL_E_ARENA, errno, "can't lock the session in %s: %s", directory, strerror(errno));
    arena->host = true;
    return 0;
}

typedef struct {
    const char *directory, *node, *table;
    Py_ssize_t table_bytes;
    int mode, host;
    uint64_t deadline;
} attach_request;

static int make_map(ArenaObject *arena, const attach_request *request, rl_error *error) {
    rl_map *map;
    if (!request->table)
        map = rl_map_open(request->directory, true, error);
    else {
        Py_BEGIN_ALLOW_THREADS
        map = rl_map_create(request->directory, request->table, (size_t)request->table_bytes, (mode_t)request->mode, error);
        Py_END_ALLOW_THREADS
    }
    arena->self.map = map;
    return map ? 0 : -1;
}

static int open_arena(ArenaObject *arena, const attach_request *request, rl_error *error) {
    rl_self *self = &arena->self;
    self->locks = rl_locks_open(request->directory, request->table != NULL, error);
    if (!self->locks || (request->host && take_host_lock(arena, request->directory, error) < 0) || make_map(arena, request, error) < 0)
        return -1;
    int node = rl_find_node(self->map, request->node);
    if (node < 0)
        return rl_fail(error, RL_E_ARENA, ENOENT, "the arena in %s has no node '%s'", request->directory, request->node);
    self->node = (uint32_t)node;
    if (request->host && !request->table) { /* the host before us died: its own ports first, then the others by reclaim() */
        rl_open_hosted_gates(self->map);
        if (rl_reclaim(self->map, self->locks, self->node, true) == RL_SET_ASIDE)
            return rl_fail(error, RL_E_ARENA, EBUSY, "a node of the session in %s is stopped inside a commit: try again", request->directory);
    }
    int attached = attach_before(arena, request->deadline, error);
    return attached < 0 ? attached : settle_in(arena, error);
}

static void let_go(ArenaObject *arena) {
    rl_locks *locks = arena->self.locks;
    if (!locks)
        return;
    if (arena->attached)
        rl_lock_drop(locks, (int)arena->self.node);
    if (arena->host)
        rl_lock_drop(locks, RL_BYTE_HOST);
    rl_locks_close(locks);
    arena->self.locks = NULL;
}

static PyObject *Arena_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    attach_request request = {0};
    PyObject *timeout;
    rl_error error = {0};
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "ssz#ipO:Arena", &request.directory, &request.node, &request.table, &request.table_bytes, &request.mode,
                          &request.host, &timeout) ||
        !rl_deadline(timeout, &request.deadline))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    ArenaObject *arena = (ArenaObject *)allocate(type, 0);
    if (!arena)
        return NULL;
    int opened = open_arena(arena, &request, &error);
    arena->attached = opened == 0;
    if (opened == 0)
        return (PyObject *)arena;
    arena->attached = arena->self.locks && arena->self.map && arena->self.epoch; /* for let_go: the node's lock is ours */
    let_go(arena);
    arena->attached = false;
    rl_map_release(arena->self.map);
    arena->self.map = NULL;
    Py_DECREF(arena);
    return opened == -2 ? NULL : rl_raise(&error);
}

static PyObject *Arena_close(PyObject *object, PyObject *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    (void)unused;
    if (arena->closed || !arena->attached)
        Py_RETURN_NONE;
    if (!rl_map_inert(arena->self.map)) {
        if (arena->needing)
            rl_no_need(&arena->self);
        rl_ring_always(arena->self.map, arena->self.node); /* a thread that waits finds it closed */
    }
    arena->closed = true;
    let_go(arena);
    if (arena->exports == 0)
        drop_mapping(arena);
    Py_RETURN_NONE;
}

static void Arena_dealloc(PyObject *object) {
    ArenaObject *arena = (ArenaObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(Arena_close(object, NULL));
    drop_mapping(arena);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* ---- methods ---- */

int rl_channel_argument(ArenaObject *arena, PyObject *name) {
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    if (!text) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a channel's name is a str");
        return -1;
    }
    if (!rl_usable(arena))
        return -1;
    int c = rl_find_channel(arena->self.map, text);
    if (c < 0)
        PyErr_Format(rl_exceptions.arena, "the arena has no channel '%s'", text);
    return c;
}

static PyObject *Arena_writer(PyObject *object, PyObject *channels) {
    return rl_usable((ArenaObject *)object) ? rl_new_writer((ArenaObject *)object, channels) : NULL;
}

static PyObject *Arena_reader(PyObject *object, PyObject *channel) {
    return rl_usable((ArenaObject *)object) ? rl_new_reader((ArenaObject *)object, channel) : NULL;
}

static PyObject *Arena_stamp(PyObject *object, PyObject *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    (void)unused;
    if (!rl_usable(arena))
        return NULL;
    rl_self *self = &arena->self;
    self->stamped = true;
    self->stamp = arena->seen_flush = (uint32_t)atomic_load_explicit(&rl_words(self)->flush, ACQ);
    return PyLong_FromUnsignedLong(self->stamp);
}

static PyObject *Arena_beat(PyObject *object, PyObject *busy) {
    ArenaObject *arena = (ArenaObject *)object;
    int is_busy = PyObject_IsTrue(busy);
    if (is_busy < 0 || !rl_usable(arena))
        return NULL;
    rl_node_words *words = rl_words(&arena->self);
    rl_store(&words->busy_since, is_busy ? rl_now() : 0);
    rl_count(&words->beats, 1);
    Py_RETURN_NONE;
}

static PyObject *Arena_observe(PyObject *object, PyObject *value) {
    ArenaObject *arena = (ArenaObject *)object;
    double seconds = PyFloat_AsDouble(value);
    if ((seconds == -1.0 && PyErr_Occurred()) || !rl_usable(arena))
        return NULL;
    rl_node_words *words = rl_words(&arena->self);
    seconds = seconds < 1e9 ? seconds : seconds >= 1e9 ? 1e9 : 0; /* infinity and NaN are no integers */
    uint64_t micros = seconds > 0 ? (uint64_t)(seconds * 1e6) : 0;
    uint32_t bucket = micros ? 64u - (uint32_t)__builtin_clzll(micros) : 0;
    rl_count(&words->bucket[bucket < RL_BUCKETS ? bucket : RL_BUCKETS - 1], 1);
    rl_count(&words->latency_ns, seconds > 0 ? (uint64_t)(seconds * 1e9) : 0);
    rl_count(&words->latency_count, 1);
    Py_RETURN_NONE;
}

static PyObject *Arena_channels(PyObject *object, PyObject *unused) {
    (void)unused;
    return rl_usable((ArenaObject *)object) ? rl_channel_counters(((ArenaObject *)object)->self.map) : NULL;
}

static PyObject *Arena_nodes(PyObject *object, PyObject *unused) {
    (void)unused;
    return rl_usable((ArenaObject *)object) ? rl_node_counters(((ArenaObject *)object)->self.map) : NULL;
}

static PyObject *Arena_enter(PyObject *object, PyObject *unused) {
    (void)unused;
    return rl_usable((ArenaObject *)object) ? Py_NewRef(object) : NULL;
}

static PyObject *Arena_exit(PyObject *object, PyObject *args) {
    (void)args;
    return Arena_close(object, NULL);
}

/* ---- attributes ---- */

static PyObject *get_node(PyObject *object, void *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    (void)unused;
    return rl_usable(arena) ? PyUnicode_FromString(arena->self.map->node[arena->self.node].name) : NULL;
}

static PyObject *get_flush_generation(PyObject *object, void *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    (void)unused;
    if (!rl_usable(arena))
        return NULL;
    return PyLong_FromUnsignedLong((uint32_t)atomic_load_explicit(&rl_words(&arena->self)->flush, ACQ));
}

static PyObject *get_poll_fd(PyObject *object, void *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    (void)unused;
    if (!rl_usable(arena))
        return NULL;
    int fd = rl_bell_fd(arena->self.map, arena->self.node);
    if (fd < 0)
        return PyErr_Format(rl_exceptions.arena, "can't open the FIFO bell.%u in %s", arena->self.node, arena->self.map->directory);
    return PyLong_FromLong(fd);
}

static PyObject *get_closed(PyObject *object, void *unused) {
    (void)unused;
    return PyBool_FromLong(!rl_alive((ArenaObject *)object));
}

static PyGetSetDef Arena_getset[] = {
    {"node", get_node, NULL, "this process's node", NULL},
    {"flush_generation", get_flush_generation, NULL, "grows with every flush that covers this node", NULL},
    {"poll_fd", get_poll_fd, NULL, "readable while armed and something happened", NULL},
    {"closed", get_closed, NULL, "closed, or inert in a forked child", NULL},
    {0},
};
static PyMemberDef Arena_members[] = {
    {"epoch", T_UINT, offsetof(ArenaObject, self.epoch), READONLY, "incarnation of the node, from 1"},
    {"index", T_UINT, offsetof(ArenaObject, self.node), READONLY, "number of the node, which is its byte in the lock file"},
    {NULL, 0, 0, 0, NULL},
};
static PyMethodDef Arena_methods[] = {
    {"close", Arena_close, METH_NOARGS, "Detach: drops the lock, voids the leases. May be repeated."},
    {"writer", Arena_writer, METH_O, "The writing end of an output port with these channels."},
    {"reader", Arena_reader, METH_O, "The reading end of a channel."},
    {"wait", (PyCFunction)(void (*)(void))Arena_wait, METH_FASTCALL | METH_KEYWORDS, "Sleep until something can be done; False: the time is over."},
    {"wake", Arena_wake, METH_NOARGS, "End this process's wait, from any thread."},
    {"arm", (PyCFunction)(void (*)(void))Arena_arm, METH_FASTCALL | METH_KEYWORDS, "Before an event loop sleeps: True if something is ready already."},
    {"disarm", Arena_disarm, METH_NOARGS, "After it woke up."},
    {"stamp", Arena_stamp, METH_NOARGS, "Called before an input is taken: what is committed from now on carries this flush generation."},
    {"beat", Arena_beat, METH_O, "Say that this node is busy, or idle."},
    {"observe", Arena_observe, METH_O, "Add one latency, in seconds, to the node's histogram."},
    {"lock_held", Arena_lock_held, METH_O, "Whether the process of a node lives."},
    {"reclaim", (PyCFunction)(void (*)(void))Arena_reclaim, METH_VARARGS | METH_KEYWORDS, "Give back what a dead node held; False: it lives, or a stopped neighbour must be killed first."},
    {"fence", Arena_fence, METH_O, "Exclude a node from any further commit; False: it is inside one, try again."},
    {"flush", Arena_flush, METH_VARARGS, "Void what is queued in channels, and what nodes are working on."},
    {"end", Arena_end, METH_O, "End a channel whose writer will not come back."},
    {"epoch_of", Arena_epoch_of, METH_O, "The current or next incarnation of a node."},
    {"fenced_nodes", Arena_fenced_nodes, METH_NOARGS, "Nodes that were excluded and are not yet reclaimed."},
    {"_channels", Arena_channels, METH_NOARGS, NULL},
    {"_nodes", Arena_nodes, METH_NOARGS, NULL},
    {"__enter__", Arena_enter, METH_NOARGS, NULL},
    {"__exit__", Arena_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot Arena_slots[] = {
    {Py_tp_new, Arena_new}, {Py_tp_dealloc, Arena_dealloc}, {Py_tp_methods, Arena_methods}, {Py_tp_getset, Arena_getset},
    {Py_tp_members, Arena_members}, {Py_tp_doc, "One process attached to a session's shared memory."}, {0, NULL},
};
PyType_Spec Arena_Spec = {"ringline.shm._core.Arena", sizeof(ArenaObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, Arena_slots};
