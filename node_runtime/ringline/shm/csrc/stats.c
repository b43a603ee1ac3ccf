/* Counters in the header, readable while a node hangs: tuples for ringline/shm/stats.py, and the View type that any
 * process may open without a lock. */
#include "pycore.h"

typedef unsigned long long ull;

static PyObject *channel_tuple(rl_map *map, uint32_t c) {
    rl_channel *channel = &map->channel[c];
    rl_channel_words *w = channel->words;
    uint64_t tail = atomic_load_explicit(&w->tail, ACQ), head = atomic_load_explicit(&w->head, ACQ);
    uint32_t queued = (uint32_t)head - rl_oldest(tail); /* the tail was read first: never too small */
    uint64_t since = rl_load(&w->blocked_since), now = rl_now();
    uint64_t blocked = rl_load(&w->blocked_ns) + (since && now > since ? now - since : 0);
    return Py_BuildValue("(sssKKIIKKKKKKKKKKdi)", channel->name, map->node[channel->producer].name, map->node[channel->consumer].name, (ull)head,
                         (ull)rl_load(&w->bytes), queued < channel->capacity ? queued : channel->capacity, channel->capacity,
                         (ull)rl_load(&w->overwritten), (ull)rl_load(&w->newest), (ull)rl_load(&w->timeout),
                         (ull)(rl_load(&w->deadline) + rl_load(&w->r_deadline)), (ull)(rl_load(&w->flushed) + rl_load(&w->r_flushed)),
                         (ull)rl_load(&w->heap_full), (ull)rl_load(&w->reader_lost), (ull)rl_load(&w->wakeups), (ull)rl_load(&w->copies),
                         (ull)rl_load(&w->mark), (double)blocked / 1e9, rl_load(&w->end) != 0);
}

static PyObject *node_tuple(rl_map *map, uint32_t n) {
    rl_node *node = &map->node[n];
    rl_node_words *w = node->words;
    uint64_t life = atomic_load_explicit(&w->life, ACQ);
    PyObject *buckets = PyTuple_New(RL_BUCKETS);
    for (Py_ssize_t i = 0; buckets && i < RL_BUCKETS; i++)
        if (PyTuple_SetItem(buckets, i, PyLong_FromUnsignedLongLong(rl_load(&w->bucket[i]))) < 0)
            Py_CLEAR(buckets);
    if (!buckets)
        return NULL;
    return Py_BuildValue("(sIiKKKKNdK)", node->name, rl_high(life), rl_low(life) == RL_ATTACHED, (ull)rl_load(&w->busy_since),
                         (ull)node->heap_bytes, (ull)rl_load(&w->heap_used), (ull)rl_load(&w->beats), buckets,
                         (double)rl_load(&w->latency_ns) / 1e9, (ull)rl_load(&w->latency_count));
}

static PyObject *list_of(rl_map *map, uint32_t count, PyObject *(*make)(rl_map *, uint32_t)) {
    PyObject *list = PyList_New(count);
    for (uint32_t i = 0; list && i < count; i++) {
        PyObject *item = make(map, i);
        if (!item || PyList_SetItem(list, i, item) < 0)
            Py_CLEAR(list);
    }
    return list;
}

PyObject *rl_channel_counters(rl_map *map) { return list_of(map, map->channels, channel_tuple); }
PyObject *rl_node_counters(rl_map *map) { return list_of(map, map->nodes, node_tuple); }

/* ---- View ---- */

typedef struct {
    PyObject_HEAD
    rl_map *map;
} ViewObject;

static PyObject *View_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    const char *directory;
    rl_error error = {0};
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "s:View", &directory))
        return NULL;
    rl_map *map = rl_map_open(directory, false, &error);
    if (!map)
        return rl_raise(&error);
    ViewObject *view = (ViewObject *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (view)
        view->map = map;
    else
        rl_map_release(map);
    return (PyObject *)view;
}

static PyObject *View_close(PyObject *object, PyObject *unused) {
    ViewObject *view = (ViewObject *)object;
    (void)unused;
    rl_map_release(view->map);
    view->map = NULL;
    Py_RETURN_NONE;
}

static void View_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(View_close(object, NULL));
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *view_list(PyObject *object, PyObject *(*make)(rl_map *)) {
    ViewObject *view = (ViewObject *)object;
    if (!view->map || rl_map_inert(view->map))
        return PyErr_Format(rl_exceptions.arena, "this view of an arena is closed");
    return make(view->map);
}

static PyObject *View_channels(PyObject *object, PyObject *unused) {
    (void)unused;
    return view_list(object, rl_channel_counters);
}

static PyObject *View_nodes(PyObject *object, PyObject *unused) {
    (void)unused;
    return view_list(object, rl_node_counters);
}

static PyMethodDef View_methods[] = {
    {"close", View_close, METH_NOARGS, "Unmap. May be repeated."},
    {"_channels", View_channels, METH_NOARGS, NULL},
    {"_nodes", View_nodes, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot View_slots[] = {{Py_tp_new, View_new}, {Py_tp_dealloc, View_dealloc}, {Py_tp_methods, View_methods}, {Py_tp_doc, "A read-only look at an arena."}, {0, NULL}};
PyType_Spec View_Spec = {"ringline.shm._core.View", sizeof(ViewObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, View_slots};
