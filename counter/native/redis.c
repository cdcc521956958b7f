/* `Straight`: plain increments of Redis's clients, from the bytes of the requests to those of the
 * replies. It stands for `Straight` in `counter.frontends.redis.straight`.
 *
 * The rule: it looks at everything before it changes anything. Whatever is not INCR or INCRBY as
 * every client packs it, of keys that are held here and far from every limit, it leaves to the way
 * in Python, untouched; DECR and DECRBY it only reads (`run`).
 */
#include "held.h"
#include "keys.h"
#include "plain.h"
#include "requests.h"

#include <structmember.h>

#define RUN_MAX 512                     /* counter.frontends.redis.straight.RUN_MAX */
#define SHARE_MAX ((long long)1 << 62)  /* tracker.wire.SHARE_MAX */
#define REPLY_MAX 23                    /* a colon, 20 characters, the end of the line */

static const char *const spelled[] = {"is_leaving", "is_held", "operations", "ceiling",
                                      "take",       "run",     NULL};
enum { IS_LEAVING, IS_HELD, OPERATIONS, CEILING, TAKE, RUN, WORDS };
static PyObject *words[WORDS];

enum { PLAIN, LEDGER, COUNTERS, OWN, TOTALS, NEGATIVE, NAMES, OTHERS, HELD_MAX };

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *held[HELD_MAX];
    PyObject **keys; /* by the hash of their bytes */
    int is_durable;
} Straight;

typedef struct {
    Py_ssize_t count, end;
    PyObject *keys[RUN_MAX];
    long long amounts[RUN_MAX];
} Run;

/* -- what is counted --------------------------------------------------------------------------- */

static void
let_go(Run *run)
{
    for (Py_ssize_t at = 0; at < run->count; at++)
        Py_DECREF(run->keys[at]);
    run->count = 0;
}

static int
total_of(Straight *self, PyObject *key, long long *total)
{
    PyObject *found = PyDict_GetItemWithError(self->held[TOTALS], key);

    if (found == NULL)
        return PyErr_Occurred() ? -1 : 0;
    return plain_number(found, total);
}

/* Whether this node counts in memory now, and what it says of a key is its own total of it. */
static int
is_open(Straight *self)
{
    int done;

    if (self->is_durable || PyDict_GET_SIZE(self->held[NEGATIVE]) ||
        PyDict_GET_SIZE(self->held[NAMES]) || PyDict_GET_SIZE(self->held[OTHERS]))
        return 0;
    done = is_down(self->held[LEDGER], words[IS_LEAVING]);
    return done <= 0 ? done : is_down(self->held[LEDGER], words[IS_HELD]);
}

/* Read the plain increments that stand first: 1, or -1. With `is_any` also those of new keys. */
static int
run_in(Straight *self, PyObject *data, Py_ssize_t begin, Run *run, int is_any)
{
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(data);
    const unsigned char *end = bytes + PyBytes_GET_SIZE(data), *at = bytes + begin, *next;
    long long ceiling = 0, more = 0, total;
    Request request;

    run->count = 0;
    run->end = begin;
    if (!is_any) {
        int done = is_open(self);
        if (done > 0)
            done = number(self->held[OWN], words[CEILING], &ceiling);
        if (done <= 0 || ceiling > SHARE_MAX)
            return done < 0 ? -1 : 1;
    }
    while (run->count < RUN_MAX && (next = request_in(at, end, &request)) != NULL) {
        PyObject **place, *key;
        int is_taken = 1;

        if (is_any && !is_printable_ascii(&request))
            break;
        key = spelled_key(self->keys, request.key, request.size, &place);
        if (key == NULL) {
            if (PyErr_Occurred())
                return -1;
            break;
        }
        if (!is_any) {
            is_taken = total_of(self, key, &total);
            more += request.amount;
            if (is_taken > 0)
                is_taken = request.amount >= 0 && total >= 0 && total <= ceiling - more;
        }
        if (is_taken <= 0) {
            Py_DECREF(key);
            if (is_taken < 0)
                return -1;
            break;
        }
        if (place != NULL)
            Py_XSETREF(*place, Py_NewRef(key));
        run->keys[run->count] = key;
        run->amounts[run->count++] = request.amount;
        run->end = next - bytes;
        at = next;
    }
    return 1;
}

/* Write `:number` and the end of a line; returns how much that is. */
static Py_ssize_t
written(unsigned char *to, long long number)
{
    unsigned char digits[20];
    int count = 0;
    Py_ssize_t at = 0;

    do {
        digits[count++] = (unsigned char)('0' + number % 10);
        number /= 10;
    } while (number);
    to[at++] = ':';
    while (count)
        to[at++] = digits[--count];
    to[at++] = '\r';
    to[at++] = '\n';
    return at;
}

/* Count all of them; returns the replies. */
static PyObject *
counted(Straight *self, const Run *run)
{
    unsigned char replies[RUN_MAX * REPLY_MAX];
    Py_ssize_t size = 0;
    long long total, operations;
    int done = number(self->held[LEDGER], words[OPERATIONS], &operations);

    if (done == 0)
        PyErr_SetString(PyExc_OverflowError, "too many operations");
    if (done <= 0)
        return NULL;
    for (Py_ssize_t at = 0; at < run->count; at++) {
        PyObject *sum;
        /* Looked up anew: a key may come more than once. */
        if (total_of(self, run->keys[at], &total) <= 0)
            return NULL;
        total += run->amounts[at];
        if ((sum = PyLong_FromLongLong(total)) == NULL)
            return NULL;
        done = PyDict_SetItem(self->held[TOTALS], run->keys[at], sum);
        Py_DECREF(sum);
        if (done < 0)
            return NULL;
        size += written(replies + size, total);
    }
    if (put_number(self->held[LEDGER], words[OPERATIONS], operations + run->count) < 0)
        return NULL;
    return PyBytes_FromStringAndSize((const char *)replies, size);
}

/* -- the type ---------------------------------------------------------------------------------- */

static int
is_alive(Straight *self)
{
    if (self->held[PLAIN] != NULL)
        return 1;
    PyErr_SetString(PyExc_RuntimeError, "this way is no more");
    return 0;
}

static PyObject *
straight_call(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names)
{
    Straight *self = (Straight *)object;
    PyObject *replies;
    Run run;

    if (PyVectorcall_NARGS(flags) != 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "a way takes a link and what was read");
        return NULL;
    }
    if (!is_alive(self))
        return NULL;
    if (PyBytes_CheckExact(arguments[1])) {
        int done = run_in(self, arguments[1], 0, &run, 0);
        if (done > 0 && run.count > 0 && run.end == PyBytes_GET_SIZE(arguments[1])) {
            replies = counted(self, &run);
            let_go(&run);
            return replies;
        }
        let_go(&run);
        if (done < 0)
            return NULL;
        if (run.end > 0)
            Py_RETURN_NONE; /* a part of it is plain: `take` will find as much */
    }
    return PyObject_Vectorcall(self->held[PLAIN], arguments, 2, NULL);
}

/* What was read, and where to begin; -1 with an exception set for anything else. */
static int
place_in(PyObject *const *arguments, Py_ssize_t count, Py_ssize_t *begin)
{
    if (count != 2 || !PyBytes_CheckExact(arguments[0]) || !PyLong_CheckExact(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "wanted bytes, and where to begin in them");
        return -1;
    }
    *begin = PyLong_AsSsize_t(arguments[1]);
    if (*begin == -1 && PyErr_Occurred())
        return -1;
    if (*begin >= 0 && *begin <= PyBytes_GET_SIZE(arguments[0]))
        return 0;
    PyErr_SetString(PyExc_ValueError, "this is no place in them");
    return -1;
}

static PyObject *
straight_take(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Straight *self = (Straight *)object;
    PyObject *replies, *both;
    Py_ssize_t begin;
    Run run;

    if (!is_alive(self) || place_in(arguments, count, &begin) < 0)
        return NULL;
    if (run_in(self, arguments[0], begin, &run, 0) < 0) {
        let_go(&run);
        return NULL;
    }
    if (run.count == 0)
        return PyObject_CallMethodObjArgs(self->held[PLAIN], words[TAKE], arguments[0],
                                          arguments[1], NULL);
    replies = counted(self, &run);
    let_go(&run);
    if (replies == NULL)
        return NULL;
    both = Py_BuildValue("On", replies, run.end);
    Py_DECREF(replies);
    return both;
}

static PyObject *
straight_run(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Straight *self = (Straight *)object;
    PyObject *pairs = NULL, *both = NULL;
    Py_ssize_t begin;
    Run run;

    if (!is_alive(self) || place_in(arguments, count, &begin) < 0)
        return NULL;
    if (run_in(self, arguments[0], begin, &run, 1) < 0)
        goto end;
    if (run.count == 0)
        return PyObject_CallMethodObjArgs(self->held[PLAIN], words[RUN], arguments[0],
                                          arguments[1], NULL);
    pairs = PyList_New(run.count);
    for (Py_ssize_t at = 0; pairs != NULL && at < run.count; at++) {
        PyObject *amount = PyLong_FromLongLong(run.amounts[at]);
        PyObject *pair = amount == NULL ? NULL : PyTuple_Pack(2, run.keys[at], amount);
        Py_XDECREF(amount);
        if (pair == NULL)
            Py_CLEAR(pairs);
        else
            PyList_SET_ITEM(pairs, at, pair);
    }
    if (pairs != NULL)
        both = Py_BuildValue("Nn", pairs, run.end);
end:
    let_go(&run);
    return both;
}

static int
straight_traverse(PyObject *self, visitproc visit, void *arg)
{
    return visit_held(self, ((Straight *)self)->held, HELD_MAX, visit, arg);
}

static int
straight_clear(PyObject *self)
{
    return clear_held(((Straight *)self)->held, HELD_MAX);
}

static void
straight_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    straight_clear(self);
    forget_keys(((Straight *)self)->keys);
    end_object(self);
}

static const Part parts[] = {
    {COUNTERS, LEDGER, "counters", 0}, {OWN, COUNTERS, "own", 0},
    {TOTALS, OWN, "positive", 1},      {NEGATIVE, OWN, "negative", 1},
    {NAMES, COUNTERS, "names", 1},     {OTHERS, COUNTERS, "others", 1},
};

static PyObject *
straight_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"plain", "ledger", NULL};
    PyObject *plain, *ledger, *durable;
    Straight *self;

    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OO:Straight", names, &plain, &ledger))
        return NULL;
    if ((self = (Straight *)type->tp_alloc(type, 0)) == NULL)
        return NULL;
    self->call = straight_call;
    self->held[PLAIN] = Py_NewRef(plain);
    self->held[LEDGER] = Py_NewRef(ledger);
    durable = PyObject_GetAttrString(ledger, "durable");
    self->is_durable = durable == NULL ? -1 : PyObject_IsTrue(durable);
    Py_XDECREF(durable);
    if (self->is_durable >= 0 && (self->keys = PyMem_Calloc(KEYS_MAX, sizeof *self->keys)) == NULL)
        PyErr_NoMemory();
    if (self->keys == NULL || take_parts(self->held, parts, LENGTH(parts)) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef straight_methods[] = {
    {"take", (PyCFunction)(void (*)(void))straight_take, METH_FASTCALL,
     "take($self, data, begin, /)\n--\n\n"
     "Count what stands there first; returns the replies, and where what was taken ends."},
    {"run", (PyCFunction)(void (*)(void))straight_run, METH_FASTCALL,
     "run($self, data, begin, /)\n--\n\n"
     "Return the plain increments that stand there first, and where they end."},
    {NULL},
};

static PyMemberDef straight_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Straight, call), READONLY},
    {NULL},
};

static PyType_Slot straight_slots[] = {
    {Py_tp_doc, "Straight(plain, ledger)\n--\n\n"
                "Plain increments of Redis's clients; what it leaves, `plain` is asked for."},
    {Py_tp_new, straight_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_methods, straight_methods},
    {Py_tp_members, straight_members},
    {Py_tp_traverse, straight_traverse},
    {Py_tp_clear, straight_clear},
    {Py_tp_dealloc, straight_dealloc},
    {0, NULL},
};

static PyType_Spec straight_spec = {
    .name = "counter.native.redis.Straight",
    .basicsize = sizeof(Straight),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = straight_slots,
};

static int
fill(PyObject *module)
{
    if (intern_all(spelled, words) < 0 || add_type(module, &straight_spec) < 0)
        return -1;
    return add_source(module);
}

NATIVE_MODULE(redis, "counter.native.redis",
              "Plain increments of Redis's clients, from requests to replies.")
