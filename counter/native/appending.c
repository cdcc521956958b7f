/* `Thread`: what `counter.storage.log.Log.append_frame` has the disk do, with no interpreter in it.
 *
 * The thread writes one frame where it is told to and syncs the file, as `write_all` and
 * `Disk.sync` of `tracker.files` do, and says how each of them ended. What follows from that is
 * decided in Python. It never holds the interpreter's lock, so that neither the loop waits for it
 * nor it for the loop; the loop hears of it by a descriptor that becomes readable.
 *
 * The rule: one frame at a time. The next is taken once the word of the last one was.
 */
#include "module.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

enum state { IDLE, WANTED, DONE };

typedef struct {
    PyObject_HEAD
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    pid_t owner;       /* a process that was forked off has the memory, but not the thread */
    int runs;          /* whether the thread was started, and not joined */
    int bell[2];       /* what the loop listens to, what the thread rings; -1 once closed */
    enum state state;  /* this and all below: under the lock */
    int is_closing;
    int descriptor;
    PyObject *frame;   /* bytes, held as long as the thread may read them */
    const char *data;
    size_t size;
    off_t offset;
    int write_error;
    int sync_error;
} Thread;

/* Write all of it; 0, or the error it ended with. What a system writes none of it calls broken. */
static int
write_all(int descriptor, const char *data, size_t size, off_t offset)
{
    while (size > 0) {
        ssize_t count = pwrite(descriptor, data, size, offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? errno : EIO;
        data += count;
        size -= (size_t)count;
        offset += count;
    }
    return 0;
}

static int
sync_file(int descriptor)
{
    int failed;

    do {
#ifdef __APPLE__
        failed = fsync(descriptor);
#else
        failed = fdatasync(descriptor);
#endif
    } while (failed && errno == EINTR);
    return failed ? errno : 0;
}

static void
ring(Thread *self)
{
    static const char word[8] = {1};
    ssize_t count;

    /* Into an eventfd, or a pipe: few words are in it at a time, so there is always room. */
    do
        count = write(self->bell[1], word, sizeof word);
    while (count < 0 && errno == EINTR);
}

static void *
work(void *arg)
{
    Thread *self = arg;

    pthread_mutex_lock(&self->lock);
    for (;;) {
        while (self->state != WANTED && !self->is_closing)
            pthread_cond_wait(&self->wanted, &self->lock);
        if (self->state != WANTED)
            break;
        pthread_mutex_unlock(&self->lock);
        /* Nobody else touches these as long as the state is WANTED. */
        self->sync_error = 0;
        self->write_error = write_all(self->descriptor, self->data, self->size, self->offset);
        if (self->write_error == 0)
            self->sync_error = sync_file(self->descriptor);
        pthread_mutex_lock(&self->lock);
        self->state = DONE;
        /* Told without the lock, or whoever hears of it first would only wait for it. */
        pthread_mutex_unlock(&self->lock);
        ring(self);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

static int
open_bell(int bell[2])
{
#ifdef __linux__
    bell[0] = bell[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return bell[0] < 0 ? -1 : 0;
#else
    if (pipe(bell) < 0) {
        bell[0] = bell[1] = -1;
        return -1;
    }
    for (int end = 0; end < 2; end++)
        if (fcntl(bell[end], F_SETFD, FD_CLOEXEC) < 0 || fcntl(bell[end], F_SETFL, O_NONBLOCK) < 0)
            return -1;
    return 0;
#endif
}

static void
close_bell(Thread *self)
{
    if (self->bell[0] >= 0)
        close(self->bell[0]);
    if (self->bell[1] >= 0 && self->bell[1] != self->bell[0])
        close(self->bell[1]);
    self->bell[0] = self->bell[1] = -1;
}

/* Start the thread with every signal blocked: they are the interpreter's. Returns an error. */
static int
start(Thread *self)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error)
        return error;
    error = pthread_create(&self->thread, NULL, work, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    self->runs = !error;
    return error;
}

static PyObject *
thread_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    Thread *self;
    int error;

    if (PyTuple_GET_SIZE(arguments) || (named != NULL && PyDict_GET_SIZE(named))) {
        PyErr_SetString(PyExc_TypeError, "Thread() takes no arguments");
        return NULL;
    }
    self = (Thread *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->bell[0] = self->bell[1] = -1;
    self->owner = getpid();
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->wanted, NULL);
    error = open_bell(self->bell) < 0 ? errno : start(self);
    if (error) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
is_here(Thread *self)
{
    return self->runs && self->owner == getpid();
}

static PyObject *
thread_append(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Thread *self = (Thread *)object;
    long descriptor;
    long long offset;
    int is_free;

    if (count != 3 || !PyBytes_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "append() takes a descriptor, bytes, and an offset");
        return NULL;
    }
    descriptor = PyLong_AsLong(arguments[0]);
    if (descriptor == -1 && PyErr_Occurred())
        return NULL;
    offset = PyLong_AsLongLong(arguments[2]);
    if (offset == -1 && PyErr_Occurred())
        return NULL;
    if (descriptor < 0 || descriptor > INT_MAX || offset < 0) {
        PyErr_SetString(PyExc_ValueError, "a descriptor and an offset are from 0 up");
        return NULL;
    }
    is_free = 0;
    if (is_here(self)) {
        pthread_mutex_lock(&self->lock);
        is_free = self->state == IDLE && !self->is_closing;
        if (is_free) {
            self->frame = Py_NewRef(arguments[1]);
            self->data = PyBytes_AS_STRING(self->frame);
            self->size = (size_t)PyBytes_GET_SIZE(self->frame);
            self->descriptor = (int)descriptor;
            self->offset = (off_t)offset;
            self->state = WANTED;
        }
        pthread_mutex_unlock(&self->lock);
        if (is_free)
            pthread_cond_signal(&self->wanted);
    }
    if (!is_free) {
        PyErr_SetString(PyExc_RuntimeError, "the thread has a frame already, or is no more");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
thread_take(PyObject *object, PyObject *nothing)
{
    Thread *self = (Thread *)object;
    int is_done = 0, write_error = 0, sync_error = 0;
    char word[8];

    if (self->owner != getpid())
        Py_RETURN_NONE;
    /* Drained first: a word that comes after that rings again, one that was taken rings in vain. */
    while (self->bell[0] >= 0 && read(self->bell[0], word, sizeof word) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&self->lock);
    if (self->state == DONE) {
        is_done = 1;
        write_error = self->write_error;
        sync_error = self->sync_error;
        self->state = IDLE;
    }
    pthread_mutex_unlock(&self->lock);
    if (!is_done)
        Py_RETURN_NONE;
    Py_CLEAR(self->frame);
    return Py_BuildValue("(ii)", write_error, sync_error);
}

static void
finish(Thread *self)
{
    if (!is_here(self))
        return;
    pthread_mutex_lock(&self->lock);
    self->is_closing = 1;
    pthread_cond_signal(&self->wanted);
    pthread_mutex_unlock(&self->lock);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(self->thread, NULL);
    Py_END_ALLOW_THREADS
    self->runs = 0;
}

static PyObject *
thread_close(PyObject *object, PyObject *nothing)
{
    Thread *self = (Thread *)object;

    finish(self);
    close_bell(self);
    Py_RETURN_NONE;
}

static PyObject *
thread_fileno(PyObject *object, PyObject *nothing)
{
    return PyLong_FromLong(((Thread *)object)->bell[0]);
}

static void
thread_dealloc(PyObject *object)
{
    Thread *self = (Thread *)object;
    PyTypeObject *type = Py_TYPE(object);

    finish(self);
    close_bell(self);
    if (self->owner == getpid()) {
        /* After a fork they may be locked by a thread that is not there. */
        pthread_cond_destroy(&self->wanted);
        pthread_mutex_destroy(&self->lock);
    }
    Py_CLEAR(self->frame);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef thread_methods[] = {
    {"append", (PyCFunction)(void (*)(void))thread_append, METH_FASTCALL,
     "append($self, descriptor, frame, offset, /)\n--\n\n"
     "Have `frame` written at `offset`, and the file synced.\n\n"
     "Raises RuntimeError as long as the word of the frame before was not taken."},
    {"take", thread_take, METH_NOARGS,
     "take($self, /)\n--\n\n"
     "Return the errors of write and sync, 0 for none; None while there is no word."},
    {"close", thread_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Wait until what is under way is done, and end the thread. `take` still has its word."},
    {"fileno", thread_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\nReturn what is readable while there is a word to take."},
    {NULL},
};

static PyType_Slot thread_slots[] = {
    {Py_tp_doc, "A thread that appends frames to a file, one at a time, without the interpreter."},
    {Py_tp_new, thread_new},
    {Py_tp_methods, thread_methods},
    {Py_tp_dealloc, thread_dealloc},
    {0, NULL},
};

static PyType_Spec thread_spec = {
    .name = "counter.native.appending.Thread",
    .basicsize = sizeof(Thread),
    .flags = Py_TPFLAGS_DEFAULT, /* it holds bytes only: no cycle can go through it */
    .slots = thread_slots,
};

static int
fill(PyObject *module)
{
    return add_type(module, &thread_spec) < 0 ? -1 : add_source(module);
}

NATIVE_MODULE(appending, "counter.native.appending",
              "Frames appended and synced by a thread outside the interpreter.")
