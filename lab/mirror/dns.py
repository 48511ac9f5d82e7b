"""Answers every DNS question with "no such name", at once.

The lab has no outside, and waiting for it would look like a slow hub. (No listener at all is not enough: the kernel
sends one ICMP refusal a second, and resolvers wait for the others.)
"""

from __future__ import annotations

import socketserver

HEADER = 12
NO_SUCH_NAME = 0x8183  # RFC 1035 section 4.1.1: response, recursion desired and available, RCODE 3


def refuse(query: bytes) -> bytes:
    """Make the answer to a question.

    Args:
        query: a DNS message with one question.

    Returns:
        the same question, answered by NXDOMAIN without records.

    Raises:
        IndexError: if the message ends inside its question.
    """
    end = HEADER
    while query[end]:
        end += query[end] + 1
    question = query[HEADER : end + 5]
    return query[:2] + NO_SUCH_NAME.to_bytes(2) + b"\0\1\0\0\0\0\0\0" + question


class Handler(socketserver.BaseRequestHandler):
    """One datagram."""

    def handle(self) -> None:
        """Answer it, or drop it when it is none."""
        query, sock = self.request
        try:
            sock.sendto(refuse(query), self.client_address)
        except IndexError:
            return


if __name__ == "__main__":
    with socketserver.UDPServer(("", 53), Handler) as server:
        server.serve_forever()
