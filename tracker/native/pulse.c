/* `Pulse`: gives a standing answer again (`tracker.again`), as `Gossip.reflex` would.
 *
 * It stands in the place of a stream's `data_received`. The rule: only the very frame that was
 * answered before is answered here, and only while each value on which that answer rested is what
 * it was; all else, and whatever goes wrong, is handed to the stream, which asks the machine.
 */
#include "module.h"

enum { FRAME, REPLY, WRITE, SAME, EMPTY, LATER, NOTED, COUNTED, PARTS };

typedef struct {
    PyObject_HEAD
    PyObject *miss;     /* the stream's own `data_received` */
    PyObject *clock;    /* returns seconds */
    PyObject *standing; /* a tuple of PARTS, or NULL; its shape was checked by `stand` */
} Pulse;

/* Whether an attribute is what it was: 1, 0, or -1 with an exception set. */
static int
is_same(PyObject *row)
{
    PyObject *was = PyTuple_GET_ITEM(row, 2), *is;
    int same;

    is = PyObject_GetAttr(PyTuple_GET_ITEM(row, 0), PyTuple_GET_ITEM(row, 1));
    if (is == NULL)
        return -1;
    same = is == was;
    /* A whole number may have been worked out anew. */
    if (!same && PyLong_CheckExact(is) && PyLong_CheckExact(was))
        same = PyObject_RichCompareBool(is, was, Py_EQ);
    Py_DECREF(is);
    return same;
}

/* Whether an attribute is a time after `now`: 1, 0, or -1 with an exception set. */
static int
is_later(PyObject *row, double now)
{
    PyObject *time = PyObject_GetAttr(PyTuple_GET_ITEM(row, 0), PyTuple_GET_ITEM(row, 1));
    int later;

    if (time == NULL)
        return -1;
    later = PyFloat_CheckExact(time) && PyFloat_AS_DOUBLE(time) > now;
    Py_DECREF(time);
    return later;
}

/* Whether a standing holds for these bytes: 1, 0, or -1 with an exception set. */
static int
holds(PyObject *standing, PyObject *data, double now)
{
    PyObject *frame = PyTuple_GET_ITEM(standing, FRAME), *rows;
    Py_ssize_t size = PyBytes_GET_SIZE(frame);
    int so;

    if (!PyBytes_CheckExact(data) || PyBytes_GET_SIZE(data) != size ||
        memcmp(PyBytes_AS_STRING(data), PyBytes_AS_STRING(frame), (size_t)size) != 0)
        return 0;
    rows = PyTuple_GET_ITEM(standing, SAME);
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows); at++)
        if ((so = is_same(PyTuple_GET_ITEM(rows, at))) != 1)
            return so;
    rows = PyTuple_GET_ITEM(standing, EMPTY);
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows); at++)
        if ((so = PyObject_Not(PyTuple_GET_ITEM(rows, at))) != 1)
            return so;
    rows = PyTuple_GET_ITEM(standing, LATER);
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows); at++)
        if ((so = is_later(PyTuple_GET_ITEM(rows, at), now)) != 1)
            return so;
    return 1;
}

/* Set an attribute to a new object, whose reference is taken; -1 with an exception set. */
static int
set(PyObject *row, PyObject *value)
{
    int done;

    if (value == NULL)
        return -1;
    done = PyObject_SetAttr(PyTuple_GET_ITEM(row, 0), PyTuple_GET_ITEM(row, 1), value);
    Py_DECREF(value);
    return done;
}

/* Change what each answer changes; -1 with an exception set. */
static int
note(PyObject *standing, double now, PyObject *one)
{
    PyObject *rows = PyTuple_GET_ITEM(standing, NOTED), *row, *count;

    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows); at++) {
        row = PyTuple_GET_ITEM(rows, at);
        if (set(row, PyFloat_FromDouble(now + PyFloat_AS_DOUBLE(PyTuple_GET_ITEM(row, 2)))) < 0)
            return -1;
    }
    rows = PyTuple_GET_ITEM(standing, COUNTED);
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows); at++) {
        row = PyTuple_GET_ITEM(rows, at);
        count = PyObject_GetAttr(PyTuple_GET_ITEM(row, 0), PyTuple_GET_ITEM(row, 1));
        if (count == NULL)
            return -1;
        PyObject *more = PyNumber_Add(count, one);
        Py_DECREF(count);
        if (set(row, more) < 0)
            return -1;
    }
    return 0;
}

/* Ask the clock; -1 with an exception set. */
static int
ask(PyObject *clock, double *now)
{
    PyObject *time;

    Py_INCREF(clock);
    time = PyObject_CallNoArgs(clock);
    Py_DECREF(clock);
    if (time == NULL)
        return -1;
    *now = PyFloat_AsDouble(time);
    Py_DECREF(time);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* Give the standing answer, if it may be: 1 given, 0 not, -1 not, with an exception set. */
static int
answer(Pulse *self, PyObject *standing, PyObject *data, PyObject **result)
{
    PyObject *one;
    double now;
    int so;

    if (self->clock == NULL) /* nobody has made this one */
        return 0;
    if (ask(self->clock, &now) < 0)
        return -1;
    if ((so = holds(standing, data, now)) != 1)
        return so;
    if ((one = PyLong_FromLong(1)) == NULL)
        return -1;
    so = note(standing, now, one);
    Py_DECREF(one);
    if (so < 0)
        return -1;
    *result = PyObject_CallOneArg(PyTuple_GET_ITEM(standing, WRITE),
                                  PyTuple_GET_ITEM(standing, REPLY));
    return 1;
}

static PyObject *
pulse_call(PyObject *object, PyObject *arguments, PyObject *names)
{
    Pulse *self = (Pulse *)object;
    PyObject *standing = self->standing, *result = NULL, *miss;
    int given = 0;

    if (standing != NULL && PyTuple_GET_SIZE(arguments) == 1 && names == NULL) {
        /* Reading an attribute may run code that ends this standing. */
        Py_INCREF(standing);
        given = answer(self, standing, PyTuple_GET_ITEM(arguments, 0), &result);
        Py_DECREF(standing);
    }
    if (LIKELY(given == 1))
        return result;
    /* What cannot be looked at does not hold; what is wrong the machine will see. */
    if (given < 0)
        PyErr_Clear();
    Py_CLEAR(self->standing);
    if ((miss = self->miss) == NULL)
        Py_RETURN_NONE;
    Py_INCREF(miss);
    result = PyObject_Call(miss, arguments, names);
    Py_DECREF(miss);
    return result;
}

/* Whether `rows` is a tuple of tuples: an object, a name and, of three, a third of this type. */
static int
are_rows(PyObject *rows, Py_ssize_t size, PyTypeObject *third)
{
    if (!PyTuple_CheckExact(rows))
        return 0;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(rows); at++) {
        PyObject *row = PyTuple_GET_ITEM(rows, at);
        if (!PyTuple_CheckExact(row) || PyTuple_GET_SIZE(row) != size ||
            !PyUnicode_CheckExact(PyTuple_GET_ITEM(row, 1)))
            return 0;
        if (third != NULL && !Py_IS_TYPE(PyTuple_GET_ITEM(row, 2), third))
            return 0;
    }
    return 1;
}

static PyObject *
pulse_stand(PyObject *object, PyObject *parts)
{
    Pulse *self = (Pulse *)object;

    if (PyTuple_GET_SIZE(parts) != PARTS || !PyBytes_CheckExact(PyTuple_GET_ITEM(parts, FRAME)) ||
        !PyTuple_CheckExact(PyTuple_GET_ITEM(parts, EMPTY)) ||
        !are_rows(PyTuple_GET_ITEM(parts, SAME), 3, NULL) ||
        !are_rows(PyTuple_GET_ITEM(parts, LATER), 2, NULL) ||
        !are_rows(PyTuple_GET_ITEM(parts, NOTED), 3, &PyFloat_Type) ||
        !are_rows(PyTuple_GET_ITEM(parts, COUNTED), 2, NULL)) {
        PyErr_SetString(PyExc_TypeError, "stand() takes two frames, and what a Standing holds");
        return NULL;
    }
    Py_INCREF(parts);
    Py_XSETREF(self->standing, parts);
    Py_RETURN_NONE;
}

static int
pulse_init(PyObject *object, PyObject *arguments, PyObject *names)
{
    static char *known[] = {"miss", "clock", NULL};
    Pulse *self = (Pulse *)object;
    PyObject *miss, *clock;

    if (!PyArg_ParseTupleAndKeywords(arguments, names, "OO:Pulse", known, &miss, &clock))
        return -1;
    Py_INCREF(miss);
    Py_XSETREF(self->miss, miss);
    Py_INCREF(clock);
    Py_XSETREF(self->clock, clock);
    Py_CLEAR(self->standing);
    return 0;
}

static PyObject *
pulse_stands(PyObject *object, void *unused)
{
    return PyBool_FromLong(((Pulse *)object)->standing != NULL);
}

static int
pulse_traverse(PyObject *object, visitproc visit, void *arg)
{
    Pulse *self = (Pulse *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->miss);
    Py_VISIT(self->clock);
    Py_VISIT(self->standing);
    return 0;
}

static int
pulse_clear(PyObject *object)
{
    Pulse *self = (Pulse *)object;

    Py_CLEAR(self->standing);
    Py_CLEAR(self->miss);
    Py_CLEAR(self->clock);
    return 0;
}

static void
pulse_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    pulse_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef pulse_methods[] = {
    {"stand", pulse_stand, METH_VARARGS,
     "stand(frame, reply, write, same, empty, later, noted, counted)\n--\n\n"
     "Let an answer stand: `write` is called with `reply` when `frame` comes again; what the\n"
     "others are says tracker.again. Raises TypeError for what is none of that."},
    {NULL},
};

static PyGetSetDef pulse_getset[] = {
    {"stands", pulse_stands, NULL, "whether an answer stands", NULL},
    {NULL},
};

static PyType_Slot pulse_slots[] = {
    {Py_tp_doc, "Pulse(miss, clock): calls `miss` with what has no standing answer."},
    {Py_tp_init, pulse_init},
    {Py_tp_call, pulse_call},
    {Py_tp_methods, pulse_methods},
    {Py_tp_getset, pulse_getset},
    {Py_tp_traverse, pulse_traverse},
    {Py_tp_clear, pulse_clear},
    {Py_tp_dealloc, pulse_dealloc},
    {0, NULL},
};

static PyType_Spec pulse_spec = {
    .name = "tracker.native.pulse.Pulse",
    .basicsize = sizeof(Pulse),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = pulse_slots,
};

static int
fill(PyObject *module)
{
    return add_type(module, &pulse_spec) < 0 ? -1 : add_source(module);
}

NATIVE_MODULE(pulse, "tracker.native.pulse",
              "Standing answers, given again without a line of Python.")
