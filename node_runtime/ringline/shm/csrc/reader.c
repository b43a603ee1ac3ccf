/* Reader and Lease: taking messages from a channel and keeping their blocks while somebody looks at them. */
#include "pycore.h"

#include <structmember.h>

#define HELD_BEYOND_CAPACITY 16u

/* ---- Lease ---- */

/* R1, R2: once, when the lease is released and nobody has a buffer of it. Void after close() and in a forked child. */
void rl_give_back(LeaseObject *lease) {
    ReaderObject *reader = lease->reader;
    if (lease->given_back)
        return;
    lease->given_back = true;
    if (rl_alive(reader->arena)) {
        reader->reader.held--;
        rl_unref(&reader->arena->self, reader->reader.channel, lease->message.block, lease->message.second);
    }
}

static PyObject *Lease_release(PyObject *object, PyObject *unused) {
    LeaseObject *lease = (LeaseObject *)object;
    (void)unused;
    lease->released = true;
    if (lease->exports == 0)
        rl_give_back(lease);
    Py_RETURN_NONE;
}

static int Lease_getbuffer(PyObject *object, Py_buffer *view, int flags) {
    LeaseObject *lease = (LeaseObject *)object;
    ArenaObject *arena = lease->reader->arena;
    if (lease->released || !rl_alive(arena)) {
        view->obj = NULL;
        PyErr_SetString(rl_exceptions.released, "this message was released (or its session closed); take a copy to keep it longer");
        return -1;
    }
    uint8_t *data = arena->self.map->base + lease->message.offset;
    if (PyBuffer_FillInfo(view, object, data, (Py_ssize_t)lease->message.length, 1, flags) < 0)
        return -1;
    lease->exports++;
    rl_pin(arena);
    return 0;
}

static void Lease_releasebuffer(PyObject *object, Py_buffer *view) {
    LeaseObject *lease = (LeaseObject *)object;
    (void)view;
    if (--lease->exports == 0 && lease->released)
        rl_give_back(lease);
    rl_unpin(lease->reader->arena);
}

static void Lease_dealloc(PyObject *object) {
    LeaseObject *lease = (LeaseObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    rl_give_back(lease);
    Py_XDECREF(lease->meta);
    Py_DECREF(lease->reader);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *Lease_channel(PyObject *object, void *unused) {
    ReaderObject *reader = ((LeaseObject *)object)->reader;
    (void)unused;
    return rl_usable(reader->arena) ? PyUnicode_FromString(reader->arena->self.map->channel[reader->reader.channel].name) : NULL;
}

static PyMemberDef Lease_members[] = {
    {"kind", T_UINT, offsetof(LeaseObject, message.kind), READONLY, "the number that the writer gave"},
    {"meta", T_OBJECT_EX, offsetof(LeaseObject, meta), READONLY, "metadata bytes, a copy"},
    {"timestamp", T_LONGLONG, offsetof(LeaseObject, message.timestamp), READONLY, "media time in ns"},
    {"origin", T_LONGLONG, offsetof(LeaseObject, message.origin), READONLY, "CLOCK_MONOTONIC ns at ingress, or 0"},
    {"sequence", T_ULONGLONG, offsetof(LeaseObject, message.sequence), READONLY, "position in the channel, from 0"},
    {"nbytes", T_UINT, offsetof(LeaseObject, message.length), READONLY, "payload bytes"},
    {"address", T_UINT, offsetof(LeaseObject, message.offset), READONLY, "offset of the payload in the arena, the same in every process"},
    {"released", T_BOOL, offsetof(LeaseObject, released), READONLY, "release() was called"},
    {NULL, 0, 0, 0, NULL},
};
static PyGetSetDef Lease_getset[] = {{"channel", Lease_channel, NULL, "name of the channel it came through", NULL}, {0}};
static PyMethodDef Lease_methods[] = {
    {"release", Lease_release, METH_NOARGS, "Give the block back now, or when the last buffer of it is gone."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot Lease_slots[] = {
    {Py_tp_dealloc, Lease_dealloc}, {Py_tp_members, Lease_members}, {Py_tp_getset, Lease_getset}, {Py_tp_methods, Lease_methods},
    {Py_bf_getbuffer, Lease_getbuffer}, {Py_bf_releasebuffer, Lease_releasebuffer}, {Py_tp_doc, "A message held by this process, readable as a buffer."}, {0, NULL},
};
PyType_Spec Lease_Spec = {"ringline.shm._core.Lease", sizeof(LeaseObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, Lease_slots};

/* ---- Reader ---- */

PyObject *rl_new_reader(ArenaObject *arena, PyObject *name) {
    int c = rl_channel_argument(arena, name);
    if (c < 0)
        return NULL;
    rl_channel *channel = &arena->self.map->channel[c];
    if (channel->consumer != arena->self.node)
        return PyErr_Format(rl_exceptions.arena, "channel '%s' is read by node '%s', not by '%s'", channel->name,
                            arena->self.map->node[channel->consumer].name, arena->self.map->node[arena->self.node].name);
    if (arena->readers[c])
        return PyErr_Format(rl_exceptions.arena, "channel '%s' has a reader in this process already", channel->name);
    ReaderObject *reader = PyObject_New(ReaderObject, Reader_Type);
    if (!reader)
        return NULL;
    reader->arena = (ArenaObject *)Py_NewRef((PyObject *)arena);
    reader->reader = (rl_reader){.self = &arena->self, .channel = (uint32_t)c, .wanted = true};
    arena->readers[c] = reader;
    return (PyObject *)reader;
}

static PyObject *over_quota(ReaderObject *reader) {
    rl_channel *channel = &reader->arena->self.map->channel[reader->reader.channel];
    uint64_t head = rl_load(&channel->words->head);
    if ((uint32_t)head == rl_oldest(atomic_load_explicit(&channel->words->tail, ACQ)))
        Py_RETURN_NONE;
    return PyErr_Format(rl_exceptions.quota,
                        "the reader of channel '%s' holds %u messages (capacity %u + %u) and may not take another; "
                        "release() those that are done with, copy() those that are kept",
                        channel->name, reader->reader.held, channel->capacity, HELD_BEYOND_CAPACITY);
}

static PyObject *wrap(ReaderObject *reader, const rl_message *message, const uint8_t *meta) {
    LeaseObject *lease = PyObject_New(LeaseObject, Lease_Type);
    if (!lease) {
        rl_unref(&reader->arena->self, reader->reader.channel, message->block, message->second);
        return NULL;
    }
    lease->reader = (ReaderObject *)Py_NewRef((PyObject *)reader);
    lease->message = *message;
    lease->exports = 0;
    lease->released = lease->given_back = false;
    reader->reader.held++;
    lease->meta = PyBytes_FromStringAndSize((const char *)meta, (Py_ssize_t)message->meta_length);
    if (!lease->meta)
        Py_CLEAR(lease);
    return (PyObject *)lease;
}

static PyObject *Reader_next(PyObject *object, PyObject *unused) {
    static uint8_t meta[RL_MAX_META]; /* under the GIL */
    ReaderObject *reader = (ReaderObject *)object;
    rl_message message;
    (void)unused;
    if (!rl_usable(reader->arena))
        return NULL;
    rl_channel *channel = &reader->arena->self.map->channel[reader->reader.channel];
    if (reader->reader.corrupt)
        return rl_raise_result(RL_CORRUPT, channel->name);
    if (reader->reader.held >= channel->capacity + HELD_BEYOND_CAPACITY)
        return over_quota(reader);
    rl_result result = rl_next(&reader->reader, &message, meta);
    if (result == RL_EMPTY)
        Py_RETURN_NONE;
    return result == RL_OK ? wrap(reader, &message, meta) : rl_raise_result(result, channel->name);
}

static PyObject *Reader_ended(PyObject *object, void *unused) {
    ReaderObject *reader = (ReaderObject *)object;
    (void)unused;
    if (!rl_usable(reader->arena))
        return NULL;
    bool ended = rl_ended(&reader->reader);
    if (ended)
        reader->reader.end_reported = true;
    return PyBool_FromLong(ended);
}

static PyObject *Reader_channel(PyObject *object, void *unused) {
    ReaderObject *reader = (ReaderObject *)object;
    (void)unused;
    return rl_usable(reader->arena) ? PyUnicode_FromString(reader->arena->self.map->channel[reader->reader.channel].name) : NULL;
}

static void Reader_dealloc(PyObject *object) {
    ReaderObject *reader = (ReaderObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    reader->arena->readers[reader->reader.channel] = NULL;
    Py_DECREF(reader->arena);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyMemberDef Reader_members[] = {
    {"held", T_UINT, offsetof(ReaderObject, reader.held), READONLY, "messages not yet given back"},
    {"wanted", T_BOOL, offsetof(ReaderObject, reader.wanted), 0, "whether Arena.wait and Arena.arm look at this reader"},
    {NULL, 0, 0, 0, NULL},
};
static PyGetSetDef Reader_getset[] = {
    {"ended", Reader_ended, NULL, "everything was read and the writer ended the stream", NULL},
    {"channel", Reader_channel, NULL, "name", NULL},
    {0},
};
static PyMethodDef Reader_methods[] = {
    {"next", Reader_next, METH_NOARGS, "The oldest message, or None."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot Reader_slots[] = {
    {Py_tp_dealloc, Reader_dealloc}, {Py_tp_members, Reader_members}, {Py_tp_getset, Reader_getset},
    {Py_tp_methods, Reader_methods}, {Py_tp_doc, "The reading end of one channel."}, {0, NULL},
};
PyType_Spec Reader_Spec = {"ringline.shm._core.Reader", sizeof(ReaderObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, Reader_slots};
