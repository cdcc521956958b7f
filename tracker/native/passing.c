/* `Passage`: what every frame of a stream passes. It stands for `PlainPassage` in
 * `tracker.transport.passage`, and for `is_alone` and the plain case of `flush_soon` in `tcp` there.
 *
 * The rule: what is not one whole frame that the short way answers goes to `data_came`, as in
 * Python; and it asks and calls in the same order.
 */
#include "module.h"

#include <structmember.h>

static const char *const spelled[] = {"is_midway", "_alone",       "_unflushed", "flush_soon",
                                      "write",     "wrote_unread", "data_came",  "join"};
enum { IS_MIDWAY, ALONE, UNFLUSHED, FLUSH_SOON, WRITE, WROTE_UNREAD, DATA_CAME, JOIN, WORDS };
static PyObject *words[WORDS];

typedef struct {
    PyObject_HEAD
    PyObject *streams, *express, *link, *transport, *reader, *is_greeted, *is_over, *is_unread;
    PyObject *unsent;
} Passage;

/* Whether all that is used here was set, as it is by whoever makes a stream. Asked again after
 * anything that may have run code in Python. */
static int
is_whole(Passage *self)
{
    if (self->streams && self->express && self->link && self->transport && self->reader &&
        self->is_greeted && self->is_over && self->is_unread && self->unsent &&
        PyList_CheckExact(self->unsent))
        return 1;
    PyErr_SetString(PyExc_AttributeError, "this stream was not set up");
    return 0;
}

/* Call a method of one argument, and have nothing of what it returns; -1: it raised. */
static int
told(PyObject *object, PyObject *name, PyObject *what)
{
    PyObject *done = what == NULL ? PyObject_CallMethodNoArgs(object, name)
                                  : PyObject_CallMethodOneArg(object, name, what);

    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
write_now(Passage *self, PyObject *frames)
{
    PyObject *transport = self->transport;
    int is_over = PyObject_IsTrue(self->is_over), is_unread, done;

    if (is_over || transport == Py_None)
        return is_over < 0 ? -1 : 0;
    Py_INCREF(transport); /* the end of a stream may be told while it is written to */
    done = told(transport, words[WRITE], frames);
    Py_DECREF(transport);
    if (done < 0) {
        /* uvloop's handle is gone and the word of its end is still on its way. */
        if (!PyErr_ExceptionMatches(PyExc_RuntimeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    is_unread = is_whole(self) ? PyObject_IsTrue(self->is_unread) : -1;
    return is_unread <= 0 ? is_unread : told((PyObject *)self, words[WROTE_UNREAD], NULL);
}

static int
flush_now(Passage *self)
{
    Py_ssize_t count = PyList_GET_SIZE(self->unsent);
    PyObject *frames, *nothing;
    int done;

    if (count == 0)
        return 0;
    if (count == 1)
        frames = Py_NewRef(PyList_GET_ITEM(self->unsent, 0));
    else {
        if ((nothing = PyBytes_FromStringAndSize(NULL, 0)) == NULL)
            return -1;
        frames = PyObject_CallMethodOneArg(nothing, words[JOIN], self->unsent);
        Py_DECREF(nothing);
    }
    if (frames == NULL)
        return -1;
    done = PyList_SetSlice(self->unsent, 0, count, NULL);
    if (done == 0)
        done = write_now(self, frames);
    Py_DECREF(frames);
    return done;
}

/* What is to be flushed at the end of the turn: a new reference to a list, NULL if it is none. */
static PyObject *
unflushed(Passage *self)
{
    PyObject *streams = PyObject_GetAttr(self->streams, words[UNFLUSHED]);

    if (streams != NULL && !PyList_CheckExact(streams)) {
        PyErr_SetString(PyExc_TypeError, "what is to be flushed is no list");
        Py_CLEAR(streams);
    }
    return streams;
}

static int
send_soon(Passage *self, PyObject *frame)
{
    PyObject *streams;
    int done;

    if (PyList_GET_SIZE(self->unsent) == 0) {
        if ((streams = unflushed(self)) == NULL)
            return -1;
        done = PyList_GET_SIZE(streams) > 0
                   ? PyList_Append(streams, (PyObject *)self)
                   : told(self->streams, words[FLUSH_SOON], (PyObject *)self);
        Py_DECREF(streams);
        if (done < 0 || !is_whole(self))
            return -1;
    }
    return PyList_Append(self->unsent, frame);
}

/* What `TcpStreams.is_alone` says. */
static int
is_alone(Passage *self)
{
    PyObject *alone = PyObject_GetAttr(self->streams, words[ALONE]), *streams;
    int is_so;

    if (alone == NULL)
        return -1;
    is_so = alone == (PyObject *)self;
    Py_DECREF(alone);
    if (!is_so)
        return 0;
    if ((streams = unflushed(self)) == NULL)
        return -1;
    is_so = PyList_GET_SIZE(streams) == 0;
    Py_DECREF(streams);
    return is_so;
}

/* Whether a short way may look at what was read. */
static int
may_pass(Passage *self)
{
    PyObject *midway;
    int is_so = PyObject_IsTrue(self->is_greeted);

    if (is_so <= 0)
        return is_so;
    is_so = PyObject_IsTrue(self->is_over);
    if (is_so != 0 || self->express == Py_None)
        return is_so < 0 ? -1 : 0;
    if ((midway = PyObject_GetAttr(self->reader, words[IS_MIDWAY])) == NULL)
        return -1;
    is_so = PyObject_IsTrue(midway);
    Py_DECREF(midway);
    return is_so < 0 || !is_whole(self) ? -1 : !is_so;
}

/* Have the short way look at a frame: 1 taken, 0 not, -1 with an exception set. */
static int
passed(Passage *self, PyObject *data)
{
    PyObject *link = Py_NewRef(self->link), *express = Py_NewRef(self->express), *reply;
    PyObject *arguments[2] = {link, data};
    int size, done;

    reply = PyObject_Vectorcall(express, arguments, 2, NULL);
    Py_DECREF(express);
    Py_DECREF(link);
    if (reply == NULL)
        return -1;
    if (reply == Py_None) {
        Py_DECREF(reply);
        return 0;
    }
    done = size = is_whole(self) ? PyObject_IsTrue(reply) : -1;
    if (size > 0) {
        done = is_alone(self);
        if (done == 0)
            done = send_soon(self, reply);
        else if (done > 0 && PyList_GET_SIZE(self->unsent) == 0)
            done = write_now(self, reply);
        else if (done > 0)
            done = PyList_Append(self->unsent, reply) < 0 ? -1 : flush_now(self);
    }
    Py_DECREF(reply);
    return done < 0 ? -1 : 1;
}

static PyObject *
passage_data_received(PyObject *object, PyObject *data)
{
    Passage *self = (Passage *)object;
    int done;

    if (!is_whole(self))
        return NULL;
    done = may_pass(self);
    if (done > 0)
        done = passed(self, data);
    if (done == 0)
        done = told(object, words[DATA_CAME], data);
    if (done < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
passage_send(PyObject *object, PyObject *frame)
{
    if (!is_whole((Passage *)object) || send_soon((Passage *)object, frame) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
passage_flush(PyObject *object, PyObject *nothing)
{
    if (!is_whole((Passage *)object) || flush_now((Passage *)object) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
passage_write(PyObject *object, PyObject *frames)
{
    if (!is_whole((Passage *)object) || write_now((Passage *)object, frames) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
passage_traverse(PyObject *object, visitproc visit, void *arg)
{
    Passage *self = (Passage *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->streams);
    Py_VISIT(self->express);
    Py_VISIT(self->link);
    Py_VISIT(self->transport);
    Py_VISIT(self->reader);
    Py_VISIT(self->is_greeted);
    Py_VISIT(self->is_over);
    Py_VISIT(self->is_unread);
    Py_VISIT(self->unsent);
    return 0;
}

static int
passage_clear(PyObject *object)
{
    Passage *self = (Passage *)object;

    Py_CLEAR(self->streams);
    Py_CLEAR(self->express);
    Py_CLEAR(self->link);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->is_greeted);
    Py_CLEAR(self->is_over);
    Py_CLEAR(self->is_unread);
    Py_CLEAR(self->unsent);
    return 0;
}

static void
passage_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    passage_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef passage_methods[] = {
    {"data_received", passage_data_received, METH_O,
     "data_received($self, data, /)\n--\n\n"
     "Take what was read: at once where it is one whole frame, as most often."},
    {"send", passage_send, METH_O,
     "send($self, frame, /)\n--\n\n"
     "Queue a frame; it leaves at the end of this turn of the loop, with all others."},
    {"flush", passage_flush, METH_NOARGS, "flush($self, /)\n--\n\nWrite what is queued."},
    {"write", passage_write, METH_O,
     "write($self, frames, /)\n--\n\nWrite frames now, unless the stream is over."},
    {NULL},
};

#define PART(name) {#name, T_OBJECT_EX, offsetof(Passage, name), 0, NULL}

static PyMemberDef passage_members[] = {
    PART(streams),    PART(express), PART(link),      PART(transport), PART(reader),
    PART(is_greeted), PART(is_over), PART(is_unread), PART(unsent),    {NULL},
};

static PyType_Slot passage_slots[] = {
    {Py_tp_doc, "The part of a stream that every frame passes."},
    {Py_tp_methods, passage_methods},
    {Py_tp_members, passage_members},
    {Py_tp_traverse, passage_traverse},
    {Py_tp_clear, passage_clear},
    {Py_tp_dealloc, passage_dealloc},
    {0, NULL},
};

static PyType_Spec passage_spec = {
    .name = "tracker.native.passing.Passage",
    .basicsize = sizeof(Passage),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = passage_slots,
};

static int
fill(PyObject *module)
{
    for (int at = 0; at < WORDS; at++)
        if (words[at] == NULL && (words[at] = PyUnicode_InternFromString(spelled[at])) == NULL)
            return -1;
    return add_type(module, &passage_spec) < 0 ? -1 : add_source(module);
}

NATIVE_MODULE(passing, "tracker.native.passing",
              "What every frame of a stream passes.")
