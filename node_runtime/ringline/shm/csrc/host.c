/* The host's methods of Arena: is a node alive, reclaim it, fence it, flush, end a channel. */
#include "pycore.h"

static bool is_host(ArenaObject *arena) {
    if (!rl_usable(arena))
        return false;
    if (!arena->host)
        PyErr_Format(rl_exceptions.arena, "only the session's host may do that, not node '%s'", arena->self.map->node[arena->self.node].name);
    return arena->host;
}

int rl_node_argument(ArenaObject *arena, PyObject *name) {
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    if (!text) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a node's name is a str");
        return -1;
    }
    int n = rl_find_node(arena->self.map, text);
    if (n < 0)
        PyErr_Format(rl_exceptions.arena, "the arena has no node '%s'", text);
    return n;
}

PyObject *Arena_lock_held(PyObject *object, PyObject *name) {
    ArenaObject *arena = (ArenaObject *)object;
    int n = rl_usable(arena) ? rl_node_argument(arena, name) : -1;
    if (n < 0)
        return NULL;
    int held = rl_lock_held(arena->self.locks, n);
    return held < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyBool_FromLong(held);
}

PyObject *Arena_reclaim(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"", "keep_queue", NULL};
    ArenaObject *arena = (ArenaObject *)object;
    PyObject *name;
    int keep_queue;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O$p:reclaim", names, &name, &keep_queue) || !is_host(arena))
        return NULL;
    int n = rl_node_argument(arena, name);
    if (n < 0)
        return NULL;
    if ((uint32_t)n == arena->self.node)
        return PyErr_Format(rl_exceptions.arena, "the host can't reclaim itself");
    rl_reclaimed done = rl_reclaim(arena->self.map, arena->self.locks, (uint32_t)n, keep_queue);
    return PyBool_FromLong(done == RL_RECLAIMED || done == RL_VACANT_ALREADY);
}

PyObject *Arena_fence(PyObject *object, PyObject *name) {
    ArenaObject *arena = (ArenaObject *)object;
    int n = is_host(arena) ? rl_node_argument(arena, name) : -1;
    return n < 0 ? NULL : PyBool_FromLong(rl_fence(arena->self.map, (uint32_t)n));
}

typedef int (*lookup)(ArenaObject *, PyObject *);

static int indices(ArenaObject *arena, PyObject *names, lookup find, uint8_t found[RL_MAX_CHANNELS]) {
    PyObject *items = PySequence_Tuple(names);
    Py_ssize_t count = items ? PyTuple_Size(items) : -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        int index = i < RL_MAX_CHANNELS ? find(arena, PyTuple_GetItem(items, i)) : -1;
        if (index < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "more names than the arena can have");
            count = -1;
            break;
        }
        found[i] = (uint8_t)index;
    }
    Py_XDECREF(items);
    return (int)count;
}

PyObject *Arena_flush(PyObject *object, PyObject *args) {
    ArenaObject *arena = (ArenaObject *)object;
    PyObject *nodes, *channels;
    uint8_t node[RL_MAX_CHANNELS], channel[RL_MAX_CHANNELS];
    if (!PyArg_ParseTuple(args, "OO:flush", &nodes, &channels) || !is_host(arena))
        return NULL;
    int node_count = indices(arena, nodes, rl_node_argument, node);
    int channel_count = node_count < 0 ? -1 : indices(arena, channels, rl_channel_argument, channel);
    if (channel_count < 0)
        return NULL;
    rl_flush(arena->self.map, node, (uint32_t)node_count, channel, (uint32_t)channel_count);
    Py_RETURN_NONE;
}

PyObject *Arena_end(PyObject *object, PyObject *name) {
    ArenaObject *arena = (ArenaObject *)object;
    int c = is_host(arena) ? rl_channel_argument(arena, name) : -1;
    if (c < 0)
        return NULL;
    if (rl_load(&arena->self.map->channel[c].words->end) == 0)
        rl_end(arena->self.map, (uint32_t)c);
    Py_RETURN_NONE;
}

PyObject *Arena_epoch_of(PyObject *object, PyObject *name) {
    ArenaObject *arena = (ArenaObject *)object;
    int n = rl_usable(arena) ? rl_node_argument(arena, name) : -1;
    if (n < 0)
        return NULL;
    return PyLong_FromUnsignedLong(rl_high(atomic_load_explicit(&arena->self.map->node[n].words->life, ACQ)));
}

PyObject *Arena_fenced_nodes(PyObject *object, PyObject *unused) {
    ArenaObject *arena = (ArenaObject *)object;
    (void)unused;
    PyObject *names = rl_usable(arena) ? PyList_New(0) : NULL;
    for (uint32_t n = 0; names && n < arena->self.map->nodes; n++) {
        if (rl_low(atomic_load_explicit(&arena->self.map->node[n].words->gate, ACQ)) != RL_FENCED)
            continue;
        PyObject *name = PyUnicode_FromString(arena->self.map->node[n].name);
        if (!name || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}
