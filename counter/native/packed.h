/* Numbers and bytes as msgpack packs them, as far as asks and answers hold them.
 *
 * The rule: every byte that is read lies before `end`, and what is written is what msgpack writes:
 * each number in as few bytes as it takes.
 */
#ifndef GOSSIP_COUNTER_PACKED_H
#define GOSSIP_COUNTER_PACKED_H

#include "module.h"

#include <stdint.h>

#define NUMBER_BYTES_MAX 9 /* of a packed number */
#define QUERY_BYTES 16

typedef struct {
    const unsigned char *at, *end;
} Reader;

/* Read a whole number from 0 up; 0 when there is none. */
static inline int
read_number(Reader *reader, uint64_t *number)
{
    const unsigned char *at = reader->at;
    Py_ssize_t left = reader->end - at, size;

    if (left < 1)
        return 0;
    if (at[0] < 0x80) {
        *number = at[0];
        reader->at = at + 1;
        return 1;
    }
    if (at[0] < 0xCC || at[0] > 0xCF)
        return 0;
    size = (Py_ssize_t)1 << (at[0] - 0xCC);
    if (left < 1 + size)
        return 0;
    *number = 0;
    for (Py_ssize_t byte = 1; byte <= size; byte++)
        *number = *number << 8 | at[byte];
    reader->at = at + 1 + size;
    return 1;
}

static inline int
read_between(Reader *reader, uint64_t least, uint64_t most, uint64_t *number)
{
    return read_number(reader, number) && *number >= least && *number <= most;
}

/* Read bytes of which there must be so many; NULL when there are not. */
static inline const unsigned char *
read_blob(Reader *reader, Py_ssize_t size)
{
    const unsigned char *at = reader->at;

    if (reader->end - at < 2 + size || at[0] != 0xC4 || at[1] != size)
        return NULL;
    reader->at = at + 2 + size;
    return at + 2;
}

static inline unsigned char *
put_number(unsigned char *at, uint64_t number)
{
    int size = number < 0x80 ? 0 : number <= UINT8_MAX ? 1 : number <= UINT16_MAX ? 2 : 4;

    if (number > UINT32_MAX)
        size = 8;
    if (size == 0)
        *at++ = (unsigned char)number;
    else
        *at++ = size == 1 ? 0xCC : size == 2 ? 0xCD : size == 4 ? 0xCE : 0xCF;
    for (int byte = size - 1; byte >= 0; byte--)
        *at++ = (unsigned char)(number >> 8 * byte);
    return at;
}

static inline unsigned char *
put_bytes(unsigned char *at, const void *bytes, Py_ssize_t size)
{
    memcpy(at, bytes, (size_t)size);
    return at + size;
}

#endif
