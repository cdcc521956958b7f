/* The node that is asked: whether it answers now, what it holds, where it stands, and what it
 * remembers.
 *
 * The rule: until a query is `remembered` nothing is changed, so an ask may still be the Python's.
 * A query is remembered as `counter.relay.Relay.remember` does it.
 */
#ifndef GOSSIP_COUNTER_NODE_H
#define GOSSIP_COUNTER_NODE_H

#include "arc.h"
#include "shared.h"

#define FORGOTTEN_AT_ONCE_MAX 2               /* counter.relay.FORGOTTEN_AT_ONCE_MAX */
#define TOLD_BYTES_MAX (2 * NUMBER_BYTES_MAX) /* what an answer says of its node */

/* Where its node stands in the view it looked at last: `counter.relay.Stand`. */
typedef struct {
    PyObject *view, *told;
    uint64_t position, before, after, roll;
    int has_before, has_after, has_place;
} Stand;

/* Where the classes of the Python keep what is needed here. */
typedef struct {
    Py_ssize_t own_positive, own_negative, counters_own, counters_names, counters_others;
    Py_ssize_t seen_value, seen_flags, seen_arcs, seen_cut, seen_children, seen_is_stopped;
    Py_ssize_t seen_others;
    Py_ssize_t stand_position, stand_before, stand_after, stand_roll, stand_place, stand_told;
    Py_ssize_t expiry_line, expiry_strays;
    PyTypeObject *seen, *stand, *share, *counters, *expiry;
    Members members;
} Layout;

typedef struct {
    Shared shared;
    Layout layout;
    PyObject *chunks;
} State;

typedef struct {
    PyObject_HEAD
    PyObject *otherwise; /* the way of the Python */
    PyObject *relay, *known, *roll_dice, *running, *counters, *own, *membership;
    PyObject *expiry, *line, *strays, *append, *popleft; /* counter.expiry.Expiry */
    Py_ssize_t queries_max;
    double memory_s;
    Stand stand;
    State *state;
} Asks;

static PyObject *s_doubtful, *s_is_doubted, *s_mute_at, *s_stand_in, *no_fields;
static PyObject *s_first, *s_note, *s_pop;

/* Whether an attribute is the very object; -1 with an exception set. */
static inline int
is_attribute(PyObject *object, PyObject *name, PyObject *wanted)
{
    PyObject *found = PyObject_GetAttr(object, name);

    if (found == NULL)
        return -1;
    Py_DECREF(found);
    return found == wanted;
}

/* Read a slot that holds a number; 0 when it does not. `is_there` unless it is past 64 bits. */
static inline int
slot_number(PyObject *object, Py_ssize_t offset, uint64_t *number, int *is_there)
{
    PyObject *value = SLOT(object, offset);

    if (value == NULL || !PyLong_CheckExact(value))
        return 0;
    *number = PyLong_AsUnsignedLongLong(value);
    *is_there = 1;
    if (*number == UINT64_MAX && PyErr_Occurred()) {
        PyErr_Clear(); /* -1 or 2^64: nobody is before, or behind */
        *is_there = 0;
    }
    return 1;
}

/* Look where the node stands in the newest view; 1 done, 0 not understood, -1 with an exception. */
static inline int
look_around(Asks *self, PyObject *view)
{
    const Layout *at = &self->state->layout;
    Stand *stand = &self->stand;
    PyObject *found = PyObject_CallMethodOneArg(self->relay, s_stand_in, view);
    int is_there = 1, is_good;

    if (found == NULL)
        return -1;
    Py_CLEAR(stand->view);
    is_good = Py_IS_TYPE(found, at->stand)
        && slot_number(found, at->stand_position, &stand->position, &is_there) && is_there
        && slot_number(found, at->stand_roll, &stand->roll, &is_there) && is_there
        && slot_number(found, at->stand_before, &stand->before, &stand->has_before)
        && slot_number(found, at->stand_after, &stand->after, &stand->has_after)
        && SLOT(found, at->stand_place) != NULL && SLOT(found, at->stand_told) != NULL
        && PyBytes_CheckExact(SLOT(found, at->stand_told))
        && PyBytes_GET_SIZE(SLOT(found, at->stand_told)) <= TOLD_BYTES_MAX;
    if (is_good) {
        stand->has_place = SLOT(found, at->stand_place) != Py_None;
        Py_XSETREF(stand->told, Py_NewRef(SLOT(found, at->stand_told)));
        stand->view = Py_NewRef(view);
    }
    Py_DECREF(found);
    return is_good;
}

/* Whether the arc holds this node and nobody else. */
static inline int
is_alone(const Stand *stand, const Ask *ask)
{
    /* Without a place in the view, before and after are the position itself. */
    return (!stand->has_before || stand->before < ask->low) && ask->low <= stand->position
        && stand->position <= ask->last && (!stand->has_after || ask->last < stand->after);
}

/* Whether the node answers asks at all now; -1 with an exception set. */
static inline int
is_answering(Asks *self, double now)
{
    PyObject *mute_at;
    double from;
    int is_same;

    if (PyDict_GET_SIZE(SLOT(self->counters, self->state->layout.counters_others)) != 0)
        return 0;
    is_same = is_attribute(self->membership, s_is_doubted, Py_False);
    if (is_same <= 0)
        return is_same;
    mute_at = PyObject_GetAttr(self->relay, s_mute_at);
    if (mute_at == NULL)
        return -1;
    from = PyFloat_AsDouble(mute_at);
    Py_DECREF(mute_at);
    return from == -1.0 && PyErr_Occurred() ? -1 : now < from;
}

/* Whether all that matters of the key is one number; it goes into `value`. -1 with an exception. */
static inline int
is_counted_plainly(Asks *self, PyObject *key, PyObject **value)
{
    PyObject *names = SLOT(self->counters, self->state->layout.counters_names), *doubtful, *found;
    int is_in = 0, overflow;

    if (PyDict_GET_SIZE(SLOT(self->own, self->state->layout.own_negative)) != 0)
        return 0;
    if (PyDict_GET_SIZE(names) != 0 && (is_in = PyDict_Contains(names, key)) != 0)
        return is_in < 0 ? -1 : 0;
    doubtful = PyObject_GetAttr(self->relay, s_doubtful);
    if (doubtful == NULL)
        return -1;
    if (doubtful != no_fields)
        is_in = PySequence_Contains(doubtful, key);
    Py_DECREF(doubtful);
    if (is_in != 0)
        return is_in < 0 ? -1 : 0;
    found = PyDict_GetItemWithError(SLOT(self->own, self->state->layout.own_positive), key);
    if (found == NULL) {
        *value = PyErr_Occurred() ? NULL : PyLong_FromLong(0);
        return *value == NULL ? -1 : 1;
    }
    if (!PyLong_CheckExact(found) || PyLong_AsLongLongAndOverflow(found, &overflow) < 0 || overflow)
        return 0;
    *value = Py_NewRef(found);
    return 1;
}

/* Whether all tables of counts are plain ones; with one of another kind it is the Python's. */
static inline int
has_tables(const Asks *self)
{
    const Layout *at = &self->state->layout;
    PyObject *tables[] = {
        SLOT(self->counters, at->counters_others), SLOT(self->counters, at->counters_names),
        SLOT(self->own, at->own_positive), SLOT(self->own, at->own_negative),
    };

    for (int each = 0; each < 4; each++)
        if (tables[each] == NULL || !PyDict_CheckExact(tables[each]))
            return 0;
    return 1;
}

/* Take out the query whose time is over first, as `Expiry.pop` does; NULL with an exception set. */
static inline PyObject *
first_out(Asks *self)
{
    PyObject *row, *query;

    if (PyList_GET_SIZE(self->strays) != 0)
        return PyObject_CallMethodNoArgs(self->expiry, s_pop);
    row = PyObject_CallNoArgs(self->popleft);
    if (row == NULL)
        return NULL;
    query = PyTuple_CheckExact(row) && PyTuple_GET_SIZE(row) == 2
        ? Py_NewRef(PyTuple_GET_ITEM(row, 1))
        : PyErr_Format(PyExc_TypeError, "a query that is over is a time and an id");
    Py_DECREF(row);
    return query;
}

/* Forget the query whose time is over first; -1 with an exception set. */
static inline int
forget_first(Asks *self)
{
    PyObject *query = first_out(self);
    int done;

    if (query == NULL)
        return -1;
    done = PyDict_DelItem(self->known, query);
    Py_DECREF(query);
    if (done < 0 && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_Clear();
        done = 0;
    }
    return done;
}

/* Read the time at an end of the line; 0 when nobody stands in it, -1 with an exception set. */
static inline int
time_at(Asks *self, int is_last, double *until)
{
    Py_ssize_t count = PyObject_Size(self->line);
    PyObject *row;

    if (count <= 0)
        return (int)count;
    row = PySequence_GetItem(self->line, is_last ? count - 1 : 0);
    if (row == NULL)
        return -1;
    if (PyTuple_CheckExact(row) && PyTuple_GET_SIZE(row) == 2)
        *until = PyFloat_AsDouble(PyTuple_GET_ITEM(row, 0));
    else
        PyErr_SetString(PyExc_TypeError, "a query that is over is a time and an id");
    Py_DECREF(row);
    return PyErr_Occurred() ? -1 : 1;
}

/* Whether the first of all is over, as `Expiry.first` says; -1 with an exception set. */
static inline int
is_one_over(Asks *self, double now)
{
    PyObject *first;
    double until = 0.0;
    int is_there;

    if (PyList_GET_SIZE(self->strays) == 0) {
        is_there = time_at(self, 0, &until);
        return is_there <= 0 ? is_there : until <= now;
    }
    first = PyObject_CallMethodNoArgs(self->expiry, s_first);
    if (first == NULL)
        return -1;
    until = PyFloat_AsDouble(first); /* there are strays: it is a time */
    Py_DECREF(first);
    return PyErr_Occurred() ? -1 : until <= now;
}

/* Forget up to two queries whose time is over, and as many as it takes to have room for one.
 *
 * -1 with an exception set.
 */
static inline int
forget_some(Asks *self, double now)
{
    int is_over = 1;

    for (int left = FORGOTTEN_AT_ONCE_MAX; left > 0; left--) {
        is_over = is_one_over(self, now);
        if (is_over <= 0)
            break;
        if (forget_first(self) < 0)
            return -1;
    }
    if (is_over < 0)
        return -1;
    while (PyDict_GET_SIZE(self->known) >= self->queries_max)
        if (forget_first(self) < 0)
            return -1;
    return 0;
}

/* Say when a query is to be forgotten, as `Expiry.note` does; -1 with an exception set. */
static inline int
note_expiry(Asks *self, PyObject *query, double until)
{
    PyObject *due = PyFloat_FromDouble(until), *row, *result = NULL;
    double last = 0.0;
    int is_there;

    if (due == NULL)
        return -1;
    is_there = time_at(self, 1, &last);
    if (is_there > 0 && last > until)
        result = PyObject_CallMethodObjArgs(self->expiry, s_note, due, query, NULL);
    else if (is_there >= 0 && (row = PyTuple_Pack(2, due, query)) != NULL) {
        result = PyObject_CallOneArg(self->append, row);
        Py_DECREF(row);
    }
    Py_DECREF(due);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Begin to know a query, as `Relay.remember` does; NULL with an exception set. */
static inline PyObject *
remembered(Asks *self, PyObject *query, PyObject *value, const Ask *ask, double now)
{
    const Layout *at = &self->state->layout;
    double until = now + (double)ask->budget_ms / 1000.0 + self->memory_s;
    PyObject *seen;

    if (forget_some(self, now) < 0 || (seen = at->seen->tp_alloc(at->seen, 0)) == NULL)
        return NULL;
    SLOT(seen, at->seen_value) = Py_NewRef(value);
    SLOT(seen, at->seen_flags) = PyLong_FromLong(0); /* a small number: always there */
    SLOT(seen, at->seen_arcs) = Py_NewRef(no_fields);
    SLOT(seen, at->seen_cut) = Py_NewRef(no_fields);
    SLOT(seen, at->seen_children) = Py_NewRef(no_fields);
    SLOT(seen, at->seen_is_stopped) = Py_NewRef(Py_False);
    SLOT(seen, at->seen_others) = Py_NewRef(no_fields);
    if (PyDict_SetItem(self->known, query, seen) < 0 || note_expiry(self, query, until) < 0)
        Py_CLEAR(seen);
    return seen;
}

#endif
