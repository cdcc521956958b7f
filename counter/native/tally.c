/* `Sums`: what `counter.client.adding.Adding.add` does to a key that has a sum already.
 *
 * The rule: only an exact `str` and an exact `int` within the bounds are added here, to a sum that
 * is there; everything else goes to `_add_first`, which knows what is allowed and says what is not.
 * No Python code runs between looking a sum up and storing it, so nothing comes in between.
 */
#include "module.h"

#define AMOUNT_MAX (((long long)1 << 53) - 1) /* tracker.wire.AMOUNT_MAX */

typedef struct {
    PyObject_HEAD
    PyObject *amounts; /* dict: key to sum */
} Sums;

static PyObject *add_first; /* "_add_first" */

static PyObject *
added_at_length(PyObject *sum, long long amount)
{
    PyObject *number = PyLong_FromLongLong(amount), *more;

    if (number == NULL)
        return NULL;
    more = PyNumber_Add(sum, number);
    Py_DECREF(number);
    return more;
}

/* Add to a sum that is there; 1 done, 0 not taken, -1 with an exception set. */
static int
added(Sums *self, PyObject *key, PyObject *n)
{
    PyObject *sum, *more;
    long long amount, total;
    int overflow, done;

    if (!PyUnicode_CheckExact(key) || self->amounts == NULL || !PyDict_CheckExact(self->amounts))
        return 0;
    if (n == NULL)
        amount = 1;
    else {
        if (!PyLong_CheckExact(n))
            return 0;
        amount = PyLong_AsLongLongAndOverflow(n, &overflow);
        if (overflow || amount > AMOUNT_MAX || amount < -AMOUNT_MAX)
            return 0;
    }
    sum = PyDict_GetItemWithError(self->amounts, key);
    if (sum == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (!PyLong_CheckExact(sum))
        return 0;
    total = PyLong_AsLongLongAndOverflow(sum, &overflow);
    if (LIKELY(!overflow && !__builtin_add_overflow(total, amount, &total)))
        more = PyLong_FromLongLong(total);
    else /* the sum leaves the machine's numbers; Python's have no end */
        more = added_at_length(sum, amount);
    if (more == NULL)
        return -1;
    done = PyDict_SetItem(self->amounts, key, more);
    Py_DECREF(more);
    return done < 0 ? -1 : 1;
}

static PyObject *
sums_add(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *key = count > 0 ? arguments[0] : NULL, *n = count > 1 ? arguments[1] : NULL;
    PyObject *one = NULL, *result;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);

    for (Py_ssize_t at = 0; at < named; at++) {
        PyObject *name = PyTuple_GET_ITEM(names, at);
        if (key == NULL && PyUnicode_CompareWithASCIIString(name, "key") == 0)
            key = arguments[count + at];
        else if (n == NULL && PyUnicode_CompareWithASCIIString(name, "n") == 0)
            n = arguments[count + at];
        else
            return PyErr_Format(PyExc_TypeError, "add() got an unexpected argument '%U'", name);
    }
    if (count > 2 || key == NULL) {
        PyErr_SetString(PyExc_TypeError, "add() takes a key, and how many");
        return NULL;
    }
    switch (added((Sums *)self, key, n)) {
    case 1:
        Py_RETURN_NONE;
    case -1:
        return NULL;
    }
    if (n == NULL && (n = one = PyLong_FromLong(1)) == NULL)
        return NULL;
    result = PyObject_CallMethodObjArgs(self, add_first, key, n, NULL);
    Py_XDECREF(one);
    return result;
}

static int
sums_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Sums *)self)->amounts);
    return 0;
}

static int
sums_clear(PyObject *self)
{
    Py_CLEAR(((Sums *)self)->amounts);
    return 0;
}

static void
sums_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    sums_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef sums_methods[] = {
    {"add", (PyCFunction)(void (*)(void))sums_add, METH_FASTCALL | METH_KEYWORDS,
     "add($self, key, n=1)\n--\n\n"
     "Count `n` more of `key`, soon: sums are sent every few milliseconds.\n\n"
     "Costs about as much as a dictionary update, and is acknowledged to nobody: what could not\n"
     "be counted is raised as UncountedError by a later `add`, `flush` or `close`. An `add` that\n"
     "raises has added nothing. Raises ConfigError for what is no key or no amount."},
    {NULL},
};

static PyMemberDef sums_members[] = {
    {"_amounts", T_OBJECT_EX, offsetof(Sums, amounts), 0, "the sums, by key"},
    {NULL},
};

static PyType_Slot sums_slots[] = {
    {Py_tp_doc, "Sums by key, and `add`, which adds to them."},
    {Py_tp_methods, sums_methods},
    {Py_tp_members, sums_members},
    {Py_tp_traverse, sums_traverse},
    {Py_tp_clear, sums_clear},
    {Py_tp_dealloc, sums_dealloc},
    {0, NULL},
};

static PyType_Spec sums_spec = {
    .name = "counter.native.tally.Sums",
    .basicsize = sizeof(Sums),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = sums_slots,
};

static int
fill(PyObject *module)
{
    if (add_first == NULL && (add_first = PyUnicode_InternFromString("_add_first")) == NULL)
        return -1;
    return add_type(module, &sums_spec) < 0 ? -1 : add_source(module);
}

NATIVE_MODULE(tally, "counter.native.tally",
              "Sums by key, added to without a line of Python.")
