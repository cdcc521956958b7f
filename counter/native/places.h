/* Where objects of the Python's own classes keep what an increment reads and writes.
 *
 * The rule: the classes say where, when a way is made (`slot_of`); a place is looked at only in an
 * object of the very class that said so. As in `plain.h`, 1 is the plain case, 0 any other, -1 an
 * exception that is set.
 */
#ifndef GOSSIP_COUNTER_PLACES_H
#define GOSSIP_COUNTER_PLACES_H

#include "plain.h"

/* A place that is wanted: of which class, and how it is spelled there. */
typedef struct {
    int of;
    const char *name;
} Place;

/* What stands in a place, a reference that is not the caller's; NULL with an exception set. */
static inline PyObject *
thing_at(PyObject *owner, Py_ssize_t place)
{
    PyObject *found = SLOT(owner, place);

    if (UNLIKELY(found == NULL))
        PyErr_Format(PyExc_AttributeError, "a slot of %R is empty", Py_TYPE(owner));
    return found;
}

static inline int
number_at(PyObject *owner, Py_ssize_t place, long long *value)
{
    PyObject *found = thing_at(owner, place);

    return found == NULL ? -1 : plain_number(found, value);
}

static inline int
put_number_at(PyObject *owner, Py_ssize_t place, long long value)
{
    PyObject *object = PyLong_FromLongLong(value);

    if (object == NULL)
        return -1;
    put_slot(owner, place, object);
    return 0;
}

/* Whether a flag is False, as most often. */
static inline int
is_down_at(PyObject *owner, Py_ssize_t place)
{
    PyObject *found = thing_at(owner, place);

    return found == NULL ? -1 : found == Py_False;
}

/* Find places, each in the class at the index it names; -1 with an exception set. */
static inline int
find_places(const Place *wanted, size_t count, PyObject *const *classes, Py_ssize_t *places)
{
    for (size_t at = 0; at < count; at++)
        if ((places[at] = slot_of(classes[wanted[at].of], wanted[at].name)) < 0)
            return -1;
    return 0;
}

/* An object of a class whose fields are these, as its `__init__` would make it. */
static inline PyObject *
made_of(PyObject *class, const Py_ssize_t *places, PyObject *const *fields, int count)
{
    PyTypeObject *type = (PyTypeObject *)class;
    PyObject *object = type->tp_alloc(type, 0);

    for (int at = 0; object != NULL && at < count; at++)
        SLOT(object, places[at]) = Py_NewRef(fields[at]);
    return object;
}

#endif
