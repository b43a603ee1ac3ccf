/* The module: types, exceptions of ringline.errors, and the lock functions that need no arena. */
#include "pycore.h"
#include "shared.h"

#include <errno.h>

struct rl_exceptions rl_exceptions;
PyTypeObject *Arena_Type, *Writer_Type, *Reader_Type, *Lease_Type, *Loan_Type, *View_Type;

PyObject *rl_raise(const rl_error *error) {
    if (error->kind == RL_E_MEMORY)
        return PyErr_NoMemory();
    if (error->kind == RL_E_RESOURCE)
        return PyErr_Format(rl_exceptions.resource, "%s", error->text);
    PyObject *value = error->number ? PyObject_CallFunction(rl_exceptions.arena, "is", error->number, error->text)
                                    : PyObject_CallFunction(rl_exceptions.arena, "s", error->text);
    if (value) {
        PyErr_SetObject(rl_exceptions.arena, value);
        Py_DECREF(value);
    }
    return NULL;
}

PyObject *rl_raise_result(rl_result result, const char *channel) {
    if (result == RL_IS_FENCED)
        return PyErr_Format(rl_exceptions.fenced, "the host declared this process dead; it must exit");
    return PyErr_Format(rl_exceptions.corrupt, "the ring of channel '%s' fails its checks; the channel is out of use", channel);
}

/* ---- locks without an arena: the session directory's owner and its zygote ---- */

static PyObject *locks_probe(PyObject *module, PyObject *args) {
    const char *directory;
    int byte;
    (void)module;
    if (!PyArg_ParseTuple(args, "si:probe_lock", &directory, &byte))
        return NULL;
    if (byte < 0 || byte >= RL_BYTES)
        return PyErr_Format(PyExc_ValueError, "lock byte %d is not between 0 and %d", byte, RL_BYTES - 1);
    int held = rl_locks_probe(directory, byte);
    return held < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyBool_FromLong(held);
}

static void free_hold(PyObject *capsule) {
    rl_locks *locks = PyCapsule_GetPointer(capsule, "ringline.lock");
    uintptr_t tag = (uintptr_t)PyCapsule_GetContext(capsule);
    if (tag >> 8 == rl_generation) /* not in a forked child */
        rl_lock_drop(locks, (int)(tag & 0xff));
    rl_locks_close(locks);
}

static PyObject *locks_hold(PyObject *module, PyObject *args) {
    const char *directory;
    int byte;
    rl_error error = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "si:hold_lock", &directory, &byte))
        return NULL;
    if (byte < 0 || byte >= RL_BYTES)
        return PyErr_Format(PyExc_ValueError, "lock byte %d is not between 0 and %d", byte, RL_BYTES - 1);
    rl_locks *locks = rl_locks_open(directory, true, &error);
    if (!locks)
        return rl_raise(&error);
    int taken = rl_lock_take(locks, byte);
    PyObject *capsule = taken == 0 ? PyCapsule_New(locks, "ringline.lock", free_hold) : NULL;
    if (capsule) {
        PyCapsule_SetContext(capsule, (void *)((uintptr_t)rl_generation << 8 | (uintptr_t)byte));
        return capsule;
    }
    int number = errno;
    if (taken == 0)
        rl_lock_drop(locks, byte);
    rl_locks_close(locks);
    if (taken > 0)
        Py_RETURN_NONE;
    errno = number;
    return PyErr_Occurred() ? NULL : PyErr_SetFromErrno(PyExc_OSError);
}

static PyMethodDef functions[] = {
    {"probe_lock", locks_probe, METH_VARARGS, "Whether a live process holds this byte of a session's lock file."},
    {"hold_lock", locks_hold, METH_VARARGS, "Hold a byte until the returned object is gone; None if somebody else holds it."},
    {"load_word", shared_load, METH_VARARGS, "The word at an offset of a shared mapping, after everything read before."},
    {"store_word", shared_store, METH_VARARGS, "Write a word of a shared mapping, before everything written afterwards."},
    {"wait_word", shared_wait, METH_VARARGS, "Sleep while a word has this value, at most a second; whether it differs now."},
    {"wake_word", shared_wake, METH_VARARGS, "Wake all who wait for a word."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", "The data plane of ringline.shm.", -1, functions, NULL, NULL, NULL, NULL};

static bool import_exceptions(void) {
    struct {
        PyObject **slot;
        const char *name;
    } wanted[] = {
        {&rl_exceptions.arena, "ArenaError"},      {&rl_exceptions.full, "ChannelFullError"}, {&rl_exceptions.too_large, "MessageTooLargeError"},
        {&rl_exceptions.quota, "LeaseQuotaError"}, {&rl_exceptions.corrupt, "RingCorruptError"}, {&rl_exceptions.fenced, "Fenced"},
        {&rl_exceptions.resource, "ResourceLimitError"}, {&rl_exceptions.released, "LeaseReleasedError"},
    };
    PyObject *errors = PyImport_ImportModule("ringline.errors");
    bool found = errors != NULL;
    for (size_t i = 0; found && i < sizeof wanted / sizeof *wanted; i++)
        found = (*wanted[i].slot = PyObject_GetAttrString(errors, wanted[i].name)) != NULL;
    Py_XDECREF(errors);
    return found;
}

static bool add_types(PyObject *module) {
    struct {
        PyTypeObject **slot;
        PyType_Spec *spec;
    } types[] = {{&Arena_Type, &Arena_Spec}, {&Writer_Type, &Writer_Spec}, {&Reader_Type, &Reader_Spec},
                 {&Lease_Type, &Lease_Spec}, {&Loan_Type, &Loan_Spec},     {&View_Type, &View_Spec}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        *types[i].slot = (PyTypeObject *)PyType_FromSpec(types[i].spec);
        if (!*types[i].slot || PyModule_AddType(module, *types[i].slot) < 0)
            return false;
    }
    return true;
}

PyMODINIT_FUNC PyInit__core(void) {
    PyObject *module = PyModule_Create(&definition);
    if (!module || !import_exceptions() || !add_types(module) || PyModule_AddIntConstant(module, "HOST_BYTE", RL_BYTE_HOST) < 0 ||
        PyModule_AddIntConstant(module, "ZYGOTE_BYTE", RL_BYTE_ZYGOTE) < 0 ||
        PyModule_AddIntConstant(module, "LAYOUT_VERSION", RL_VERSION) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    rl_fork_init();
    rl_failpoint_init();
    return module;
}
