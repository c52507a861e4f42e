"""Reads all documents of a database and throws them away: nothing that migrates them can be faster on one stream."""

from __future__ import annotations

import argparse
import json
import time

import grpc
import grpc.experimental

from firelift.firestore.channel import Firestore, Source, open_firestore
from firelift.firestore.query import KeyRange, documents_request, server_time

CHANNELS = {
    # What every client library of Firestore gets: one thread reads from the wire and hands each message to another.
    "ordinary": [],
    "single-threaded": [(grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)],
}


def read(source: Source, channel: str) -> dict[str, float]:
    """Streams the bytes of one RunQuery over everything; the start of Python and the connection are not counted."""
    with grpc.insecure_channel(source.emulator_host, options=CHANNELS[channel]) as wire:
        grpc.channel_ready_future(wire).result(timeout=60)
        request = documents_request(source, KeyRange(), server_time(open_firestore(source)))
        messages, size = 0, 0
        started, worked = time.perf_counter(), time.process_time()
        for response in Firestore(source, wire).stream("RunQuery", request):
            messages += 1
            size += len(response)
        return {"wall": time.perf_counter() - started, "cpu": time.process_time() - worked, "messages": messages, "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", help="host:port of a Firestore emulator")
    parser.add_argument("project")
    parser.add_argument("channel", choices=CHANNELS)
    asked = parser.parse_args()
    print(json.dumps(read(Source(asked.project, emulator_host=asked.host), asked.channel)))


if __name__ == "__main__":
    main()
