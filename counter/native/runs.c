/* `Reckoner`: what the increments of one turn come to, and what is answered to each of them. It
 * stands for `PlainReckoner` in `counter.frontends.redis.runs`.
 *
 * The rule: it changes nothing. What is not plain (more keys than one operation holds, a value past
 * 63 bits) it leaves to the Python, all of it.
 */
#include "held.h"
#include "plain.h"

#include <limits.h>

#define PAIRS_MAX 512                         /* counter.messages.PAIRS_MAX */
#define AMOUNT_MAX (((long long)1 << 53) - 1) /* tracker.wire.AMOUNT_MAX */
#define REPLY_MAX 23                          /* a colon, a sign, 19 digits, the end of the line */

static const char *const spelled[] = {"pairs", "replies", NULL};
enum { PAIRS, REPLIES, WORDS };
static PyObject *words[WORDS];

enum { PLAIN, VALUE, COUNTERS, OWN, TOTALS, NEGATIVE, NAMES, OTHERS, HELD_MAX };

typedef struct {
    PyObject_HEAD
    PyObject *held[HELD_MAX];
} Reckoner;

/* -- what stands in them ----------------------------------------------------------------------- */

/* The run at a place, which is the caller's; NULL, and no exception, for anything else. */
static PyObject *
run_at(PyObject *runs, Py_ssize_t at)
{
    PyObject *entry = at < PyList_GET_SIZE(runs) ? PyList_GET_ITEM(runs, at) : NULL, *run;

    if (entry == NULL || !PyTuple_CheckExact(entry) || PyTuple_GET_SIZE(entry) != 2)
        return NULL;
    run = PyTuple_GET_ITEM(entry, 0);
    return PyList_CheckExact(run) && PyList_GET_SIZE(run) <= PAIRS_MAX ? run : NULL;
}

/* Read a pair of a run, which is the caller's: 1, or 0 for what is not plain. */
static int
pair_at(PyObject *run, Py_ssize_t at, PyObject **key, long long *amount)
{
    PyObject *pair = at < PyList_GET_SIZE(run) ? PyList_GET_ITEM(run, at) : NULL;

    return pair != NULL && PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 &&
           PyUnicode_CheckExact(*key = PyTuple_GET_ITEM(pair, 0)) &&
           plain_number(PyTuple_GET_ITEM(pair, 1), amount) && *amount <= AMOUNT_MAX &&
           *amount >= -AMOUNT_MAX;
}

/* -- one operation ----------------------------------------------------------------------------- */

/* The keys that are borrowed from the runs, by sign where each has its place. */
typedef struct {
    Py_ssize_t count;
    PyObject *places[2];
    PyObject *keys[PAIRS_MAX];
    long long sums[PAIRS_MAX];
} Sums;

/* Add to the pair of this key and sign, or begin another one; 0 where there is no room. */
static int
added(Sums *sums, PyObject *key, long long amount)
{
    PyObject *places = sums->places[amount < 0];
    PyObject *place = PyDict_GetItemWithError(places, key);
    int done;

    if (place != NULL) {
        long long *sum = sums->sums + PyLong_AsSsize_t(place);
        if (*sum + amount <= AMOUNT_MAX && *sum + amount >= -AMOUNT_MAX) {
            *sum += amount;
            return 1;
        }
    }
    else if (PyErr_Occurred())
        return -1;
    if (sums->count == PAIRS_MAX)
        return 0;
    if ((place = PyLong_FromSsize_t(sums->count)) == NULL)
        return -1;
    done = PyDict_SetItem(places, key, place);
    Py_DECREF(place);
    if (done < 0)
        return -1;
    sums->keys[sums->count] = key;
    sums->sums[sums->count++] = amount;
    return 1;
}

static int
all_added(Sums *sums, PyObject *runs)
{
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(runs); at++) {
        PyObject *run = run_at(runs, at), *key;
        long long amount;
        int done;

        if (run == NULL)
            return 0;
        for (Py_ssize_t each = 0; each < PyList_GET_SIZE(run); each++)
            if (!pair_at(run, each, &key, &amount))
                return 0;
            else if ((done = added(sums, key, amount)) <= 0)
                return done;
    }
    return 1;
}

static PyObject *
in_turns(const Sums *sums)
{
    PyObject *pairs = PyTuple_New(2 * sums->count), *amount;

    for (Py_ssize_t at = 0; pairs != NULL && at < sums->count; at++) {
        PyTuple_SET_ITEM(pairs, 2 * at, Py_NewRef(sums->keys[at]));
        if ((amount = PyLong_FromLongLong(sums->sums[at])) == NULL)
            Py_CLEAR(pairs);
        else
            PyTuple_SET_ITEM(pairs, 2 * at + 1, amount);
    }
    return pairs;
}

/* -- replies ----------------------------------------------------------------------------------- */

/* Write `:number` and the end of a line before `end`; returns where that begins. */
static unsigned char *
written_before(unsigned char *end, long long number)
{
    unsigned long long rest = (unsigned long long)number;

    rest = number < 0 ? 0 - rest : rest;
    *--end = '\n';
    *--end = '\r';
    do {
        *--end = (unsigned char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        *--end = '-';
    *--end = ':';
    return end;
}

/* What is held of a key before the increments that were looked at already, the last ones. */
static int
value_of(Reckoner *self, PyObject *values, PyObject *key, int is_own, long long *value)
{
    PyObject *found = PyDict_GetItemWithError(values, key);
    int done;

    if (found == NULL && !PyErr_Occurred() && is_own)
        found = PyDict_GetItemWithError(self->held[TOTALS], key);
    if (found != NULL)
        return plain_number(found, value);
    if (PyErr_Occurred() || (found = PyObject_CallOneArg(self->held[VALUE], key)) == NULL)
        return -1;
    done = plain_number(found, value);
    Py_DECREF(found);
    return done;
}

/* Answer one run, from its last pair on: the replies, or NULL, with no exception if not plain. */
static PyObject *
replies_to(Reckoner *self, PyObject *values, PyObject *run, int is_own)
{
    unsigned char replies[PAIRS_MAX * REPLY_MAX], *end = replies + sizeof replies, *at = end;
    PyObject *key, *before;
    long long amount, value;
    int done;

    for (Py_ssize_t each = PyList_GET_SIZE(run); each-- > 0;) {
        if (!pair_at(run, each, &key, &amount))
            return NULL;
        Py_INCREF(key); /* whoever says what is held may be Python */
        done = value_of(self, values, key, is_own, &value);
        if (done > 0 && (value == LLONG_MIN || at - replies < REPLY_MAX))
            done = 0;
        if (done > 0) {
            at = written_before(at, value);
            done = !__builtin_sub_overflow(value, amount, &value);
        }
        if (done > 0) {
            before = PyLong_FromLongLong(value);
            done = before == NULL || PyDict_SetItem(values, key, before) < 0 ? -1 : 1;
            Py_XDECREF(before);
        }
        Py_DECREF(key);
        if (done <= 0)
            return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)at, end - at);
}

/* -- the type ---------------------------------------------------------------------------------- */

static int
is_alive(Reckoner *self, PyObject *runs)
{
    if (self->held[PLAIN] == NULL)
        PyErr_SetString(PyExc_RuntimeError, "this reckoner is no more");
    else if (!PyList_CheckExact(runs))
        PyErr_SetString(PyExc_TypeError, "wanted a list of runs, each with its place");
    else
        return 1;
    return 0;
}

static PyObject *
reckoner_pairs(PyObject *object, PyObject *runs)
{
    Reckoner *self = (Reckoner *)object;
    PyObject *pairs = NULL;
    Sums sums = {0};

    if (!is_alive(self, runs))
        return NULL;
    if ((sums.places[0] = PyDict_New()) != NULL && (sums.places[1] = PyDict_New()) != NULL) {
        int done = all_added(&sums, runs);
        if (done > 0)
            pairs = in_turns(&sums);
        else if (done == 0)
            pairs = PyObject_CallMethodOneArg(self->held[PLAIN], words[PAIRS], runs);
    }
    Py_XDECREF(sums.places[0]);
    Py_XDECREF(sums.places[1]);
    return pairs;
}

static PyObject *
reckoner_replies(PyObject *object, PyObject *runs)
{
    Reckoner *self = (Reckoner *)object;
    PyObject *values, *told;
    int is_own;

    if (!is_alive(self, runs) || (values = PyDict_New()) == NULL)
        return NULL;
    is_own = !(PyDict_GET_SIZE(self->held[NEGATIVE]) || PyDict_GET_SIZE(self->held[NAMES]) ||
               PyDict_GET_SIZE(self->held[OTHERS]));
    told = PyList_New(PyList_GET_SIZE(runs));
    for (Py_ssize_t at = PyList_GET_SIZE(runs); told != NULL && at-- > 0;) {
        PyObject *run = Py_XNewRef(run_at(runs, at));
        PyObject *reply = run == NULL ? NULL : replies_to(self, values, run, is_own);
        Py_XDECREF(run);
        if (reply == NULL)
            Py_CLEAR(told);
        else
            PyList_SET_ITEM(told, at, reply);
    }
    Py_DECREF(values);
    if (told == NULL && !PyErr_Occurred())
        told = PyObject_CallMethodOneArg(self->held[PLAIN], words[REPLIES], runs);
    return told;
}

static int
reckoner_traverse(PyObject *self, visitproc visit, void *arg)
{
    return visit_held(self, ((Reckoner *)self)->held, HELD_MAX, visit, arg);
}

static int
reckoner_clear(PyObject *self)
{
    return clear_held(((Reckoner *)self)->held, HELD_MAX);
}

static void
reckoner_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    reckoner_clear(self);
    end_object(self);
}

static const Part parts[] = {
    {VALUE, PLAIN, "held", 0},         {OWN, COUNTERS, "own", 0},
    {TOTALS, OWN, "positive", 1},      {NEGATIVE, OWN, "negative", 1},
    {NAMES, COUNTERS, "names", 1},     {OTHERS, COUNTERS, "others", 1},
};

static PyObject *
reckoner_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"plain", "counters", NULL};
    PyObject *plain, *counters;
    Reckoner *self;

    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OO:Reckoner", names, &plain, &counters))
        return NULL;
    if ((self = (Reckoner *)type->tp_alloc(type, 0)) == NULL)
        return NULL;
    self->held[PLAIN] = Py_NewRef(plain);
    self->held[COUNTERS] = Py_NewRef(counters);
    if (take_parts(self->held, parts, LENGTH(parts)) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
reckoner_held(PyObject *object, void *unused)
{
    PyObject *held = ((Reckoner *)object)->held[VALUE];

    return Py_NewRef(held == NULL ? Py_None : held);
}

static PyMethodDef reckoner_methods[] = {
    {"pairs", reckoner_pairs, METH_O,
     "pairs($self, runs, /)\n--\n\nReturn what several runs come to, one pair for a key and sign."},
    {"replies", reckoner_replies, METH_O,
     "replies($self, runs, /)\n--\n\nReturn what is answered to each run once all are counted."},
    {NULL},
};

static PyGetSetDef reckoner_getset[] = {
    {"held", reckoner_held, NULL, "what says what the node holds of a key", NULL},
    {NULL},
};

static PyType_Slot reckoner_slots[] = {
    {Py_tp_doc, "Reckoner(plain, counters)\n--\n\n"
                "What increments come to, and what is answered; what it leaves, `plain` does."},
    {Py_tp_new, reckoner_new},
    {Py_tp_methods, reckoner_methods},
    {Py_tp_getset, reckoner_getset},
    {Py_tp_traverse, reckoner_traverse},
    {Py_tp_clear, reckoner_clear},
    {Py_tp_dealloc, reckoner_dealloc},
    {0, NULL},
};

static PyType_Spec reckoner_spec = {
    .name = "counter.native.runs.Reckoner",
    .basicsize = sizeof(Reckoner),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = reckoner_slots,
};

static int
fill(PyObject *module)
{
    if (intern_all(spelled, words) < 0 || add_type(module, &reckoner_spec) < 0)
        return -1;
    return add_source(module);
}

NATIVE_MODULE(runs, "counter.native.runs",
              "What increments of Redis's clients come to, and what is answered to each.")
