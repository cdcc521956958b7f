/* Addresses: the kernel's form of one, and the pair of a host and a port that the Python knows.
 *
 * The rule: a host is text in numbers, as `socket` writes it.
 */
#ifndef GOSSIP_COUNTER_ADDRESS_H
#define GOSSIP_COUNTER_ADDRESS_H

#include "module.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

/* The host of the last address: most often the next one's too. */
typedef struct {
    PyObject *text;
    struct in_addr packed;
} LastHost;

/* Return the host of an address of IPv4; NULL with an exception set. */
static inline PyObject *
host_of(LastHost *last, const Address *address)
{
    char text[INET_ADDRSTRLEN];
    PyObject *host;

    if (last->text == NULL || last->packed.s_addr != address->v4.sin_addr.s_addr) {
        if (inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof text) == NULL)
            return PyErr_SetFromErrno(PyExc_OSError);
        host = PyUnicode_FromString(text);
        if (host == NULL)
            return NULL;
        Py_XSETREF(last->text, host);
        last->packed = address->v4.sin_addr;
    }
    return Py_NewRef(last->text);
}

/* Return the pair of host and port; NULL with an exception set. */
static inline PyObject *
pair_of(LastHost *last, const Address *address)
{
    char text[INET6_ADDRSTRLEN];
    PyObject *host, *port, *pair;

    if (address->any.sa_family == AF_INET6) {
        if (inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof text) == NULL)
            return PyErr_SetFromErrno(PyExc_OSError);
        return Py_BuildValue("(si)", text, (int)ntohs(address->v6.sin6_port));
    }
    host = host_of(last, address);
    port = host == NULL ? NULL : PyLong_FromLong(ntohs(address->v4.sin_port));
    pair = port == NULL ? NULL : PyTuple_New(2);
    if (pair == NULL) {
        Py_XDECREF(host);
        Py_XDECREF(port);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, host);
    PyTuple_SET_ITEM(pair, 1, port);
    return pair;
}

#endif
