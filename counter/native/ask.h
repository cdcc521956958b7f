/* One of the plainest asks: read from its bytes, and written for those it is passed on to.
 *
 * The rule: what is read is what `counter.express` reads, and what is written what
 * `counter.passing` writes; whatever is laid out in another way is not read here.
 */
#ifndef GOSSIP_COUNTER_ASK_H
#define GOSSIP_COUNTER_ASK_H

#include "packed.h"

#define KEY_BYTES_MAX 256 /* tracker.wire.KEY_BYTES_MAX */
#define CHATTER_MAX 64    /* counter.config: these four */
#define VISITS_MAX 32
#define AGE_MAX 255
#define DEADLINE_MS_MAX 600000
#define HOP_MS 1    /* counter.relay.HOP_MS */
#define SKIP_MAX 16 /* counter.messages.SKIP_MAX */
#define ASK_TAG 1   /* counter.messages.Ask.TAG */
/* Of a packed ask: heads, query, key, home, six numbers, two ends and what is skipped. */
#define ASK_BYTES_MAX (8 + QUERY_BYTES + KEY_BYTES_MAX + 8 + (8 + SKIP_MAX) * NUMBER_BYTES_MAX)

/* One ask, as far as it has been read. The arc ends with `last`, the end of the ring included. */
typedef struct {
    const unsigned char *query, *key, *home;
    Py_ssize_t key_size;
    uint64_t chatter, visits, age, age_max, budget_ms, roll, low, last;
    uint64_t skip[SKIP_MAX];
    int skipped;
} Ask;

static inline int
read_key(Reader *reader, Ask *ask)
{
    const unsigned char *at = reader->at;
    Py_ssize_t left = reader->end - at;

    if (left < 2)
        return 0;
    if (at[0] > 0xA0 && at[0] < 0xC0) {
        ask->key_size = at[0] - 0xA0;
        ask->key = at + 1;
    }
    else if (at[0] == 0xD9 && at[1] > 0) {
        ask->key_size = at[1];
        ask->key = at + 2;
    }
    else
        return 0;
    if (reader->end - ask->key < ask->key_size)
        return 0;
    for (Py_ssize_t letter = 0; letter < ask->key_size; letter++)
        if (ask->key[letter] < 0x20 || ask->key[letter] > 0x7E)
            return 0;
    reader->at = ask->key + ask->key_size;
    return 1;
}

/* The end of an arc with its bytes in the opposite order, as it travels (messages/datagrams.py). */
static inline uint64_t
swapped(uint64_t end)
{
    end = (end >> 8 & 0x00FF00FF00FF00FF) | (end & 0x00FF00FF00FF00FF) << 8;
    end = (end >> 16 & 0x0000FFFF0000FFFF) | (end & 0x0000FFFF0000FFFF) << 16;
    return end >> 32 | end << 32;
}

/* Read a whole ask; 0 when it is not one of the plainest. */
static inline int
read_ask(const unsigned char *body, Py_ssize_t size, Ask *ask)
{
    Reader reader = {body + 2, body + size};
    uint64_t high;

    if (size < 2 || (body[0] != 0x9C && body[0] != 0x9D) || body[1] != ASK_TAG)
        return 0;
    if ((ask->query = read_blob(&reader, QUERY_BYTES)) == NULL || !read_key(&reader, ask)
        || (ask->home = read_blob(&reader, 6)) == NULL || !(ask->home[4] | ask->home[5])
        || !read_between(&reader, 1, CHATTER_MAX, &ask->chatter)
        || !read_between(&reader, 1, VISITS_MAX, &ask->visits)
        || !read_between(&reader, 0, AGE_MAX, &ask->age)
        || !read_between(&reader, 1, AGE_MAX, &ask->age_max)
        || !read_between(&reader, HOP_MS + 1, DEADLINE_MS_MAX, &ask->budget_ms)
        || !read_between(&reader, 0, UINT32_MAX, &ask->roll) || !read_number(&reader, &ask->low)
        || !read_number(&reader, &high))
        return 0;
    ask->low = swapped(ask->low);
    ask->last = swapped(high) - 1; /* the end of the ring travels as 0 */
    ask->skipped = 0;
    if (body[0] == 0x9D) {
        int count;

        if (reader.at == reader.end || (*reader.at & 0xF0) != 0x90)
            return 0;
        count = *reader.at++ & 0x0F;
        while (ask->skipped < count)
            if (!read_number(&reader, &ask->skip[ask->skipped++]))
                return 0;
    }
    return reader.at == reader.end && ask->low <= ask->last;
}

/* Everything of an ask between the array's head and its arc, for one that is a hop older. */
static inline unsigned char *
put_fields(unsigned char *at, const Ask *ask)
{
    *at++ = ASK_TAG;
    *at++ = 0xC4;
    *at++ = QUERY_BYTES;
    at = put_bytes(at, ask->query, QUERY_BYTES);
    if (ask->key_size < 32)
        *at++ = (unsigned char)(0xA0 + ask->key_size);
    else {
        *at++ = 0xD9;
        *at++ = (unsigned char)ask->key_size;
    }
    at = put_bytes(at, ask->key, ask->key_size);
    *at++ = 0xC4;
    *at++ = 6;
    at = put_bytes(at, ask->home, 6);
    at = put_number(at, ask->chatter);
    at = put_number(at, ask->visits);
    at = put_number(at, ask->age + 1);
    at = put_number(at, ask->age_max);
    at = put_number(at, ask->budget_ms - HOP_MS);
    return put_number(at, ask->roll);
}

#endif
