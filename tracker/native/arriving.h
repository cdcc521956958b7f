/* How datagrams get into a `Flight`: read as soon as they come, for all sockets that are watched.
 *
 * The rule: one `epoll` stands for all sockets of a process, and the event loop knows of that one
 * alone: a thousand sockets that have a datagram each cost one call of it.
 */
#ifndef GOSSIP_COUNTER_ARRIVING_H
#define GOSSIP_COUNTER_ARRIVING_H

#include "late.h"

#include <sys/epoll.h>

#define DATAGRAM_BYTES_MAX 1232    /* tracker.wire.DATAGRAM_BYTES_MAX */
#define ARRIVALS_PER_TURN_MAX 64   /* tracker.transport.flight */
#define COMERS_PER_TURN_MAX 256    /* sockets read in one turn of the event loop */
#define WATCHED_MAX (1 << 20)      /* numbers of open files */
#define AT_ONCE_MAX 16             /* datagrams in one call of the kernel */
#define BURST_S 0.002              /* tracker.transport.plain.BURST_S */
#define STAMP_BYTES CMSG_SPACE(sizeof(struct timespec))

typedef struct {
    char bytes[AT_ONCE_MAX][DATAGRAM_BYTES_MAX + 1];
    _Alignas(struct cmsghdr) char stamps[AT_ONCE_MAX][STAMP_BYTES];
    Address from[AT_ONCE_MAX];
    struct iovec rooms[AT_ONCE_MAX];
    struct mmsghdr headers[AT_ONCE_MAX];
} Burst;

/* Read what is there, at most so many; how many, -1 with errno set. */
static int
read_burst(int number, Burst *burst, int wanted)
{
    ssize_t size;

    memset(burst->headers, 0, sizeof burst->headers[0] * (size_t)wanted);
    for (int at = 0; at < wanted; at++) {
        struct msghdr *header = &burst->headers[at].msg_hdr;

        burst->rooms[at].iov_base = burst->bytes[at];
        burst->rooms[at].iov_len = sizeof burst->bytes[at];
        header->msg_iov = &burst->rooms[at];
        header->msg_iovlen = 1;
        header->msg_name = &burst->from[at];
        header->msg_namelen = sizeof burst->from[at];
        header->msg_control = burst->stamps[at];
        header->msg_controllen = sizeof burst->stamps[at];
    }
    if (wanted > 1)
        return recvmmsg(number, burst->headers, (unsigned)wanted, 0, NULL);
    size = recvmsg(number, &burst->headers[0].msg_hdr, 0);
    burst->headers[0].msg_len = size < 0 ? 0 : (unsigned)size;
    return size < 0 ? -1 : 1;
}

/* Return how long ago a datagram came, in s; 0 where the kernel does not say.
 *
 * The clock on the wall may be put forward or back: never less than nothing, or more than all.
 */
static double
age_of(struct msghdr *header, double wall, double most)
{
    struct timespec stamp;
    double age;

    for (struct cmsghdr *each = CMSG_FIRSTHDR(header); each != NULL;
         each = CMSG_NXTHDR(header, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SO_TIMESTAMPNS
            || each->cmsg_len < CMSG_LEN(sizeof stamp))
            continue;
        memcpy(&stamp, CMSG_DATA(each), sizeof stamp);
        age = wall - ((double)stamp.tv_sec + (double)stamp.tv_nsec / 1e9);
        return age < 0.0 ? 0.0 : age > most ? most : age;
    }
    return 0.0;
}

/* Put in what was read; -1 with an exception set. */
static int
put_burst_in(Flight *self, Burst *burst, int count, PyObject *take)
{
    double wall = clock_s(CLOCK_REALTIME), now = clock_s(CLOCK_MONOTONIC);

    for (int at = 0; at < count; at++) {
        double age = age_of(&burst->headers[at].msg_hdr, wall, self->latency_s);
        PyObject *sender = pair_of(&self->host, &burst->from[at]);
        PyObject *datagram = PyBytes_FromStringAndSize(burst->bytes[at],
                                                       burst->headers[at].msg_len);
        int done = -1;

        if (sender != NULL && datagram != NULL)
            done = put_in(self, now - age + self->latency_s, take, datagram, sender);
        Py_XDECREF(sender);
        Py_XDECREF(datagram);
        if (done < 0)
            return -1;
    }
    return 0;
}

/* Read up to `most` from a socket, `wanted` at first; how many, -1 with an exception set. */
static int
arrived(Flight *self, int number, PyObject *take, PyObject *refused, int wanted, int most)
{
    PyObject *result;
    Burst burst;
    int count, all = 0;

    for (;;) {
        count = read_burst(number, &burst, wanted);
        if (count >= 0) {
            if (put_burst_in(self, &burst, count, take) < 0)
                return -1;
            all += count;
        }
        else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            result = PyObject_CallNoArgs(refused);
            if (result == NULL)
                return -1;
            Py_DECREF(result);
        }
        if (count < wanted || all >= most)
            return all;
        wanted = Py_MIN(most - all, AT_ONCE_MAX);
    }
}

static PyObject *
flight_arrive(PyObject *self, PyObject *const *arguments, Py_ssize_t argument_count)
{
    int number;

    if (argument_count != 3)
        return PyErr_Format(PyExc_TypeError,
                            "arrive() takes a socket, who takes a datagram and who a refusal");
    if ((number = PyObject_AsFileDescriptor(arguments[0])) < 0)
        return NULL;
    /* Most often there is one, and the second is not there. */
    if (arrived((Flight *)self, number, arguments[1], arguments[2], 2, ARRIVALS_PER_TURN_MAX) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- who is watched ------------------------------------------------------------------------- */

/* Find what is known of a socket that is watched; NULL when it is not. */
static Watched *
watched_at(const Flight *self, int number)
{
    if (number < 0 || number >= self->watched_room || self->watched[number].take == NULL)
        return NULL;
    return &self->watched[number];
}

/* Forget one that is watched. */
static void
forget_watched(Watched *one)
{
    PyObject *take = one->take, *refused = one->refused;

    memset(one, 0, sizeof *one);
    Py_DECREF(take);
    Py_DECREF(refused);
}

static void
watch_nobody(Flight *self)
{
    for (int number = 0; number < self->watched_room; number++)
        if (watched_at(self, number) != NULL)
            forget_watched(&self->watched[number]);
    PyMem_Free(self->watched);
    self->watched = NULL;
    self->watched_room = 0;
}

/* Have room for a socket of this number; -1 with an exception set. */
static int
has_room_for(Flight *self, int number)
{
    Py_ssize_t room = self->watched_room == 0 ? 64 : self->watched_room;
    Watched *watched;

    if (number < self->watched_room)
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
    memset(watched + self->watched_room, 0,
           sizeof *watched * (size_t)(room - self->watched_room));
    self->watched = watched;
    self->watched_room = room;
    return 0;
}

static PyObject *
flight_watch(PyObject *self, PyObject *const *arguments, Py_ssize_t argument_count)
{
    struct epoll_event wanted = {.events = EPOLLIN};
    Flight *own = (Flight *)self;
    Watched *one;
    int number;

    if (argument_count != 3)
        return PyErr_Format(PyExc_TypeError,
                            "watch() takes a socket, who takes a datagram and who a refusal");
    if (own->poll < 0)
        return PyErr_Format(PyExc_RuntimeError, "it has not begun");
    if ((number = PyObject_AsFileDescriptor(arguments[0])) < 0 || has_room_for(own, number) < 0)
        return NULL;
    wanted.data.fd = number;
    /* One that was closed and not forgotten has left the kernel's list by itself. */
    if (epoll_ctl(own->poll, EPOLL_CTL_ADD, number, &wanted) < 0 && errno != EEXIST)
        return PyErr_SetFromErrno(PyExc_OSError);
    if ((one = watched_at(own, number)) != NULL)
        forget_watched(one);
    own->watched[number] = (Watched){Py_NewRef(arguments[1]), Py_NewRef(arguments[2]), 0.0, 0};
    Py_RETURN_NONE;
}

static PyObject *
flight_unwatch(PyObject *self, PyObject *sock)
{
    Flight *own = (Flight *)self;
    Watched *one;
    int number = PyObject_AsFileDescriptor(sock);

    if (number < 0)
        return NULL;
    if ((one = watched_at(own, number)) != NULL) {
        (void)epoll_ctl(own->poll, EPOLL_CTL_DEL, number, NULL);
        forget_watched(one);
    }
    Py_RETURN_NONE;
}

/* Read for one that is watched: one datagram, or all where there were more a moment ago; -1. */
static int
come_to(Flight *self, int number, double now)
{
    Watched *one = watched_at(self, number);
    PyObject *take, *refused;
    int is_busy, count;

    if (one == NULL)
        return 0;
    take = Py_NewRef(one->take);
    refused = Py_NewRef(one->refused);
    is_busy = one->is_busy;
    one->is_busy = !is_busy && now - one->read_at < BURST_S;
    one->read_at = now;
    count = arrived(self, number, take, refused, is_busy ? AT_ONCE_MAX : 1,
                    is_busy ? ARRIVALS_PER_TURN_MAX : 1);
    /* Whoever heard of a refusal may have changed the table. */
    if (is_busy && count > 1 && (one = watched_at(self, number)) != NULL)
        one->is_busy = 1;
    Py_DECREF(take);
    Py_DECREF(refused);
    return count;
}

static PyObject *
flight_come(PyObject *self, PyObject *nothing)
{
    struct epoll_event events[COMERS_PER_TURN_MAX];
    Flight *own = (Flight *)self;
    int count = own->poll < 0 ? 0 : epoll_wait(own->poll, events, COMERS_PER_TURN_MAX, 0);
    double now = clock_s(CLOCK_MONOTONIC);

    if (count < 0 && errno != EINTR)
        return PyErr_SetFromErrno(PyExc_OSError);
    for (int at = 0; at < count; at++)
        if (come_to(own, events[at].data.fd, now) < 0)
            return NULL;
    Py_RETURN_NONE;
}

#endif
