/* What every way of `counting.c` stands on: how a frame begins, the next operation of a client, and
 * what the ledger notes of it. See there.
 */
#ifndef GOSSIP_COUNTER_WAY_H
#define GOSSIP_COUNTER_WAY_H

#include "held.h"
#include "keys.h"
#include "places.h"

#include <structmember.h>
#include <string.h>

#define SEQUENCE_AT 24                  /* length, array of five, tag, bytes of 16, session */
#define SESSION_AT 8
#define FRAME_MIN (SEQUENCE_AT + 5)     /* one pair of a key of one letter, the ack */
#define FRAME_MAX (4 + 65536)           /* tracker.wire.FRAME_BYTES_MAX */
#define AMOUNT_MAX (((long long)1 << 53) - 1) /* tracker.wire.AMOUNT_MAX */
#define SHARE_MAX ((long long)1 << 62)  /* tracker.wire.SHARE_MAX */
#define WINDOW_MAX 1024                 /* counter.sessions.WINDOW_MAX */

/* Names, interned once. */
static const char *const spelled[] = {"counts", NULL};
enum { COUNTS };
static PyObject *words[1];

/* What a way holds, in the order of its slots. */
enum {
    PLAIN, LEDGER, KNOWN, KEEP, WAITING, PERSIST, CHECKSUM, COUNTERS, OWN, TOTALS, NAMES, SESSIONS, TABLE,
    MOVE_TO_END, CONFIG, DOUBTFUL, QUEUE, APPEND, UNDERWAY, TURNS, SESSION, HELD_MAX
};

/* Where it is read and written: in the ledger, its share, its sessions, its settings, a session,
 * and in what is made of an increment. */
enum {
    IS_LEAVING, IS_HELD, TAKEN, TOKEN, RESERVED, CEILING, REMEMBERED, OPERATIONS_MAX, INFLIGHT_MAX,
    HIGHEST, RECENT, WAITING_PARTS, PERSIST_PARTS = WAITING_PARTS + 6, PLACES = PERSIST_PARTS + 3
};
static const Place wanted[PLACES] = {
    {LEDGER, "is_leaving"}, {LEDGER, "is_held"}, {LEDGER, "operations"}, {LEDGER, "token"},
    {LEDGER, "_reserved"}, {OWN, "ceiling"}, {SESSIONS, "operations"}, {SESSIONS, "operations_max"},
    {CONFIG, "inflight_max"}, {SESSION, "highest"}, {SESSION, "recent"},
    {WAITING, "token"}, {WAITING, "link"}, {WAITING, "operation"}, {WAITING, "pairs"},
    {WAITING, "counts_later"}, {WAITING, "magnitude"},
    {PERSIST, "token"}, {PERSIST, "kind"}, {PERSIST, "record"},
};

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *held[HELD_MAX];
    Py_ssize_t at[PLACES];
    PyObject **keys; /* by the hash of their bytes; only plain ASCII, only keys that were held */
    unsigned char acks[2];
} Way;

/* A frame in the one way it can be packed. */
typedef struct {
    const unsigned char *data;
    Py_ssize_t size;
    Py_ssize_t ending; /* where what stands behind the sequence begins */
    long long sequence;
} Frame;

/* The next operation of a client, once it is known to be that. Holds its references. */
typedef struct {
    PyObject *session, *sequence, *client, *recent;
    PyObject *dropped; /* the sequence that falls out of the window; NULL: none does */
    PyObject *taken, *remembered; /* how many there are with this one; made before anything changes */
} Operation;

/* -- totals -----------------------------------------------------------------------------------*/

/* The total of a key: 1, or 0 for a key that is not held. */
static inline int
total_of(Way *self, PyObject *key, long long *total)
{
    PyObject *found = PyDict_GetItemWithError(self->held[TOTALS], key);

    if (found == NULL)
        return PyErr_Occurred() ? -1 : 0;
    return plain_number(found, total);
}

static inline int
put_total(Way *self, PyObject *key, long long total)
{
    PyObject *object = PyLong_FromLongLong(total);
    int done;

    if (object == NULL)
        return -1;
    done = PyDict_SetItem(self->held[TOTALS], key, object);
    Py_DECREF(object);
    return done;
}

static inline int
is_empty(PyObject *container)
{
    Py_ssize_t size = PyObject_Size(container);

    return size < 0 ? -1 : size == 0;
}

/* -- frames -----------------------------------------------------------------------------------*/

static inline int
is_frame(PyObject *bytes, Frame *frame)
{
    static const unsigned char begins[4] = {0x95, 0x20, 0xc4, 0x10};
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(bytes);
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    unsigned long long sequence;
    int width;

    if (size < FRAME_MIN || size > FRAME_MAX || memcmp(data + 4, begins, 4) != 0)
        return 0;
    if (big_endian(data, 4) != (unsigned long long)size - 4)
        return 0;
    width = packed_number(data + SEQUENCE_AT, size - SEQUENCE_AT, &sequence);
    if (width == 0 || width > 5 || size < SEQUENCE_AT + width + 4)
        return 0;
    frame->data = data;
    frame->size = size;
    frame->ending = SEQUENCE_AT + width;
    frame->sequence = (long long)sequence;
    return 1;
}

/* Return the frame of a `Counted` that was not there before; see `counter.counting.counted`. */
static inline PyObject *
counted(const Frame *frame)
{
    unsigned char reply[16] = {0, 0, 0, 0, 0x94, 0x21};
    int width = (int)frame->ending - SEQUENCE_AT;

    /* The sequence is packed as it came: there is one way only. */
    memcpy(reply + 6, frame->data + SEQUENCE_AT, (size_t)width);
    reply[6 + width] = reply[7 + width] = 0xc2;
    reply[3] = (unsigned char)(4 + width);
    return PyBytes_FromStringAndSize((const char *)reply, 8 + width);
}

/* -- operations -------------------------------------------------------------------------------- */

static void
release(Operation *operation)
{
    Py_CLEAR(operation->session);
    Py_CLEAR(operation->sequence);
    Py_CLEAR(operation->client);
    Py_CLEAR(operation->recent);
    Py_CLEAR(operation->dropped);
    Py_CLEAR(operation->taken);
    Py_CLEAR(operation->remembered);
}

/* See what falls out of the window; `recent` is a dict. */
static inline int
finds_room(Way *self, Operation *operation, long long sequence)
{
    Py_ssize_t remembered = PyDict_GET_SIZE(operation->recent);
    PyObject *content;
    long long operations, limit;
    int done;

    if (remembered < WINDOW_MAX) {
        if ((done = number_at(self->held[SESSIONS], self->at[REMEMBERED], &operations)) <= 0)
            return done;
        if ((done = number_at(self->held[SESSIONS], self->at[OPERATIONS_MAX], &limit)) <= 0)
            return done;
        if (operations >= limit)
            return 0;
        operation->remembered = PyLong_FromLongLong(operations + 1);
        return operation->remembered == NULL ? -1 : 1;
    }
    if (remembered > WINDOW_MAX)
        return 0;
    operation->dropped = PyLong_FromLongLong(sequence - WINDOW_MAX);
    if (operation->dropped == NULL)
        return -1;
    content = PyDict_GetItemWithError(operation->recent, operation->dropped);
    if (content == NULL)
        return PyErr_Occurred() ? -1 : 0;
    return content != Py_None;
}

/* Whether this is the next operation of a known client; changes nothing. */
static inline int
follows(Way *self, const Frame *frame, Operation *operation)
{
    long long highest, operations;
    int done;

    operation->session = PyBytes_FromStringAndSize((const char *)frame->data + SESSION_AT, 16);
    if (operation->session == NULL)
        return -1;
    operation->client = PyDict_GetItemWithError(self->held[TABLE], operation->session);
    if (operation->client == NULL)
        return PyErr_Occurred() ? -1 : 0;
    Py_INCREF(operation->client);
    if (!Py_IS_TYPE(operation->client, (PyTypeObject *)self->held[SESSION]))
        return 0;
    if ((done = number_at(operation->client, self->at[HIGHEST], &highest)) <= 0)
        return done;
    if (frame->sequence - 1 != highest)
        return 0;
    if ((operation->recent = thing_at(operation->client, self->at[RECENT])) == NULL)
        return -1;
    Py_INCREF(operation->recent);
    if (!PyDict_CheckExact(operation->recent))
        return 0;
    if ((done = number_at(self->held[LEDGER], self->at[TAKEN], &operations)) <= 0)
        return done;
    operation->sequence = PyLong_FromLongLong(frame->sequence);
    operation->taken = PyLong_FromLongLong(operations + 1);
    if (operation->sequence == NULL || operation->taken == NULL)
        return -1;
    return finds_room(self, operation, frame->sequence);
}

/* Remember it by its content, or nothing of it: -1 with an exception set.
 *
 * Who sends it again is told that it was counted, so what follows must not fail. */
static inline int
remember(Way *self, Operation *operation, PyObject *content)
{
    PyObject *moved = PyObject_CallOneArg(self->held[MOVE_TO_END], operation->session);

    if (moved == NULL)
        return -1;
    Py_DECREF(moved);
    if (PyDict_SetItem(operation->recent, operation->sequence, content) < 0)
        return -1;
    put_slot(operation->client, self->at[HIGHEST], Py_NewRef(operation->sequence));
    put_slot(self->held[LEDGER], self->at[TAKEN], Py_NewRef(operation->taken));
    if (operation->dropped != NULL)
        return PyDict_DelItem(operation->recent, operation->dropped);
    put_slot(self->held[SESSIONS], self->at[REMEMBERED], Py_NewRef(operation->remembered));
    return 0;
}

/* Whether the ledger counts for clients now. */
static inline int
is_open(Way *self)
{
    int done = is_down_at(self->held[LEDGER], self->at[IS_LEAVING]);

    return done <= 0 ? done : is_down_at(self->held[LEDGER], self->at[IS_HELD]);
}

/* -- on disk ----------------------------------------------------------------------------------- */

/* What `Ledger._queued` does, but for the record: returns it for `keep`. */
static inline PyObject *
queued(Way *self, PyObject *link, Operation *operation, PyObject *pairs, long long reserved,
       long long magnitude, PyObject *record)
{
    PyObject *token = NULL, *identity = NULL, *waiting = NULL, *persist = NULL, *done = NULL;
    PyObject *much = PyLong_FromLongLong(magnitude);
    long long last;

    if (much == NULL || number_at(self->held[LEDGER], self->at[TOKEN], &last) <= 0)
        goto end;
    if ((token = PyLong_FromLongLong(last + 1)) == NULL)
        goto end;
    if ((identity = PyTuple_Pack(2, operation->session, operation->sequence)) == NULL)
        goto end;
    waiting = made_of(self->held[WAITING], self->at + WAITING_PARTS,
                      (PyObject *[]){token, link, identity, pairs, Py_True, much}, 6);
    if (waiting != NULL)
        persist = made_of(self->held[PERSIST], self->at + PERSIST_PARTS,
                          (PyObject *[]){token, words[COUNTS], record}, 3);
    if (persist == NULL)
        goto end;
    put_slot(self->held[LEDGER], self->at[TOKEN], Py_NewRef(token));
    if (put_number_at(self->held[LEDGER], self->at[RESERVED], reserved + magnitude) < 0 ||
        (done = PyObject_CallOneArg(self->held[APPEND], waiting)) == NULL ||
        PyDict_SetItem(self->held[UNDERWAY], identity, waiting) < 0 ||
        PyDict_SetItem(self->held[TURNS], link, token) < 0)
        Py_CLEAR(persist);
end:
    if (persist == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_OverflowError, "too many tokens");
    Py_XDECREF(much);
    Py_XDECREF(token);
    Py_XDECREF(identity);
    Py_XDECREF(waiting);
    Py_XDECREF(done);
    return persist;
}

/* What `Ledger.followed` asks of the ledger. */
static inline int
has_room(Way *self, long long magnitude, long long *reserved)
{
    Py_ssize_t waiting;
    long long limit, ceiling;
    int done;

    if ((done = is_open(self)) <= 0 || (done = is_empty(self->held[DOUBTFUL])) <= 0)
        return done;
    if ((waiting = PyObject_Size(self->held[QUEUE])) < 0)
        return -1;
    if ((done = number_at(self->held[CONFIG], self->at[INFLIGHT_MAX], &limit)) <= 0 || waiting >= limit)
        return done < 0 ? -1 : 0;
    if ((done = number_at(self->held[LEDGER], self->at[RESERVED], reserved)) <= 0)
        return done;
    if ((done = number_at(self->held[OWN], self->at[CEILING], &ceiling)) <= 0)
        return done;
    return *reserved >= 0 && *reserved <= SHARE_MAX && ceiling <= SHARE_MAX - *reserved - magnitude;
}

/* Keep an increment whose keys are held: 1 with the reply, which is empty, 0, or -1. */
static inline int
kept(Way *self, PyObject *link, const Frame *frame, PyObject *pairs, long long magnitude,
     PyObject *content, PyObject **reply)
{
    Operation operation = {NULL};
    PyObject *record = NULL, *persist = NULL, *done = NULL;
    long long reserved;
    int is_taken = has_room(self, magnitude, &reserved);

    if (is_taken > 0)
        is_taken = follows(self, frame, &operation);
    if (is_taken <= 0)
        goto end;
    is_taken = -1;
    /* All but the ack, and an array of three in place of one of five and the tag. */
    record = PyBytes_FromStringAndSize((const char *)frame->data + 5, frame->size - 6);
    if (record == NULL)
        goto end;
    PyBytes_AS_STRING(record)[0] = (char)0x93;
    persist = queued(self, link, &operation, pairs, reserved, magnitude, record);
    if (persist == NULL || remember(self, &operation, content) < 0)
        goto end;
    if ((done = PyObject_CallOneArg(self->held[KEEP], persist)) == NULL)
        goto end;
    *reply = PyBytes_FromStringAndSize(NULL, 0);
    is_taken = *reply == NULL ? -1 : 1;
end:
    Py_XDECREF(record);
    Py_XDECREF(persist);
    Py_XDECREF(done);
    release(&operation);
    return is_taken;
}

#endif
