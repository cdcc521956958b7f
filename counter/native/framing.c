/* `frame_of`: what one commit writes to the log, from the records that wait for it. It stands for
 * `counter.storage.durable._parted` and `counter.storage.frames.frame_bytes`.
 *
 * The rule: a batch with anything in it but records of the log is left to the Python.
 */
#include "plain.h"

#include <string.h>

#define FRAME_HEAD_BYTES 16               /* checksum, length, last token */
#define RECORD_HEAD_BYTES 12              /* length, token */
#define FRAME_BYTES_MAX ((size_t)64 << 20) /* counter.storage.frames.FRAME_BYTES_MAX */

static const char *const spelled[] = {"token", "kind", "record", "counts", NULL};
enum { TOKEN, KIND, RECORD, COUNTS };
static PyObject *words[4];

static unsigned char *
put(unsigned char *at, unsigned long long value, int width)
{
    for (int place = width - 1; place >= 0; place--, value >>= 8)
        at[place] = (unsigned char)value;
    return at + width;
}

/* Whether this is a record of the log; then its bytes, a new reference, and its token. */
static int
log_record(PyObject *entry, PyObject *type, PyObject **record, long long *token)
{
    PyObject *kind;
    int done;

    if ((PyObject *)Py_TYPE(entry) != type)
        return 0;
    if ((kind = PyObject_GetAttr(entry, words[KIND])) == NULL)
        return -1;
    done = kind == words[COUNTS] ||
           (PyUnicode_CheckExact(kind) && PyUnicode_Compare(kind, words[COUNTS]) == 0);
    Py_DECREF(kind);
    if (!done)
        return 0;
    if ((done = number(entry, words[TOKEN], token)) <= 0 || *token < 0)
        return done < 0 ? -1 : 0;
    if ((*record = PyObject_GetAttr(entry, words[RECORD])) == NULL)
        return -1;
    if (PyBytes_CheckExact(*record))
        return 1;
    Py_CLEAR(*record);
    return 0;
}

/* Add up what the frame holds: 1 with its size. Nothing can change while no Python code runs. */
static int
measured(PyObject *batch, PyObject *type, size_t *size)
{
    *size = 0;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(batch); at++) {
        PyObject *record = NULL;
        long long token;
        int done = log_record(PyList_GET_ITEM(batch, at), type, &record, &token);

        if (done <= 0)
            return done;
        *size += RECORD_HEAD_BYTES + (size_t)PyBytes_GET_SIZE(record);
        Py_DECREF(record);
        if (*size > FRAME_BYTES_MAX)
            return 0;
    }
    return *size > 0;
}

/* Fill in all but the checksum; returns the last token, -1 with an exception set. */
static long long
fill_in(PyObject *batch, PyObject *type, unsigned char *frame, size_t size)
{
    unsigned char *to = frame + FRAME_HEAD_BYTES, *end = to + size;
    long long token = -1;

    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(batch); at++) {
        PyObject *record = NULL;
        size_t length;

        if (log_record(PyList_GET_ITEM(batch, at), type, &record, &token) <= 0)
            return -1;
        length = (size_t)PyBytes_GET_SIZE(record);
        if ((size_t)(end - to) < RECORD_HEAD_BYTES + length) {
            Py_DECREF(record);
            return -1; /* it was measured shorter */
        }
        to = put(put(to, length, 4), (unsigned long long)token, 8);
        memcpy(to, PyBytes_AS_STRING(record), length);
        to += length;
        Py_DECREF(record);
    }
    put(put(frame + 4, size, 4), (unsigned long long)token, 8);
    return to == end ? token : -1;
}

/* Put the checksum of all that follows it before the frame. */
static int
seal(PyObject *frame, PyObject *checksum)
{
    char *data = PyBytes_AS_STRING(frame);
    PyObject *rest, *sum;
    unsigned long value;

    rest = PyMemoryView_FromMemory(data + 4, PyBytes_GET_SIZE(frame) - 4, PyBUF_READ);
    if (rest == NULL)
        return -1;
    sum = PyObject_CallOneArg(checksum, rest);
    Py_DECREF(rest);
    if (sum == NULL)
        return -1;
    value = PyLong_AsUnsignedLong(sum);
    Py_DECREF(sum);
    if (value == (unsigned long)-1 && PyErr_Occurred())
        return -1;
    put((unsigned char *)data, value, 4);
    return 0;
}

static PyObject *
frame_of(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *batch, *frame;
    size_t size;
    long long token;
    int done;

    if (count != 3 || !PyList_CheckExact(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "frame_of() takes a list, a class and a checksum");
        return NULL;
    }
    batch = arguments[0];
    done = measured(batch, arguments[1], &size);
    if (done < 0)
        return NULL;
    if (done == 0)
        Py_RETURN_NONE;
    frame = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size + FRAME_HEAD_BYTES);
    if (frame == NULL)
        return NULL;
    token = fill_in(batch, arguments[1], (unsigned char *)PyBytes_AS_STRING(frame), size);
    if (token < 0 || seal(frame, arguments[2]) < 0) {
        Py_DECREF(frame);
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError, "a record has changed while it was written down");
        return NULL;
    }
    return Py_BuildValue("(NL)", frame, token);
}

static PyMethodDef methods[] = {
    {"frame_of", (PyCFunction)(void (*)(void))frame_of, METH_FASTCALL,
     "frame_of($module, batch, persist, checksum, /)\n--\n\n"
     "Return the frame of a list of `persist`, and its last token; None unless all are counts."},
    {NULL},
};

static int
fill(PyObject *module)
{
    return intern_all(spelled, words) < 0 ? -1 : add_source(module);
}

NATIVE_MODULE(framing, "counter.native.framing",
              "What one commit writes to the log.",
              .m_methods = methods)
