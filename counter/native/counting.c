/* `Way`: the plainest increments of `counter.counting`, from the bytes of a frame to those of its
 * reply or its record. It stands for `_in_memory`, `_on_disk` and the two batches there, and with
 * them for `Sessions.follows`, `Share.raise_known` and `Ledger.followed`.
 *
 * The rule: it looks at everything before it changes anything. What is not the next operation of
 * a known client, in the one way we would pack it, on keys held here and far from every limit, it
 * hands to the way in Python, untouched. What one pair means it has from Python, too (`Endings`).
 */
#include "way.h"

#define PAIRS_MAX 512                   /* counter.messages.PAIRS_MAX */
#define KEY_BYTES_MAX 255               /* of one length byte; longer ones are Python's */

typedef struct {
    Py_ssize_t count;
    long long more;
    PyObject *keys[PAIRS_MAX];
    long long amounts[PAIRS_MAX];
} Pairs;

/* -- one pair ---------------------------------------------------------------------------------- */

/* Count one pair in memory. */
static int
raised(Way *self, const Frame *frame, PyObject *pair, PyObject *key, long long amount,
       PyObject **reply)
{
    Operation operation = {NULL};
    PyObject *name = key;
    long long total = 0, ceiling = 0;
    int is_taken = is_open(self);

    if (is_taken > 0 && PyDict_GET_SIZE(self->held[NAMES])) {
        name = PyDict_GetItemWithError(self->held[NAMES], key);
        if (name == NULL) {
            if (PyErr_Occurred())
                return -1;
            name = key;
        }
    }
    Py_INCREF(name);
    if (is_taken > 0)
        is_taken = total_of(self, name, &total);
    if (is_taken > 0)
        is_taken = number_at(self->held[OWN], self->at[CEILING], &ceiling);
    if (is_taken > 0 && (ceiling > SHARE_MAX || total < 0 || total > ceiling - amount))
        is_taken = 0;
    if (is_taken > 0)
        is_taken = follows(self, frame, &operation);
    if (is_taken > 0) {
        PyObject *sum = PyLong_FromLongLong(total + amount);

        *reply = counted(frame);
        /* A total that is there is replaced where it is, which takes no memory. */
        if (sum == NULL || *reply == NULL || remember(self, &operation, pair) < 0 ||
            PyDict_SetItem(self->held[TOTALS], name, sum) < 0) {
            Py_CLEAR(*reply);
            is_taken = -1;
        }
        Py_XDECREF(sum);
    }
    Py_DECREF(name);
    release(&operation);
    return is_taken;
}

/* Take one pair whose ending was learned by the way in Python. */
static int
one_pair(Way *self, PyObject *link, const Frame *frame, PyObject **reply)
{
    PyObject *pair, *key, *ending;
    long long amount;
    int is_taken;

    ending = PyBytes_FromStringAndSize((const char *)frame->data + frame->ending,
                                       frame->size - frame->ending);
    if (ending == NULL)
        return -1;
    pair = PyDict_GetItemWithError(self->held[KNOWN], ending);
    Py_XINCREF(pair); /* the endings may be forgotten while this runs */
    Py_DECREF(ending);
    if (pair == NULL)
        return PyErr_Occurred() ? -1 : 0;
    is_taken = 0;
    if (PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 &&
        PyUnicode_CheckExact(key = PyTuple_GET_ITEM(pair, 0)) &&
        plain_number(PyTuple_GET_ITEM(pair, 1), &amount) && amount >= 0 && amount <= AMOUNT_MAX) {
        if (self->held[KEEP] == NULL)
            is_taken = raised(self, frame, pair, key, amount, reply);
        else {
            is_taken = PyDict_Contains(self->held[TOTALS], key);
            if (is_taken > 0 && PyDict_GET_SIZE(self->held[NAMES])) {
                int is_renamed = PyDict_Contains(self->held[NAMES], key);
                is_taken = is_renamed < 0 ? -1 : !is_renamed;
            }
            if (is_taken > 0)
                is_taken = kept(self, link, frame, pair, amount, pair, reply);
        }
    }
    Py_DECREF(pair);
    return is_taken;
}

/* -- many pairs -------------------------------------------------------------------------------- */

static void
let_go(Pairs *pairs)
{
    for (Py_ssize_t at = 0; at < pairs->count; at++)
        Py_DECREF(pairs->keys[at]);
    pairs->count = 0;
}

/* Read the next pair; `at` is moved behind it. Its key is held here, or it is not plain. */
static int
pair_in(Way *self, const Frame *frame, Py_ssize_t *at, Pairs *pairs)
{
    const unsigned char *data = frame->data;
    Py_ssize_t end = frame->size - 1, begin = *at + 1, length;
    unsigned long long amount;
    long long total;
    PyObject *key, **place;
    int width, is_held;

    if (*at + 2 > end)
        return 0;
    length = data[*at];
    if (length >= 0xa0 && length <= 0xbf)
        length -= 0xa0;
    else if (length == 0xd9 && (length = data[begin]) >= 32 && length <= KEY_BYTES_MAX)
        begin++;
    else
        return 0;
    if (length > end - begin)
        return 0;
    width = packed_number(data + begin + length, end - begin - length, &amount);
    if (width == 0 || amount > AMOUNT_MAX)
        return 0;
    key = spelled_key(self->keys, data + begin, length, &place);
    if (key == NULL)
        return PyErr_Occurred() ? -1 : 0;
    is_held = total_of(self, key, &total);
    if (is_held <= 0 || total < 0 || total > SHARE_MAX) {
        Py_DECREF(key);
        return is_held < 0 ? -1 : 0;
    }
    /* Only what is held stays in the table, so that nobody fills it with keys of his own. */
    if (place != NULL)
        Py_XSETREF(*place, Py_NewRef(key));
    pairs->keys[pairs->count] = key;
    pairs->amounts[pairs->count++] = (long long)amount;
    pairs->more += (long long)amount;
    *at = begin + length + width;
    return 1;
}

/* Read all pairs, which are as many as the frame says, and nothing stands behind them. */
static int
pairs_in(Way *self, const Frame *frame, Pairs *pairs)
{
    Py_ssize_t at = frame->ending, fields, end = frame->size - 1;
    int done;

    pairs->count = 0;
    pairs->more = 0;
    fields = frame->data[at++];
    if (fields >= 0x94 && fields <= 0x9e)
        fields -= 0x90;
    else if (fields == 0xdc && at + 2 <= end && (fields = big_endian(frame->data + at, 2)) >= 16)
        at += 2;
    else
        return 0;
    if (fields % 2 || fields > 2 * PAIRS_MAX)
        return 0;
    while (fields > 0) {
        if ((done = pair_in(self, frame, &at, pairs)) <= 0)
            return done;
        fields -= 2;
    }
    return at == end;
}

/* Put the first `count` totals back, from the last on; an exception stays as it is. */
static void
lower_each(Way *self, const Pairs *pairs, PyObject **was, Py_ssize_t count)
{
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    while (count-- > 0) {
        if (PyDict_SetItem(self->held[TOTALS], pairs->keys[count], was[count]) < 0)
            PyErr_WriteUnraisable(pairs->keys[count]);
        Py_DECREF(was[count]);
    }
    PyErr_Restore(type, value, trace);
}

/* Raise the totals, and note what they were; none of them, and -1 with an exception set. */
static int
raise_each(Way *self, const Pairs *pairs, PyObject **was)
{
    for (Py_ssize_t at = 0; at < pairs->count; at++) {
        /* Looked up anew: a key may come more than once. */
        PyObject *found = PyDict_GetItemWithError(self->held[TOTALS], pairs->keys[at]);
        long long total;

        if (found == NULL || !plain_number(found, &total)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_RuntimeError, "a total is gone while it is added to");
            lower_each(self, pairs, was, at);
            return -1;
        }
        was[at] = Py_NewRef(found);
        if (put_total(self, pairs->keys[at], total + pairs->amounts[at]) < 0) {
            lower_each(self, pairs, was, at + 1);
            return -1;
        }
    }
    return 1;
}

/* Count many pairs in memory: all of them, or none. */
static int
all_raised(Way *self, const Frame *frame, const Pairs *pairs, PyObject *content, PyObject **reply)
{
    Operation operation = {NULL};
    PyObject *was[PAIRS_MAX], *highest = NULL;
    long long ceiling = 0;
    int is_taken = is_open(self);

    if (is_taken > 0)
        is_taken = number_at(self->held[OWN], self->at[CEILING], &ceiling);
    if (is_taken > 0)
        is_taken = ceiling >= 0 && ceiling <= SHARE_MAX - pairs->more;
    if (is_taken > 0)
        is_taken = follows(self, frame, &operation);
    if (is_taken <= 0)
        goto end;
    highest = PyLong_FromLongLong(ceiling + pairs->more);
    *reply = counted(frame);
    is_taken = highest == NULL || *reply == NULL ? -1 : raise_each(self, pairs, was);
    if (is_taken > 0 && remember(self, &operation, content) < 0) {
        lower_each(self, pairs, was, pairs->count);
        is_taken = -1;
    }
    if (is_taken > 0) {
        put_slot(self->held[OWN], self->at[CEILING], Py_NewRef(highest));
        for (Py_ssize_t at = 0; at < pairs->count; at++)
            Py_DECREF(was[at]);
    }
    else
        Py_CLEAR(*reply);
end:
    Py_XDECREF(highest);
    release(&operation);
    return is_taken;
}

/* Return `key, amount, key, amount, ...`. */
static PyObject *
in_turns(const Pairs *pairs)
{
    PyObject *flat = PyTuple_New(2 * pairs->count), *amount;

    for (Py_ssize_t at = 0; flat != NULL && at < pairs->count; at++) {
        PyTuple_SET_ITEM(flat, 2 * at, Py_NewRef(pairs->keys[at]));
        if ((amount = PyLong_FromLongLong(pairs->amounts[at])) == NULL)
            Py_CLEAR(flat);
        else
            PyTuple_SET_ITEM(flat, 2 * at + 1, amount);
    }
    return flat;
}

static int
batch(Way *self, PyObject *link, const Frame *frame, PyObject **reply)
{
    const unsigned char ack = frame->data[frame->size - 1];
    PyObject *body = NULL, *content = NULL, *flat = NULL;
    Pairs pairs;
    int is_taken;

    if ((ack != self->acks[0] && ack != self->acks[1]) || PyDict_GET_SIZE(self->held[NAMES]))
        return 0;
    is_taken = pairs_in(self, frame, &pairs);
    if (is_taken <= 0)
        goto end;
    is_taken = -1;
    body = PyBytes_FromStringAndSize((const char *)frame->data + frame->ending,
                                     frame->size - frame->ending - 1);
    if (body == NULL || (content = PyObject_CallOneArg(self->held[CHECKSUM], body)) == NULL)
        goto end;
    if (self->held[KEEP] == NULL)
        is_taken = all_raised(self, frame, &pairs, content, reply);
    else if ((flat = in_turns(&pairs)) != NULL)
        is_taken = kept(self, link, frame, flat, pairs.more, content, reply);
end:
    let_go(&pairs);
    Py_XDECREF(body);
    Py_XDECREF(content);
    Py_XDECREF(flat);
    return is_taken;
}

/* -- the type ---------------------------------------------------------------------------------- */

static PyObject *
way_call(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names)
{
    Way *self = (Way *)object;
    PyObject *reply = NULL;
    Frame frame;

    if (PyVectorcall_NARGS(flags) != 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "a way takes a link and a frame");
        return NULL;
    }
    if (self->held[PLAIN] == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this way is no more");
        return NULL;
    }
    if (PyBytes_CheckExact(arguments[1]) && is_frame(arguments[1], &frame)) {
        int is_one = frame.data[frame.ending] == 0x92;
        int is_taken = is_one ? one_pair(self, arguments[0], &frame, &reply)
                              : batch(self, arguments[0], &frame, &reply);
        if (is_taken != 0)
            return reply;
    }
    return PyObject_Vectorcall(self->held[PLAIN], arguments, 2, NULL);
}

static int
way_traverse(PyObject *self, visitproc visit, void *arg)
{
    return visit_held(self, ((Way *)self)->held, HELD_MAX, visit, arg);
}

static int
way_clear(PyObject *self)
{
    return clear_held(((Way *)self)->held, HELD_MAX);
}

static void
way_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    way_clear(self);
    forget_keys(((Way *)self)->keys);
    end_object(self);
}

static const Part parts[] = {
    {COUNTERS, LEDGER, "counters", 0},       {OWN, COUNTERS, "own", 0},
    {TOTALS, OWN, "positive", 1},            {NAMES, COUNTERS, "names", 1},
    {SESSIONS, LEDGER, "sessions", 0},       {TABLE, SESSIONS, "_sessions", 1},
    {MOVE_TO_END, TABLE, "move_to_end", 0},  {CONFIG, LEDGER, "config", 0},
    {DOUBTFUL, LEDGER, "_doubtful", 0},      {QUEUE, LEDGER, "_waiting", 0},
    {APPEND, QUEUE, "append", 0},            {UNDERWAY, LEDGER, "_underway", 1},
    {TURNS, LEDGER, "_turns", 1},
};

/* Ask the classes of what it is made of where they keep things. */
static int
find_all_places(Way *self)
{
    PyObject *classes[HELD_MAX];

    for (int at = 0; at < HELD_MAX; at++)
        classes[at] = (PyObject *)Py_TYPE(self->held[at] == NULL ? Py_None : self->held[at]);
    classes[WAITING] = self->held[WAITING];
    classes[PERSIST] = self->held[PERSIST];
    classes[SESSION] = self->held[SESSION];
    return find_places(wanted, PLACES, classes, self->at);
}

static PyObject *
way_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"plain", "ledger",  "known",   "acks", "keep",
                            "waiting", "persist", "session", "checksum", NULL};
    PyObject *given[9];
    Way *self;

    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OOO!SOOOOO:Way", names, &given[0],
                                     &given[1], &PyDict_Type, &given[2], &given[3], &given[4],
                                     &given[5], &given[6], &given[7], &given[8]))
        return NULL;
    if (PyBytes_GET_SIZE(given[3]) != 2) {
        PyErr_SetString(PyExc_ValueError, "a way takes two acks");
        return NULL;
    }
    self = (Way *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->call = way_call;
    memcpy(self->acks, PyBytes_AS_STRING(given[3]), 2);
    self->held[PLAIN] = Py_NewRef(given[0]);
    self->held[LEDGER] = Py_NewRef(given[1]);
    self->held[KNOWN] = Py_NewRef(given[2]);
    self->held[KEEP] = given[4] == Py_None ? NULL : Py_NewRef(given[4]);
    self->held[WAITING] = Py_NewRef(given[5]);
    self->held[PERSIST] = Py_NewRef(given[6]);
    self->held[SESSION] = Py_NewRef(given[7]);
    self->held[CHECKSUM] = Py_NewRef(given[8]);
    self->keys = PyMem_Calloc(KEYS_MAX, sizeof *self->keys);
    if (self->keys == NULL)
        PyErr_NoMemory();
    if (self->keys == NULL || take_parts(self->held, parts, LENGTH(parts)) < 0
        || find_all_places(self) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMemberDef way_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Way, call), READONLY},
    {NULL},
};

static PyType_Slot way_slots[] = {
    {Py_tp_doc, "Way(plain, ledger, known, acks, keep, waiting, persist, session, checksum)\n--\n\n"
                "The plainest increments of a ledger; called with a link and a frame, it returns\n"
                "the reply, or what the way in Python returns, `plain`."},
    {Py_tp_new, way_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, way_members},
    {Py_tp_traverse, way_traverse},
    {Py_tp_clear, way_clear},
    {Py_tp_dealloc, way_dealloc},
    {0, NULL},
};

static PyType_Spec way_spec = {
    .name = "counter.native.counting.Way",
    .basicsize = sizeof(Way),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = way_slots,
};

static int
fill(PyObject *module)
{
    if (intern_all(spelled, words) < 0 || add_type(module, &way_spec) < 0)
        return -1;
    return add_source(module);
}

NATIVE_MODULE(counting, "counter.native.counting",
              "The plainest increments, from the bytes of a frame to those of its reply.")
