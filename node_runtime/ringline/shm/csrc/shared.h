/* Functions of the module over words of a caller's own mapping (see shared.c). */
#ifndef RINGLINE_SHARED_H
#define RINGLINE_SHARED_H

#include "pycore.h"

PyObject *shared_load(PyObject *module, PyObject *args);
PyObject *shared_store(PyObject *module, PyObject *args);
PyObject *shared_wait(PyObject *module, PyObject *args);
PyObject *shared_wake(PyObject *module, PyObject *args);

#endif
