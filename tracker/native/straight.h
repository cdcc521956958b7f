/* A straight way: what one native module does for another without an object of Python in between.
 *
 * The rule: whoever offers one offers the same as a way for Python too (`take`), made of the very
 * same function, and both take the same bodies, change the same and say the same bytes.
 */
#ifndef GOSSIP_COUNTER_STRAIGHT_H
#define GOSSIP_COUNTER_STRAIGHT_H

#include "module.h"

/* The name of the capsule that `_straight` returns; another layout of this file is another name. */
#define STRAIGHT_NAME "gossip_counter.straight.1"
#define STRAIGHT_BYTES_MAX 64 /* of a reply, with room for the byte of its seal in front */

/* A body that came, its sender and when. */
typedef struct {
    const unsigned char *body;
    Py_ssize_t size;
    PyObject *host; /* of the sender; borrowed */
    long port;
    double now;
} Come;

/* What follows from it: a list of addresses and bodies, or one reply, or nothing. */
typedef struct {
    PyObject *list;        /* a new reference, NULL where there is none */
    unsigned char home[6]; /* whom the reply is for: an address of IPv4, then the port */
    Py_ssize_t reply_size; /* 0 where there is none */
    unsigned char reply[STRAIGHT_BYTES_MAX]; /* from the second byte on */
} Follows;

typedef struct {
    /* Take a body; 1 taken, 0 it is for `take`, and nothing was changed, -1 an exception is set. */
    int (*take)(PyObject *self, const Come *come, Follows *follows);
} Straight;

/* Find the straight way of who takes a body; NULL where there is none: never with an exception.
 *
 * `self` is borrowed from `take`.
 */
static inline const Straight *
straight_of(PyObject *take, PyObject **self)
{
    const Straight *straight = NULL;
    PyObject *capsule;

    if (!PyCFunction_Check(take) || (*self = PyCFunction_GetSelf(take)) == NULL
        || PyModule_Check(*self))
        return NULL;
    capsule = PyObject_CallMethod(*self, "_straight", NULL);
    if (capsule != NULL && PyCapsule_IsValid(capsule, STRAIGHT_NAME))
        straight = PyCapsule_GetPointer(capsule, STRAIGHT_NAME);
    Py_XDECREF(capsule);
    PyErr_Clear();
    return straight;
}

#endif
