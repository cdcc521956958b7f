/* What all nodes of a process have in common: the query, key and home of the last ask.
 *
 * The rule: one of each is kept, and whoever is asked with another one puts that in its place.
 */
#ifndef GOSSIP_COUNTER_SHARED_H
#define GOSSIP_COUNTER_SHARED_H

#include "ask.h"

#include <arpa/inet.h>

/* The last query, key and home that any node of this process was asked with: the next is most often
 * asked with the same, and then shares them. */
typedef struct {
    PyObject *query, *key, *home;
    unsigned char home_packed[6];
} Shared;

static inline PyObject *
shared_query(Shared *shared, const Ask *ask)
{
    if (shared->query == NULL
        || memcmp(PyBytes_AS_STRING(shared->query), ask->query, QUERY_BYTES) != 0) {
        PyObject *query = PyBytes_FromStringAndSize((const char *)ask->query, QUERY_BYTES);

        if (query == NULL)
            return NULL;
        Py_XSETREF(shared->query, query);
    }
    return Py_NewRef(shared->query);
}

static inline PyObject *
shared_key(Shared *shared, const Ask *ask)
{
    PyObject *key = shared->key;

    if (key == NULL || PyUnicode_GET_LENGTH(key) != ask->key_size
        || memcmp(PyUnicode_1BYTE_DATA(key), ask->key, (size_t)ask->key_size) != 0) {
        key = PyUnicode_New(ask->key_size, 0x7F);
        if (key == NULL)
            return NULL;
        memcpy(PyUnicode_1BYTE_DATA(key), ask->key, (size_t)ask->key_size);
        Py_XSETREF(shared->key, key);
    }
    return Py_NewRef(key);
}

static inline PyObject *
shared_home(Shared *shared, const Ask *ask)
{
    char text[INET_ADDRSTRLEN];
    PyObject *home;

    if (shared->home == NULL || memcmp(shared->home_packed, ask->home, 6) != 0) {
        if (inet_ntop(AF_INET, ask->home, text, sizeof text) == NULL)
            return PyErr_SetFromErrno(PyExc_OSError);
        home = Py_BuildValue("(si)", text, ask->home[4] << 8 | ask->home[5]);
        if (home == NULL)
            return NULL;
        Py_XSETREF(shared->home, home);
        memcpy(shared->home_packed, ask->home, 6);
    }
    return Py_NewRef(shared->home);
}

#endif
