/* Writer and Loan: the writing end of one output port, with all the channels that leave it. */
#include "send.h"

#include <string.h>
#include <structmember.h>

/* ---- arguments: (payload, kind, meta, timestamp, origin=0, *, timeout_s=None) ---- */

static bool keywords(PyObject *const *values, PyObject *names, rl_request *request) {
    Py_ssize_t count = names ? PyTuple_Size(names) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "timeout_s") == 0) {
            if (!rl_deadline(values[i], &request->deadline))
                return false;
        } else if (PyUnicode_CompareWithASCIIString(name, "origin") == 0) {
            request->origin = PyLong_AsLongLong(values[i]);
            if (request->origin == -1 && PyErr_Occurred())
                return false;
        } else {
            PyErr_Format(PyExc_TypeError, "unexpected keyword argument %R", name);
            return false;
        }
    }
    return true;
}

static bool arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *names, rl_request *request) {
    char *meta;
    Py_ssize_t meta_length;
    *request = (rl_request){.deadline = UINT64_MAX};
    if (nargs < 4 || nargs > 5) {
        PyErr_Format(PyExc_TypeError, "expected (payload, kind, meta, timestamp[, origin]), got %zd arguments", nargs);
        return false;
    }
    unsigned long kind = PyLong_AsUnsignedLong(args[1]);
    if (kind == (unsigned long)-1 && PyErr_Occurred())
        return false;
    if (kind > UINT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "kind %lu does not fit into 32 bits", kind);
        return false;
    }
    if (PyBytes_AsStringAndSize(args[2], &meta, &meta_length) < 0)
        return false;
    request->kind = (uint32_t)kind;
    request->meta = (const uint8_t *)meta;
    request->meta_length = meta_length > UINT32_MAX ? UINT32_MAX : (uint32_t)meta_length;
    request->timestamp = PyLong_AsLongLong(args[3]);
    if (request->timestamp == -1 && PyErr_Occurred())
        return false;
    if (nargs == 5) {
        request->origin = PyLong_AsLongLong(args[4]);
        if (request->origin == -1 && PyErr_Occurred())
            return false;
    }
    return keywords(args + nargs, names, request);
}

static PyObject *answer(rl_sent sent) {
    if (sent == SEND_ERROR)
        return NULL;
    if (sent == SEND_WOULD_BLOCK)
        Py_RETURN_NONE;
    return PyBool_FromLong(sent == SEND_DONE);
}

static bool writable(WriterObject *writer) {
    if (!rl_usable(writer->arena))
        return false;
    rl_map *map = writer->arena->self.map;
    if (writer->targets.count && rl_load(&map->channel[writer->targets.channel[0]].words->end) == 0)
        return true;
    if (writer->targets.count)
        PyErr_Format(rl_exceptions.arena, "channel '%s' was ended by this writer: nothing can follow", map->channel[writer->targets.channel[0]].name);
    return writer->targets.count == 0;
}

/* ---- send, commit, forward ---- */

static PyObject *send(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names, bool wait) {
    WriterObject *writer = (WriterObject *)object;
    rl_request request;
    Py_buffer view;
    rl_sent sent = SEND_ERROR;
    if (!writable(writer) || !arguments(args, nargs, names, &request) || PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    request.wait = wait;
    request.data = view.buf;
    request.length = (uint64_t)view.len;
    if (rl_check_size(writer, request.length, request.meta_length) == 0)
        sent = rl_send(writer, &request);
    PyBuffer_Release(&view);
    return answer(sent);
}

static PyObject *commit(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names, bool wait) {
    WriterObject *writer = (WriterObject *)object;
    rl_request request;
    if (!writable(writer) || !arguments(args, nargs, names, &request))
        return NULL;
    if (!PyObject_TypeCheck(args[0], Loan_Type))
        return PyErr_Format(PyExc_TypeError, "commit takes a Loan of this arena");
    request.loan = (LoanObject *)args[0];
    request.wait = wait;
    if (request.loan->arena != writer->arena || request.loan->spent)
        return PyErr_Format(PyExc_ValueError, "this loan was committed or discarded already, or belongs to another arena");
    if (rl_check_size(writer, 0, request.meta_length) < 0)
        return NULL;
    request.loan->spent = true; /* while this waits, no other thread may commit or discard it */
    return answer(rl_send(writer, &request));
}

static PyObject *forward(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names, bool wait) {
    WriterObject *writer = (WriterObject *)object;
    rl_request request;
    if (!writable(writer) || !arguments(args, nargs, names, &request))
        return NULL;
    if (!PyObject_TypeCheck(args[0], Lease_Type))
        return PyErr_Format(PyExc_TypeError, "forward takes a Lease of this arena");
    LeaseObject *lease = (LeaseObject *)args[0];
    if (lease->released || lease->reader->arena != writer->arena)
        return PyErr_Format(rl_exceptions.released, "a released message, or one of another arena, can't be forwarded");
    request.lease = lease;
    request.wait = wait;
    request.data = writer->arena->self.map->base + lease->message.offset; /* if it must be copied after all */
    request.length = lease->message.length;
    if (rl_check_size(writer, 0, request.meta_length) < 0)
        return NULL;
    lease->exports++; /* release() by another thread waits until this is done */
    rl_sent sent = rl_send(writer, &request);
    if (--lease->exports == 0 && lease->released)
        rl_give_back(lease);
    return answer(sent);
}

#define BOTH(name)                                                                                                   \
    static PyObject *Writer_##name(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {     \
        return name(object, args, nargs, names, true);                                                               \
    }                                                                                                                \
    static PyObject *Writer_try_##name(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names) { \
        return name(object, args, nargs, names, false);                                                              \
    }
BOTH(send)
BOTH(commit)
BOTH(forward)

/* ---- loan ---- */

static PyObject *new_loan(WriterObject *writer, uint64_t bytes, const rl_request *request) {
    uint32_t block;
    rl_self *self = &writer->arena->self;
    if (rl_check_size(writer, bytes, 0) < 0)
        return NULL;
    if (self->map->node[self->node].heap_bytes == 0)
        return PyErr_Format(rl_exceptions.arena, "node '%s' has no outputs, hence no heap to take a loan from", self->map->node[self->node].name);
    rl_sent got = rl_obtain(writer, request, bytes, &block);
    if (got == SEND_WOULD_BLOCK)
        Py_RETURN_NONE;
    if (got == SEND_DROPPED)
        PyErr_Format(rl_exceptions.full, "Buffer at capacity (backpressure active): no block of %llu bytes is free, all are held by readers",
                     (unsigned long long)bytes);
    if (got != SEND_DONE)
        return NULL;
    LoanObject *loan = PyObject_New(LoanObject, Loan_Type);
    if (!loan) {
        rl_heap_discard(&self->heap, block);
        return NULL;
    }
    loan->arena = (ArenaObject *)Py_NewRef((PyObject *)writer->arena);
    loan->block = block;
    loan->offset = rl_heap_offset(&self->heap, block);
    loan->length = bytes;
    loan->exports = 0;
    loan->spent = loan->doomed = false;
    return (PyObject *)loan;
}

static PyObject *Writer_loan(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    rl_request request = {.deadline = UINT64_MAX, .wait = true};
    if (nargs != 1)
        return PyErr_Format(PyExc_TypeError, "loan takes one positional argument, nbytes (%zd given)", nargs);
    if (!writable((WriterObject *)object) || !keywords(args + nargs, names, &request))
        return NULL;
    size_t bytes = PyLong_AsSize_t(args[0]);
    return bytes == (size_t)-1 && PyErr_Occurred() ? NULL : new_loan((WriterObject *)object, bytes, &request);
}

static PyObject *Writer_try_loan(PyObject *object, PyObject *nbytes) {
    rl_request request = {.deadline = UINT64_MAX, .wait = false};
    if (!writable((WriterObject *)object))
        return NULL;
    size_t bytes = PyLong_AsSize_t(nbytes);
    return bytes == (size_t)-1 && PyErr_Occurred() ? NULL : new_loan((WriterObject *)object, bytes, &request);
}

static int Loan_getbuffer(PyObject *object, Py_buffer *view, int flags) {
    LoanObject *loan = (LoanObject *)object;
    if (loan->spent || !rl_alive(loan->arena)) {
        view->obj = NULL;
        PyErr_SetString(rl_exceptions.released, "this loan was committed or discarded: it can't be written any more");
        return -1;
    }
    if (PyBuffer_FillInfo(view, object, loan->arena->self.map->base + loan->offset, (Py_ssize_t)loan->length, 0, flags) < 0)
        return -1;
    loan->exports++;
    rl_pin(loan->arena);
    return 0;
}

static void Loan_releasebuffer(PyObject *object, Py_buffer *view) {
    LoanObject *loan = (LoanObject *)object;
    (void)view;
    if (--loan->exports == 0 && loan->doomed)
        rl_free_loan(loan);
    rl_unpin(loan->arena);
}

static PyObject *Loan_discard(PyObject *object, PyObject *unused) {
    LoanObject *loan = (LoanObject *)object;
    (void)unused;
    if (!loan->spent) {
        loan->spent = true;
        rl_free_loan(loan);
    }
    Py_RETURN_NONE;
}

static void Loan_dealloc(PyObject *object) {
    LoanObject *loan = (LoanObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (loan->block != RL_NONE)
        rl_free_loan(loan);
    Py_DECREF(loan->arena);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyMemberDef Loan_members[] = {
    {"nbytes", T_ULONGLONG, offsetof(LoanObject, length), READONLY, "payload bytes"},
    {"address", T_ULONGLONG, offsetof(LoanObject, offset), READONLY, "offset of the payload in the arena, the same in every process"},
    {"spent", T_BOOL, offsetof(LoanObject, spent), READONLY, "committed, dropped or discarded"},
    {NULL, 0, 0, 0, NULL},
};
static PyMethodDef Loan_methods[] = {
    {"discard", Loan_discard, METH_NOARGS, "Give the block back without sending it."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot Loan_slots[] = {
    {Py_tp_dealloc, Loan_dealloc}, {Py_tp_members, Loan_members}, {Py_tp_methods, Loan_methods}, {Py_bf_getbuffer, Loan_getbuffer},
    {Py_bf_releasebuffer, Loan_releasebuffer}, {Py_tp_doc, "A block to be filled in place, writable as a buffer."}, {0, NULL},
};
PyType_Spec Loan_Spec = {"ringline.shm._core.Loan", sizeof(LoanObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, Loan_slots};

/* ---- Writer ---- */

static bool add_channel(WriterObject *writer, PyObject *name) {
    ArenaObject *arena = writer->arena;
    int c = rl_channel_argument(arena, name);
    if (c < 0)
        return false;
    rl_channel *channel = &arena->self.map->channel[c];
    if (channel->producer != arena->self.node || arena->self.produces >> c & 1) {
        PyErr_Format(rl_exceptions.arena, "channel '%s' is written by node '%s', by one writer", channel->name, arena->self.map->node[channel->producer].name);
        return false;
    }
    arena->self.produces |= (uint64_t)1 << c;
    arena->self.tail_seen[c] = atomic_load_explicit(&channel->words->tail, ACQ);
    writer->targets.channel[writer->targets.count++] = (uint8_t)c;
    writer->all_drop &= channel->policy != RL_BLOCK;
    return true;
}

PyObject *rl_new_writer(ArenaObject *arena, PyObject *channels) {
    PyObject *names = PySequence_Tuple(channels);
    if (!names)
        return NULL;
    WriterObject *writer = PyObject_New(WriterObject, Writer_Type);
    if (!writer) {
        Py_DECREF(names);
        return NULL;
    }
    memset(&writer->targets, 0, sizeof writer->targets);
    writer->arena = (ArenaObject *)Py_NewRef((PyObject *)arena);
    writer->waiting = false;
    writer->waiting_bytes = writer->blocked = writer->blocked_since = 0;
    writer->all_drop = true;
    writer->next = arena->writers;
    arena->writers = writer;
    for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++)
        if (!add_channel(writer, PyTuple_GetItem(names, i))) {
            Py_CLEAR(writer);
            break;
        }
    Py_DECREF(names);
    return (PyObject *)writer;
}

static PyObject *Writer_end(PyObject *object, PyObject *unused) {
    WriterObject *writer = (WriterObject *)object;
    (void)unused;
    if (!rl_usable(writer->arena))
        return NULL;
    rl_map *map = writer->arena->self.map;
    for (uint32_t i = 0; i < writer->targets.count; i++)
        if (rl_load(&map->channel[writer->targets.channel[i]].words->end) == 0)
            rl_end(map, writer->targets.channel[i]);
    Py_RETURN_NONE;
}

static PyObject *Writer_cancel(PyObject *object, PyObject *unused) {
    WriterObject *writer = (WriterObject *)object;
    (void)unused;
    if (rl_alive(writer->arena))
        rl_stop_waiting(writer);
    Py_RETURN_NONE;
}

/* A try_ call waited the channel's block timeout in vain: its message is dropped and counted. */
static PyObject *Writer_give_up(PyObject *object, PyObject *unused) {
    WriterObject *writer = (WriterObject *)object;
    (void)unused;
    if (!rl_usable(writer->arena))
        return NULL;
    for (uint64_t left = writer->blocked; left; left &= left - 1)
        rl_count(&writer->arena->self.map->channel[__builtin_ctzll(left)].words->timeout, 1);
    rl_stop_waiting(writer);
    Py_RETURN_FALSE;
}

static PyObject *Writer_block_timeout(PyObject *object, void *unused) {
    WriterObject *writer = (WriterObject *)object;
    uint64_t first = UINT64_MAX;
    (void)unused;
    if (!rl_usable(writer->arena))
        return NULL;
    for (uint32_t i = 0; i < writer->targets.count; i++) {
        uint64_t timeout = writer->arena->self.map->channel[writer->targets.channel[i]].block_timeout_ns;
        if (timeout && timeout < first)
            first = timeout;
    }
    if (first == UINT64_MAX)
        Py_RETURN_NONE;
    return PyFloat_FromDouble((double)first / 1e9);
}

static void Writer_dealloc(PyObject *object) {
    WriterObject *writer = (WriterObject *)object;
    ArenaObject *arena = writer->arena;
    PyTypeObject *type = Py_TYPE(object);
    if (rl_alive(arena))
        rl_stop_waiting(writer);
    for (WriterObject **link = &arena->writers; *link; link = &(*link)->next)
        if (*link == writer) {
            *link = writer->next;
            break;
        }
    for (uint32_t i = 0; i < writer->targets.count; i++)
        arena->self.produces &= ~((uint64_t)1 << writer->targets.channel[i]);
    Py_DECREF(arena);
    PyObject_Free(object);
    Py_DECREF(type);
}

#define FAST(name) (PyCFunction)(void (*)(void)) name, METH_FASTCALL | METH_KEYWORDS
static PyMethodDef Writer_methods[] = {
    {"send", FAST(Writer_send), "Copy a payload into a block and commit it; waits as the channels' overflow says. False: dropped by it."},
    {"try_send", FAST(Writer_try_send), "The same without waiting: None means that it would have to wait."},
    {"commit", FAST(Writer_commit), "Publish a filled loan."},
    {"try_commit", FAST(Writer_try_commit), "The same without waiting: None, and the loan stays."},
    {"forward", FAST(Writer_forward), "Publish a held message's block again, without a copy."},
    {"try_forward", FAST(Writer_try_forward), "The same without waiting."},
    {"loan", FAST(Writer_loan), "Take a block to fill in place."},
    {"try_loan", Writer_try_loan, METH_O, "The same without waiting: None means that the heap is full."},
    {"end", Writer_end, METH_NOARGS, "End of stream on all channels of this writer."},
    {"give_up", Writer_give_up, METH_NOARGS, "Drop the message of a try_ call that returned None; counted with reason timeout."},
    {"cancel", Writer_cancel, METH_NOARGS, "Forget a try_ call that returned None and will not be repeated."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef Writer_getset[] = {
    {"block_timeout_s", Writer_block_timeout, NULL, "the shortest block timeout of its channels, or None", NULL}, {0}};
static PyType_Slot Writer_slots[] = {
    {Py_tp_dealloc, Writer_dealloc}, {Py_tp_methods, Writer_methods}, {Py_tp_getset, Writer_getset}, {Py_tp_doc, "The writing end of one output port."}, {0, NULL},
};
PyType_Spec Writer_Spec = {"ringline.shm._core.Writer", sizeof(WriterObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, Writer_slots};
