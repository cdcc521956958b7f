/* `Flight`: what `tracker.transport.flight.PlainFlight` does with datagrams that are on their way.
 *
 * The rule: what is due first is handed over first, and of what is due at once the first to come;
 * nothing is handed over before its time. Linux alone has what is needed: there is no `Flight` on
 * other systems.
 */
#include "module.h"

#ifdef __linux__
#include "late.h"

#define DATAGRAM_BYTES_MAX 1232    /* tracker.wire.DATAGRAM_BYTES_MAX */
#define ARRIVALS_PER_TURN_MAX 64   /* tracker.transport.flight: these two */
#define DELIVERIES_PER_TURN_MAX 256
#define AT_ONCE_MAX 16             /* datagrams in one call of the kernel */
#define STAMP_BYTES CMSG_SPACE(sizeof(struct timespec))

typedef struct {
    char bytes[AT_ONCE_MAX][DATAGRAM_BYTES_MAX + 1];
    _Alignas(struct cmsghdr) char stamps[AT_ONCE_MAX][STAMP_BYTES];
    Address from[AT_ONCE_MAX];
    struct iovec rooms[AT_ONCE_MAX];
    struct mmsghdr headers[AT_ONCE_MAX];
} Burst;

/* -- what comes ----------------------------------------------------------------------------- */

/* Read what is there, at most so many; how many, -1 with errno set. */
static int
read_burst(int number, Burst *burst, int wanted)
{
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
    return recvmmsg(number, burst->headers, (unsigned)wanted, 0, NULL);
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

static PyObject *
flight_arrive(PyObject *self, PyObject *const *arguments, Py_ssize_t argument_count)
{
    Burst burst;
    PyObject *result;
    int number, count, wanted = 2, all = 0; /* most often there is one */

    if (argument_count != 3)
        return PyErr_Format(PyExc_TypeError,
                            "arrive() takes a socket, who takes a datagram and who a refusal");
    if ((number = PyObject_AsFileDescriptor(arguments[0])) < 0)
        return NULL;
    for (;;) {
        count = read_burst(number, &burst, wanted);
        if (count >= 0) {
            if (put_burst_in((Flight *)self, &burst, count, arguments[1]) < 0)
                return NULL;
            all += count;
        }
        else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            result = PyObject_CallNoArgs(arguments[2]);
            if (result == NULL)
                return NULL;
            Py_DECREF(result);
        }
        if (count < wanted || all >= ARRIVALS_PER_TURN_MAX)
            Py_RETURN_NONE;
        wanted = ARRIVALS_PER_TURN_MAX - all;
        wanted = wanted < AT_ONCE_MAX ? wanted : AT_ONCE_MAX;
    }
}

static PyObject *
flight_push(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    double due;

    if (count != 4)
        return PyErr_Format(PyExc_TypeError, "push() takes a time, a function and its two words");
    due = PyFloat_AsDouble(arguments[0]);
    if ((due == -1.0 && PyErr_Occurred())
        || put_in((Flight *)self, due, arguments[1], arguments[2], arguments[3]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- what leaves ---------------------------------------------------------------------------- */

/* Hand over what is due; -1 with an exception set. */
static int
handed_over(Flight *self)
{
    double now = clock_s(CLOCK_MONOTONIC);

    for (int left = DELIVERIES_PER_TURN_MAX; left > 0 && self->count > 0; left--) {
        PyObject *words[2], *result;
        Late late;

        if (self->heap[0].due > now) {
            now = clock_s(CLOCK_MONOTONIC);
            if (self->heap[0].due > now)
                break;
        }
        late = popped(self);
        words[0] = late.what;
        words[1] = late.whom;
        result = PyObject_Vectorcall(late.take, words, 2, NULL);
        release(&late);
        if (result == NULL)
            return -1;
        Py_DECREF(result);
    }
    return 0;
}

/* Whether nothing is due, and the timer will say when something is. */
static int
is_quiet(const Flight *self)
{
    if (self->count == 0)
        return self->set_to == 0.0;
    return self->set_to == self->heap[0].due && self->set_to > clock_s(CLOCK_MONOTONIC);
}

static PyObject *
flight_deliver(PyObject *self, PyObject *nothing)
{
    Flight *own = (Flight *)self;
    PyObject *type, *value, *trace;
    int done;

    if (own->is_delivering || is_quiet(own))
        Py_RETURN_NONE;
    own->is_delivering = 1;
    done = handed_over(own);
    own->is_delivering = 0;
    PyErr_Fetch(&type, &value, &trace);
    if (set_timer(own, own->count > 0 ? own->heap[0].due : 0.0) < 0) {
        if (done < 0)
            PyErr_Clear(); /* the first of two errors is the one to be told */
        done = -1;
    }
    if (type != NULL)
        PyErr_Restore(type, value, trace);
    if (done < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
flight_recall(PyObject *self, PyObject *take)
{
    Flight *own = (Flight *)self;
    PyObject *found = PyList_New(0), *row;
    Py_ssize_t kept = 0;

    if (found == NULL)
        return NULL;
    /* First all that may fail, then what is taken out. */
    for (Py_ssize_t at = 0; at < own->count; at++) {
        Late *late = &own->heap[at];

        if (late->take != take)
            continue;
        row = Py_BuildValue("(dKOO)", late->due, late->order, late->what, late->whom);
        if (row == NULL || PyList_Append(found, row) < 0) {
            Py_XDECREF(row);
            Py_DECREF(found);
            return NULL;
        }
        Py_DECREF(row);
    }
    if (PyList_Sort(found) < 0) {
        Py_DECREF(found);
        return NULL;
    }
    for (Py_ssize_t at = 0; at < own->count; at++) {
        Late late = own->heap[at];

        if (late.take == take)
            release(&late); /* the caller and the list hold all three: nothing ends here */
        else
            own->heap[kept++] = late;
    }
    own->count = kept;
    for (Py_ssize_t at = kept / 2; at-- > 0;)
        sift_down(own->heap, kept, at);
    return found;
}

/* -- its life ------------------------------------------------------------------------------- */

static PyObject *
flight_begin(PyObject *self, PyObject *loop)
{
    Flight *own = (Flight *)self;
    PyObject *deliver, *result = NULL;

    if (own->timer >= 0)
        return PyErr_Format(PyExc_RuntimeError, "it has begun");
    own->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (own->timer < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    deliver = PyObject_GetAttrString(self, "deliver");
    if (deliver != NULL)
        result = PyObject_CallMethod(loop, "add_reader", "iO", own->timer, deliver);
    Py_XDECREF(deliver);
    if (result != NULL && own->count > 0 && set_timer(own, own->heap[0].due) < 0)
        Py_CLEAR(result);
    if (result == NULL) {
        close(own->timer);
        own->timer = -1;
    }
    return result;
}

/* Forget all that is on its way. */
static void
empty(Flight *self)
{
    Late *heap = self->heap;
    Py_ssize_t count = self->count;

    self->heap = NULL;
    self->count = self->room = 0;
    for (Py_ssize_t at = 0; at < count; at++)
        release(&heap[at]);
    PyMem_Free(heap);
}

static PyObject *
flight_end(PyObject *self, PyObject *loop)
{
    Flight *own = (Flight *)self;
    PyObject *result;
    int timer = own->timer;

    if (timer < 0)
        Py_RETURN_NONE;
    own->timer = -1;
    own->set_to = 0.0;
    empty(own);
    result = PyObject_CallMethod(loop, "remove_reader", "i", timer);
    close(timer);
    return result;
}

/* -- the type ------------------------------------------------------------------------------- */

static PyObject *
flight_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    double latency_s;
    Flight *self;

    if (!PyArg_ParseTuple(arguments, "d:Flight", &latency_s))
        return NULL;
    self = (Flight *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->latency_s = latency_s;
    self->timer = -1;
    return (PyObject *)self;
}

static int
flight_traverse(PyObject *self, visitproc visit, void *arg)
{
    Flight *own = (Flight *)self;

    Py_VISIT(Py_TYPE(self));
    for (Py_ssize_t at = 0; at < own->count; at++) {
        Py_VISIT(own->heap[at].take);
        Py_VISIT(own->heap[at].what);
        Py_VISIT(own->heap[at].whom);
    }
    return 0;
}

static int
flight_clear(PyObject *self)
{
    empty((Flight *)self);
    Py_CLEAR(((Flight *)self)->host.text);
    return 0;
}

static void
flight_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Flight *own = (Flight *)self;

    PyObject_GC_UnTrack(self);
    flight_clear(self);
    if (own->timer >= 0)
        close(own->timer);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
flight_length(PyObject *self, void *closure)
{
    return PyLong_FromSsize_t(((Flight *)self)->count);
}

static PyMethodDef flight_methods[] = {
    {"begin", flight_begin, METH_O, "Have this event loop call when something is due."},
    {"end", flight_end, METH_O, "Call no more, and forget what is on its way."},
    {"arrive", (PyCFunction)(void (*)(void))flight_arrive, METH_FASTCALL,
     "arrive($self, sock, take, refused, /)\n--\n\n"
     "Read what is there; `take` gets each datagram and its sender when it is due."},
    {"push", (PyCFunction)(void (*)(void))flight_push, METH_FASTCALL,
     "push($self, due, take, what, whom, /)\n--\n\nCall `take(what, whom)` at a time."},
    {"deliver", flight_deliver, METH_NOARGS, "Hand over what is due."},
    {"recall", flight_recall, METH_O,
     "Return what is on its way to this one, and forget it: rows of due, number, what, whom."},
    {NULL},
};

static PyMemberDef flight_members[] = {
    {"latency_s", T_DOUBLE, offsetof(Flight, latency_s), READONLY, "how long each is on its way"},
    {"dropped", T_LONGLONG, offsetof(Flight, dropped), 0, "those for which there was no room"},
    {NULL},
};

static PyGetSetDef flight_properties[] = {
    {"count", flight_length, NULL, "how many are on their way", NULL},
    {NULL},
};

static PyType_Slot flight_slots[] = {
    {Py_tp_doc, "Datagrams that are on their way."},
    {Py_tp_new, flight_new},
    {Py_tp_methods, flight_methods},
    {Py_tp_members, flight_members},
    {Py_tp_getset, flight_properties},
    {Py_tp_traverse, flight_traverse},
    {Py_tp_clear, flight_clear},
    {Py_tp_dealloc, flight_dealloc},
    {0, NULL},
};

static PyType_Spec flight_spec = {
    .name = "tracker.native.flight.Flight",
    .basicsize = sizeof(Flight),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = flight_slots,
};

static int
add_flight(PyObject *module)
{
    if (add_type(module, &flight_spec) < 0 || PyModule_AddIntMacro(module, DATAGRAM_BYTES_MAX) < 0
        || PyModule_AddIntMacro(module, IN_FLIGHT_MAX) < 0
        || PyModule_AddIntMacro(module, ARRIVALS_PER_TURN_MAX) < 0
        || PyModule_AddIntMacro(module, DELIVERIES_PER_TURN_MAX) < 0)
        return -1;
    return 0;
}
#else
static int
add_flight(PyObject *module)
{
    return 0;
}
#endif

static int
fill(PyObject *module)
{
    return add_flight(module) < 0 ? -1 : add_source(module);
}

NATIVE_MODULE(flight, "tracker.native.flight",
              "Datagrams that are handed over later than they came.")
