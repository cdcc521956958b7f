/* Who is in an arc, how it is cut up, and the asks for its parts.
 *
 * The rule: the parts are those of `counter.passing.passed_on`, from the same dice, and the bytes
 * those that it makes; who they are for is drawn in the same order.
 */
#ifndef GOSSIP_COUNTER_ARC_H
#define GOSSIP_COUNTER_ARC_H

#include "ask.h"

static PyObject *s_positions, *s_ring;

/* Where a member keeps its address. */
typedef struct {
    PyTypeObject *type; /* tracker.members.Member */
    Py_ssize_t host, port;
} Members;

/* The members of an arc, but those that are skipped, by their places in the ring. */
typedef struct {
    PyObject *positions, *ring, *sizes;
    Py_ssize_t begin, count;
    Py_ssize_t skipped[SKIP_MAX + 1]; /* places inside the arc, ascending */
    int skipped_count;
    uint64_t skip[SKIP_MAX + 1]; /* positions, in the order of the ask, the own one last */
    int skip_count;
} Arc;

static inline int
position_at(PyObject *positions, Py_ssize_t place, uint64_t *position)
{
    *position = PyLong_AsUnsignedLongLong(PyList_GET_ITEM(positions, place));
    return *position == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

/* Return how many positions are below; -1 with an exception set. */
static inline Py_ssize_t
places_below(PyObject *positions, uint64_t position)
{
    Py_ssize_t low = 0, high = PyList_GET_SIZE(positions);
    uint64_t found;

    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;

        if (position_at(positions, middle, &found) < 0)
            return -1;
        if (found < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Find the places of those that are skipped; -1 with an exception set. */
static inline int
find_skipped(Arc *arc, Py_ssize_t end)
{
    uint64_t found;

    arc->skipped_count = 0;
    for (int each = 0; each < arc->skip_count; each++) {
        Py_ssize_t place = places_below(arc->positions, arc->skip[each]);
        int at = arc->skipped_count;

        if (place < 0)
            return -1;
        if (place < arc->begin || place >= end)
            continue;
        if (position_at(arc->positions, place, &found) < 0)
            return -1;
        if (found != arc->skip[each])
            continue;
        while (at > 0 && arc->skipped[at - 1] > place)
            at--;
        if (at > 0 && arc->skipped[at - 1] == place)
            continue;
        memmove(&arc->skipped[at + 1], &arc->skipped[at],
                sizeof arc->skipped[0] * (size_t)(arc->skipped_count - at));
        arc->skipped[at] = place;
        arc->skipped_count++;
    }
    arc->count = end - arc->begin - arc->skipped_count;
    return 0;
}

/* Return the place of a member of the arc by its number in it. */
static inline Py_ssize_t
place_of(const Arc *arc, Py_ssize_t number)
{
    Py_ssize_t place = arc->begin + number;

    for (int each = 0; each < arc->skipped_count && arc->skipped[each] <= place; each++)
        place++;
    return place;
}

static inline void
end_arc(Arc *arc)
{
    Py_CLEAR(arc->positions);
    Py_CLEAR(arc->ring);
    Py_CLEAR(arc->sizes);
}

/* Find out who is in an arc, and how it is cut up; 1 done, 0 not understood, -1 with an exception.
 *
 * Nothing of it changes anything: an ask that is not understood may still be the Python's.
 */
static inline int
find_arc(const Ask *ask, PyObject *view, uint64_t own, PyObject *chunks, Arc *arc)
{
    Py_ssize_t end;
    int is_known = 0;

    memcpy(arc->skip, ask->skip, sizeof ask->skip[0] * (size_t)ask->skipped);
    arc->skip_count = ask->skipped;
    for (int each = 0; each < ask->skipped; each++)
        is_known |= ask->skip[each] == own;
    if (ask->low <= own && own <= ask->last && !is_known)
        arc->skip[arc->skip_count++] = own;
    if ((arc->positions = PyObject_GetAttr(view, s_positions)) == NULL
        || (arc->ring = PyObject_GetAttr(view, s_ring)) == NULL)
        return -1;
    if (!PyList_CheckExact(arc->positions) || !PyList_CheckExact(arc->ring)
        || PyList_GET_SIZE(arc->positions) != PyList_GET_SIZE(arc->ring))
        return 0;
    arc->begin = places_below(arc->positions, ask->low);
    end = ask->last == UINT64_MAX ? PyList_GET_SIZE(arc->positions)
                                  : places_below(arc->positions, ask->last + 1);
    if (arc->begin < 0 || end < 0 || find_skipped(arc, end) < 0)
        return -1;
    arc->sizes = PyObject_CallFunction(chunks, "nKiK", arc->count,
                                       (unsigned long long)ask->chatter, 1,
                                       (unsigned long long)(ask->age_max - ask->age));
    if (arc->sizes == NULL)
        return -1;
    return PyTuple_CheckExact(arc->sizes) && PyTuple_GET_SIZE(arc->sizes) <= CHATTER_MAX;
}

/* Return the number above `before`, at most `at`, that ends in the most zero bits. */
static inline uint64_t
rounded(uint64_t before, uint64_t at)
{
    int bits = before == at ? 0 : 63 - __builtin_clzll(before ^ at);

    return at >> bits << bits;
}

/* The size of a chunk; -1 with an exception set. */
static inline Py_ssize_t
size_of(PyObject *chunk)
{
    if (!PyTuple_CheckExact(chunk) || PyTuple_GET_SIZE(chunk) != 2) {
        PyErr_SetString(PyExc_TypeError, "a chunk is a round and a size");
        return -1;
    }
    return PyLong_AsSsize_t(PyTuple_GET_ITEM(chunk, 1));
}

/* Draw who is asked of `size` members from `first` on; a new address, NULL with an exception. */
static inline PyObject *
drawn(PyObject *roll_dice, const Members *members, const Arc *arc, Py_ssize_t first,
      Py_ssize_t size)
{
    PyObject *roll = PyObject_CallNoArgs(roll_dice), *member;
    double share = roll == NULL ? 0.0 : PyFloat_AsDouble(roll);
    Py_ssize_t place;

    if (roll == NULL)
        return NULL;
    Py_DECREF(roll);
    place = place_of(arc, first + (Py_ssize_t)(share * (double)size));
    if (PyErr_Occurred())
        return NULL;
    if (place < 0 || place >= PyList_GET_SIZE(arc->ring)
        || !Py_IS_TYPE(member = PyList_GET_ITEM(arc->ring, place), members->type)
        || SLOT(member, members->host) == NULL || SLOT(member, members->port) == NULL) {
        PyErr_SetString(PyExc_IndexError, "nobody stands at this place of the ring");
        return NULL;
    }
    return PyTuple_Pack(2, SLOT(member, members->host), SLOT(member, members->port));
}

/* Write the ask for [low, last], without its array's head; the head goes before `fields`. */
static inline PyObject *
written(unsigned char *fields, unsigned char *arc_at, const Arc *arc, uint64_t low, uint64_t last)
{
    unsigned char *at = put_number(put_number(arc_at, swapped(low)), swapped(last + 1)), *count_at;
    int inside = 0, left_out;

    for (int each = 0; each < arc->skip_count; each++)
        inside += low <= arc->skip[each] && arc->skip[each] <= last;
    fields[-1] = inside ? 0x9D : 0x9C;
    if (inside) {
        left_out = inside > SKIP_MAX - 1 ? inside - (SKIP_MAX - 1) : 0;
        count_at = at++;
        *count_at = (unsigned char)(0x90 | (inside - left_out));
        for (int each = 0; each < arc->skip_count; each++)
            if (low <= arc->skip[each] && arc->skip[each] <= last && --left_out < 0)
                at = put_number(at, arc->skip[each]);
    }
    return PyBytes_FromStringAndSize((char *)fields - 1, at - fields + 1);
}

/* Put an address and a body behind the others; takes both references. -1 with an exception set. */
static inline int
add_pair(PyObject *list, PyObject *to, PyObject *body)
{
    PyObject *pair = to == NULL || body == NULL ? NULL : PyTuple_Pack(2, to, body);
    int done = pair == NULL ? -1 : PyList_Append(list, pair);

    Py_XDECREF(to);
    Py_XDECREF(body);
    Py_XDECREF(pair);
    return done;
}

/* Add the asks for the parts of an arc; -1 with an exception set. */
static inline int
pass_on(PyObject *roll_dice, const Members *members, const Ask *ask, const Arc *arc,
        PyObject *onward)
{
    unsigned char bytes[ASK_BYTES_MAX], *arc_at = put_fields(bytes + 1, ask);
    uint64_t low, last, above = ask->low, before, at;
    Py_ssize_t first = 0;

    for (Py_ssize_t part = 0; part < PyTuple_GET_SIZE(arc->sizes); part++) {
        Py_ssize_t size = size_of(PyTuple_GET_ITEM(arc->sizes, part));
        PyObject *to;

        if (size < 0 || (to = drawn(roll_dice, members, arc, first, size)) == NULL)
            return -1;
        low = above;
        last = ask->last;
        first += size;
        if (first < arc->count) {
            Py_ssize_t place = place_of(arc, first);

            if (position_at(arc->positions, place - 1, &before) < 0
                || position_at(arc->positions, place, &at) < 0) {
                Py_DECREF(to);
                return -1;
            }
            above = rounded(before, at);
            last = above - 1;
        }
        if (add_pair(onward, to, written(bytes + 1, arc_at, arc, low, last)) < 0)
            return -1;
    }
    return 0;
}

#endif
