/* Looking before anything is changed: numbers that objects hold, numbers that bytes spell.
 *
 * The rule: 1 is the plain case, 0 anything else, which is Python's, -1 an exception that is set.
 * Whoever includes this has a table `words` of interned names.
 */
#ifndef GOSSIP_COUNTER_PLAIN_H
#define GOSSIP_COUNTER_PLAIN_H

#include "module.h"

static inline int
plain_number(PyObject *object, long long *value)
{
    int overflow;

    if (!PyLong_CheckExact(object))
        return 0;
    *value = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow;
}

static inline int
number(PyObject *owner, PyObject *word, long long *value)
{
    PyObject *found = PyObject_GetAttr(owner, word);
    int done;

    if (found == NULL)
        return -1;
    done = plain_number(found, value);
    Py_DECREF(found);
    return done;
}

static inline int
put_number(PyObject *owner, PyObject *word, long long value)
{
    PyObject *object = PyLong_FromLongLong(value);
    int done;

    if (object == NULL)
        return -1;
    done = PyObject_SetAttr(owner, word, object);
    Py_DECREF(object);
    return done;
}

/* Whether a flag is False, as most often. */
static inline int
is_down(PyObject *owner, PyObject *word)
{
    PyObject *found = PyObject_GetAttr(owner, word);

    if (found == NULL)
        return -1;
    Py_DECREF(found);
    return found == Py_False;
}

static inline unsigned long long
big_endian(const unsigned char *data, int width)
{
    unsigned long long value = 0;

    for (int at = 0; at < width; at++)
        value = value << 8 | data[at];
    return value;
}

/* Read a number from 0 up as msgpack packs it shortest; returns its bytes, 0 for anything else. */
static inline int
packed_number(const unsigned char *data, Py_ssize_t size, unsigned long long *value)
{
    int width;

    if (size < 1)
        return 0;
    if (data[0] < 0x80) {
        *value = data[0];
        return 1;
    }
    if (data[0] < 0xcc || data[0] > 0xcf)
        return 0;
    width = 1 << (data[0] - 0xcc);
    if (size < 1 + width)
        return 0;
    *value = big_endian(data + 1, width);
    if (width == 1 ? *value < 0x80 : *value >> (4 * width) == 0)
        return 0; /* it would have been packed shorter */
    return 1 + width;
}

/* Intern every name of a list that ends with NULL, once for the process. */
static inline int
intern_all(const char *const *spelled, PyObject **words)
{
    for (; *spelled != NULL; spelled++, words++)
        if (*words == NULL && (*words = PyUnicode_InternFromString(*spelled)) == NULL)
            return -1;
    return 0;
}

#endif
