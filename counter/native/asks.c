/* `Asks`: what `counter.express.asks` does with the plainest ask, and `counter.passing.passed_on`
 * with what it is passed on as.
 *
 * The rule: it is decided first whether an ask is taken, and nothing is changed until then; what
 * is not taken goes to the Python, which decides alike. What is not taken here, but may be there: a
 * home or a key that is longer than most, a node that was ever decreased, an answer that is not the
 * shortest, several visits, members that are not alive, an ask that is too old to travel on.
 */
#include "node.h"

#include "straight.h"

#define CHILDREN_MAX 1024 /* counter.relay.CHILDREN_MAX */
#define ANSWER_BYTES_MAX (4 + QUERY_BYTES + TOLD_BYTES_MAX + 2 * NUMBER_BYTES_MAX)
_Static_assert(1 + ANSWER_BYTES_MAX <= STRAIGHT_BYTES_MAX, "a reply fits");

static PyObject *s_is_whole, *s_view;

/* Remember which arc was passed on, and to whom; -1 with an exception set. */
static int
note_parts(Asks *self, const Ask *ask, PyObject *seen, PyObject *sent)
{
    PyObject *low = PyLong_FromUnsignedLongLong(ask->low), *high, *children;
    Py_ssize_t count = PyList_GET_SIZE(sent) - 1;

    if (ask->last == UINT64_MAX)
        high = PyLong_FromString("10000000000000000", NULL, 16);
    else
        high = PyLong_FromUnsignedLongLong(ask->last + 1);
    if (low == NULL || high == NULL) {
        Py_XDECREF(low);
        Py_XDECREF(high);
        return -1;
    }
    put_slot(seen, self->state->layout.seen_arcs, Py_BuildValue("((NN))", low, high));
    children = PyTuple_New(count < CHILDREN_MAX ? count : CHILDREN_MAX);
    if (children == NULL || SLOT(seen, self->state->layout.seen_arcs) == NULL) {
        Py_XDECREF(children);
        return -1;
    }
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(children); at++) {
        PyObject *pair = PyList_GET_ITEM(sent, at + 1);

        PyTuple_SET_ITEM(children, at, Py_NewRef(PyTuple_GET_ITEM(pair, 0)));
    }
    put_slot(seen, self->state->layout.seen_children, children);
    return 0;
}

/* -- the way -------------------------------------------------------------------------------- */

/* Write the answer; returns how many bytes it takes. */
static Py_ssize_t
put_reply(const Asks *self, const Ask *ask, PyObject *value, unsigned char *bytes)
{
    unsigned char *at = bytes;

    at = put_bytes(at, "\x96\x0C\xC4\x10", 4);
    at = put_bytes(at, ask->query, QUERY_BYTES);
    at = put_bytes(at, PyBytes_AS_STRING(self->stand.told), PyBytes_GET_SIZE(self->stand.told));
    at = put_number(at, (uint64_t)PyLong_AsLongLong(value)); /* it was looked at: from 0 up */
    at = put_number(at, ask->age);
    return at - bytes;
}

/* Put the reply into a list, for whoever wants it there; NULL with an exception set. */
static PyObject *
listed(Asks *self, const Ask *ask, const Follows *follows)
{
    PyObject *sent = PyList_New(0), *home;

    if (sent == NULL)
        return NULL;
    home = shared_home(&self->state->shared, ask);
    if (home == NULL
        || add_pair(sent, home, PyBytes_FromStringAndSize((const char *)follows->reply + 1,
                                                          follows->reply_size)) < 0)
        Py_CLEAR(sent);
    return sent;
}

/* Answer, and pass on what is to be passed on; 1, or -1 with an exception set. */
static int
answered(Asks *self, const Ask *ask, const Arc *arc, PyObject *query, PyObject *value, double now,
         Follows *follows)
{
    PyObject *seen = remembered(self, query, value, ask, now);
    int done = seen == NULL ? -1 : 1;

    follows->reply_size = put_reply(self, ask, value, follows->reply + 1);
    memcpy(follows->home, ask->home, sizeof follows->home);
    if (done > 0 && arc != NULL) {
        follows->list = listed(self, ask, follows);
        follows->reply_size = 0;
        if (follows->list == NULL
            || pass_on(self->roll_dice, &self->state->layout.members, ask, arc, follows->list) < 0
            || note_parts(self, ask, seen, follows->list) < 0)
            done = -1;
    }
    Py_XDECREF(seen);
    if (done < 0)
        Py_CLEAR(follows->list);
    return done;
}

/* Take an ask of this view if it can be taken; 1 taken, 0 it cannot, -1 with an exception set. */
static int
taken_in(Asks *self, const Ask *ask, PyObject *view, PyObject *query, PyObject *value, double now,
         Follows *follows)
{
    Arc arc = {NULL};
    int is_good = view == self->stand.view ? 1 : look_around(self, view);

    if (is_good <= 0)
        return is_good;
    if (ask->roll != self->stand.roll || !self->stand.has_place)
        return 0;
    if (is_alone(&self->stand, ask))
        return answered(self, ask, NULL, query, value, now, follows);
    if (ask->visits != 1 || ask->age_max <= ask->age || ask->age + 1 >= 0x80)
        return 0;
    is_good = is_attribute(view, s_is_whole, Py_True);
    if (is_good > 0)
        is_good = find_arc(ask, view, self->stand.position, self->state->chunks, &arc);
    if (is_good > 0)
        is_good = answered(self, ask, &arc, query, value, now, follows);
    end_arc(&arc);
    return is_good;
}

/* Take an ask that was read; 1 taken, 0 it is for the Python, -1 with an exception set. */
static int
taken(Asks *self, const Ask *ask, double now, Follows *follows)
{
    PyObject *query = shared_query(&self->state->shared, ask), *key = NULL, *value = NULL;
    PyObject *view = NULL;
    int is_known = query == NULL ? -1 : PyDict_Contains(self->known, query), done = 0;

    if (is_known == 0)
        is_known = PyDict_Contains(self->running, query);
    if (is_known == 0 && has_tables(self) && is_answering(self, now) > 0
        && (key = shared_key(&self->state->shared, ask)) != NULL
        && is_counted_plainly(self, key, &value) > 0
        && (view = PyObject_GetAttr(self->membership, s_view)) != NULL)
        done = taken_in(self, ask, view, query, value, now, follows);
    Py_XDECREF(query);
    Py_XDECREF(key);
    Py_XDECREF(value);
    Py_XDECREF(view);
    return done > 0 ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* `Straight.take`. */
static int
asks_straight(PyObject *self, const Come *come, Follows *follows)
{
    Ask ask;

    follows->list = NULL;
    follows->reply_size = 0;
    return read_ask(come->body, come->size, &ask)
        ? taken((Asks *)self, &ask, come->now, follows)
        : 0;
}

static PyObject *
asks_take(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    Asks *own = (Asks *)self;
    PyObject *body, *now;
    Follows follows;
    Ask ask;
    int is_taken = 0;

    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "take() takes a body, its sender and the time");
    body = arguments[0];
    now = arguments[2];
    follows.list = NULL;
    if (PyBytes_CheckExact(body) && PyFloat_CheckExact(now)
        && read_ask((unsigned char *)PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), &ask))
        is_taken = taken(own, &ask, PyFloat_AS_DOUBLE(now), &follows);
    if (is_taken < 0)
        return NULL;
    if (is_taken > 0)
        return follows.list != NULL ? follows.list : listed(own, &ask, &follows);
    return PyObject_Vectorcall(own->otherwise, arguments, 3, NULL);
}

static const Straight straight = {asks_straight};

static PyObject *
asks_offer(PyObject *self, PyObject *nothing)
{
    return PyCapsule_New((void *)&straight, STRAIGHT_NAME, NULL);
}

/* -- the type ------------------------------------------------------------------------------- */

/* Take the two of whom one knows of each query when it is over; -1 with an exception set. */
static int
take_expiry(Asks *self)
{
    const Layout *at = &self->state->layout;
    PyObject *line, *strays;

    if (!Py_IS_TYPE(self->expiry, at->expiry)
        || (line = SLOT(self->expiry, at->expiry_line)) == NULL
        || (strays = SLOT(self->expiry, at->expiry_strays)) == NULL || !PyList_CheckExact(strays)) {
        PyErr_SetString(PyExc_TypeError, "a relay forgets its queries by an Expiry");
        return -1;
    }
    self->line = Py_NewRef(line);
    self->strays = Py_NewRef(strays);
    self->append = PyObject_GetAttrString(line, "append");
    self->popleft = PyObject_GetAttrString(line, "popleft");
    return self->append == NULL || self->popleft == NULL ? -1 : 0;
}

/* Take what never changes from a relay; -1 with an exception set. */
static int
take_relay(Asks *self, PyObject *relay)
{
    PyObject *config = PyObject_GetAttrString(relay, "config"), *most = NULL, *memory = NULL, *dice;
    int done = -1;

    self->relay = Py_NewRef(relay);
    self->known = PyObject_GetAttrString(relay, "seen");
    self->expiry = PyObject_GetAttrString(relay, "expiry");
    dice = PyObject_GetAttrString(relay, "dice");
    self->roll_dice = dice == NULL ? NULL : PyObject_GetAttrString(dice, "random");
    if (config != NULL && (most = PyObject_GetAttrString(config, "queries_max")) != NULL
        && (memory = PyObject_GetAttrString(config, "memory_s")) != NULL) {
        self->queries_max = PyLong_AsSsize_t(most);
        self->memory_s = PyFloat_AsDouble(memory);
        done = PyErr_Occurred() || self->known == NULL || self->expiry == NULL
                || self->roll_dice == NULL
            ? -1
            : take_expiry(self);
    }
    Py_XDECREF(config);
    Py_XDECREF(most);
    Py_XDECREF(memory);
    Py_XDECREF(dice);
    if (done == 0 && !PyDict_CheckExact(self->known)) {
        PyErr_SetString(PyExc_TypeError, "a relay knows its queries by a dict");
        done = -1;
    }
    return done;
}

static PyObject *
asks_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    PyObject *otherwise, *relay, *counters, *running, *membership, *own;
    State *state = PyType_GetModuleState(type);
    Asks *self;

    if (state->layout.seen == NULL)
        return PyErr_Format(PyExc_RuntimeError, "lay_out() comes first");
    if (!PyArg_ParseTuple(arguments, "OOO!O!O:Asks", &otherwise, &relay, state->layout.counters,
                          &counters, &PyDict_Type, &running, &membership))
        return NULL;
    own = SLOT(counters, state->layout.counters_own);
    if (own == NULL || !Py_IS_TYPE(own, state->layout.share))
        return PyErr_Format(PyExc_TypeError, "the own share is not a Share");
    self = (Asks *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->otherwise = Py_NewRef(otherwise);
    self->counters = Py_NewRef(counters);
    self->own = Py_NewRef(own);
    self->running = Py_NewRef(running);
    self->membership = Py_NewRef(membership);
    if (take_relay(self, relay) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
asks_traverse(PyObject *self, visitproc visit, void *arg)
{
    Asks *own = (Asks *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(own->otherwise);
    Py_VISIT(own->relay);
    Py_VISIT(own->known);
    Py_VISIT(own->expiry);
    Py_VISIT(own->line);
    Py_VISIT(own->strays);
    Py_VISIT(own->append);
    Py_VISIT(own->popleft);
    Py_VISIT(own->roll_dice);
    Py_VISIT(own->running);
    Py_VISIT(own->counters);
    Py_VISIT(own->own);
    Py_VISIT(own->membership);
    Py_VISIT(own->stand.view);
    return 0;
}

static void
asks_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Asks *own = (Asks *)self;

    PyObject_GC_UnTrack(self);
    Py_CLEAR(own->otherwise);
    Py_CLEAR(own->relay);
    Py_CLEAR(own->known);
    Py_CLEAR(own->expiry);
    Py_CLEAR(own->line);
    Py_CLEAR(own->strays);
    Py_CLEAR(own->append);
    Py_CLEAR(own->popleft);
    Py_CLEAR(own->roll_dice);
    Py_CLEAR(own->running);
    Py_CLEAR(own->counters);
    Py_CLEAR(own->own);
    Py_CLEAR(own->membership);
    Py_CLEAR(own->stand.view);
    Py_CLEAR(own->stand.told);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef asks_methods[] = {
    {"take", (PyCFunction)(void (*)(void))asks_take, METH_FASTCALL,
     "take($self, body, sender, now, /)\n--\n\n"
     "Return the datagrams that follow from an ask, None where the common way has to take it."},
    {"_straight", asks_offer, METH_NOARGS, "Return the same for a native module."},
    {NULL},
};

static PyType_Slot asks_slots[] = {
    {Py_tp_doc, "The way of the plainest asks into one node."},
    {Py_tp_new, asks_new},
    {Py_tp_methods, asks_methods},
    {Py_tp_traverse, asks_traverse},
    {Py_tp_dealloc, asks_dealloc},
    {0, NULL},
};

static PyType_Spec asks_spec = {
    .name = "counter.native.asks.Asks",
    .basicsize = sizeof(Asks),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = asks_slots,
};

static PyObject *
lay_out(PyObject *module, PyObject *arguments)
{
    State *state = PyModule_GetState(module);
    PyObject *seen, *stand, *share, *counters, *member, *expiry, *chunks;
    Layout *at = &state->layout;

    if (!PyArg_ParseTuple(arguments, "O!O!O!O!O!O!O:lay_out", &PyType_Type, &seen, &PyType_Type,
                          &stand, &PyType_Type, &share, &PyType_Type, &counters, &PyType_Type,
                          &member, &PyType_Type, &expiry, &chunks))
        return NULL;
    struct {
        Py_ssize_t *offset;
        PyObject *type;
        const char *name;
    } wanted[] = {
        {&at->own_positive, share, "positive"},     {&at->own_negative, share, "negative"},
        {&at->counters_own, counters, "own"},       {&at->counters_names, counters, "names"},
        {&at->counters_others, counters, "others"}, {&at->members.host, member, "host"},
        {&at->members.port, member, "port"},        {&at->seen_value, seen, "value"},
        {&at->seen_flags, seen, "flags"},           {&at->seen_arcs, seen, "arcs"},
        {&at->seen_cut, seen, "cut"},               {&at->seen_children, seen, "children"},
        {&at->seen_is_stopped, seen, "is_stopped"}, {&at->seen_others, seen, "others"},
        {&at->stand_position, stand, "position"},   {&at->stand_before, stand, "before"},
        {&at->stand_after, stand, "after"},         {&at->stand_roll, stand, "roll"},
        {&at->stand_place, stand, "place"},         {&at->stand_told, stand, "told"},
        {&at->expiry_line, expiry, "line"},         {&at->expiry_strays, expiry, "strays"},
    };
    for (size_t each = 0; each < sizeof wanted / sizeof wanted[0]; each++)
        if ((*wanted[each].offset = slot_of(wanted[each].type, wanted[each].name)) < 0)
            return NULL;
    Py_XSETREF(at->stand, (PyTypeObject *)Py_NewRef(stand));
    Py_XSETREF(at->share, (PyTypeObject *)Py_NewRef(share));
    Py_XSETREF(at->counters, (PyTypeObject *)Py_NewRef(counters));
    Py_XSETREF(at->members.type, (PyTypeObject *)Py_NewRef(member));
    Py_XSETREF(at->seen, (PyTypeObject *)Py_NewRef(seen));
    Py_XSETREF(state->chunks, Py_NewRef(chunks));
    Py_XSETREF(at->expiry, (PyTypeObject *)Py_NewRef(expiry));
    Py_RETURN_NONE;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);

    Py_VISIT(state->layout.seen);
    Py_VISIT(state->layout.stand);
    Py_VISIT(state->layout.share);
    Py_VISIT(state->layout.counters);
    Py_VISIT(state->layout.members.type);
    Py_VISIT(state->layout.expiry);
    Py_VISIT(state->chunks);
    return 0;
}

/* The shared three alone: a node that outlives its module would need the others. */
static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);

    Py_CLEAR(state->shared.query);
    Py_CLEAR(state->shared.key);
    Py_CLEAR(state->shared.home);
    return 0;
}

static void
module_free(void *module)
{
    State *state = PyModule_GetState((PyObject *)module);

    module_clear((PyObject *)module);
    Py_CLEAR(state->layout.seen);
    Py_CLEAR(state->layout.stand);
    Py_CLEAR(state->layout.share);
    Py_CLEAR(state->layout.counters);
    Py_CLEAR(state->layout.members.type);
    Py_CLEAR(state->layout.expiry);
    Py_CLEAR(state->chunks);
}

static const Name names[] = {
    {&s_doubtful, "doubtful"}, {&s_is_doubted, "is_doubted"}, {&s_is_whole, "is_whole"},
    {&s_mute_at, "mute_at"},   {&s_positions, "positions"},   {&s_ring, "ring"},
    {&s_stand_in, "stand_in"}, {&s_view, "view"},             {&s_first, "first"},
    {&s_note, "note"},         {&s_pop, "pop"},
};

static int
fill(PyObject *module)
{
    if (intern_names(names, LENGTH(names)) < 0
        || (no_fields == NULL && (no_fields = PyTuple_New(0)) == NULL)
        || add_type(module, &asks_spec) < 0
        || PyModule_AddIntMacro(module, CHILDREN_MAX) < 0
        || PyModule_AddIntMacro(module, FORGOTTEN_AT_ONCE_MAX) < 0
        || PyModule_AddIntMacro(module, HOP_MS) < 0
        || PyModule_AddIntMacro(module, CHATTER_MAX) < 0
        || PyModule_AddIntMacro(module, VISITS_MAX) < 0
        || PyModule_AddIntMacro(module, AGE_MAX) < 0
        || PyModule_AddIntMacro(module, DEADLINE_MS_MAX) < 0
        || PyModule_AddIntMacro(module, SKIP_MAX) < 0)
        return -1;
    return add_source(module);
}

static PyMethodDef functions[] = {
    {"lay_out", lay_out, METH_VARARGS,
     "Say what is laid out how: Seen, Stand, Share, Counters, Member, Expiry; and how arcs are\n"
     "cut up."},
    {NULL},
};

NATIVE_MODULE(asks, "counter.native.asks",
              "The plainest asks, answered and passed on without a line of Python.",
              .m_size = sizeof(State),
              .m_methods = functions,
              .m_traverse = module_traverse,
              .m_clear = module_clear,
              .m_free = module_free)
