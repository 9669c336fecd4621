/*
 * Four TCP connections on loopback, one after the other, IPv4 and IPv6 in turn: a client sends messages of a known
 * size, a prime number of times, and a server sends each one back.
 */
#include "measure.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CONNECTIONS = 4, PAUSE_US = 15000, LARGEST = 4001 };

static const struct {
    int family, rounds, size;
} plan[CONNECTIONS] = {{AF_INET, 31, 101}, {AF_INET6, 37, 1009}, {AF_INET, 41, 4001}, {AF_INET6, 43, 211}};

struct connection {
    int listener;
    int server_port, client_port;
};

static struct connection *connections; /* shared: the client fills in its ports */

NOINLINE static void receive(int socket, char *buffer, long size)
{
    require(system_call(SYS_recvfrom, socket, (long)buffer, size, MSG_WAITALL, 0, 0) == size, "receive");
}

NOINLINE static void transmit(int socket, const char *buffer, long size)
{
    require(system_call(SYS_sendto, socket, (long)buffer, size, 0, 0, 0) == size, "send");
}

/* Wait for the other side to close. */
NOINLINE static void await_end(int socket)
{
    char byte;

    require(system_call(SYS_recvfrom, socket, (long)&byte, 1, 0, 0, 0) == 0, "the end of the stream");
}

/* The loopback address of a family, and its length; the port has the same place in both. */
static socklen_t loopback(int family, int port, struct sockaddr_in6 *address)
{
    memset(address, 0, sizeof(*address));
    address->sin6_family = family;
    address->sin6_port = htons(port);
    if (family == AF_INET6) {
        address->sin6_addr = in6addr_loopback;
        return sizeof(struct sockaddr_in6);
    }
    ((struct sockaddr_in *)address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof(struct sockaddr_in);
}

static int port_of(int socket)
{
    struct sockaddr_in6 address;
    socklen_t length = sizeof(address);

    require(getsockname(socket, (struct sockaddr *)&address, &length) == 0, "getsockname");
    return ntohs(address.sin6_port);
}

NOINLINE static void serve(void *report)
{
    char buffer[LARGEST];

    begin(report, "tcp-server");
    for (int i = 0; i < CONNECTIONS; i++) {
        int socket = accept(connections[i].listener, NULL, NULL);

        require(socket >= 0, "accept");
        for (int round = 0; round < plan[i].rounds; round++) {
            operation_begins(report);
            receive(socket, buffer, plan[i].size);
            operation_ends(report);
            transmit(socket, buffer, plan[i].size);
        }
        await_end(socket);
        close(socket);
    }
    end(report);
}

NOINLINE static void ask(void *report)
{
    char buffer[LARGEST] = {0};

    begin(report, "tcp-client");
    for (int i = 0; i < CONNECTIONS; i++) {
        struct sockaddr_in6 server;
        socklen_t length = loopback(plan[i].family, connections[i].server_port, &server);
        int client = socket(plan[i].family, SOCK_STREAM, 0);

        require(connect(client, (struct sockaddr *)&server, length) == 0, "connect");
        connections[i].client_port = port_of(client);
        for (int round = 0; round < plan[i].rounds; round++) {
            pause_us(PAUSE_US);
            transmit(client, buffer, plan[i].size);
            operation_begins(report);
            receive(client, buffer, plan[i].size);
            operation_ends(report);
        }
        close(client);
    }
    end(report);
}

static void listen_on(struct connection *connection, int family)
{
    struct sockaddr_in6 address;
    socklen_t length = loopback(family, 0, &address);

    connection->listener = socket(family, SOCK_STREAM, 0);
    require(bind(connection->listener, (struct sockaddr *)&address, length) == 0, "bind");
    require(listen(connection->listener, 1) == 0, "listen");
    connection->server_port = port_of(connection->listener);
}

/* The connections as a JSON member. */
static const char *connections_json(void)
{
    static char text[1024];
    int used = snprintf(text, sizeof(text), ", \"connections\": [");

    for (int i = 0; i < CONNECTIONS; i++)
        used += snprintf(text + used, sizeof(text) - used,
                         "%s{\"family\": %d, \"client_port\": %d, \"server_port\": %d, \"bytes_each_way\": %d}",
                         i ? ", " : "", plan[i].family == AF_INET6 ? 6 : 4, connections[i].client_port,
                         connections[i].server_port, plan[i].rounds * plan[i].size);
    snprintf(text + used, sizeof(text) - used, "]");
    return text;
}

int main(void)
{
    struct report *reports = shared_memory(2 * sizeof(struct report));

    connections = shared_memory(CONNECTIONS * sizeof(struct connection));
    for (int i = 0; i < CONNECTIONS; i++)
        listen_on(&connections[i], plan[i].family);
    int server = start(serve, &reports[0]), client = start(ask, &reports[1]);

    finish(client);
    finish(server);
    print_document(reports, 2, connections_json());
    return 0;
}
