/* `Datagrams`: what `tracker.transport.plain.PlainDatagrams` does for every datagram, and what
 * `tracker.driver.Driver.on_datagram` does with one that has a shorter way.
 *
 * The rule: nothing waits and nothing is kept. What is not plain is left to the Python: another
 * seal than the plain one (`_opened_or_none`), an address that is not written in numbers or a body
 * that no datagram holds (`_send_slowly`), and what the kernel says of others (`_refused_soon`).
 */
#include "module.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#define DATAGRAM_BYTES_MAX 1232      /* tracker.wire.DATAGRAM_BYTES_MAX */
#define DATAGRAMS_PER_DRAIN_MAX 64   /* tracker.transport.base.DATAGRAMS_PER_DRAIN_MAX */
#define AT_ONCE_MAX 16               /* datagrams in one call of the kernel */
#define WAYS_MAX 8                   /* shorter ways into one driver */
#define FORMAT 1                     /* tracker.transport.base.PlainSeal */
#define BURST_S 0.002                /* tracker.transport.plain.BURST_S */

typedef struct {
    PyObject_HEAD
    long long datagrams_in, datagrams_out, datagram_bytes_in, datagram_bytes_out;
    long long frames_in, refused;
} Traffic;

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

typedef struct {
    unsigned char head[2];
    PyObject *take;
} Way;

typedef struct {
    PyObject_HEAD
    PyObject *handler, *gate, *traffic, *commonly, *aim;
    PyObject *host; /* of the last sender: most often the next one's too */
    struct in_addr host_packed;
    Way ways[WAYS_MAX];
    int ways_count;
    int number; /* of the socket, -1 once it is closed */
    long long dropped, strange;
    double read_at;
    char is_v6, is_sealed, is_busy, is_left, is_heard;
} Datagrams;

typedef struct {
    char bytes[AT_ONCE_MAX][DATAGRAM_BYTES_MAX + 1];
    Address from[AT_ONCE_MAX];
    Py_ssize_t sizes[AT_ONCE_MAX];
} Burst;

static PyTypeObject *traffic_type;
static PyObject *s_on_datagram, *s_on_drained, *s_opened_or_none, *s_refused_soon, *s_send,
    *s_send_slowly;

static PyObject *datagrams_send(PyObject *, PyObject *const *, Py_ssize_t);

/* -- sending -------------------------------------------------------------------------------- */

/* Read an address; 1 done, 0 when it is for the Python to understand. */
static int
read_address(const Datagrams *self, PyObject *to, Address *address, socklen_t *size)
{
    PyObject *host, *port;
    const char *text;
    Py_ssize_t length;
    long number;
    int overflow;

    if (!PyTuple_CheckExact(to) || PyTuple_GET_SIZE(to) != 2)
        return 0;
    host = PyTuple_GET_ITEM(to, 0);
    port = PyTuple_GET_ITEM(to, 1);
    if (!PyUnicode_CheckExact(host) || !PyUnicode_IS_ASCII(host) || !PyLong_CheckExact(port))
        return 0;
    text = PyUnicode_AsUTF8AndSize(host, &length); /* ASCII: its own bytes, so it cannot fail */
    number = PyLong_AsLongAndOverflow(port, &overflow);
    if (text == NULL || overflow || number < 0 || number > 65535) {
        PyErr_Clear();
        return 0;
    }
    memset(address, 0, sizeof *address);
    if (self->is_v6) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons((uint16_t)number);
        *size = sizeof address->v6;
        return (Py_ssize_t)strlen(text) == length
            && inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1;
    }
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons((uint16_t)number);
    *size = sizeof address->v4;
    return (Py_ssize_t)strlen(text) == length
        && inet_pton(AF_INET, text, &address->v4.sin_addr) == 1;
}

static int
truth_of(PyObject *result)
{
    int is_true;

    if (result == NULL)
        return -1;
    is_true = PyObject_IsTrue(result);
    Py_DECREF(result);
    return is_true;
}

/* Hand a body to the kernel; 1 sent, 0 dropped, -1 with an exception set. */
static int
sent_now(Datagrams *self, PyObject *to, PyObject *body)
{
    char datagram[1 + DATAGRAM_BYTES_MAX];
    PyObject *result;
    Address address;
    socklen_t address_size;
    Py_ssize_t size;

    if (self->number < 0 || self->is_sealed || !PyBytes_CheckExact(body)
        || (size = PyBytes_GET_SIZE(body)) > DATAGRAM_BYTES_MAX
        || !read_address(self, to, &address, &address_size))
        return truth_of(
            PyObject_CallMethodObjArgs((PyObject *)self, s_send_slowly, to, body, NULL));
    datagram[0] = FORMAT;
    memcpy(datagram + 1, PyBytes_AS_STRING(body), (size_t)size);
    size++;
    if (LIKELY(sendto(self->number, datagram, (size_t)size, 0, &address.any, address_size) >= 0))
        return 1;
    if (errno != ECONNREFUSED) {
        self->dropped++;
        return 0;
    }
    /* That is the word of an earlier datagram, and this one was not sent. */
    result = PyObject_CallMethodNoArgs((PyObject *)self, s_refused_soon);
    if (result == NULL)
        return -1;
    Py_DECREF(result);
    if (sendto(self->number, datagram, (size_t)size, 0, &address.any, address_size) >= 0)
        return 1;
    self->dropped++;
    return 0;
}

/* The same, unless somebody stands at the gate. */
static int
sent(Datagrams *self, PyObject *to, PyObject *body)
{
    PyObject *gate = self->gate;
    int is_sent;

    if (LIKELY(gate == NULL || gate == Py_None))
        return sent_now(self, to, body);
    Py_INCREF(gate);
    is_sent = truth_of(PyObject_CallFunctionObjArgs(gate, to, body, NULL));
    Py_DECREF(gate);
    return is_sent;
}

static PyObject *
datagrams_send(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    int is_sent;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "send() takes an address and a body");
    is_sent = sent((Datagrams *)self, arguments[0], arguments[1]);
    return is_sent < 0 ? NULL : PyBool_FromLong(is_sent);
}

static PyObject *
datagrams_send_now(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    int is_sent;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "send_now() takes an address and a body");
    is_sent = sent_now((Datagrams *)self, arguments[0], arguments[1]);
    return is_sent < 0 ? NULL : PyBool_FromLong(is_sent);
}

/* Send what a way answered; -1 with an exception set. Whoever wrapped `send` is asked instead. */
static int
send_all(Datagrams *self, PyObject *answers)
{
    Traffic *traffic = (Traffic *)Py_NewRef(self->traffic);
    PyObject *send = PyObject_GetAttr((PyObject *)self, s_send);
    int is_own, is_sent = send == NULL ? -1 : 0;

    is_own = send != NULL && PyCFunction_Check(send)
        && PyCFunction_GET_SELF(send) == (PyObject *)self
        && PyCFunction_GET_FUNCTION(send) == (PyCFunction)(void (*)(void))datagrams_send;
    for (Py_ssize_t at = 0; is_sent >= 0 && at < PyList_GET_SIZE(answers); at++) {
        PyObject *pair = PyList_GET_ITEM(answers, at), *to, *body;

        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "a way returns pairs of an address and a body");
            is_sent = -1;
            break;
        }
        Py_INCREF(pair); /* sending may run anything, and the list is anybody's */
        to = PyTuple_GET_ITEM(pair, 0);
        body = PyTuple_GET_ITEM(pair, 1);
        is_sent = is_own ? sent(self, to, body)
                         : truth_of(PyObject_CallFunctionObjArgs(send, to, body, NULL));
        if (is_sent > 0) {
            traffic->datagrams_out++;
            traffic->datagram_bytes_out += PyBytes_Check(body) ? PyBytes_GET_SIZE(body) : 0;
        }
        Py_DECREF(pair);
    }
    Py_XDECREF(send);
    Py_DECREF(traffic);
    return is_sent < 0 ? -1 : 0;
}

/* -- receiving ------------------------------------------------------------------------------ */

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

static PyObject *
sender_of(Datagrams *self, const Address *from)
{
    char text[INET6_ADDRSTRLEN];
    PyObject *host, *port, *sender;

    if (self->is_v6) {
        if (inet_ntop(AF_INET6, &from->v6.sin6_addr, text, sizeof text) == NULL)
            return PyErr_SetFromErrno(PyExc_OSError);
        return Py_BuildValue("(si)", text, (int)ntohs(from->v6.sin6_port));
    }
    if (self->host == NULL || self->host_packed.s_addr != from->v4.sin_addr.s_addr) {
        if (inet_ntop(AF_INET, &from->v4.sin_addr, text, sizeof text) == NULL)
            return PyErr_SetFromErrno(PyExc_OSError);
        host = PyUnicode_FromString(text);
        if (host == NULL)
            return NULL;
        Py_XSETREF(self->host, host);
        self->host_packed = from->v4.sin_addr;
    }
    host = Py_NewRef(self->host);
    port = PyLong_FromLong(ntohs(from->v4.sin_port));
    sender = port == NULL ? NULL : PyTuple_New(2);
    if (sender == NULL) {
        Py_DECREF(host);
        Py_XDECREF(port);
        return NULL;
    }
    PyTuple_SET_ITEM(sender, 0, host);
    PyTuple_SET_ITEM(sender, 1, port);
    return sender;
}

static PyObject *
way_of(const Datagrams *self, const char *body, Py_ssize_t size)
{
    if (size >= 2)
        for (int at = 0; at < self->ways_count; at++)
            if (memcmp(self->ways[at].head, body, 2) == 0)
                return self->ways[at].take;
    return NULL;
}

/* Take a body as the driver does, by a shorter way if there is one. */
static int
taken_by_driver(Datagrams *self, PyObject *body, PyObject *sender)
{
    Traffic *traffic = (Traffic *)self->traffic;
    PyObject *way = way_of(self, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body));
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

/* Take one datagram; -1 with an exception set. */
static int
taken(Datagrams *self, const char *datagram, Py_ssize_t size, const Address *from)
{
    PyObject *body = opened(self, datagram, size), *sender, *result;
    int done = -1;

    if (body == NULL) {
        if (PyErr_Occurred())
            return -1;
        self->strange++;
        return 0;
    }
    sender = sender_of(self, from);
    if (sender != NULL && self->ways_count)
        done = taken_by_driver(self, body, sender);
    else if (sender != NULL && self->handler != NULL) {
        self->is_left = 1;
        result = PyObject_CallMethodObjArgs(self->handler, s_on_datagram, body, sender, NULL);
        done = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    Py_XDECREF(sender);
    Py_DECREF(body);
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
        int left = most - all;
        int count = read_some(self, &burst, left < AT_ONCE_MAX ? left : AT_ONCE_MAX);

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
            if (taken(self, burst.bytes[at], burst.sizes[at], &burst.from[at]) < 0)
                return -1;
            all++;
        }
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
datagrams_readable(PyObject *self, PyObject *nothing)
{
    Datagrams *own = (Datagrams *)self;
    int count;

    if (own->is_busy) {
        count = taken_up_to(own, DATAGRAMS_PER_DRAIN_MAX);
        own->is_busy = count > 1;
    }
    else {
        double now = monotonic_s();

        own->is_busy = now - own->read_at < BURST_S;
        own->read_at = now;
        count = taken_up_to(own, 1);
    }
    if (count < 0 || decided(own) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- what it is told ------------------------------------------------------------------------ */

static PyObject *
datagrams_begin(PyObject *self, PyObject *arguments)
{
    Datagrams *own = (Datagrams *)self;
    PyObject *handler;
    int number, is_v6, is_sealed;

    if (!PyArg_ParseTuple(arguments, "iOpp:_begin", &number, &handler, &is_v6, &is_sealed))
        return NULL;
    own->number = number;
    own->is_v6 = (char)is_v6;
    own->is_sealed = (char)is_sealed;
    Py_XSETREF(own->handler, Py_NewRef(handler));
    Py_RETURN_NONE;
}

static PyObject *
datagrams_end(PyObject *self, PyObject *nothing)
{
    ((Datagrams *)self)->number = -1;
    Py_RETURN_NONE;
}

static void
forget_ways(Datagrams *self)
{
    int count = self->ways_count;

    self->ways_count = 0;
    for (int at = 0; at < count; at++)
        Py_CLEAR(self->ways[at].take);
    Py_CLEAR(self->traffic);
    Py_CLEAR(self->commonly);
    Py_CLEAR(self->aim);
}

static PyObject *
datagrams_shorten(PyObject *self, PyObject *arguments)
{
    Datagrams *own = (Datagrams *)self;
    PyObject *ways, *traffic, *commonly, *aim, *head, *take;
    Py_ssize_t at = 0;

    if (!PyArg_ParseTuple(arguments, "O!O!OO:shorten", &PyDict_Type, &ways, traffic_type, &traffic,
                          &commonly, &aim))
        return NULL;
    if (PyDict_GET_SIZE(ways) > WAYS_MAX)
        return PyErr_Format(PyExc_ValueError, "more than %d ways", WAYS_MAX);
    while (PyDict_Next(ways, &at, &head, &take))
        if (!PyBytes_CheckExact(head) || PyBytes_GET_SIZE(head) != 2)
            return PyErr_Format(PyExc_ValueError, "a way is for the first two bytes of a body");
    forget_ways(own);
    own->traffic = Py_NewRef(traffic);
    own->commonly = Py_NewRef(commonly);
    own->aim = Py_NewRef(aim);
    at = 0;
    while (PyDict_Next(ways, &at, &head, &take)) {
        memcpy(own->ways[own->ways_count].head, PyBytes_AS_STRING(head), 2);
        own->ways[own->ways_count++].take = Py_NewRef(take);
    }
    Py_RETURN_NONE;
}

/* -- the types ------------------------------------------------------------------------------ */

static PyObject *
datagrams_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    PyObject *self = type->tp_alloc(type, 0);

    if (self != NULL)
        ((Datagrams *)self)->number = -1;
    return self;
}

static int
datagrams_traverse(PyObject *self, visitproc visit, void *arg)
{
    Datagrams *own = (Datagrams *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(own->handler);
    Py_VISIT(own->gate);
    Py_VISIT(own->traffic);
    Py_VISIT(own->commonly);
    Py_VISIT(own->aim);
    for (int at = 0; at < own->ways_count; at++)
        Py_VISIT(own->ways[at].take);
    return 0;
}

static int
datagrams_clear(PyObject *self)
{
    Datagrams *own = (Datagrams *)self;

    forget_ways(own);
    Py_CLEAR(own->handler);
    Py_CLEAR(own->gate);
    Py_CLEAR(own->host);
    return 0;
}

static void
datagrams_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    datagrams_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef datagrams_methods[] = {
    {"_begin", datagrams_begin, METH_VARARGS,
     "Begin: the number of the socket, the handler, whether it is IPv6, whether it has a seal."},
    {"_end", datagrams_end, METH_NOARGS, "Read and send nothing more."},
    {"_readable", datagrams_readable, METH_NOARGS, "Take what the loop says is there."},
    {"drain", datagrams_drain, METH_NOARGS,
     "Hand over what is waiting, at most 64 datagrams, then let the handler decide."},
    {"send", (PyCFunction)(void (*)(void))datagrams_send, METH_FASTCALL,
     "send($self, to, body, /)\n--\n\nSend one body; false when it was dropped."},
    {"send_now", (PyCFunction)(void (*)(void))datagrams_send_now, METH_FASTCALL,
     "send_now($self, to, body, /)\n--\n\nSend one body, whoever stands at the gate."},
    {"shorten", datagrams_shorten, METH_VARARGS,
     "shorten($self, ways, traffic, commonly, aim, /)\n--\n\n"
     "Take what begins as one of `ways` says by that way, and count it; `commonly` takes what\n"
     "has none, and `aim` is called when somebody may be due sooner."},
    {NULL},
};

static PyMemberDef datagrams_members[] = {
    {"dropped", T_LONGLONG, offsetof(Datagrams, dropped), 0, "datagrams the kernel did not take"},
    {"strange", T_LONGLONG, offsetof(Datagrams, strange), 0, "datagrams not sealed as ours are"},
    {"gate", T_OBJECT, offsetof(Datagrams, gate), 0, "who is asked to send instead, if anybody"},
    {NULL},
};

static PyType_Slot datagrams_slots[] = {
    {Py_tp_doc, "One UDP socket."},
    {Py_tp_new, datagrams_new},
    {Py_tp_methods, datagrams_methods},
    {Py_tp_members, datagrams_members},
    {Py_tp_traverse, datagrams_traverse},
    {Py_tp_clear, datagrams_clear},
    {Py_tp_dealloc, datagrams_dealloc},
    {0, NULL},
};

static PyType_Spec datagrams_spec = {
    .name = "tracker.native.datagrams.Datagrams",
    .basicsize = sizeof(Datagrams),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = datagrams_slots,
};

#define COUNT(name) {#name, T_LONGLONG, offsetof(Traffic, name), 0, NULL}

static PyMemberDef traffic_members[] = {
    COUNT(datagrams_in),
    COUNT(datagrams_out),
    COUNT(datagram_bytes_in),
    COUNT(datagram_bytes_out),
    COUNT(frames_in),
    COUNT(refused),
    {NULL},
};

static void
traffic_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot traffic_slots[] = {
    {Py_tp_doc, "What went through one driver: `tracker.driver.PlainTraffic` in C."},
    {Py_tp_members, traffic_members},
    {Py_tp_dealloc, traffic_dealloc},
    {0, NULL},
};

static PyType_Spec traffic_spec = {
    .name = "tracker.native.datagrams.Traffic",
    .basicsize = sizeof(Traffic),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = traffic_slots,
};

static int
remember_names(void)
{
    struct {
        PyObject **kept;
        const char *text;
    } names[] = {
        {&s_on_datagram, "on_datagram"},   {&s_on_drained, "on_drained"},
        {&s_refused_soon, "_refused_soon"}, {&s_opened_or_none, "_opened_or_none"},
        {&s_send, "send"},                 {&s_send_slowly, "_send_slowly"},
    };

    for (size_t at = 0; at < sizeof names / sizeof names[0]; at++)
        if (*names[at].kept == NULL
            && (*names[at].kept = PyUnicode_InternFromString(names[at].text)) == NULL)
            return -1;
    return 0;
}

static int
fill(PyObject *module)
{
    PyObject *type;
    int done;

    if (remember_names() < 0)
        return -1;
    if (traffic_type == NULL
        && (traffic_type = (PyTypeObject *)PyType_FromSpec(&traffic_spec)) == NULL)
        return -1;
    type = PyType_FromSpec(&datagrams_spec);
    if (type == NULL)
        return -1;
    done = PyModule_AddObjectRef(module, "Datagrams", type);
    Py_DECREF(type);
    if (done < 0 || PyModule_AddObjectRef(module, "Traffic", (PyObject *)traffic_type) < 0)
        return -1;
    if (PyModule_AddIntMacro(module, DATAGRAM_BYTES_MAX) < 0
        || PyModule_AddIntMacro(module, DATAGRAMS_PER_DRAIN_MAX) < 0
        || PyModule_AddIntMacro(module, FORMAT) < 0)
        return -1;
    return add_source(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tracker.native.datagrams",
    .m_doc = "A UDP socket that is read and written without a line of Python.",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_datagrams(void)
{
    return PyModuleDef_Init(&definition);
}
