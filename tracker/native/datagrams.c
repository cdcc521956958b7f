/* `Datagrams`: what `tracker.transport.plain.PlainDatagrams` does for every datagram, and what
 * `tracker.driver.Driver.on_datagram` does with one that has a shorter way.
 *
 * The rule: nothing waits and nothing is kept. What is not plain is left to the Python: another
 * seal than the plain one (`_opened_or_none`), an address that is not written in numbers or a body
 * that no datagram holds (`_send_slowly`), and what the kernel says of others (`_refused_soon`).
 */
#ifdef __linux__
#include "gathering.h"
#else
#include "receiving.h"
#endif

/* -- what it is told ------------------------------------------------------------------------ */

static PyObject *
datagrams_begin(PyObject *self, PyObject *arguments)
{
    Datagrams *own = (Datagrams *)self;
    PyObject *handler;
    int number, is_v6, is_sealed, is_own;

    if (!PyArg_ParseTuple(arguments, "iOpp:_begin", &number, &handler, &is_v6, &is_sealed))
        return NULL;
    own->number = number;
    own->is_v6 = (char)is_v6;
    own->is_sealed = (char)is_sealed;
    Py_XSETREF(own->handler, Py_NewRef(handler));
    is_own = is_own_send(own); /* a class may have another, or an object before it began */
    if (is_own < 0)
        return NULL;
    own->is_wrapped = !is_own;
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
    for (int at = 0; at < count; at++) {
        self->ways[at].straight = NULL;
        Py_CLEAR(self->ways[at].take);
    }
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
        Way *way = &own->ways[own->ways_count++];

        memcpy(way->head, PyBytes_AS_STRING(head), 2);
        way->take = Py_NewRef(take);
        way->straight = straight_of(take, &way->self);
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
    Py_CLEAR(own->host.text);
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
    {"hand", (PyCFunction)(void (*)(void))datagrams_hand, METH_FASTCALL,
     "hand($self, datagram, sender, /)\n--\n\n"
     "Hand over a datagram that was read before; returns who is to decide in the end, or None."},
    {"decide", datagrams_decide, METH_NOARGS,
     "Let the handler decide on all that was handed over."},
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
    {Py_tp_setattro, datagrams_setattro},
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

static const Name names[] = {
    {&s_on_datagram, "on_datagram"},   {&s_on_drained, "on_drained"},
    {&s_refused_soon, "_refused_soon"}, {&s_opened_or_none, "_opened_or_none"},
    {&s_send, "send"},                 {&s_send_slowly, "_send_slowly"},
    {&s_take_foreign, "_take_foreign"},
};

static int
fill(PyObject *module)
{
    if (intern_names(names, LENGTH(names)) < 0)
        return -1;
    if (traffic_type == NULL
        && (traffic_type = (PyTypeObject *)PyType_FromSpec(&traffic_spec)) == NULL)
        return -1;
    if (datagrams_type == NULL
        && (datagrams_type = (PyTypeObject *)PyType_FromSpec(&datagrams_spec)) == NULL)
        return -1;
#ifdef __linux__
    if (add_type(module, &gathering_spec) < 0)
        return -1;
#endif
    if (PyModule_AddObjectRef(module, "Datagrams", (PyObject *)datagrams_type) < 0
        || PyModule_AddObjectRef(module, "Traffic", (PyObject *)traffic_type) < 0)
        return -1;
    if (PyModule_AddIntMacro(module, DATAGRAM_BYTES_MAX) < 0
        || PyModule_AddIntMacro(module, DATAGRAMS_PER_DRAIN_MAX) < 0
        || PyModule_AddIntMacro(module, FORMAT) < 0
        || PyModule_AddIntMacro(module, SINGLES_MAX) < 0)
        return -1;
    return add_source(module);
}

NATIVE_MODULE(datagrams, "tracker.native.datagrams",
              "A UDP socket that is read and written without a line of Python.")
