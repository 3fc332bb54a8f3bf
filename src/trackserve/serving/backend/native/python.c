/* Python inside Triton's process: started once, never ended.
 *
 * The library is built without Python's headers and runs with any Python that has a shared
 * library. Its packages are those of the `python3` that is first on PATH.
 */
#define _GNU_SOURCE
#include "backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct _object PyObject;

static const char *const LIBRARIES[] = {"libpython3.12.so.1.0", "libpython3.11.so.1.0", NULL};
static const char MODULE[] = "trackserve.serving.backend.native.adapter";

/* Open libpython; the modules of other libraries find its symbols only if they are global. */
static void *open_python(void) {
    const char *given = getenv("TRACKSERVE_LIBPYTHON");
    void *python = given && *given ? dlopen(given, RTLD_NOW | RTLD_GLOBAL) : NULL;
    for (int i = 0; !python && LIBRARIES[i]; i++) python = dlopen(LIBRARIES[i], RTLD_NOW | RTLD_GLOBAL);
    return python;
}

#define FIND(type, name, ...)                              \
    type (*name)(__VA_ARGS__) = (type(*)(__VA_ARGS__))dlsym(library, #name); \
    if (!name) {                                           \
        snprintf(text, size, "libpython lacks " #name);    \
        return NULL;                                       \
    }

const Callbacks *start_python(char *text, size_t size) {
    void *library = open_python();
    if (!library) {
        snprintf(text, size, "no libpython: set TRACKSERVE_LIBPYTHON to its file");
        return NULL;
    }
    FIND(int, Py_IsInitialized, void)
    FIND(void, Py_InitializeEx, int)
    FIND(void *, PyEval_SaveThread, void)
    FIND(int, PyGILState_Ensure, void)
    FIND(void, PyGILState_Release, int)
    FIND(PyObject *, PyImport_ImportModule, const char *)
    FIND(PyObject *, PyObject_CallMethod, PyObject *, const char *, const char *, ...)
    FIND(void *, PyLong_AsVoidPtr, PyObject *)
    FIND(void, PyErr_Print, void)
    Dl_info self;
    if (!dladdr(MODULE, &self)) self.dli_fname = "";
    if (!Py_IsInitialized()) {
        Py_InitializeEx(0); /* 0: signals stay Triton's */
        PyEval_SaveThread();
    }
    int state = PyGILState_Ensure();
    PyObject *module = PyImport_ImportModule(MODULE);
    PyObject *made = module ? PyObject_CallMethod(module, "callbacks", "s", self.dli_fname) : NULL;
    const Callbacks *callbacks = made ? PyLong_AsVoidPtr(made) : NULL;
    if (!callbacks) {
        PyErr_Print();
        snprintf(text, size, "%s cannot be imported; the reason is above in this log", MODULE);
    }
    PyGILState_Release(state);
    return callbacks;
}
