/* `Gathering`: one `epoll` for the sockets of many nodes of one process, of which alone the event
 * loop knows.
 *
 * A thousand sockets that have a datagram each cost one call of the loop. And they are read in
 * batches: first a datagram is read from each of so many sockets, then all of them are taken, then
 * the replies are sent. So each of the three finds its own code in the processor's caches.
 *
 * The rule: what is read of one socket is taken in the order in which it came, and answered in that
 * order; whatever one of them raises ends nothing but its own.
 */
#ifndef GOSSIP_COUNTER_GATHERING_H
#define GOSSIP_COUNTER_GATHERING_H

#include "receiving.h"

#include <sys/epoll.h>
#include <unistd.h>

#define COMERS_PER_TURN_MAX 256 /* sockets read in one turn of the event loop */
#define BATCH_MAX 32            /* of them, read before any is taken */
#define WATCHED_MAX (1 << 20)   /* numbers of open files */

typedef struct {
    PyObject_HEAD
    int poll;
    Datagrams **watched; /* by their numbers */
    int room;
} Gathering;

/* What one socket of a batch had. */
typedef struct {
    Datagrams *who; /* a reference of its own */
    Address from;
    Py_ssize_t size; /* -1 where there was nothing, or it is taken already */
    char bytes[DATAGRAM_BYTES_MAX + 1];
} Comer;

static PyTypeObject *datagrams_type;

/* Find who is watched; NULL when nobody is. */
static Datagrams *
watched_at(const Gathering *self, int number)
{
    return number < 0 || number >= self->room ? NULL : self->watched[number];
}

/* Keep what was raised until the batch is over: the first; what comes later is told at once. */
static void
keep_raised(PyObject **kept)
{
    PyObject *type, *value, *trace;

    if (*kept != NULL) {
        PyErr_WriteUnraisable(NULL);
        return;
    }
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL && value != NULL)
        PyException_SetTraceback(value, trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    *kept = value;
}

/* Read one datagram, or take many at once where there were more a moment ago. */
static void
read_comer(Comer *comer, double now, PyObject **kept)
{
    Datagrams *who = comer->who;
    socklen_t size = sizeof comer->from;

    comer->size = -1;
    if (who->number < 0)
        return;
    if (looks_for_many(who, now)) {
        if (took_many(who) < 0 || decided(who) < 0)
            keep_raised(kept);
        return;
    }
    comer->size = recvfrom(who->number, comer->bytes, sizeof comer->bytes, 0, &comer->from.any,
                           &size);
    if (comer->size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        PyObject *result = PyObject_CallMethodNoArgs((PyObject *)who, s_refused_soon);

        if (result == NULL)
            keep_raised(kept);
        Py_XDECREF(result);
    }
}

/* Take a batch: read all, take all, send what follows. */
static void
take_batch(Comer *comers, int count, PyObject **kept)
{
    Outbox outbox = {.count = 0};
    double now = monotonic_s();

    for (int at = 0; at < count; at++)
        read_comer(&comers[at], now, kept);
    for (int at = 0; at < count; at++) {
        Comer *comer = &comers[at];

        /* Whoever was taken before may have closed this one. */
        if (comer->size >= 0 && comer->who->number >= 0
            && (taken(comer->who, comer->bytes, comer->size, &comer->from, &outbox) < 0
                || decided(comer->who) < 0))
            keep_raised(kept);
    }
    for (int at = 0; at < outbox.count; at++) {
        Letter *letter = &outbox.letters[at];

        if (letter->who->number >= 0 && letter->who->traffic != NULL
            && send_reply(letter->who, letter->home, letter->bytes, letter->size) < 0)
            keep_raised(kept);
        Py_DECREF((PyObject *)letter->who);
    }
}

static PyObject *
gathering_come(PyObject *self, PyObject *nothing)
{
    struct epoll_event events[COMERS_PER_TURN_MAX];
    Gathering *own = (Gathering *)self;
    int count = epoll_wait(own->poll, events, COMERS_PER_TURN_MAX, 0);
    PyObject *kept = NULL;
    Comer comers[BATCH_MAX];

    if (count < 0 && errno != EINTR)
        return PyErr_SetFromErrno(PyExc_OSError);
    for (int at = 0; at < count;) {
        int some = 0;

        for (; at < count && some < BATCH_MAX; at++) {
            Datagrams *who = watched_at(own, events[at].data.fd);

            if (who != NULL)
                comers[some++].who = (Datagrams *)Py_NewRef((PyObject *)who);
        }
        take_batch(comers, some, &kept);
        while (some > 0)
            Py_DECREF(comers[--some].who);
    }
    if (kept != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(kept), kept);
        Py_DECREF(kept);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- who is watched ------------------------------------------------------------------------- */

/* Have room for a socket of this number; -1 with an exception set. */
static int
has_room_for(Gathering *self, int number)
{
    int room = self->room == 0 ? 64 : self->room;
    Datagrams **watched;

    if (number < self->room)
        return 0;
    if (number >= WATCHED_MAX) {
        PyErr_Format(PyExc_ValueError, "more than %d open files", WATCHED_MAX);
        return -1;
    }
    while (room <= number)
        room *= 2;
    watched = PyMem_Realloc(self->watched, sizeof *watched * (size_t)room);
    if (watched == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(watched + self->room, 0, sizeof *watched * (size_t)(room - self->room));
    self->watched = watched;
    self->room = room;
    return 0;
}

static PyObject *
gathering_watch(PyObject *self, PyObject *who)
{
    struct epoll_event wanted = {.events = EPOLLIN};
    Gathering *own = (Gathering *)self;
    Datagrams *old;
    int number;

    if (!PyObject_TypeCheck(who, datagrams_type))
        return PyErr_Format(PyExc_TypeError, "watch() takes a socket of datagrams");
    number = ((Datagrams *)who)->number;
    if (number < 0)
        return PyErr_Format(PyExc_ValueError, "the socket is closed");
    if (has_room_for(own, number) < 0)
        return NULL;
    wanted.data.fd = number;
    /* One that was closed and not forgotten has left the kernel's list by itself. */
    if (epoll_ctl(own->poll, EPOLL_CTL_ADD, number, &wanted) < 0 && errno != EEXIST)
        return PyErr_SetFromErrno(PyExc_OSError);
    old = own->watched[number];
    own->watched[number] = (Datagrams *)Py_NewRef(who);
    Py_XDECREF((PyObject *)old);
    Py_RETURN_NONE;
}

static PyObject *
gathering_unwatch(PyObject *self, PyObject *who)
{
    Gathering *own = (Gathering *)self;
    int number = PyObject_TypeCheck(who, datagrams_type) ? ((Datagrams *)who)->number : -1;

    if (number >= 0 && watched_at(own, number) == (Datagrams *)who) {
        (void)epoll_ctl(own->poll, EPOLL_CTL_DEL, number, NULL);
        own->watched[number] = NULL;
        Py_DECREF(who);
    }
    Py_RETURN_NONE;
}

static PyObject *
gathering_fileno(PyObject *self, PyObject *nothing)
{
    return PyLong_FromLong(((Gathering *)self)->poll);
}

/* -- the type ------------------------------------------------------------------------------- */

static int
gathering_clear(PyObject *self)
{
    Gathering *own = (Gathering *)self;
    Datagrams **watched = own->watched;
    int room = own->room;

    own->watched = NULL;
    own->room = 0;
    for (int number = 0; number < room; number++)
        Py_XDECREF((PyObject *)watched[number]);
    PyMem_Free(watched);
    return 0;
}

static PyObject *
gathering_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    PyObject *self;

    if (!PyArg_ParseTuple(arguments, ":Gathering") || (self = type->tp_alloc(type, 0)) == NULL)
        return NULL;
    ((Gathering *)self)->poll = epoll_create1(EPOLL_CLOEXEC);
    if (((Gathering *)self)->poll < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_CLEAR(self);
    }
    return self;
}

static int
gathering_traverse(PyObject *self, visitproc visit, void *arg)
{
    Gathering *own = (Gathering *)self;

    Py_VISIT(Py_TYPE(self));
    for (int number = 0; number < own->room; number++)
        Py_VISIT((PyObject *)own->watched[number]);
    return 0;
}

static void
gathering_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Gathering *own = (Gathering *)self;

    PyObject_GC_UnTrack(self);
    if (own->poll >= 0)
        close(own->poll);
    gathering_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef gathering_methods[] = {
    {"watch", gathering_watch, METH_O, "Read from a socket of datagrams as soon as it has any."},
    {"unwatch", gathering_unwatch, METH_O, "Read from it no more."},
    {"come", gathering_come, METH_NOARGS,
     "Take what is there, of at most 256 sockets, when the loop says that there is something."},
    {"fileno", gathering_fileno, METH_NOARGS, "Return what the loop is to watch."},
    {NULL},
};

static PyType_Slot gathering_slots[] = {
    {Py_tp_doc, "The sockets of many nodes, read as one."},
    {Py_tp_new, gathering_new},
    {Py_tp_methods, gathering_methods},
    {Py_tp_traverse, gathering_traverse},
    {Py_tp_clear, gathering_clear},
    {Py_tp_dealloc, gathering_dealloc},
    {0, NULL},
};

static PyType_Spec gathering_spec = {
    .name = "tracker.native.datagrams.Gathering",
    .basicsize = sizeof(Gathering),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = gathering_slots,
};

#endif
