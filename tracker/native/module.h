/* What every native module needs: Python's own interface, and the digest of the source.
 *
 * The rule: only what is public in CPython 3.11 and later, nothing that begins with _Py.
 */
#ifndef GOSSIP_COUNTER_MODULE_H
#define GOSSIP_COUNTER_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST "" /* compiled by hand: never used by the product */
#endif

/* Say what the module was built from; -1 with an exception set when there is no memory. */
static inline int
add_source(PyObject *module)
{
    return PyModule_AddStringConstant(module, "SOURCE", SOURCE_DIGEST);
}

#define UNLIKELY(what) __builtin_expect(!!(what), 0)
#define LIKELY(what) __builtin_expect(!!(what), 1)

#endif
