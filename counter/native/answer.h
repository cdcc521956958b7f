/* The plainest answer, read from its bytes.
 *
 * The rule: what is read is what `counter.hearing` reads; whatever is laid out in another way, or
 * lies beyond what its fields may be, is not read here.
 */
#ifndef GOSSIP_COUNTER_ANSWER_H
#define GOSSIP_COUNTER_ANSWER_H

#include "packed.h"

#define AGE_MAX 255 /* counter.config.AGE_MAX */
#define SHARE_MAX ((int64_t)1 << 62) /* tracker.wire.SHARE_MAX */

/* One answer, as far as it has been read. */
typedef struct {
    const unsigned char *query;
    uint64_t place, epoch, age;
    int64_t value;
} Answer;

/* Read a whole number of either sign; 0 when there is none within 64 bits. */
static inline int
read_signed(Reader *reader, int64_t *number)
{
    const unsigned char *at = reader->at;
    Py_ssize_t left = reader->end - at, size;
    uint64_t bits;

    if (left >= 1 && at[0] >= 0xE0) {
        *number = (int64_t)at[0] - 0x100;
        reader->at = at + 1;
        return 1;
    }
    if (left < 1 || at[0] < 0xD0 || at[0] > 0xD3) {
        if (!read_number(reader, &bits) || bits > INT64_MAX)
            return 0;
        *number = (int64_t)bits;
        return 1;
    }
    size = (Py_ssize_t)1 << (at[0] - 0xD0);
    if (left < 1 + size)
        return 0;
    bits = at[1] & 0x80 ? UINT64_MAX : 0;
    for (Py_ssize_t byte = 1; byte <= size; byte++)
        bits = bits << 8 | at[byte];
    memcpy(number, &bits, sizeof bits); /* in two's complement, as it was packed */
    reader->at = at + 1 + size;
    return 1;
}

/* Read a `ShortReply` that is packed as we pack it; 0 for whatever else it may be. */
static inline int
read_answer(const unsigned char *body, Py_ssize_t size, Answer *answer)
{
    Reader reader = {body + 2, body + size};

    return size >= 2 && body[0] == 0x96 && body[1] == 0x0C
        && (answer->query = read_blob(&reader, QUERY_BYTES)) != NULL
        && read_number(&reader, &answer->place) && read_number(&reader, &answer->epoch)
        && answer->epoch <= UINT32_MAX && read_signed(&reader, &answer->value)
        && -SHARE_MAX <= answer->value && answer->value <= SHARE_MAX
        && read_number(&reader, &answer->age) && answer->age <= AGE_MAX
        && reader.at == reader.end;
}

#endif
