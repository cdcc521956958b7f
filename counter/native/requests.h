/* Requests of Redis's clients, as every one of them packs them: INCR, INCRBY, DECR and DECRBY of a
 * short key.
 *
 * The rule: nothing is read behind `end`, and no number is made of more digits than fit.
 */
#ifndef GOSSIP_COUNTER_REQUESTS_H
#define GOSSIP_COUNTER_REQUESTS_H

#include "module.h"

#include <string.h>

#define KEY_BYTES_MAX 256               /* tracker.wire.KEY_BYTES_MAX */
#define AMOUNT_MAX (((long long)1 << 53) - 1) /* tracker.wire.AMOUNT_MAX */
#define AMOUNT_DIGITS_MAX 16

/* One request as every client packs it. */
typedef struct {
    const unsigned char *key;
    Py_ssize_t size;
    long long amount;
} Request;

static inline int
ends_line(const unsigned char *at, const unsigned char *end)
{
    return end - at >= 2 && at[0] == '\r' && at[1] == '\n';
}

/* Read a whole number above 0 and the end of its line; NULL for anything else. */
static inline const unsigned char *
number_in(const unsigned char *at, const unsigned char *end, int digits_max, long long *value)
{
    int digits = 0;

    if (at >= end || *at == '0')
        return NULL;
    for (*value = 0; at < end && *at >= '0' && *at <= '9'; at++) {
        if (++digits > digits_max)
            return NULL;
        *value = *value * 10 + (*at - '0');
    }
    return digits > 0 && ends_line(at, end) ? at + 2 : NULL;
}

/* Whether the next bytes are these; a letter in `wanted` is small, and may be either way there. */
static inline int
begins_with(const unsigned char *at, const unsigned char *end, const char *wanted)
{
    for (; *wanted != 0; wanted++, at++) {
        unsigned char fold = *wanted >= 'a' && *wanted <= 'z' ? 0x20 : 0;
        if (at >= end || (*at | fold) != (unsigned char)*wanted)
            return 0;
    }
    return 1;
}

/* Read one plain increment; returns where it ends, NULL for anything else. */
static inline const unsigned char *
request_in(const unsigned char *at, const unsigned char *end, Request *request)
{
    static const char *const ways[] = {"*2\r\n$4\r\nincr\r\n$", "*3\r\n$6\r\nincrby\r\n$",
                                       "*2\r\n$4\r\ndecr\r\n$", "*3\r\n$6\r\ndecrby\r\n$"};
    long long size, width;
    int way = 0, ways_count = LENGTH(ways), is_down;

    while (way < ways_count && !begins_with(at, end, ways[way]))
        way++;
    if (way == ways_count)
        return NULL;
    at += strlen(ways[way]);
    is_down = way > 1;
    at = number_in(at, end, 3, &size);
    if (at == NULL || size > KEY_BYTES_MAX || end - at < size + 2 || !ends_line(at + size, end))
        return NULL;
    request->key = at;
    request->size = (Py_ssize_t)size;
    request->amount = 1;
    at += size + 2;
    if (way % 2) {
        const unsigned char *digits;
        if (at >= end || *at != '$')
            return NULL;
        digits = number_in(at + 1, end, 2, &width);
        if (digits == NULL)
            return NULL;
        at = number_in(digits, end, AMOUNT_DIGITS_MAX, &request->amount);
        if (at == NULL || at - digits != width + 2 || request->amount > AMOUNT_MAX)
            return NULL;
    }
    if (is_down)
        request->amount = -request->amount;
    return at;
}

static inline int
is_printable_ascii(const Request *request)
{
    for (Py_ssize_t at = 0; at < request->size; at++)
        if (request->key[at] < 0x20 || request->key[at] > 0x7e)
            return 0;
    return 1;
}

#endif
