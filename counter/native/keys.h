/* Keys that were spelled before: the string of the same bytes, without making it anew.
 *
 * The rule: the table has a fixed size, and what stands in it is only ever a key that the node held
 * or was asked to count, of plain ASCII; who comes to a taken place replaces what was there.
 */
#ifndef GOSSIP_COUNTER_KEYS_H
#define GOSSIP_COUNTER_KEYS_H

#include "module.h"

#include <string.h>

#define KEYS_MAX 8192                   /* keys whose strings are kept; a power of two */

/* Return the key that is spelled so, NULL for none: with no exception where it is only not plain.
 * `place` is where it may be kept by whoever knows that it is worth it; NULL: it is there, or no
 * plain ASCII. */
static inline PyObject *
spelled_key(PyObject **keys, const unsigned char *data, Py_ssize_t size, PyObject ***place)
{
    unsigned long long hash = 14695981039346656037ULL; /* FNV-1a, draft-eastlake-fnv */
    unsigned char all = 0;
    PyObject *key, **slot;

    for (Py_ssize_t at = 0; at < size; at++) {
        if (data[at] == 0)
            return NULL; /* a name of an epoch, which nobody may send */
        all |= data[at];
        hash = (hash ^ data[at]) * 1099511628211ULL;
    }
    slot = keys + ((hash ^ hash >> 32) & (KEYS_MAX - 1));
    *place = NULL;
    key = *slot;
    if (key != NULL && PyUnicode_GET_LENGTH(key) == size &&
        memcmp(PyUnicode_1BYTE_DATA(key), data, (size_t)size) == 0)
        return Py_NewRef(key);
    key = PyUnicode_DecodeUTF8((const char *)data, size, NULL);
    if (key == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            PyErr_Clear();
        return NULL;
    }
    if (all < 0x80)
        *place = slot;
    return key;
}

/* Give a table of keys back, if there is one. */
static inline void
forget_keys(PyObject **keys)
{
    for (int at = 0; keys != NULL && at < KEYS_MAX; at++)
        Py_XDECREF(keys[at]);
    PyMem_Free(keys);
}

#endif
