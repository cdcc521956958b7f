/* `Flight`: what `tracker.transport.flight.PlainFlight` does with datagrams that are on their way.
 *
 * The rule: what is due first is handed over first, and of what is due at once the first to come;
 * nothing is handed over before its time. Linux alone has what is needed: there is no `Flight` on
 * other systems.
 */
#include "module.h"

#ifdef __linux__
#include "arriving.h"

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

static PyObject *s_decide;

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
        note_decider(self, result);
    }
    return 0;
}

/* Have those decide who want to; -1 with an exception set, and the others decide the next time. */
static int
decided(Flight *self)
{
    while (self->deciding_count > 0) {
        PyObject *first = self->deciding[0], *result;

        self->deciding_count--;
        memmove(self->deciding, self->deciding + 1,
                sizeof self->deciding[0] * (size_t)self->deciding_count);
        result = PyObject_CallMethodNoArgs(first, s_decide);
        Py_DECREF(first);
        if (result == NULL)
            return -1;
        Py_DECREF(result);
    }
    return 0;
}

/* When it is to deliver next, 0 for never. */
static double
next_due(const Flight *self)
{
    if (self->deciding_count > 0)
        return SOON;
    return self->count > 0 ? self->heap[0].due : 0.0;
}

/* Whether nothing is due, and the timer will say when something is. */
static int
is_quiet(const Flight *self)
{
    if (self->deciding_count > 0)
        return 0;
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
    done = decided(own); /* those whom an error kept from it */
    if (done == 0)
        done = handed_over(own);
    if (done == 0)
        done = decided(own);
    own->is_delivering = 0;
    PyErr_Fetch(&type, &value, &trace);
    if (set_timer(own, next_due(own)) < 0) {
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

/* Have the loop listen to a number no more, whatever it says to that; an error stays as it is. */
static void
forsake(PyObject *loop, int number)
{
    PyObject *type, *value, *trace, *result;

    PyErr_Fetch(&type, &value, &trace);
    result = PyObject_CallMethod(loop, "remove_reader", "i", number);
    if (result == NULL)
        PyErr_Clear();
    Py_XDECREF(result);
    PyErr_Restore(type, value, trace);
}

/* Have the loop call a method when something is to be read; -1 with an exception set. */
static int
heed(PyObject *self, PyObject *loop, int number, const char *method)
{
    PyObject *callback = number < 0 ? NULL : PyObject_GetAttrString(self, method), *result = NULL;

    if (number < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    if (callback != NULL)
        result = PyObject_CallMethod(loop, "add_reader", "iO", number, callback);
    Py_XDECREF(callback);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void
close_both(Flight *self)
{
    if (self->timer >= 0)
        close(self->timer);
    if (self->poll >= 0)
        close(self->poll);
    self->timer = self->poll = -1;
    self->set_to = 0.0;
}

static PyObject *
flight_begin(PyObject *self, PyObject *loop)
{
    Flight *own = (Flight *)self;
    int done;

    if (own->timer >= 0)
        return PyErr_Format(PyExc_RuntimeError, "it has begun");
    own->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    done = heed(self, loop, own->timer, "deliver");
    if (done == 0) {
        own->poll = epoll_create1(EPOLL_CLOEXEC);
        done = heed(self, loop, own->poll, "come");
        if (done < 0)
            forsake(loop, own->timer);
    }
    if (done == 0 && own->count > 0)
        done = set_timer(own, own->heap[0].due);
    if (done == 0)
        Py_RETURN_NONE;
    close_both(own);
    return NULL;
}

/* Forget all that is on its way, who is watched and who wants to decide. */
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
    while (self->deciding_count > 0)
        Py_DECREF(self->deciding[--self->deciding_count]);
    watch_nobody(self);
}

static PyObject *
flight_end(PyObject *self, PyObject *loop)
{
    Flight *own = (Flight *)self;

    if (own->timer < 0)
        Py_RETURN_NONE;
    empty(own);
    forsake(loop, own->timer);
    forsake(loop, own->poll);
    close_both(own);
    Py_RETURN_NONE;
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
    self->timer = self->poll = -1;
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
    for (int at = 0; at < own->deciding_count; at++)
        Py_VISIT(own->deciding[at]);
    for (Py_ssize_t at = 0; at < own->watched_room; at++) {
        Py_VISIT(own->watched[at].take);
        Py_VISIT(own->watched[at].refused);
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
    close_both(own);
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
    {"come", flight_come, METH_NOARGS, "Read what is there for those that are watched."},
    {"watch", (PyCFunction)(void (*)(void))flight_watch, METH_FASTCALL,
     "watch($self, sock, take, refused, /)\n--\n\n"
     "Have what comes to a socket arrive, until it is watched no more."},
    {"unwatch", flight_unwatch, METH_O, "Read what comes to a socket no more."},
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
    if (s_decide == NULL && (s_decide = PyUnicode_InternFromString("decide")) == NULL)
        return -1;
    if (add_type(module, &flight_spec) < 0 || PyModule_AddIntMacro(module, DATAGRAM_BYTES_MAX) < 0
        || PyModule_AddIntMacro(module, IN_FLIGHT_MAX) < 0
        || PyModule_AddIntMacro(module, ARRIVALS_PER_TURN_MAX) < 0
        || PyModule_AddIntMacro(module, COMERS_PER_TURN_MAX) < 0
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
