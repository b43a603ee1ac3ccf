/* The Python side of the extension: object layouts and what its files share. Limited API of Python 3.11. */
#ifndef RINGLINE_PYCORE_H
#define RINGLINE_PYCORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core.h"

typedef struct WriterObject WriterObject;
typedef struct ReaderObject ReaderObject;

typedef struct ArenaObject {
    PyObject_HEAD
    rl_self self;
    bool attached, closed, host, woken;
    uint32_t needing;   /* threads and writers that wait for a block: the node's bit in `needs` stays while one of them does */
    uint64_t need_seen; /* heap.returned when the need was last made known */
    uint32_t armed; /* flags that an event loop waits with */
    uint32_t seen_flush;
    uint32_t exports;   /* buffers of leases and loans, and threads that run without the GIL: they keep the mapping */
    uint64_t expected_wait_ns;
    ReaderObject *readers[RL_MAX_CHANNELS]; /* borrowed: they remove themselves */
    WriterObject *writers;                  /* list, borrowed */
} ArenaObject;

struct ReaderObject {
    PyObject_HEAD
    ArenaObject *arena;
    rl_reader reader;
};

struct WriterObject {
    PyObject_HEAD
    ArenaObject *arena;
    rl_targets targets;
    bool waiting;            /* a try_ call returned None: arena.wait looks for room */
    uint64_t waiting_bytes;  /* != 0: for that much heap */
    uint64_t blocked, blocked_since; /* channels being waited for, and since when */
    bool all_drop;
    WriterObject *next;
};

typedef struct {
    PyObject_HEAD
    ReaderObject *reader;
    rl_message message;
    PyObject *meta;
    uint32_t exports;
    bool released, given_back;
} LeaseObject;

typedef struct {
    PyObject_HEAD
    ArenaObject *arena;
    uint32_t block;
    uint64_t offset, length;
    uint32_t exports;
    bool spent, doomed;
} LoanObject;

extern struct rl_exceptions {
    PyObject *arena, *full, *too_large, *quota, *corrupt, *fenced, *resource, *released, *memory;
} rl_exceptions;
extern PyTypeObject *Arena_Type, *Writer_Type, *Reader_Type, *Lease_Type, *Loan_Type, *View_Type;
extern PyType_Spec Arena_Spec, Writer_Spec, Reader_Spec, Lease_Spec, Loan_Spec, View_Spec;

/* Each sets an exception and returns what its caller returns. */
PyObject *rl_raise(const rl_error *error);
PyObject *rl_raise_result(rl_result result, const char *channel);
bool rl_usable(ArenaObject *arena); /* false: closed, or inert in a forked child; exception set */
bool rl_alive(ArenaObject *arena);  /* the same without an exception */

/* While `exports` counts, close() leaves the mapping in place. */
void rl_pin(ArenaObject *arena);
void rl_unpin(ArenaObject *arena);

/* wait.c: block until `ready` says so. 1 ready, 0 the time is over, -1 exception. `watch` lists the words to spin on. */
typedef struct rl_wait {
    ArenaObject *arena;
    uint32_t flags;
    int (*ready)(struct rl_wait *);
    void (*watch)(struct rl_wait *, rl_watch *);
    WriterObject *writer;
    uint64_t bytes;
    uint32_t block;
    rl_targets *targets;
} rl_wait;
int rl_block_until(rl_wait *wait, uint64_t deadline);
int rl_wait_for_gate(ArenaObject *arena);
bool rl_deadline(PyObject *timeout_s, uint64_t *deadline); /* None = never */
void rl_start_needing(ArenaObject *arena);
void rl_stop_needing(ArenaObject *arena);
void rl_still_needing(ArenaObject *arena);
bool rl_want_space(ArenaObject *arena);

PyObject *Arena_wait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names);
PyObject *Arena_wake(PyObject *self, PyObject *unused);
PyObject *Arena_arm(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names);
PyObject *Arena_disarm(PyObject *self, PyObject *unused);

/* host.c */
PyObject *Arena_lock_held(PyObject *self, PyObject *name);
PyObject *Arena_reclaim(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *Arena_fence(PyObject *self, PyObject *name);
PyObject *Arena_flush(PyObject *self, PyObject *args);
PyObject *Arena_end(PyObject *self, PyObject *name);
PyObject *Arena_epoch_of(PyObject *self, PyObject *name);
PyObject *Arena_fenced_nodes(PyObject *self, PyObject *unused);
int rl_node_argument(ArenaObject *arena, PyObject *name);
int rl_channel_argument(ArenaObject *arena, PyObject *name);

/* stats.c */
PyObject *rl_channel_counters(rl_map *map);
PyObject *rl_node_counters(rl_map *map);

PyObject *rl_new_writer(ArenaObject *arena, PyObject *channels);
PyObject *rl_new_reader(ArenaObject *arena, PyObject *channel);
void rl_give_back(LeaseObject *lease);
bool rl_writer_has_room(WriterObject *writer);

#endif
