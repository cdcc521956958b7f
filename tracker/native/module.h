/* What every native module needs: Python's own interface, and the digest of the source.
 *
 * The rule: only what is public in CPython 3.11 and later, nothing that begins with _Py.
 */
#ifndef GOSSIP_COUNTER_MODULE_H
#define GOSSIP_COUNTER_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST "" /* compiled by hand: never used by the product */
#endif

/* Say what the module was built from; -1 with an exception set when there is no memory. */
static inline int
add_source(PyObject *module)
{
    return PyModule_AddStringConstant(module, "SOURCE", SOURCE_DIGEST);
}

/* Add a type of its own to a module; -1 with an exception set. */
static inline int
add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int done = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);

    Py_XDECREF(type);
    return done;
}

#define LENGTH(table) (sizeof(table) / sizeof *(table))

/* A name that is looked up again and again, and where it is kept. */
typedef struct {
    PyObject **kept;
    const char *text;
} Name;

/* Intern names, once for the process; -1 with an exception set when there is no memory. */
static inline int
intern_names(const Name *names, size_t count)
{
    for (const Name *name = names; name < names + count; name++)
        if (*name->kept == NULL
            && (*name->kept = PyUnicode_InternFromString(name->text)) == NULL)
            return -1;
    return 0;
}

/* What ends the source of every module: how the interpreter comes to it (PEP 489). `fill` puts into
 * it what it offers; what else its definition says follows. */
#define NATIVE_MODULE(name, path, text, ...)                                                        \
    static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};                             \
    static PyModuleDef definition = {                                                               \
        PyModuleDef_HEAD_INIT, .m_name = path, .m_doc = text, .m_slots = slots, __VA_ARGS__};       \
    PyMODINIT_FUNC PyInit_##name(void) { return PyModuleDef_Init(&definition); }

/* Where objects of a slotted class keep a slot; -1 with an exception set.
 *
 * The descriptor of each slot says it, so a class may change its slots without this knowing.
 */
static inline Py_ssize_t
slot_of(PyObject *type, const char *name)
{
    PyObject *member = PyObject_GetAttrString(type, name);
    Py_ssize_t offset = -1;

    if (member == NULL)
        return -1;
    if (PyType_Check(type) && Py_IS_TYPE(member, &PyMemberDescr_Type))
        offset = ((PyMemberDescrObject *)member)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%R has no slot %s", type, name);
    Py_DECREF(member);
    return offset;
}

/* A slot of an object, a reference that is the object's own; NULL where nothing was put yet. */
#define SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* Put a value into a slot; takes the reference. */
static inline void
put_slot(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    PyObject *old = SLOT(object, offset);

    SLOT(object, offset) = value;
    Py_XDECREF(old);
}

#define UNLIKELY(what) __builtin_expect(!!(what), 0)
#define LIKELY(what) __builtin_expect(!!(what), 1)

#endif
