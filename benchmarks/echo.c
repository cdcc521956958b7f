/* The least that can answer a datagram: `epoll`, one read, the same bytes sent back.
 *
 * It says where it listens, and for each line that it reads how much processor time it has used.
 * The rule: nothing is in it that a node could be without.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DATAGRAM_BYTES_MAX 2048

/* Listen; the socket, -1 when it cannot. */
static int
listening(void)
{
    int number = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (number < 0 || bind(number, (struct sockaddr *)&address, size) < 0
        || getsockname(number, (struct sockaddr *)&address, &size) < 0)
        return -1;
    printf("%d 1\n", ntohs(address.sin_port));
    fflush(stdout);
    return number;
}

static void
send_back(int number)
{
    char bytes[DATAGRAM_BYTES_MAX];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t count = recvfrom(number, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &size);

    if (count >= 0)
        (void)!sendto(number, bytes, (size_t)count, 0, (struct sockaddr *)&from, size);
}

/* Say how much processor time was used, for a line; 0 when there are no more. */
static int
tell(void)
{
    struct timespec used;
    char line[64];

    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        return 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    printf("%lld.%09ld\n", (long long)used.tv_sec, used.tv_nsec);
    fflush(stdout);
    return 1;
}

int
main(void)
{
    int number = listening(), poll = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = number}, found;

    if (number < 0 || poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, number, &wanted) < 0)
        return 1;
    wanted.data.fd = STDIN_FILENO;
    if (epoll_ctl(poll, EPOLL_CTL_ADD, STDIN_FILENO, &wanted) < 0)
        return 1;
    while (epoll_wait(poll, &found, 1, -1) >= 0) {
        if (found.data.fd == number)
            send_back(number);
        else if (!tell())
            return 0;
    }
    return 1;
}
