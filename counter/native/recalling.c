/* `Recall`: what a store gives back at a node's start, taken into its ledger. It stands for
 * `counter.recovery.Recovery.restore` where that comes to `counter.records.recount`, of a record
 * of the log, or to `recall`, of a page of a share.
 *
 * The rule: a record is read to its end before anything is changed. What is not packed as this
 * program packs it, a decrease, a name of an epoch, any other record is left to the Python, which
 * also says what is wrong with one; whether an operation counts, and in which share rows belong, it
 * decides as well.
 */
#include "held.h"
#include "places.h"

#include <string.h>

#define AMOUNT_MAX (((long long)1 << 53) - 1)  /* tracker.wire.AMOUNT_MAX */
#define SHARE_MAX ((long long)1 << 62)         /* tracker.wire.SHARE_MAX */
#define CEILING_STEP ((long long)1 << 40)      /* counter.crdt.CEILING_STEP */
#define ITEMS_MAX 1024                         /* tracker.wire.ARRAY_MAX */
#define ID_BYTES 16                            /* of a session, or of a store */

static const char *const spelled[] = {"counts", "state", NULL};
enum { COUNTS, STATE };
static PyObject *words[2];

enum { LEDGER, OTHERWISE, COUNTED, OPENED, CHECKSUM, COUNTERS, OWN, HELD_MAX };
enum { POSITIVE, NEGATIVE, CEILING, PLACES };
static const Place wanted[PLACES] = {
    {OWN, "positive"}, {OWN, "negative"}, {OWN, "ceiling"},
};

typedef struct {
    PyObject_HEAD
    PyObject *held[HELD_MAX];
    Py_ssize_t at[PLACES];
} Recall;

/* What a record holds, once it was read to its end. `keys` are references of its own. */
typedef struct {
    Py_ssize_t count;
    unsigned long long number; /* the sequence, or the epoch */
    const unsigned char *name; /* of the session, or of the store */
    PyObject *keys[ITEMS_MAX];
    long long up[ITEMS_MAX], down[ITEMS_MAX];
} Page;

typedef struct {
    const unsigned char *at, *end;
} Bytes;

/* -- reading: 1 where it stands there, 0 for anything else, -1 with an exception set ----------- */

static inline int
read_number(Bytes *bytes, unsigned long long most, unsigned long long *value)
{
    int size = packed_number(bytes->at, bytes->end - bytes->at, value);

    bytes->at += size;
    return size > 0 && *value <= most;
}

static int
read_id(Bytes *bytes, const unsigned char **name)
{
    if (bytes->end - bytes->at < 2 + ID_BYTES || bytes->at[0] != 0xC4 || bytes->at[1] != ID_BYTES)
        return 0;
    *name = bytes->at + 2;
    bytes->at += 2 + ID_BYTES;
    return 1;
}

static int
read_head(Bytes *bytes, Py_ssize_t *count)
{
    Py_ssize_t left = bytes->end - bytes->at;

    if (left >= 1 && bytes->at[0] >> 4 == 9) {
        *count = *bytes->at++ & 15;
        return 1;
    }
    if (left < 3 || bytes->at[0] != 0xDC)
        return 0;
    *count = (Py_ssize_t)big_endian(bytes->at + 1, 2);
    bytes->at += 3;
    return *count > 15; /* else it would have been packed shorter */
}

static int
read_key(Bytes *bytes, int may_hold_nul, PyObject **key)
{
    Py_ssize_t left = bytes->end - bytes->at, size, head = 1;

    if (left < 1)
        return 0;
    if (bytes->at[0] >> 5 == 5)
        size = bytes->at[0] & 31;
    else {
        head = bytes->at[0] == 0xD9 ? 2 : 3;
        if (left < head || (head == 3 && bytes->at[0] != 0xDA))
            return 0;
        size = (Py_ssize_t)big_endian(bytes->at + 1, (int)head - 1);
        if (size <= (head == 2 ? 31 : 255))
            return 0; /* it would have been packed shorter */
    }
    if (size == 0 || left < head + size)
        return 0;
    bytes->at += head;
    if (!may_hold_nul && memchr(bytes->at, 0, (size_t)size) != NULL)
        return 0;
    *key = PyUnicode_DecodeUTF8((const char *)bytes->at, size, NULL);
    bytes->at += size;
    if (*key != NULL)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* The pairs of an increment: (session, sequence, [key, amount, ...]), none of them a decrease. */
static int
read_increment(Bytes *bytes, Page *page, const unsigned char **pairs)
{
    unsigned long long amount;
    Py_ssize_t fields;
    int plain;

    if (!read_id(bytes, &page->name) || !read_number(bytes, UINT64_MAX, &page->number))
        return 0;
    *pairs = bytes->at;
    if (!read_head(bytes, &fields) || fields == 0 || fields % 2 || fields > ITEMS_MAX)
        return 0;
    for (Py_ssize_t at = 0; at < fields / 2; at++) {
        if ((plain = read_key(bytes, 0, &page->keys[at])) <= 0)
            return plain;
        page->count = at + 1;
        if (!read_number(bytes, AMOUNT_MAX, &amount))
            return 0;
        page->up[at] = (long long)amount;
    }
    return bytes->at == bytes->end;
}

/* A page of a share: ("share", store, epoch, [(key, increments, decrements), ...]). */
static int
read_rows(Bytes *bytes, Page *page)
{
    unsigned long long up, down;
    Py_ssize_t rows;
    int plain;

    if (!read_id(bytes, &page->name) || !read_number(bytes, UINT64_MAX, &page->number) ||
        !read_head(bytes, &rows) || rows > ITEMS_MAX)
        return 0;
    for (Py_ssize_t at = 0; at < rows; at++) {
        if (bytes->at == bytes->end || *bytes->at++ != 0x93)
            return 0;
        if ((plain = read_key(bytes, 1, &page->keys[at])) <= 0)
            return plain;
        page->count = at + 1;
        if (!read_number(bytes, SHARE_MAX, &up) || !read_number(bytes, SHARE_MAX, &down))
            return 0;
        page->up[at] = (long long)up;
        page->down[at] = (long long)down;
    }
    return bytes->at == bytes->end;
}

/* -- counting ---------------------------------------------------------------------------------- */

/* Put the ceiling above a total, as `Share._put_ceiling_above` does. */
static inline void
lift(long long *ceiling, long long total)
{
    if (total > *ceiling)
        *ceiling = total < SHARE_MAX - CEILING_STEP ? total + CEILING_STEP : SHARE_MAX;
}

/* Add to a total whatever size it has by now; past what fits it is `SHARE_MAX` to the ceiling. */
static int
add_to(PyObject *totals, PyObject *key, PyObject *found, PyObject *amount, long long *total)
{
    PyObject *sum = PyNumber_Add(found, amount);
    int overflow = 0, done;

    if (sum == NULL)
        return -1;
    *total = PyLong_AsLongLongAndOverflow(sum, &overflow);
    if (overflow)
        *total = overflow > 0 ? LLONG_MAX : LLONG_MIN;
    done = *total == -1 && PyErr_Occurred() ? -1 : PyDict_SetItem(totals, key, sum);
    Py_DECREF(sum);
    return done;
}

/* Enter a key that is new; 1 where it was there already: then what it has stands in `found`. */
static inline int
enter(PyObject *totals, PyObject *key, PyObject *value, PyObject **found)
{
    Py_ssize_t before = PyDict_Size(totals);

    if ((*found = PyDict_SetDefault(totals, key, value)) == NULL)
        return -1;
    return PyDict_Size(totals) == before;
}

/* What `Share.add_all` does. */
static int
add_all(Recall *self, const Page *page)
{
    PyObject *own = self->held[OWN], *totals = SLOT(own, self->at[POSITIVE]);
    long long ceiling, total;
    int are_ones = page->count > 1;

    for (Py_ssize_t at = 0; at < page->count; at++)
        are_ones &= page->up[at] == 1;
    if (number_at(own, self->at[CEILING], &ceiling) <= 0) {
        PyErr_SetString(PyExc_TypeError, "the ceiling of a share is no such number");
        return -1;
    }
    for (Py_ssize_t at = 0; at < page->count; at++) {
        PyObject *amount = PyLong_FromLongLong(page->up[at]), *found;
        int done = amount == NULL ? -1 : enter(totals, page->keys[at], amount, &found);

        total = page->up[at];
        if (done > 0)
            done = add_to(totals, page->keys[at], found, amount, &total);
        Py_XDECREF(amount);
        if (done < 0)
            return -1;
        if (!are_ones)
            lift(&ceiling, total);
    }
    if (are_ones)
        ceiling = ceiling < SHARE_MAX - page->count ? ceiling + page->count : SHARE_MAX;
    return put_number_at(own, self->at[CEILING], ceiling);
}

/* What `Share.merge_rows` does to one side; whether the total is a new one. */
static int
raise_to(PyObject *totals, PyObject *key, long long wish)
{
    PyObject *value = PyLong_FromLongLong(wish), *found;
    long long total;
    int overflow, done = value == NULL ? -1 : enter(totals, key, value, &found);

    if (done > 0) {
        total = PyLong_AsLongLongAndOverflow(found, &overflow);
        if (overflow > 0 || (overflow == 0 && total >= wish))
            done = total == -1 && PyErr_Occurred() ? -1 : 0;
        else
            done = PyDict_SetItem(totals, key, value) < 0 ? -1 : 1;
    }
    else if (done == 0)
        done = 1;
    Py_XDECREF(value);
    return done;
}

static int
merge_rows(Recall *self, PyObject *share, const Page *page)
{
    PyObject *up = SLOT(share, self->at[POSITIVE]), *down = SLOT(share, self->at[NEGATIVE]);
    long long ceiling;
    int done;

    if (number_at(share, self->at[CEILING], &ceiling) <= 0) {
        PyErr_SetString(PyExc_TypeError, "the ceiling of a share is no such number");
        return -1;
    }
    for (Py_ssize_t at = 0; at < page->count; at++) {
        if ((done = raise_to(up, page->keys[at], page->up[at])) < 0)
            return -1;
        if (done)
            lift(&ceiling, page->up[at]);
        if (page->down[at] && raise_to(down, page->keys[at], page->down[at]) < 0)
            return -1;
    }
    return put_number_at(share, self->at[CEILING], ceiling);
}

/* -- records ----------------------------------------------------------------------------------- */

/* What stands for the content of an operation (`counter.sessions.content_of`). */
static PyObject *
content_of(Recall *self, const Page *page, const unsigned char *pairs, const unsigned char *end)
{
    PyObject *packed, *content;

    if (page->count == 1)
        return Py_BuildValue("(OL)", page->keys[0], page->up[0]);
    /* As they were packed, so they would be packed again: `read_increment` takes nothing else. */
    if ((packed = PyMemoryView_FromMemory((char *)pairs, end - pairs, PyBUF_READ)) == NULL)
        return NULL;
    content = PyObject_CallOneArg(self->held[CHECKSUM], packed);
    Py_DECREF(packed);
    return content;
}

static int
take_increment(Recall *self, Page *page, Bytes bytes)
{
    const unsigned char *pairs = NULL;
    PyObject *content, *answer;
    int plain = read_increment(&bytes, page, &pairs), counts;

    if (plain <= 0)
        return plain;
    if ((content = content_of(self, page, pairs, bytes.end)) == NULL)
        return -1;
    answer = PyObject_CallFunction(self->held[COUNTED], "y#KN", page->name, (Py_ssize_t)ID_BYTES,
                                   page->number, content);
    if (answer == NULL)
        return -1;
    counts = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    if (counts < 0 || (counts && add_all(self, page) < 0))
        return -1;
    return 1;
}

static int
take_rows(Recall *self, Page *page, Bytes bytes)
{
    int plain = read_rows(&bytes, page), done = 0;
    PyObject *share;

    if (plain <= 0)
        return plain;
    share = PyObject_CallFunction(self->held[OPENED], "y#K", page->name, (Py_ssize_t)ID_BYTES,
                                  page->number);
    if (share == NULL)
        return -1;
    if (Py_TYPE(share) == Py_TYPE(self->held[OWN]))
        done = merge_rows(self, share, page);
    else if (share != Py_None) {
        PyErr_SetString(PyExc_TypeError, "this is no share");
        done = -1;
    }
    Py_DECREF(share);
    return done < 0 ? -1 : 1;
}

/* Take a record in if it is a plain one of its kind. */
static int
take(Recall *self, PyObject *kind, PyObject *record)
{
    Bytes bytes = {(const unsigned char *)PyBytes_AS_STRING(record), NULL};
    Py_ssize_t size = PyBytes_GET_SIZE(record);
    int done = 0;
    Page page;

    bytes.end = bytes.at + size;
    page.count = 0;
    if (size > 2 && bytes.at[0] == 0x93 && PyUnicode_Compare(kind, words[COUNTS]) == 0) {
        bytes.at++;
        done = take_increment(self, &page, bytes);
    }
    else if (size > 7 && memcmp(bytes.at, "\x94\xA5share", 7) == 0 &&
             PyUnicode_Compare(kind, words[STATE]) == 0) {
        bytes.at += 7;
        done = take_rows(self, &page, bytes);
    }
    for (Py_ssize_t at = 0; at < page.count; at++)
        Py_DECREF(page.keys[at]);
    return done;
}

static PyObject *
recall_take(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Recall *self = (Recall *)object;
    int done = 0;

    if (count != 2 || !PyUnicode_CheckExact(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "take() takes a kind and a record");
        return NULL;
    }
    if (PyBytes_CheckExact(arguments[1]))
        done = take(self, arguments[0], arguments[1]);
    if (done < 0)
        return NULL;
    if (done > 0)
        Py_RETURN_NONE;
    return PyObject_Vectorcall(self->held[OTHERWISE], arguments, 2, NULL);
}

/* -- the type ---------------------------------------------------------------------------------- */

static int
recall_traverse(PyObject *self, visitproc visit, void *arg)
{
    return visit_held(self, ((Recall *)self)->held, HELD_MAX, visit, arg);
}

static int
recall_clear(PyObject *self)
{
    return clear_held(((Recall *)self)->held, HELD_MAX);
}

static void
recall_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    recall_clear(self);
    end_object(self);
}

static const Part parts[] = {{COUNTERS, LEDGER, "counters", 0}, {OWN, COUNTERS, "own", 0}};

static PyObject *
recall_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"ledger", "otherwise", "counted", "opened", "checksum", NULL};
    PyObject *given[CHECKSUM + 1], *classes[HELD_MAX];
    Recall *self;

    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OOOOO:Recall", names, &given[LEDGER],
                                     &given[OTHERWISE], &given[COUNTED], &given[OPENED],
                                     &given[CHECKSUM]))
        return NULL;
    if ((self = (Recall *)type->tp_alloc(type, 0)) == NULL)
        return NULL;
    for (int at = 0; at <= CHECKSUM; at++)
        self->held[at] = Py_NewRef(given[at]);
    if (take_parts(self->held, parts, LENGTH(parts)) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    for (int at = 0; at < HELD_MAX; at++)
        classes[at] = (PyObject *)Py_TYPE(self->held[at]);
    if (find_places(wanted, PLACES, classes, self->at) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef recall_methods[] = {
    {"take", (PyCFunction)(void (*)(void))recall_take, METH_FASTCALL,
     "take($self, kind, record, /)\n--\n\n"
     "Take in one record that the storage kept."},
    {NULL},
};

static PyType_Slot recall_slots[] = {
    {Py_tp_doc, "How a ledger begins with what its store kept."},
    {Py_tp_new, recall_new},
    {Py_tp_methods, recall_methods},
    {Py_tp_traverse, recall_traverse},
    {Py_tp_clear, recall_clear},
    {Py_tp_dealloc, recall_dealloc},
    {0, NULL},
};

static PyType_Spec recall_spec = {
    .name = "counter.native.recalling.Recall",
    .basicsize = sizeof(Recall),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = recall_slots,
};

static int
fill(PyObject *module)
{
    if (intern_all(spelled, words) < 0 || add_type(module, &recall_spec) < 0)
        return -1;
    return add_source(module);
}

NATIVE_MODULE(recalling, "counter.native.recalling",
              "What a store gives back at a node's start.")
