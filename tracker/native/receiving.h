/* How datagrams are read, one or a burst of them, and whom their bodies are handed to.
 *
 * The rule: the order in which they arrived is the order in which they are taken.
 */
#ifndef GOSSIP_COUNTER_RECEIVING_H
#define GOSSIP_COUNTER_RECEIVING_H

#include "sending.h"

static double
monotonic_s(void)
{
#ifdef __APPLE__
    /* The clock of Python's `time.monotonic` there. */
    return (double)clock_gettime_nsec_np(CLOCK_UPTIME_RAW) / 1e9;
#else
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)((long long)now.tv_sec * 1000000000 + now.tv_nsec) / 1e9;
#endif
}

static const Way *
way_of(const Datagrams *self, const char *body, Py_ssize_t size)
{
    if (size >= 2)
        for (int at = 0; at < self->ways_count; at++)
            if (memcmp(self->ways[at].head, body, 2) == 0)
                return &self->ways[at];
    return NULL;
}

/* Take a body as the driver does, by a shorter way if there is one. */
static int
taken_by_driver(Datagrams *self, PyObject *body, PyObject *sender)
{
    Traffic *traffic = (Traffic *)self->traffic;
    const Way *found = way_of(self, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body));
    PyObject *way = found == NULL ? NULL : found->take;
    PyObject *now = PyFloat_FromDouble(monotonic_s()), *result, *commonly;
    int done = 0;

    if (now == NULL)
        return -1;
    traffic->datagrams_in++;
    traffic->datagram_bytes_in += PyBytes_GET_SIZE(body);
    if (way != NULL) {
        Py_INCREF(way);
        result = PyObject_CallFunctionObjArgs(way, body, sender, now, NULL);
        Py_DECREF(way);
        if (result == NULL)
            done = -1;
        else if (result != Py_None) {
            done = 1;
            if (!PyList_CheckExact(result)) {
                PyErr_SetString(PyExc_TypeError, "a way returns a list, or None");
                done = -1;
            }
            else if (PyList_GET_SIZE(result) == 0)
                self->is_heard = 1;
            else if (send_all(self, result) < 0)
                done = -1;
        }
        Py_XDECREF(result);
    }
    if (done == 0) {
        self->is_left = 1;
        commonly = Py_NewRef(self->commonly);
        result = PyObject_CallFunctionObjArgs(commonly, body, sender, now, NULL);
        Py_DECREF(commonly);
        done = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    Py_DECREF(now);
    return done < 0 ? -1 : 0;
}

/* Return the body in a datagram; NULL without an exception when it is not for us. */
static PyObject *
opened(Datagrams *self, const char *datagram, Py_ssize_t size)
{
    PyObject *sealed, *body;

    if (size > DATAGRAM_BYTES_MAX)
        return NULL;
    if (LIKELY(!self->is_sealed)) {
        if (size < 1 || datagram[0] != FORMAT)
            return NULL;
        return PyBytes_FromStringAndSize(datagram + 1, size - 1);
    }
    sealed = PyBytes_FromStringAndSize(datagram, size);
    if (sealed == NULL)
        return NULL;
    body = PyObject_CallMethodObjArgs((PyObject *)self, s_opened_or_none, sealed, NULL);
    Py_DECREF(sealed);
    if (body == Py_None)
        Py_CLEAR(body);
    if (body != NULL && !PyBytes_CheckExact(body)) {
        PyErr_SetString(PyExc_TypeError, "a seal opens to bytes");
        Py_CLEAR(body);
    }
    return body;
}

/* Take one datagram of this sender; -1 with an exception set. */
static int
taken_from(Datagrams *self, const char *datagram, Py_ssize_t size, PyObject *sender)
{
    PyObject *body = opened(self, datagram, size), *result;
    int done = 0;

    if (body == NULL) {
        if (PyErr_Occurred())
            return -1;
        self->strange++;
        if (size < 1 || size > DATAGRAM_BYTES_MAX || (unsigned char)datagram[0] > FORMAT_MAX)
            return 0;
        body = PyBytes_FromStringAndSize(datagram, size);
        if (body == NULL)
            return -1;
        result = PyObject_CallMethodObjArgs((PyObject *)self, s_take_foreign, body, sender, NULL);
        Py_DECREF(body);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    if (self->ways_count)
        done = taken_by_driver(self, body, sender);
    else if (self->handler != NULL) {
        self->is_left = 1;
        result = PyObject_CallMethodObjArgs(self->handler, s_on_datagram, body, sender, NULL);
        done = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    Py_DECREF(body);
    return done;
}

/* Do what follows from a body that a straight way took; -1 with an exception set. */
static int
followed(Datagrams *self, Follows *follows, Outbox *outbox)
{
    int done = 0;

    if (follows->reply_size != 0)
        return laid_by(self, follows, outbox);
    if (follows->list == NULL) {
        self->is_heard = 1;
        return 0;
    }
    done = send_all(self, follows->list);
    Py_DECREF(follows->list);
    return done;
}

/* Take a datagram by a straight way; 1 taken, 0 it is for `taken_from`, -1 with an exception set. */
static int
taken_straight(Datagrams *self, const char *datagram, Py_ssize_t size, const Address *from,
               Outbox *outbox)
{
    Traffic *traffic;
    const Way *way;
    Come come = {(const unsigned char *)datagram + 1, size - 1, NULL, 0, 0.0};
    Follows follows;
    PyObject *self_of_way;
    int done;

    if (self->is_sealed || self->is_v6 || self->is_wrapped || size < 1 || size > DATAGRAM_BYTES_MAX
        || datagram[0] != FORMAT || (self->gate != NULL && self->gate != Py_None)
        || (way = way_of(self, datagram + 1, size - 1)) == NULL || way->straight == NULL)
        return 0;
    if ((come.host = host_of(&self->host, from)) == NULL)
        return -1;
    come.port = ntohs(from->v4.sin_port);
    come.now = monotonic_s();
    self_of_way = Py_NewRef(way->self);
    done = way->straight->take(self_of_way, &come, &follows);
    Py_DECREF(self_of_way);
    Py_DECREF(come.host);
    if (done <= 0)
        return done;
    traffic = (Traffic *)self->traffic;
    traffic->datagrams_in++;
    traffic->datagram_bytes_in += size - 1;
    return followed(self, &follows, outbox) < 0 ? -1 : 1;
}

static int
taken(Datagrams *self, const char *datagram, Py_ssize_t size, const Address *from, Outbox *outbox)
{
    int done = taken_straight(self, datagram, size, from, outbox);
    PyObject *sender;

    if (done != 0)
        return done < 0 ? -1 : 0;
    sender = pair_of(&self->host, from);
    done = sender == NULL ? -1 : taken_from(self, datagram, size, sender);

    Py_XDECREF(sender);
    return done;
}

/* Read up to `wanted` datagrams; how many, -1 with errno set. */
static int
read_some(const Datagrams *self, Burst *burst, int wanted)
{
#ifdef __linux__
    struct mmsghdr headers[AT_ONCE_MAX];
    struct iovec rooms[AT_ONCE_MAX];
    int count;

    if (wanted > 1) {
        memset(headers, 0, sizeof headers[0] * (size_t)wanted);
        for (int at = 0; at < wanted; at++) {
            rooms[at].iov_base = burst->bytes[at];
            rooms[at].iov_len = sizeof burst->bytes[at];
            headers[at].msg_hdr.msg_iov = &rooms[at];
            headers[at].msg_hdr.msg_iovlen = 1;
            headers[at].msg_hdr.msg_name = &burst->from[at];
            headers[at].msg_hdr.msg_namelen = sizeof burst->from[at];
        }
        count = recvmmsg(self->number, headers, (unsigned)wanted, 0, NULL);
        for (int at = 0; at < count; at++)
            burst->sizes[at] = (Py_ssize_t)headers[at].msg_len;
        return count;
    }
#endif
    socklen_t size = sizeof burst->from[0];

    burst->sizes[0] = recvfrom(self->number, burst->bytes[0], sizeof burst->bytes[0], 0,
                               &burst->from[0].any, &size);
    return burst->sizes[0] < 0 ? -1 : 1;
}

/* Take up to `most` of what is waiting; how many, -1 with an exception set. */
static int
taken_up_to(Datagrams *self, int most)
{
    Burst burst;
    PyObject *result;
    int all = 0;

    while (all < most && self->number >= 0) {
        int wanted = Py_MIN(most - all, AT_ONCE_MAX), count = read_some(self, &burst, wanted);

        if (count < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
                break;
            result = PyObject_CallMethodNoArgs((PyObject *)self, s_refused_soon);
            if (result == NULL)
                return -1;
            Py_DECREF(result);
            all++;
        }
        /* Whoever takes one may close the socket: the rest is then for nobody. */
        for (int at = 0; at < count && self->number >= 0; at++) {
            if (taken(self, burst.bytes[at], burst.sizes[at], &burst.from[at], NULL) < 0)
                return -1;
            all++;
        }
        if (count >= 0 && count < wanted)
            break; /* there were no more; what came since is read in the next turn */
    }
    return all;
}

/* Let the handler decide, if there is anything to decide; -1 with an exception set. */
static int
decided(Datagrams *self)
{
    PyObject *result;
    int is_left = self->is_left || !self->ways_count, is_heard = self->is_heard;

    self->is_left = self->is_heard = 0;
    if (is_left && self->handler != NULL) {
        result = PyObject_CallMethodNoArgs(self->handler, s_on_drained);
        if (result == NULL)
            return -1;
        Py_DECREF(result);
    }
    if (is_heard && self->aim != NULL) {
        PyObject *aim = Py_NewRef(self->aim);

        result = PyObject_CallNoArgs(aim);
        Py_DECREF(aim);
        if (result == NULL)
            return -1;
        Py_DECREF(result);
    }
    return 0;
}

static PyObject *
datagrams_drain(PyObject *self, PyObject *nothing)
{
    Datagrams *own = (Datagrams *)self;

    if (taken_up_to(own, DATAGRAMS_PER_DRAIN_MAX) < 0 || decided(own) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
datagrams_hand(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    Datagrams *own = (Datagrams *)self;

    if (count != 2 || !PyBytes_CheckExact(arguments[0]) || !PyTuple_CheckExact(arguments[1]))
        return PyErr_Format(PyExc_TypeError, "hand() takes a datagram and its sender");
    if (own->number < 0)
        Py_RETURN_NONE;
    if (taken_from(own, PyBytes_AS_STRING(arguments[0]), PyBytes_GET_SIZE(arguments[0]),
                   arguments[1]) < 0)
        return NULL;
    return Py_NewRef(own->is_left || own->is_heard || !own->ways_count ? self : Py_None);
}

static PyObject *
datagrams_decide(PyObject *self, PyObject *nothing)
{
    Datagrams *own = (Datagrams *)self;

    if (own->number >= 0 && decided(own) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Whether to look for more than one, as `PlainDatagrams._readable` does. */
static int
looks_for_many(Datagrams *self, double now)
{
    double gap_s = now - self->read_at;

    self->read_at = now;
    if (gap_s >= BURST_S)
        self->singles = self->singles_left = 0;
    if (self->is_busy)
        return 1;
    self->is_busy = gap_s < BURST_S && self->singles_left == 0;
    self->singles_left -= self->singles_left > 0;
    return 0;
}

/* Take all where there were more a moment ago; how many, -1 with an exception set. */
static int
took_many(Datagrams *self)
{
    int count = taken_up_to(self, DATAGRAMS_PER_DRAIN_MAX);

    self->is_busy = count > 1;
    self->singles = self->is_busy ? 0 : Py_MIN(2 * self->singles + 1, SINGLES_MAX);
    self->singles_left = self->singles;
    return count;
}

static PyObject *
datagrams_readable(PyObject *self, PyObject *nothing)
{
    Datagrams *own = (Datagrams *)self;
    int done = looks_for_many(own, monotonic_s()) ? took_many(own) : taken_up_to(own, 1);

    if (done < 0 || decided(own) < 0)
        return NULL;
    Py_RETURN_NONE;
}

#endif
