/* A `Flight`: the heap of what is on its way, the earliest first, and the timer that is set to it.
 *
 * The rule: of what is due at once the first to come is the first to leave, as in `heapq` with rows
 * of due and number.
 */
#ifndef GOSSIP_COUNTER_LATE_H
#define GOSSIP_COUNTER_LATE_H

#include "address.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define IN_FLIGHT_MAX 262144        /* tracker.transport.flight: these two */
#define DELIVERIES_PER_TURN_MAX 256
#define SOON 1e-9                   /* a time that is over: the timer goes off at once */

/* One datagram, or what else is to be heard later. */
typedef struct {
    double due;
    unsigned long long order;
    PyObject *take, *what, *whom;
} Late;

/* A socket that is watched, by its number; nobody where `take` is NULL. */
typedef struct {
    PyObject *take, *refused;
    double read_at;
    char is_busy;
} Watched;

typedef struct {
    PyObject_HEAD
    double latency_s;
    Late *heap; /* the earliest first, as in heapq */
    Py_ssize_t count, room;
    unsigned long long order;
    long long dropped;
    LastHost host;
    double set_to; /* when the timer goes off, 0 while it is off */
    PyObject *deciding[DELIVERIES_PER_TURN_MAX]; /* who wants to decide, the first to say so first */
    int deciding_count;
    Watched *watched;
    Py_ssize_t watched_room;
    int timer, poll; /* -1 until it begins */
    char is_delivering;
} Flight;

static double
clock_s(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int
is_before(const Late *one, const Late *other)
{
    return one->due < other->due || (one->due == other->due && one->order < other->order);
}

static void
sift_up(Late *heap, Py_ssize_t at)
{
    Late late = heap[at];

    for (; at > 0 && is_before(&late, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = late;
}

static void
sift_down(Late *heap, Py_ssize_t count, Py_ssize_t at)
{
    Late late = heap[at];
    Py_ssize_t below;

    while ((below = 2 * at + 1) < count) {
        if (below + 1 < count && is_before(&heap[below + 1], &heap[below]))
            below++;
        if (!is_before(&heap[below], &late))
            break;
        heap[at] = heap[below];
        at = below;
    }
    heap[at] = late;
}

/* Take the earliest away; the three references in it are then the caller's. */
static Late
popped(Flight *self)
{
    Late first = self->heap[0];

    self->count--;
    if (self->count > 0) {
        self->heap[0] = self->heap[self->count];
        sift_down(self->heap, self->count, 0);
    }
    return first;
}

static void
release(Late *late)
{
    Py_DECREF(late->take);
    Py_DECREF(late->what);
    Py_DECREF(late->whom);
}

/* Have room for one more; 0 when there is none, -1 with an exception set. */
static int
has_room(Flight *self)
{
    Py_ssize_t room;
    Late *heap;

    if (self->count < self->room)
        return 1;
    if (self->count >= IN_FLIGHT_MAX)
        return 0;
    room = self->room == 0 ? 256 : 2 * self->room;
    heap = PyMem_Realloc(self->heap, sizeof *heap * (size_t)room);
    if (heap == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->heap = heap;
    self->room = room;
    return 1;
}

/* Have the timer go off at `due`, never if that is 0; -1 with an exception set. */
static int
set_timer(Flight *self, double due)
{
    struct itimerspec when = {{0, 0}, {0, 0}};

    if (self->timer < 0)
        return 0;
    if (due > 0.0) {
        when.it_value.tv_sec = (time_t)due;
        when.it_value.tv_nsec = (long)((due - (double)when.it_value.tv_sec) * 1e9);
        if (when.it_value.tv_sec == 0 && when.it_value.tv_nsec == 0)
            when.it_value.tv_nsec = 1; /* 0 would turn it off */
    }
    if (timerfd_settime(self->timer, TFD_TIMER_ABSTIME, &when, NULL) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    self->set_to = due;
    return 0;
}

/* Remember who wants to decide once this turn is over, each once; takes the reference. */
static void
note_decider(Flight *self, PyObject *who)
{
    int is_known = who == Py_None || self->deciding_count == DELIVERIES_PER_TURN_MAX;

    /* Most often the last one is it again. */
    for (int at = self->deciding_count; !is_known && at-- > 0;)
        is_known = self->deciding[at] == who;
    if (is_known)
        Py_DECREF(who);
    else
        self->deciding[self->deciding_count++] = who;
}

/* Put one in; -1 with an exception set. */
static int
put_in(Flight *self, double due, PyObject *take, PyObject *what, PyObject *whom)
{
    int is_room = has_room(self);

    if (is_room <= 0) {
        self->dropped += is_room == 0;
        return is_room;
    }
    self->heap[self->count] = (Late){due, self->order++, Py_NewRef(take), Py_NewRef(what),
                                     Py_NewRef(whom)};
    sift_up(self->heap, self->count++);
    if (!self->is_delivering && (self->set_to == 0.0 || due < self->set_to))
        return set_timer(self, due);
    return 0;
}

#endif
