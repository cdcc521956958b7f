/* A query at its origin, as one answer more changes it.
 *
 * The rule: what changes is what `counter.query.OwnQuery.count` and `counter.hops.Hops.measure`
 * change, in the same order of sums, so that times come out the same to the last bit.
 */
#ifndef GOSSIP_COUNTER_HEARD_H
#define GOSSIP_COUNTER_HEARD_H

#include "answer.h"

/* The classes of the Python that are met here, in the order in which they are told. */
enum { ROUND, QUERY, PENDING, MEMBER, TALLY, SPREAD, HOPS, HEARD, LAST, KINDS };

/* Where they keep what is needed here. */
typedef struct {
    PyTypeObject *kinds[KINDS];
    Py_ssize_t round_query;
    Py_ssize_t id, request, view, first_view, started, pendings, answers, held, moved,
        elsewhere;
    Py_ssize_t changed_at, heard_at, value, hops_seen, visits, waves, is_plan_due;
    Py_ssize_t its_tally, its_spread, its_hops;
    Py_ssize_t member_of, asks, name, store, host, port, replies, unrepaired;
    Py_ssize_t spread_answers, spread_ages, mean_s, deviation_s, weight;
    Py_ssize_t heard_name, heard_store, heard_epoch, heard_value, heard_hops, heard_at_s;
    Py_ssize_t heard_has_decreased, last_value, last_at, last_has_decreased;
} Layout;

/* Find every slot in the classes; -1 with an exception set. */
static inline int
find_slots(Layout *at, PyObject *const *kinds)
{
    struct {
        Py_ssize_t *offset;
        int kind;
        const char *name;
    } wanted[] = {
        {&at->round_query, ROUND, "query"}, {&at->id, QUERY, "id"},
        {&at->request, QUERY, "request"}, {&at->view, QUERY, "view"},
        {&at->first_view, QUERY, "first_view"}, {&at->started, QUERY, "started"},
        {&at->answers, QUERY, "answers"}, {&at->held, QUERY, "held"}, {&at->moved, QUERY, "moved"},
        {&at->elsewhere, QUERY, "elsewhere"},
        {&at->changed_at, QUERY, "changed_at"}, {&at->heard_at, QUERY, "heard_at"},
        {&at->value, QUERY, "value"}, {&at->hops_seen, QUERY, "hops_seen"},
        {&at->visits, QUERY, "visits"}, {&at->waves, QUERY, "waves"},
        {&at->is_plan_due, QUERY, "is_plan_due"}, {&at->pendings, QUERY, "pending"},
        {&at->its_tally, QUERY, "tally"}, {&at->its_spread, QUERY, "spread"},
        {&at->its_hops, QUERY, "hops"}, {&at->member_of, PENDING, "member"},
        {&at->asks, PENDING, "asks"}, {&at->name, MEMBER, "name"}, {&at->store, MEMBER, "store"},
        {&at->host, MEMBER, "host"}, {&at->port, MEMBER, "port"}, {&at->replies, TALLY, "replies"},
        {&at->unrepaired, TALLY, "unrepaired"}, {&at->spread_answers, SPREAD, "answers"},
        {&at->spread_ages, SPREAD, "ages"}, {&at->mean_s, HOPS, "mean_s"},
        {&at->deviation_s, HOPS, "deviation_s"}, {&at->weight, HOPS, "weight"},
        {&at->heard_name, HEARD, "name"}, {&at->heard_store, HEARD, "store"},
        {&at->heard_epoch, HEARD, "epoch"}, {&at->heard_value, HEARD, "value"},
        {&at->heard_hops, HEARD, "hops"}, {&at->heard_at_s, HEARD, "at_s"},
        {&at->heard_has_decreased, HEARD, "has_decreased"}, {&at->last_value, LAST, "value"},
        {&at->last_at, LAST, "at"}, {&at->last_has_decreased, LAST, "has_decreased"},
    };

    for (size_t each = 0; each < sizeof wanted / sizeof wanted[0]; each++)
        if ((*wanted[each].offset = slot_of(kinds[wanted[each].kind], wanted[each].name)) < 0)
            return -1;
    return 0;
}

static inline int
is_kind(const Layout *at, PyObject *object, int kind)
{
    return object != NULL && Py_IS_TYPE(object, at->kinds[kind]);
}

/* Whom it comes from, as the query knows him; all borrowed but the store. */
typedef struct {
    PyObject *query, *pending, *member, *position, *store;
} Found;

/* Whether what is counted in is there, and of the kind it is expected to be. */
static inline int
has_books(const Layout *at, PyObject *query)
{
    PyObject *tally = SLOT(query, at->its_tally), *spread = SLOT(query, at->its_spread);
    PyObject *hops = SLOT(query, at->its_hops), *started = SLOT(query, at->started);
    PyObject *answers = SLOT(query, at->answers), *held = SLOT(query, at->held);
    PyObject *visits = SLOT(query, at->visits);

    return is_kind(at, tally, TALLY) && is_kind(at, spread, SPREAD) && is_kind(at, hops, HOPS)
        && started != NULL && PyFloat_CheckExact(started) && answers != NULL
        && PyDict_CheckExact(answers) && held != NULL && PyDict_CheckExact(held)
        && visits != NULL && PyLong_CheckExact(visits) && PyObject_IsTrue(visits);
}

/* Add to a slot that holds a whole number; -1 with an exception set. */
static inline int
add_to(PyObject *object, Py_ssize_t offset, PyObject *more)
{
    PyObject *sum = SLOT(object, offset) == NULL ? NULL : PyNumber_Add(SLOT(object, offset), more);

    if (sum == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_AttributeError, "a sum that was never begun");
        return -1;
    }
    put_slot(object, offset, sum);
    return 0;
}

/* Put a new object into a slot; takes the reference. -1 with the exception of its making. */
static inline int
put_made(PyObject *object, Py_ssize_t offset, PyObject *made)
{
    if (made == NULL)
        return -1;
    put_slot(object, offset, made);
    return 0;
}

static inline int
read_float(PyObject *object, Py_ssize_t offset, double *value)
{
    PyObject *found = SLOT(object, offset);

    if (found == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a time that was never set");
        return -1;
    }
    *value = PyFloat_AsDouble(found);
    return *value == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* `Hops.measure`; -1 with an exception set. */
static inline int
measure(const Layout *at, PyObject *hops, double hop_s, PyObject *one)
{
    double mean_s, deviation_s, weight;

    if (read_float(hops, at->mean_s, &mean_s) < 0
        || read_float(hops, at->deviation_s, &deviation_s) < 0
        || read_float(hops, at->weight, &weight) < 0)
        return -1;
    if (add_to(hops, at->weight, one) < 0)
        return -1;
    weight += 1;
    if (weight == 1.0) {
        mean_s = hop_s;
        deviation_s = hop_s / 8;
    } else {
        deviation_s += ((hop_s > mean_s ? hop_s - mean_s : mean_s - hop_s) - deviation_s) / weight;
        mean_s += (hop_s - mean_s) / weight;
    }
    return put_made(hops, at->deviation_s, PyFloat_FromDouble(deviation_s)) < 0
            || put_made(hops, at->mean_s, PyFloat_FromDouble(mean_s)) < 0
        ? -1
        : 0;
}

/* A new `Heard`; NULL with an exception set. */
static inline PyObject *
made_heard(const Layout *at, const Found *found, const Answer *answer, PyObject *value, double at_s)
{
    PyObject *heard = at->kinds[HEARD]->tp_alloc(at->kinds[HEARD], 0);

    if (heard == NULL)
        return NULL;
    SLOT(heard, at->heard_name) = Py_NewRef(SLOT(found->member, at->name));
    SLOT(heard, at->heard_store) = Py_NewRef(found->store);
    SLOT(heard, at->heard_value) = Py_NewRef(value);
    SLOT(heard, at->heard_has_decreased) = Py_NewRef(Py_False);
    SLOT(heard, at->heard_epoch) = PyLong_FromUnsignedLongLong(answer->epoch);
    SLOT(heard, at->heard_hops) = PyLong_FromUnsignedLongLong(answer->age);
    SLOT(heard, at->heard_at_s) = PyFloat_FromDouble(at_s);
    if (SLOT(heard, at->heard_epoch) == NULL || SLOT(heard, at->heard_hops) == NULL
        || SLOT(heard, at->heard_at_s) == NULL)
        Py_CLEAR(heard);
    return heard;
}

/* What the first asks brought, and how long a hop takes; -1 with an exception set. */
static inline int
note_spread(const Layout *at, PyObject *query, PyObject *age, double at_s, PyObject *one)
{
    PyObject *spread = SLOT(query, at->its_spread);
    long hops = PyLong_AsLong(age), visits;
    double per_visit;
    PyObject *rounds;
    int done;

    if (read_float(query, at->visits, &per_visit) < 0)
        return -1;
    visits = per_visit < 1.0 ? 1 : (long)per_visit;
    rounds = PyLong_FromLong((hops + visits - 1) / visits);
    if (rounds == NULL)
        return -1;
    done = add_to(spread, at->spread_ages, rounds);
    Py_DECREF(rounds);
    if (done < 0 || add_to(SLOT(query, at->its_tally), at->unrepaired, one) < 0
        || add_to(spread, at->spread_answers, one) < 0)
        return -1;
    if (visits != 1 && hops != 1)
        return 0; /* the later rounds of several visits leave at once */
    return measure(at, SLOT(query, at->its_hops), at_s / (double)(hops + 1), one);
}

/* `OwnQuery.count` for one who is waited for and was asked once; -1 with an exception set. */
static inline int
count(const Layout *at, const Found *found, PyObject *heard, PyObject *now, PyObject *one)
{
    PyObject *query = found->query, *age = SLOT(heard, at->heard_hops);
    PyObject *seen = SLOT(query, at->hops_seen), *waves = SLOT(query, at->waves);
    int is_older, is_first;

    if (seen == NULL || waves == NULL
        || PyDict_SetItem(SLOT(query, at->answers), found->store, heard) < 0
        || add_to(query, at->value, SLOT(heard, at->heard_value)) < 0)
        return -1;
    put_slot(query, at->heard_at, Py_NewRef(now));
    is_older = PyObject_RichCompareBool(age, seen, Py_GT);
    if (is_older < 0)
        return -1;
    if (is_older)
        put_slot(query, at->hops_seen, Py_NewRef(age));
    if (PyObject_IsTrue(SLOT(heard, at->heard_value)))
        put_slot(query, at->changed_at, Py_NewRef(now));
    if (note_spread(at, query, age, PyFloat_AS_DOUBLE(SLOT(heard, at->heard_at_s)), one) < 0)
        return -1;
    is_first = PyObject_Not(waves);
    if (is_first < 0)
        return -1;
    put_slot(query, at->is_plan_due, PyBool_FromLong(is_first));
    return PyDict_DelItem(SLOT(query, at->pendings), found->position);
}

#endif
