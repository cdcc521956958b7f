/* What a node's socket is, and how a datagram leaves it.
 *
 * The rule: what the kernel does not take is dropped and counted; nothing waits for it.
 */
#ifndef GOSSIP_COUNTER_SENDING_H
#define GOSSIP_COUNTER_SENDING_H

#include "address.h"
#include "straight.h"

#include <errno.h>
#include <time.h>

#define DATAGRAM_BYTES_MAX 1232      /* tracker.wire.DATAGRAM_BYTES_MAX */
#define DATAGRAMS_PER_DRAIN_MAX 64   /* tracker.transport.base.DATAGRAMS_PER_DRAIN_MAX */
#define AT_ONCE_MAX 16               /* datagrams in one call of the kernel */
#define WAYS_MAX 8                   /* shorter ways into one driver */
#define FORMAT 1                     /* tracker.wire.GOSSIP_VERSION */
#define FORMAT_MAX 31                /* tracker.wire.GOSSIP_VERSION_MAX */
#define BURST_S 0.002                /* tracker.transport.plain: these two */
#define SINGLES_MAX 32
#define OUTBOX_MAX 32              /* replies that wait until the others of a batch are taken */

typedef struct {
    PyObject_HEAD
    long long datagrams_in, datagrams_out, datagram_bytes_in, datagram_bytes_out;
    long long frames_in, refused;
} Traffic;

typedef struct {
    unsigned char head[2];
    PyObject *take;
    const Straight *straight; /* the same without an object, NULL where there is none */
    PyObject *self;           /* whose it is, borrowed from `take` */
} Way;

typedef struct {
    PyObject_HEAD
    PyObject *handler, *gate, *traffic, *commonly, *aim;
    LastHost host; /* of the last sender */
    Way ways[WAYS_MAX];
    int ways_count;
    int number; /* of the socket, -1 once it is closed */
    long long dropped, strange;
    double read_at;
    char is_v6, is_sealed, is_busy, is_left, is_heard, singles, singles_left;
    char is_wrapped; /* somebody may stand before `send` */
} Datagrams;

typedef struct {
    char bytes[AT_ONCE_MAX][DATAGRAM_BYTES_MAX + 1];
    Address from[AT_ONCE_MAX];
    Py_ssize_t sizes[AT_ONCE_MAX];
} Burst;

static PyTypeObject *traffic_type;
static PyObject *s_on_datagram, *s_on_drained, *s_opened_or_none, *s_refused_soon, *s_send,
    *s_send_slowly, *s_take_foreign;

static PyObject *datagrams_send(PyObject *, PyObject *const *, Py_ssize_t);


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

/* Hand a whole datagram to the kernel; 1 sent, 0 dropped, -1 with an exception set. */
static int
handed(Datagrams *self, const void *datagram, size_t size, const Address *to, socklen_t to_size)
{
    PyObject *result;

    if (LIKELY(sendto(self->number, datagram, size, 0, &to->any, to_size) >= 0))
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
    if (sendto(self->number, datagram, size, 0, &to->any, to_size) >= 0)
        return 1;
    self->dropped++;
    return 0;
}

/* Hand a body to the kernel; 1 sent, 0 dropped, -1 with an exception set. */
static int
sent_now(Datagrams *self, PyObject *to, PyObject *body)
{
    char datagram[1 + DATAGRAM_BYTES_MAX];
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
    return handed(self, datagram, (size_t)size + 1, &address, address_size);
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

/* Whether nobody has put anything in the place of `send`; -1 with an exception set. */
static int
is_own_send(Datagrams *self)
{
    PyObject *send = PyObject_GetAttr((PyObject *)self, s_send);
    int is_own = send == NULL ? -1 : PyCFunction_Check(send)
            && PyCFunction_GET_SELF(send) == (PyObject *)self
            && PyCFunction_GET_FUNCTION(send) == (PyCFunction)(void (*)(void))datagrams_send;

    Py_XDECREF(send);
    return is_own;
}

/* As any attribute is set; whoever sets `send` is asked from then on. */
static int
datagrams_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    if (PyObject_GenericSetAttr(self, name, value) < 0)
        return -1;
    if (PyUnicode_CompareWithASCIIString(name, "send") == 0)
        ((Datagrams *)self)->is_wrapped = 1;
    return 0;
}

/* Send one of the answers of a way; 1 sent, 0 dropped, -1 with an exception set. */
static int
sent_pair(Datagrams *self, PyObject *pair)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "a way returns pairs of an address and a body");
        return -1;
    }
    if (LIKELY(!self->is_wrapped))
        return sent(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    return truth_of(PyObject_CallMethodObjArgs((PyObject *)self, s_send, PyTuple_GET_ITEM(pair, 0),
                                               PyTuple_GET_ITEM(pair, 1), NULL));
}

/* Send what a way answered; -1 with an exception set. Whoever wrapped `send` is asked instead. */
static int
send_all(Datagrams *self, PyObject *answers)
{
    Traffic *traffic = (Traffic *)Py_NewRef(self->traffic);
    int is_sent = 0;

    for (Py_ssize_t at = 0; is_sent >= 0 && at < PyList_GET_SIZE(answers); at++) {
        /* Sending may run anything, and the list is anybody's. */
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(answers, at));

        is_sent = sent_pair(self, pair);
        if (is_sent > 0) {
            PyObject *body = PyTuple_GET_ITEM(pair, 1);

            traffic->datagrams_out++;
            traffic->datagram_bytes_out += PyBytes_Check(body) ? PyBytes_GET_SIZE(body) : 0;
        }
        Py_DECREF(pair);
    }
    Py_DECREF(traffic);
    return is_sent < 0 ? -1 : 0;
}

/* A reply that is to be sent, and by whom. */
typedef struct {
    Datagrams *who; /* a reference of its own */
    unsigned char home[6];
    Py_ssize_t size;
    unsigned char bytes[STRAIGHT_BYTES_MAX];
} Letter;

/* Replies that leave one after the other, once all that was read is taken. */
typedef struct {
    int count;
    Letter letters[OUTBOX_MAX];
} Outbox;

/* Send the one reply of a straight way; -1 with an exception set. */
static int
send_reply(Datagrams *self, const unsigned char *home, unsigned char *reply, Py_ssize_t size)
{
    Traffic *traffic = (Traffic *)Py_NewRef(self->traffic);
    Address to;
    int is_sent;

    memset(&to, 0, sizeof to);
    to.v4.sin_family = AF_INET;
    memcpy(&to.v4.sin_addr, home, 4);
    memcpy(&to.v4.sin_port, home + 4, 2);
    reply[0] = FORMAT;
    is_sent = handed(self, reply, (size_t)size + 1, &to, sizeof to.v4);
    if (is_sent > 0) {
        traffic->datagrams_out++;
        traffic->datagram_bytes_out += size;
    }
    Py_DECREF(traffic);
    return is_sent < 0 ? -1 : 0;
}

/* Send a reply now, or lay it by where there is an outbox with room; -1 with an exception set. */
static int
laid_by(Datagrams *self, Follows *follows, Outbox *outbox)
{
    Letter *letter;

    if (outbox == NULL || outbox->count == OUTBOX_MAX)
        return send_reply(self, follows->home, follows->reply, follows->reply_size);
    letter = &outbox->letters[outbox->count++];
    letter->who = (Datagrams *)Py_NewRef((PyObject *)self);
    letter->size = follows->reply_size;
    memcpy(letter->home, follows->home, sizeof letter->home);
    memcpy(letter->bytes, follows->reply, (size_t)follows->reply_size + 1);
    return 0;
}

#endif
