/* `Desk`: what follows from the disk's word that records are safe. It stands for `Ledger.counted`,
 * `Share.add_all` and `counter.counting.acknowledgements`.
 *
 * The rule: what has more to say than `Counted` is left to the Python before anything is changed;
 * an increment whose keys are not all held, or that comes near a limit, is added by it, too.
 */
#include "held.h"
#include "places.h"

#include <string.h>

#define AMOUNT_MAX (((long long)1 << 53) - 1) /* tracker.wire.AMOUNT_MAX */
#define SHARE_MAX ((long long)1 << 62)        /* tracker.wire.SHARE_MAX */
#define SEQUENCE_MAX 0xffffffffLL             /* longer ones are packed by the Python */

static const char *const spelled[] = {"token", "popleft", "add_all", NULL};
enum { TOKEN, POPLEFT, ADD_ALL };
static PyObject *words[3];

enum { LEDGER, REPLY, COUNTERS, OWN, TOTALS, FOLLOWERS, BEHIND, QUEUE, UNDERWAY, TURNS, WAITING, HELD_MAX };
enum {
    IS_HELD, WRITTEN, RESERVED, CEILING, ITS_TOKEN, ITS_LINK, ITS_OPERATION, ITS_PAIRS,
    ITS_COUNTS_LATER, ITS_MAGNITUDE, PLACES
};
static const Place wanted[PLACES] = {
    {LEDGER, "is_held"},    {LEDGER, "written"},       {LEDGER, "_reserved"},
    {OWN, "ceiling"},       {WAITING, "token"},        {WAITING, "link"},
    {WAITING, "operation"}, {WAITING, "pairs"},        {WAITING, "counts_later"},
    {WAITING, "magnitude"},
};

typedef struct {
    PyObject_HEAD
    PyObject *held[HELD_MAX];
    Py_ssize_t at[PLACES];
} Desk;

/* -- adding ------------------------------------------------------------------------------------ */

typedef struct {
    long long sum;
    int is_ones;
} Sum;

/* Look at pairs: 1 where every key is held, and every amount is one from 0 up. */
static int
are_plain(Desk *self, PyObject *pairs, Sum *sum, long long ceiling)
{
    Py_ssize_t size = PyTuple_GET_SIZE(pairs);
    long long amount, total, highest = 0;

    sum->sum = 0;
    sum->is_ones = size > 2;
    for (Py_ssize_t at = 0; at < size; at += 2) {
        PyObject *key = PyTuple_GET_ITEM(pairs, at), *found;
        if (!PyUnicode_CheckExact(key) || !plain_number(PyTuple_GET_ITEM(pairs, at + 1), &amount) ||
            amount < 0 || amount > AMOUNT_MAX)
            return 0;
        found = PyDict_GetItemWithError(self->held[TOTALS], key);
        if (found == NULL)
            return PyErr_Occurred() ? -1 : 0;
        if (!plain_number(found, &total) || total < 0)
            return 0;
        highest = total > highest ? total : highest;
        sum->sum += amount; /* PAIRS_MAX of them at most */
        sum->is_ones &= amount == 1;
    }
    return ceiling <= SHARE_MAX && highest <= ceiling - sum->sum;
}

/* Add to every key: a key may come more than once. */
static int
add_each(Desk *self, PyObject *pairs)
{
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(pairs); at += 2) {
        PyObject *key = PyTuple_GET_ITEM(pairs, at), *more;
        PyObject *found = PyDict_GetItemWithError(self->held[TOTALS], key);
        long long total, amount;
        int done;

        if (found == NULL || !plain_number(found, &total) ||
            !plain_number(PyTuple_GET_ITEM(pairs, at + 1), &amount)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_RuntimeError, "a total is gone while it is added to");
            return -1;
        }
        if ((more = PyLong_FromLongLong(total + amount)) == NULL)
            return -1;
        done = PyDict_SetItem(self->held[TOTALS], key, more);
        Py_DECREF(more);
        if (done < 0)
            return -1;
    }
    return 0;
}

/* What `Share.add_all` does. */
static int
add_all(Desk *self, PyObject *pairs)
{
    PyObject *own = self->held[OWN], *done;
    long long ceiling;
    Sum sum;
    int plain = 0;

    if (PyTuple_CheckExact(pairs) && PyTuple_GET_SIZE(pairs) % 2 == 0 &&
        PyTuple_GET_SIZE(pairs) <= 1024)
        plain = number_at(own, self->at[CEILING], &ceiling);
    if (plain > 0)
        plain = are_plain(self, pairs, &sum, ceiling);
    if (plain < 0)
        return -1;
    if (plain == 0) {
        done = PyObject_CallMethodOneArg(own, words[ADD_ALL], pairs);
        Py_XDECREF(done);
        return done == NULL ? -1 : 0;
    }
    if (add_each(self, pairs) < 0)
        return -1;
    if (!sum.is_ones)
        return 0;
    ceiling += sum.sum;
    return put_number_at(own, self->at[CEILING], ceiling > SHARE_MAX ? SHARE_MAX : ceiling);
}

/* -- replies ----------------------------------------------------------------------------------- */

/* Return the frame of the `Counted` that is said to a new increment on disk. */
static PyObject *
counted(Desk *self, PyObject *sequence)
{
    unsigned char reply[16] = {0, 0, 0, 0, 0x94, 0x21};
    long long value;
    int width = 0, at = 6;

    if (!plain_number(sequence, &value) || value < 0 || value > SEQUENCE_MAX)
        return PyObject_CallOneArg(self->held[REPLY], sequence);
    if (value >= 0x80) {
        width = value <= 0xff ? 1 : value <= 0xffff ? 2 : 4;
        reply[at++] = (unsigned char)(width == 1 ? 0xcc : width == 2 ? 0xcd : 0xce);
    }
    else
        width = 1;
    while (width-- > 0)
        reply[at++] = (unsigned char)(value >> (8 * width));
    reply[at++] = 0xc3;
    reply[at++] = 0xc2;
    reply[3] = (unsigned char)(at - 4);
    return PyBytes_FromStringAndSize((const char *)reply, at);
}

/* Append whom to tell, and what. */
static int
tell(Desk *self, PyObject *told, PyObject *link, PyObject *operation)
{
    PyObject *frame, *pair;
    int done;

    if ((frame = counted(self, PyTuple_GET_ITEM(operation, 1))) == NULL)
        return -1;
    pair = PyTuple_Pack(2, link, frame);
    Py_DECREF(frame);
    if (pair == NULL)
        return -1;
    done = PyList_Append(told, pair);
    Py_DECREF(pair);
    return done;
}

/* The link has had its reply: nothing waits behind this token any more. */
static int
end_turn(Desk *self, PyObject *link, PyObject *token)
{
    PyObject *last = PyDict_GetItemWithError(self->held[TURNS], link);
    int is_same;

    if (last == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, link);
        return -1;
    }
    is_same = PyObject_RichCompareBool(last, token, Py_EQ);
    return is_same <= 0 ? is_same : PyDict_DelItem(self->held[TURNS], link);
}

/* -- the disk's word --------------------------------------------------------------------------- */

/* Count what waited for the disk, and say so to whoever sent it. */
static int
settle(Desk *self, PyObject *entry, PyObject *told, long long *reserved)
{
    PyObject *link, *operation, *pairs, *token;
    long long magnitude;
    int counts_now;

    if (!Py_IS_TYPE(entry, (PyTypeObject *)self->held[WAITING]) ||
        (operation = thing_at(entry, self->at[ITS_OPERATION])) == NULL ||
        !PyTuple_CheckExact(operation) || PyTuple_GET_SIZE(operation) != 2 ||
        (counts_now = is_down_at(entry, self->at[ITS_COUNTS_LATER])) < 0 ||
        number_at(entry, self->at[ITS_MAGNITUDE], &magnitude) <= 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError, "what waits for the disk is not plain");
        return -1;
    }
    *reserved -= magnitude;
    if (PyDict_DelItem(self->held[UNDERWAY], operation) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError))
            return -1;
        PyErr_Clear();
    }
    if (counts_now)
        return 0;
    /* The entry is the caller's, and nobody puts anything else into it. */
    if ((link = thing_at(entry, self->at[ITS_LINK])) == NULL ||
        (pairs = thing_at(entry, self->at[ITS_PAIRS])) == NULL ||
        (token = thing_at(entry, self->at[ITS_TOKEN])) == NULL ||
        add_all(self, pairs) < 0 || tell(self, told, link, operation) < 0)
        return -1;
    return end_turn(self, link, token);
}

/* Whether this word is of increments alone, and how many they are. */
static int
is_plain(Desk *self, long long token, long long *news)
{
    PyObject *ledger = self->held[LEDGER], *last;
    long long written, own;
    int done;

    if (PyObject_Size(self->held[FOLLOWERS]) != 0 || PyObject_Size(self->held[BEHIND]) != 0)
        return PyErr_Occurred() ? -1 : 0;
    if ((done = is_down_at(ledger, self->at[IS_HELD])) <= 0 ||
        (done = number_at(ledger, self->at[WRITTEN], &written)) <= 0)
        return done;
    *news = token - written;
    if (*news <= 0 || *news > PyObject_Size(self->held[QUEUE]))
        return PyErr_Occurred() ? -1 : 0;
    if ((last = PySequence_GetItem(self->held[QUEUE], (Py_ssize_t)*news - 1)) == NULL)
        return -1;
    done = Py_IS_TYPE(last, (PyTypeObject *)self->held[WAITING])
               ? number_at(last, self->at[ITS_TOKEN], &own)
               : 0;
    Py_DECREF(last);
    return done <= 0 ? done : own == token;
}

static PyObject *
desk_acknowledge(PyObject *object, PyObject *event)
{
    Desk *self = (Desk *)object;
    PyObject *told, *ledger = self->held[LEDGER];
    long long token, news, reserved;
    int done;

    if (ledger == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this desk is no more");
        return NULL;
    }
    if ((done = number(event, words[TOKEN], &token)) > 0)
        done = is_plain(self, token, &news);
    if (done > 0)
        done = number_at(ledger, self->at[RESERVED], &reserved);
    if (done < 0)
        return NULL;
    if (done == 0)
        Py_RETURN_NONE;
    if ((told = PyList_New(0)) == NULL)
        return NULL;
    done = put_number_at(ledger, self->at[WRITTEN], token);
    while (done == 0 && news-- > 0) {
        PyObject *entry = PyObject_CallMethodNoArgs(self->held[QUEUE], words[POPLEFT]);
        done = entry == NULL ? -1 : settle(self, entry, told, &reserved);
        Py_XDECREF(entry);
    }
    if (done == 0 && put_number_at(ledger, self->at[RESERVED], reserved) == 0)
        return told;
    Py_DECREF(told);
    return NULL;
}

/* -- the type ---------------------------------------------------------------------------------- */

static int
desk_traverse(PyObject *self, visitproc visit, void *arg)
{
    return visit_held(self, ((Desk *)self)->held, HELD_MAX, visit, arg);
}

static int
desk_clear(PyObject *self)
{
    return clear_held(((Desk *)self)->held, HELD_MAX);
}

static void
desk_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    desk_clear(self);
    end_object(self);
}

static const Part parts[] = {
    {COUNTERS, LEDGER, "counters", 0}, {OWN, COUNTERS, "own", 0},
    {TOTALS, OWN, "positive", 1},      {FOLLOWERS, LEDGER, "_followers", 0},
    {BEHIND, LEDGER, "_behind", 0},    {QUEUE, LEDGER, "_waiting", 0},
    {UNDERWAY, LEDGER, "_underway", 1}, {TURNS, LEDGER, "_turns", 1},
};

static PyObject *
desk_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"ledger", "reply", "waiting", NULL};
    PyObject *ledger, *reply, *waiting, *classes[HELD_MAX];
    Desk *self;

    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OOO:Desk", names, &ledger, &reply,
                                     &waiting))
        return NULL;
    if ((self = (Desk *)type->tp_alloc(type, 0)) == NULL)
        return NULL;
    self->held[LEDGER] = Py_NewRef(ledger);
    self->held[REPLY] = Py_NewRef(reply);
    self->held[WAITING] = Py_NewRef(waiting);
    if (take_parts(self->held, parts, LENGTH(parts)) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    for (int at = 0; at < HELD_MAX; at++)
        classes[at] = (PyObject *)Py_TYPE(self->held[at]);
    classes[WAITING] = waiting;
    if (find_places(wanted, PLACES, classes, self->at) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef desk_methods[] = {
    {"acknowledge", desk_acknowledge, METH_O,
     "acknowledge($self, event, /)\n--\n\n"
     "Count what is safe by this word of the disk: a list of links and frames, None for most."},
    {NULL},
};

static PyType_Slot desk_slots[] = {
    {Py_tp_doc, "What a ledger says and counts once its records are safe."},
    {Py_tp_new, desk_new},
    {Py_tp_methods, desk_methods},
    {Py_tp_traverse, desk_traverse},
    {Py_tp_clear, desk_clear},
    {Py_tp_dealloc, desk_dealloc},
    {0, NULL},
};

static PyType_Spec desk_spec = {
    .name = "counter.native.settling.Desk",
    .basicsize = sizeof(Desk),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = desk_slots,
};

static int
fill(PyObject *module)
{
    if (intern_all(spelled, words) < 0 || add_type(module, &desk_spec) < 0)
        return -1;
    return add_source(module);
}

NATIVE_MODULE(settling, "counter.native.settling",
              "What follows from the disk's word that records are safe.")
