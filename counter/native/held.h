/* What a native object holds of others, in one row: taken from them, visited, let go.
 *
 * The rule: what is taken is never replaced by another object as long as its owner lives.
 */
#ifndef GOSSIP_COUNTER_HELD_H
#define GOSSIP_COUNTER_HELD_H

#include "module.h"

/* Which place of the row takes which attribute of what stands at another one. */
typedef struct {
    int what, of;
    const char *name;
    int is_dict;
} Part;

/* Take what a ledger is made of; -1 with an exception set. */
static inline int
take_parts(PyObject **held, const Part *parts, size_t count)
{
    for (const Part *part = parts; part < parts + count; part++) {
        held[part->what] = PyObject_GetAttrString(held[part->of], part->name);
        if (held[part->what] == NULL)
            return -1;
        if (part->is_dict && !PyDict_Check(held[part->what])) {
            PyErr_SetString(PyExc_TypeError, "this is no ledger");
            return -1;
        }
    }
    return 0;
}

static inline int
visit_held(PyObject *self, PyObject **held, int count, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (int at = 0; at < count; at++)
        Py_VISIT(held[at]);
    return 0;
}

static inline int
clear_held(PyObject **held, int count)
{
    for (int at = 0; at < count; at++)
        Py_CLEAR(held[at]);
    return 0;
}

/* End an object that has let go of everything. */
static inline void
end_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

#endif
