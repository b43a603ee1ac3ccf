/* Words of a shared mapping for Python code that keeps its own protocol over them (ringline.agents.state): loads and
 * stores that are whole and ordered, and sleeping until a word changes. */
#include "pycore.h"
#include "shared.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The aligned word at an offset of a writable buffer, which the caller releases; NULL with an exception set. */
static rl_word *word_at(Py_buffer *view, Py_ssize_t offset) {
    if (offset < 0 || offset % 8 || offset > view->len - 8) {
        PyErr_Format(PyExc_ValueError, "there is no word at offset %zd of %zd bytes", offset, view->len);
        PyBuffer_Release(view);
        return NULL;
    }
    return (rl_word *)((char *)view->buf + offset);
}

PyObject *shared_load(PyObject *module, PyObject *args) {
    Py_buffer view;
    Py_ssize_t offset;
    (void)module;
    if (!PyArg_ParseTuple(args, "w*n:load_word", &view, &offset))
        return NULL;
    rl_word *word = word_at(&view, offset);
    if (!word)
        return NULL;
    /* SYNC POINT: partner shared_store. The fence keeps what was read before from being read after this word. */
    atomic_thread_fence(ACQ);
    uint64_t value = atomic_load_explicit(word, ACQ);
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLongLong(value);
}

PyObject *shared_store(PyObject *module, PyObject *args) {
    Py_buffer view;
    Py_ssize_t offset;
    unsigned long long value;
    (void)module;
    if (!PyArg_ParseTuple(args, "w*nK:store_word", &view, &offset, &value))
        return NULL;
    rl_word *word = word_at(&view, offset);
    if (!word)
        return NULL;
    /* SYNC POINT: partner shared_load. The fence keeps what is written afterwards from being seen before this word. */
    atomic_store_explicit(word, value, REL);
    atomic_thread_fence(SEQ);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

/* The futex is the low half of the word. Returns whether it differs from `seen` now. */
PyObject *shared_wait(PyObject *module, PyObject *args) {
    Py_buffer view;
    Py_ssize_t offset;
    unsigned long long seen;
    double seconds;
    (void)module;
    if (!PyArg_ParseTuple(args, "w*nKd:wait_word", &view, &offset, &seen, &seconds))
        return NULL;
    rl_word *word = word_at(&view, offset);
    if (!word)
        return NULL;
    if (seconds > 1.0)
        seconds = 1.0; /* a bound on a lost wake-up: the writer may be killed between its store and its wake */
    struct timespec limit = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    Py_BEGIN_ALLOW_THREADS
    if (atomic_load_explicit(word, ACQ) == seen && seconds > 0.0)
        syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT, (uint32_t)seen, &limit, NULL, 0);
    Py_END_ALLOW_THREADS
    uint64_t now = atomic_load_explicit(word, ACQ);
    PyBuffer_Release(&view);
    if (PyErr_CheckSignals() < 0)
        return NULL;
    return PyBool_FromLong(now != seen);
}

PyObject *shared_wake(PyObject *module, PyObject *args) {
    Py_buffer view;
    Py_ssize_t offset;
    (void)module;
    if (!PyArg_ParseTuple(args, "w*n:wake_word", &view, &offset))
        return NULL;
    rl_word *word = word_at(&view, offset);
    if (!word)
        return NULL;
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}
