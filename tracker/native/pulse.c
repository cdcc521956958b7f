/* `Pulse`: gives a standing answer again (`tracker.again`), as `Gossip.reflex` would.
 *
 * It stands in the place of a stream's `data_received`. The rule: only the very frame that was
 * answered before is answered here, and only while each value on which that answer rested is what
 * it was; all else, and whatever goes wrong, is handed to the stream, which asks the machine.
 */
#include "module.h"

enum { FRAME, REPLY, WRITE, SAME, EMPTY, LATER, NOTED, COUNTED, PARTS };

#define ROWS "tracker.native.pulse.rows"

/* An attribute that is looked at or changed. All it points to is held by the tuple it came from. */
typedef struct {
    PyObject *owner, *name;
    PyObject *third;   /* what it was, or what is added to the time; NULL where a row has two */
    Py_ssize_t offset; /* of its slot, or -1: it is found by its name */
} Row;

/* What a standing holds: `SAME`, `LATER`, `NOTED` and `COUNTED`, one after the other. */
typedef struct {
    Py_ssize_t same, later, noted, counted; /* where each of them ends */
    Row rows[];
} Rows;

typedef struct {
    PyObject_HEAD
    PyObject *miss;     /* the stream's own `data_received` */
    PyObject *clock;    /* returns seconds */
    PyObject *standing; /* a tuple of PARTS, or NULL; its shape was checked by `stand` */
    PyObject *rows;     /* a capsule with the Rows of `standing`; NULL as that */
} Pulse;

/* The value of an attribute, a new reference; NULL with an exception set. */
static PyObject *
value_of(const Row *row)
{
    PyObject *value;

    if (row->offset < 0)
        return PyObject_GetAttr(row->owner, row->name);
    if ((value = SLOT(row->owner, row->offset)) == NULL) {
        PyErr_SetObject(PyExc_AttributeError, row->name);
        return NULL;
    }
    return Py_NewRef(value);
}

/* Set an attribute to a new object, whose reference is taken; -1 with an exception set. */
static int
set(const Row *row, PyObject *value)
{
    int done;

    if (value == NULL)
        return -1;
    if (row->offset >= 0) {
        put_slot(row->owner, row->offset, value);
        return 0;
    }
    done = PyObject_SetAttr(row->owner, row->name, value);
    Py_DECREF(value);
    return done;
}

/* Whether an attribute is what it was: 1, 0, or -1 with an exception set. */
static int
is_same(const Row *row)
{
    PyObject *was = row->third, *is = value_of(row);
    int same;

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
is_later(const Row *row, double now)
{
    PyObject *time = value_of(row);
    int later;

    if (time == NULL)
        return -1;
    later = PyFloat_CheckExact(time) && PyFloat_AS_DOUBLE(time) > now;
    Py_DECREF(time);
    return later;
}

/* Whether a standing holds for these bytes: 1, 0, or -1 with an exception set. */
static int
holds(PyObject *standing, const Rows *rows, PyObject *data, double now)
{
    PyObject *frame = PyTuple_GET_ITEM(standing, FRAME), *empty;
    Py_ssize_t size = PyBytes_GET_SIZE(frame), at = 0;
    int so;

    if (!PyBytes_CheckExact(data) || PyBytes_GET_SIZE(data) != size ||
        memcmp(PyBytes_AS_STRING(data), PyBytes_AS_STRING(frame), (size_t)size) != 0)
        return 0;
    for (; at < rows->same; at++)
        if ((so = is_same(&rows->rows[at])) != 1)
            return so;
    empty = PyTuple_GET_ITEM(standing, EMPTY);
    for (Py_ssize_t each = 0; each < PyTuple_GET_SIZE(empty); each++)
        if ((so = PyObject_Not(PyTuple_GET_ITEM(empty, each))) != 1)
            return so;
    for (; at < rows->later; at++)
        if ((so = is_later(&rows->rows[at], now)) != 1)
            return so;
    return 1;
}

/* Change what each answer changes; -1 with an exception set. */
static int
note(const Rows *rows, double now, PyObject *one)
{
    PyObject *count, *more;
    Py_ssize_t at = rows->later;

    for (; at < rows->noted; at++) {
        const Row *row = &rows->rows[at];
        if (set(row, PyFloat_FromDouble(now + PyFloat_AS_DOUBLE(row->third))) < 0)
            return -1;
    }
    for (; at < rows->counted; at++) {
        if ((count = value_of(&rows->rows[at])) == NULL)
            return -1;
        more = PyNumber_Add(count, one);
        Py_DECREF(count);
        if (set(&rows->rows[at], more) < 0)
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
answer(Pulse *self, PyObject *standing, const Rows *rows, PyObject *data, PyObject **result)
{
    PyObject *one;
    double now;
    int so;

    if (self->clock == NULL) /* nobody has made this one */
        return 0;
    if (ask(self->clock, &now) < 0)
        return -1;
    if ((so = holds(standing, rows, data, now)) != 1)
        return so;
    if ((one = PyLong_FromLong(1)) == NULL)
        return -1;
    so = note(rows, now, one);
    Py_DECREF(one);
    if (so < 0)
        return -1;
    *result = PyObject_CallOneArg(PyTuple_GET_ITEM(standing, WRITE),
                                  PyTuple_GET_ITEM(standing, REPLY));
    return 1;
}

/* Let this stand, and nothing where both are NULL; takes the references. */
static void
replace(Pulse *self, PyObject *standing, PyObject *rows)
{
    PyObject *old_standing = self->standing, *old_rows = self->rows;

    /* Both first: whatever ends with the old ones may run code that calls this pulse. */
    self->standing = standing;
    self->rows = rows;
    Py_XDECREF(old_standing);
    Py_XDECREF(old_rows);
}

/* Let no answer stand any more. */
static void
fall(Pulse *self)
{
    replace(self, NULL, NULL);
}

static PyObject *
pulse_call(PyObject *object, PyObject *arguments, PyObject *names)
{
    Pulse *self = (Pulse *)object;
    PyObject *standing = self->standing, *rows = self->rows, *result = NULL, *miss;
    int given = 0;

    if (standing != NULL && PyTuple_GET_SIZE(arguments) == 1 && names == NULL) {
        /* Reading an attribute may run code that ends this standing. */
        Py_INCREF(standing);
        Py_INCREF(rows);
        given = answer(self, standing, PyCapsule_GetPointer(rows, ROWS),
                       PyTuple_GET_ITEM(arguments, 0), &result);
        Py_DECREF(rows);
        Py_DECREF(standing);
    }
    if (LIKELY(given == 1))
        return result;
    /* What cannot be looked at does not hold; what is wrong the machine will see. */
    if (given < 0)
        PyErr_Clear();
    fall(self);
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

/* Where an object keeps an attribute in a slot that anybody may read and write; else -1. */
static Py_ssize_t
slot_at(PyObject *owner, PyObject *name)
{
    PyTypeObject *type = Py_TYPE(owner);
    PyObject *member;
    Py_ssize_t offset = -1;

    /* Whoever looks for attributes in a way of his own is asked by name. */
    if (type->tp_getattro != PyObject_GenericGetAttr ||
        type->tp_setattro != PyObject_GenericSetAttr)
        return -1;
    if ((member = PyObject_GetAttr((PyObject *)type, name)) == NULL) {
        PyErr_Clear();
        return -1;
    }
    if (Py_IS_TYPE(member, &PyMemberDescr_Type) && PyDescr_TYPE(member) != NULL &&
        PyType_IsSubtype(type, PyDescr_TYPE(member))) {
        PyMemberDef *told = ((PyMemberDescrObject *)member)->d_member;
        if (told->type == T_OBJECT_EX && told->flags == 0)
            offset = told->offset;
    }
    Py_DECREF(member);
    return offset;
}

/* Take the rows of one part, behind those that are there already; returns where they end. */
static Py_ssize_t
take_rows(Rows *rows, Py_ssize_t end, PyObject *part)
{
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(part); at++, end++) {
        PyObject *row = PyTuple_GET_ITEM(part, at);
        rows->rows[end] = (Row){
            .owner = PyTuple_GET_ITEM(row, 0),
            .name = PyTuple_GET_ITEM(row, 1),
            .third = PyTuple_GET_SIZE(row) > 2 ? PyTuple_GET_ITEM(row, 2) : NULL,
            .offset = slot_at(PyTuple_GET_ITEM(row, 0), PyTuple_GET_ITEM(row, 1)),
        };
    }
    return end;
}

static void
free_rows(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, ROWS));
}

/* Work out once where the attributes of a standing are kept: a capsule, NULL with an exception. */
static PyObject *
rows_of(PyObject *parts)
{
    static const int kinds[] = {SAME, LATER, NOTED, COUNTED};
    size_t count = 0;
    PyObject *capsule;
    Rows *rows;

    for (size_t kind = 0; kind < LENGTH(kinds); kind++)
        count += (size_t)PyTuple_GET_SIZE(PyTuple_GET_ITEM(parts, kinds[kind]));
    if ((rows = PyMem_Malloc(sizeof *rows + count * sizeof *rows->rows)) == NULL)
        return PyErr_NoMemory();
    rows->same = take_rows(rows, 0, PyTuple_GET_ITEM(parts, SAME));
    rows->later = take_rows(rows, rows->same, PyTuple_GET_ITEM(parts, LATER));
    rows->noted = take_rows(rows, rows->later, PyTuple_GET_ITEM(parts, NOTED));
    rows->counted = take_rows(rows, rows->noted, PyTuple_GET_ITEM(parts, COUNTED));
    if ((capsule = PyCapsule_New(rows, ROWS, free_rows)) == NULL)
        PyMem_Free(rows);
    return capsule;
}

static PyObject *
pulse_stand(PyObject *object, PyObject *parts)
{
    Pulse *self = (Pulse *)object;
    PyObject *rows;

    if (PyTuple_GET_SIZE(parts) != PARTS || !PyBytes_CheckExact(PyTuple_GET_ITEM(parts, FRAME)) ||
        !PyTuple_CheckExact(PyTuple_GET_ITEM(parts, EMPTY)) ||
        !are_rows(PyTuple_GET_ITEM(parts, SAME), 3, NULL) ||
        !are_rows(PyTuple_GET_ITEM(parts, LATER), 2, NULL) ||
        !are_rows(PyTuple_GET_ITEM(parts, NOTED), 3, &PyFloat_Type) ||
        !are_rows(PyTuple_GET_ITEM(parts, COUNTED), 2, NULL)) {
        PyErr_SetString(PyExc_TypeError, "stand() takes two frames, and what a Standing holds");
        return NULL;
    }
    if ((rows = rows_of(parts)) == NULL)
        return NULL;
    replace(self, Py_NewRef(parts), rows);
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
    fall(self);
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

    fall(self);
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
