/* `Answers`: what `counter.hearing.answers` does with the plainest answer.
 *
 * The rule: it is decided first whether an answer is taken, and nothing is changed until then; what
 * is not taken goes to the Python, which decides alike. What changes is what `OwnQuery.count`,
 * `Hops.measure` and `LastValues.note` change, number for number.
 */
#include "heard.h"

#include "straight.h"

#define STORE_BYTES 8 /* of a store, as it is known by */

typedef struct {
    Layout layout;
    PyObject *until_all;
} State;

typedef struct {
    PyObject_HEAD
    PyObject *otherwise; /* the way of the Python */
    PyObject *running, *collected, *listener, *last_values, *values;
    Py_ssize_t values_max;
    State *state;
} Answers;

static PyObject *s_key, *s_move_to_end, *s_note, *s_popitem, *s_positions, *s_strange, *s_until;

/* -- whether it is taken -------------------------------------------------------------------- */

static int
is_empty_dict(PyObject *table)
{
    return table != NULL && PyDict_CheckExact(table) && PyDict_GET_SIZE(table) == 0;
}

/* Whether one answer more neither ends a query nor meets anything but its own member; -1. */
static int
is_plain(const Layout *at, PyObject *query, PyObject *until_all)
{
    PyObject *pending, *request, *until;
    int is_all;

    if (!is_kind(at, query, QUERY))
        return 0;
    pending = SLOT(query, at->pendings);
    request = SLOT(query, at->request);
    if (pending == NULL || !PyDict_CheckExact(pending) || PyDict_GET_SIZE(pending) <= 1
        || !is_empty_dict(SLOT(query, at->moved)) || !is_empty_dict(SLOT(query, at->elsewhere))
        || SLOT(query, at->view) == NULL
        || SLOT(query, at->view) != SLOT(query, at->first_view) || request == NULL)
        return 0;
    until = PyObject_GetAttr(request, s_until);
    if (until == NULL)
        return -1;
    is_all = PyObject_RichCompareBool(until, until_all, Py_EQ);
    Py_DECREF(until);
    return is_all;
}

/* Find the position at a place of the ring; NULL when there is none, or with an exception set. */
static PyObject *
position_at(PyObject *view, uint64_t place)
{
    PyObject *positions = PyObject_GetAttr(view, s_positions), *position = NULL;

    if (positions != NULL && PyList_CheckExact(positions)
        && place < (uint64_t)PyList_GET_SIZE(positions))
        position = Py_NewRef(PyList_GET_ITEM(positions, (Py_ssize_t)place));
    Py_XDECREF(positions);
    return position;
}

/* Whether an answer came from the member's own address; -1 with an exception set. */
static int
is_from(const Layout *at, PyObject *member, const Come *come)
{
    PyObject *host = SLOT(member, at->host), *port = SLOT(member, at->port);
    int overflow;

    if (host == NULL || port == NULL || !PyLong_CheckExact(port)
        || PyLong_AsLongAndOverflow(port, &overflow) != come->port || overflow)
        return 0;
    return PyObject_RichCompareBool(come->host, host, Py_EQ);
}

/* Find who answers, if he is waited for and was asked once; 1 done, 0 not so, -1 exception. */
static int
find_member(const Layout *at, Found *found, const Come *come, uint64_t place)
{
    PyObject *query = found->query, *asks, *store;
    int is_good;

    found->position = position_at(SLOT(query, at->view), place);
    if (found->position == NULL)
        return PyErr_Occurred() ? -1 : 0;
    found->pending = PyDict_GetItemWithError(SLOT(query, at->pendings), found->position);
    if (found->pending == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (!is_kind(at, found->pending, PENDING) || (asks = SLOT(found->pending, at->asks)) == NULL
        || (found->member = SLOT(found->pending, at->member_of)) == NULL
        || !is_kind(at, found->member, MEMBER))
        return 0;
    is_good = PyObject_Not(asks);
    if (is_good > 0)
        is_good = is_from(at, found->member, come);
    if (is_good <= 0)
        return is_good;
    store = SLOT(found->member, at->store);
    if (store == NULL || !PyBytes_CheckExact(store) || SLOT(found->member, at->name) == NULL)
        return 0;
    found->store = PyBytes_FromStringAndSize(
        PyBytes_AS_STRING(store), Py_MIN(PyBytes_GET_SIZE(store), STORE_BYTES));
    if (found->store == NULL)
        return -1;
    is_good = PyDict_Contains(SLOT(query, at->answers), found->store);
    if (is_good == 0 && PyDict_GET_SIZE(SLOT(query, at->held)) != 0)
        is_good = PyDict_Contains(SLOT(query, at->held), found->store);
    return is_good < 0 ? -1 : !is_good;
}

/* `LastValues.note`; -1 with an exception set. */
static int
note(Answers *self, const Found *found, PyObject *value, PyObject *now)
{
    const Layout *at = &self->state->layout;
    PyObject *key = PyObject_GetAttr(SLOT(found->query, at->request), s_key);
    PyObject *last, *pair = NULL, *result = NULL;

    if (key == NULL || (last = at->kinds[LAST]->tp_alloc(at->kinds[LAST], 0)) == NULL) {
        Py_XDECREF(key);
        return -1;
    }
    SLOT(last, at->last_value) = Py_NewRef(value);
    SLOT(last, at->last_at) = Py_NewRef(now);
    SLOT(last, at->last_has_decreased) = Py_NewRef(Py_False);
    if (!PyUnicode_CheckExact(key)
        || PyUnicode_FindChar(key, 0, 0, PyUnicode_GET_LENGTH(key), 1) != -1)
        /* It is kept under another name. */
        result = PyObject_CallMethodObjArgs(
            self->last_values, s_note, found->store, key, last, NULL);
    else if ((pair = PyTuple_Pack(2, found->store, key)) != NULL
             && PyObject_SetItem(self->values, pair, last) == 0) {
        result = PyObject_CallMethodOneArg(self->values, s_move_to_end, pair);
        if (result != NULL && PyObject_Size(self->values) > self->values_max)
            Py_SETREF(result, PyObject_CallMethodOneArg(self->values, s_popitem, Py_False));
    }
    Py_DECREF(key);
    Py_DECREF(last);
    Py_XDECREF(pair);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Count an answer; -1 with an exception set. */
static int
counted(Answers *self, const Found *found, const Answer *answer, double now_s)
{
    const Layout *at = &self->state->layout;
    double at_s = now_s - PyFloat_AS_DOUBLE(SLOT(found->query, at->started));
    PyObject *value = PyLong_FromLongLong(answer->value), *one = PyLong_FromLong(1), *heard = NULL;
    PyObject *now = PyFloat_FromDouble(now_s);
    int done = -1;

    if (value != NULL && one != NULL && now != NULL)
        heard = made_heard(at, found, answer, value, at_s);
    if (heard != NULL && add_to(SLOT(found->query, at->its_tally), at->replies, one) == 0
        && count(at, found, heard, now, one) == 0)
        done = note(self, found, value, now);
    Py_XDECREF(now);
    Py_XDECREF(value);
    Py_XDECREF(one);
    Py_XDECREF(heard);
    return done;
}

/* -- the way -------------------------------------------------------------------------------- */

/* Whether the origin has nothing else to look at first; -1 with an exception set. */
static int
is_undisturbed(Answers *self, PyObject *query_id)
{
    PyObject *strange = PyObject_GetAttr(self->listener, s_strange);
    int is_strange = strange == NULL ? -1 : PyObject_IsTrue(strange), is_in;

    Py_XDECREF(strange);
    if (is_strange != 0)
        return is_strange < 0 ? -1 : 0;
    is_in = PyDict_Contains(self->collected, query_id);
    return is_in < 0 ? -1 : !is_in;
}

/* Take an answer that was read; 1 done, 0 it is for the Python, -1 with an exception set. */
static int
taken(Answers *self, const Answer *answer, const Come *come)
{
    const Layout *at = &self->state->layout;
    PyObject *id = PyBytes_FromStringAndSize((const char *)answer->query, QUERY_BYTES), *round;
    Found found = {NULL};
    int is_good;

    if (id == NULL)
        return -1;
    round = PyDict_GetItemWithError(self->running, id);
    Py_DECREF(id);
    if (round == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (!is_kind(at, round, ROUND))
        return 0;
    found.query = Py_XNewRef(SLOT(round, at->round_query));
    is_good = is_plain(at, found.query, self->state->until_all);
    if (is_good > 0)
        is_good = SLOT(found.query, at->id) == NULL
            ? 0
            : is_undisturbed(self, SLOT(found.query, at->id));
    if (is_good > 0)
        is_good = has_books(at, found.query)
            ? find_member(at, &found, come, answer->place)
            : 0;
    if (is_good > 0 && counted(self, &found, answer, come->now) < 0)
        is_good = -1;
    Py_XDECREF(found.query);
    Py_XDECREF(found.position);
    Py_XDECREF(found.store);
    return is_good;
}

/* `Straight.take`. */
static int
answers_straight(PyObject *self, const Come *come, Follows *follows)
{
    Answer answer;

    follows->list = NULL;
    follows->reply_size = 0;
    return read_answer(come->body, come->size, &answer)
        ? taken((Answers *)self, &answer, come)
        : 0;
}

/* Read who sent an answer; 0 where it is no pair of a text and a port. */
static int
read_sender(PyObject *sender, Come *come)
{
    int overflow;

    if (!PyTuple_CheckExact(sender) || PyTuple_GET_SIZE(sender) != 2
        || !PyLong_CheckExact(PyTuple_GET_ITEM(sender, 1)))
        return 0;
    come->host = PyTuple_GET_ITEM(sender, 0);
    come->port = PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(sender, 1), &overflow);
    return !overflow;
}

static PyObject *
answers_take(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    Answers *own = (Answers *)self;
    PyObject *body;
    Follows follows;
    Come come;
    int is_taken = 0;

    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "take() takes a body, its sender and the time");
    body = arguments[0];
    if (PyBytes_CheckExact(body) && PyFloat_CheckExact(arguments[2])
        && read_sender(arguments[1], &come)) {
        come.body = (unsigned char *)PyBytes_AS_STRING(body);
        come.size = PyBytes_GET_SIZE(body);
        come.now = PyFloat_AS_DOUBLE(arguments[2]);
        is_taken = answers_straight(self, &come, &follows);
    }
    if (is_taken < 0)
        return NULL;
    if (is_taken > 0)
        return PyList_New(0);
    return PyObject_Vectorcall(own->otherwise, arguments, 3, NULL);
}

static const Straight straight = {answers_straight};

static PyObject *
answers_offer(PyObject *self, PyObject *nothing)
{
    return PyCapsule_New((void *)&straight, STRAIGHT_NAME, NULL);
}

/* -- the type ------------------------------------------------------------------------------- */

static PyObject *
answers_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    PyObject *otherwise, *running, *collected, *listener, *most;
    State *state = PyType_GetModuleState(type);
    Answers *self;

    if (state->until_all == NULL)
        return PyErr_Format(PyExc_RuntimeError, "lay_out() comes first");
    if (!PyArg_ParseTuple(arguments, "OO!O!O:Answers", &otherwise, &PyDict_Type, &running,
                          &PyDict_Type, &collected, &listener))
        return NULL;
    self = (Answers *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->otherwise = Py_NewRef(otherwise);
    self->running = Py_NewRef(running);
    self->collected = Py_NewRef(collected);
    self->listener = Py_NewRef(listener);
    self->last_values = PyObject_GetAttrString(listener, "last_values");
    if (self->last_values == NULL
        || (self->values = PyObject_GetAttrString(self->last_values, "_values")) == NULL
        || (most = PyObject_GetAttrString(self->last_values, "values_max")) == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    self->values_max = PyLong_AsSsize_t(most);
    Py_DECREF(most);
    if (PyErr_Occurred())
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
answers_traverse(PyObject *self, visitproc visit, void *arg)
{
    Answers *own = (Answers *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(own->otherwise);
    Py_VISIT(own->running);
    Py_VISIT(own->collected);
    Py_VISIT(own->listener);
    Py_VISIT(own->last_values);
    Py_VISIT(own->values);
    return 0;
}

static void
answers_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Answers *own = (Answers *)self;

    PyObject_GC_UnTrack(self);
    Py_CLEAR(own->otherwise);
    Py_CLEAR(own->running);
    Py_CLEAR(own->collected);
    Py_CLEAR(own->listener);
    Py_CLEAR(own->last_values);
    Py_CLEAR(own->values);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef answers_methods[] = {
    {"take", (PyCFunction)(void (*)(void))answers_take, METH_FASTCALL,
     "take($self, body, sender, now, /)\n--\n\n"
     "Return the datagrams that follow from an answer, none; None where it was not taken."},
    {"_straight", answers_offer, METH_NOARGS, "Return the same for a native module."},
    {NULL},
};

static PyType_Slot answers_slots[] = {
    {Py_tp_doc, "The way of the plainest answers into one node."},
    {Py_tp_new, answers_new},
    {Py_tp_methods, answers_methods},
    {Py_tp_traverse, answers_traverse},
    {Py_tp_dealloc, answers_dealloc},
    {0, NULL},
};

static PyType_Spec answers_spec = {
    .name = "counter.native.answers.Answers",
    .basicsize = sizeof(Answers),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = answers_slots,
};

/* -- the module ----------------------------------------------------------------------------- */

static PyObject *
lay_out(PyObject *module, PyObject *arguments)
{
    State *state = PyModule_GetState(module);
    Layout *at = &state->layout;
    PyObject *all[KINDS], *until_all;

    if (!PyArg_ParseTuple(arguments, "OOOOOOOOOO:lay_out", &all[0], &all[1], &all[2], &all[3],
                          &all[4], &all[5], &all[6], &all[7], &all[8], &until_all))
        return NULL;
    if (find_slots(at, all) < 0)
        return NULL;
    for (int kind = 0; kind < KINDS; kind++)
        Py_XSETREF(at->kinds[kind], (PyTypeObject *)Py_NewRef(all[kind]));
    Py_XSETREF(state->until_all, Py_NewRef(until_all));
    Py_RETURN_NONE;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);

    for (int kind = 0; kind < KINDS; kind++)
        Py_VISIT(state->layout.kinds[kind]);
    Py_VISIT(state->until_all);
    return 0;
}

static void
module_free(void *module)
{
    State *state = PyModule_GetState((PyObject *)module);

    for (int kind = 0; kind < KINDS; kind++)
        Py_CLEAR(state->layout.kinds[kind]);
    Py_CLEAR(state->until_all);
}

static const Name names[] = {
    {&s_key, "key"},         {&s_move_to_end, "move_to_end"}, {&s_note, "note"},
    {&s_popitem, "popitem"}, {&s_positions, "positions"},     {&s_strange, "strange"},
    {&s_until, "until"},
};

static int
fill(PyObject *module)
{
    if (intern_names(names, LENGTH(names)) < 0 || add_type(module, &answers_spec) < 0
        || PyModule_AddIntMacro(module, AGE_MAX) < 0)
        return -1;
    return add_source(module);
}

static PyMethodDef functions[] = {
    {"lay_out", lay_out, METH_VARARGS,
     "Say what is laid out how: Round, OwnQuery, Pending, Member, Tally, Spread, Hops, Heard,\n"
     "LastValue; and by what number a query is known that waits for all."},
    {NULL},
};

NATIVE_MODULE(answers, "counter.native.answers",
              "The plainest answers, heard without a line of Python.",
              .m_size = sizeof(State),
              .m_methods = functions,
              .m_traverse = module_traverse,
              .m_free = module_free)
