"""Sessions of Debian's stomp.py in one version of STOMP: stomppy-session.py <version> <port> <port with heart-beats of 1 s>

Asserts what it sees and writes the ids of its sessions as JSON.
"""

import json
import os
import queue
import sys
import time

os.environ["STOMP_SKIP_HOSTNAME_SCAN"] = "1"

import stomp  # noqa: E402
from stomp.utils import Frame, convert_frame, parse_frame  # noqa: E402

VERSION, PORT, BRISK_PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
PATIENCE = 40
CONNECTION = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}[VERSION]
HAS_NACK = VERSION != "1.0"

sessions = []
counter = 0


def unique(prefix):
    global counter
    counter += 1
    return "%s/py-%s-%d" % (prefix, VERSION, counter)


def equal(actual, expected, what):
    assert actual == expected, "%s: %r instead of %r" % (what, actual, expected)


class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.messages, self.receipts, self.errors = queue.Queue(), queue.Queue(), queue.Queue()
        self.connected, self.disconnected = queue.Queue(), queue.Queue()
        self.heart_beats = queue.Queue()
        self.timeouts = 0

    def on_connected(self, frame):
        self.connected.put(frame)

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_heartbeat(self):
        self.heart_beats.put(1)

    def on_heartbeat_timeout(self):
        self.timeouts += 1

    def on_disconnected(self):
        self.disconnected.put(1)


class Client:
    def __init__(self, port=PORT, **options):
        self.connection = CONNECTION([("127.0.0.1", port)], reconnect_attempts_max=1, **options)
        self.seen = Listener()
        self.connection.set_listener("test", self.seen)
        self.connection.connect(wait=True, headers={"client-data": '"%s"' % VERSION})
        self.hello = self.seen.connected.get(timeout=PATIENCE)
        equal(self.hello.headers["version"], VERSION, "version")
        sessions.append(self.hello.headers["session"])

    def next(self):
        return self.seen.messages.get(timeout=PATIENCE)

    def bodies(self, count):
        return [self.next().body for _ in range(count)]

    def receipt(self, act, **headers):
        name = unique("receipt")
        act(receipt=name, **headers)
        equal(self.seen.receipts.get(timeout=PATIENCE), name, "receipt")

    def subscribe(self, destination, ack="auto"):
        self.receipt(lambda **headers: self.connection.subscribe(destination, id="sub-" + destination, ack=ack, **headers))

    def send(self, destination, body, **headers):
        self.receipt(lambda **more: self.connection.send(destination, body, **headers, **more))

    def ack(self, message, act="ack", **more):
        act = getattr(self.connection, act)
        if VERSION == "1.2":
            self.receipt(lambda **headers: act(message.headers["ack"], **headers, **more))
        elif VERSION == "1.1":
            self.receipt(lambda **headers: act(message.headers["message-id"], message.headers["subscription"], **headers, **more))
        else:
            self.receipt(lambda **headers: act(message.headers["message-id"], **headers, **more))

    def end(self):
        name = unique("bye")
        self.connection.disconnect(receipt=name)
        equal(self.seen.receipts.get(timeout=PATIENCE), name, "receipt of DISCONNECT")
        self.seen.disconnected.get(timeout=PATIENCE)
        assert not self.connection.is_connected()
        assert self.seen.errors.empty(), self.seen.errors.get()


def messages():
    client = Client(auto_decode=False)
    destination = unique("/topic")
    client.subscribe(destination)
    for body in [b"plain", "\u00fcml\u00e4ut \u2615 \U0001f600".encode(), b"lines\nand\r\nmore\n\n", b"a \0 NUL", bytes(range(256)), b"x" * 60000]:
        client.send(destination, body, kind="test")
        message = client.next()
        equal(message.body, body, "body")
        equal(message.headers["destination"], destination, "destination")
        equal(message.headers["subscription"], "sub-" + destination, "subscription")
        equal(message.headers["content-length"], str(len(body)), "content-length")
        equal(message.headers["kind"], "test", "a header of the sender")
    value = {"1.0": "no escapes here", "1.1": "a:b \\ c\nd", "1.2": "a:b \\ c\nd\re"}[VERSION]
    client.send(destination, "headers", value=value)
    message = client.next()
    equal(message.headers["value"], value, "a header with what must be escaped")
    client.receipt(lambda **headers: client.connection.unsubscribe(id="sub-" + destination, **headers))
    client.send(destination, "nobody hears")
    assert client.seen.messages.empty()
    client.end()


def frames():
    """What its own functions make of a frame is what the server makes of it."""
    client = Client(auto_decode=False)
    destination = unique("/topic")
    client.subscribe(destination)
    frame = Frame("SEND", {"destination": destination, "n": "1"}, b"by hand")
    client.connection.transport.send(b"".join(convert_frame(frame)))
    message = client.next()
    copy = Frame(message.cmd, dict(message.headers), message.body)
    again = parse_frame(b"".join(convert_frame(copy))[:-1])
    equal((again.cmd, again.headers["n"], again.body), ("MESSAGE", "1", b"by hand"), "frame")
    client.end()


def acknowledgements():
    modes = [("client", [2], ["4", "5"])]
    if HAS_NACK:
        modes.append(("client-individual", [3, 1], ["1", "3", "5"]))
    modes.append(("auto", [], []))
    for mode, acknowledged, left in modes:
        client, heir = Client(), Client()
        destination = unique("/queue")
        for body in "12345":
            client.send(destination, body)
        client.subscribe(destination, mode)
        got = [client.next() for _ in range(5)]
        equal([message.body for message in got], list("12345"), mode)
        equal(["ack" in message.headers for message in got], [VERSION == "1.2" and mode != "auto"] * 5, "ack headers")
        for i in acknowledged:
            client.ack(got[i])
        client.end()
        heir.subscribe(destination)
        heir.send(destination, "end")
        rest = [heir.next() for _ in range(len(left) + 1)]
        equal([message.body for message in rest], left + ["end"], "what was not acknowledged, " + mode)
        equal([message.headers.get("redelivered") for message in rest], ["true"] * len(left) + [None], "redelivered")
        heir.end()


def nack():
    client = Client()
    destination = unique("/queue")
    client.subscribe(destination, "client-individual")
    client.send(destination, "again")
    first = client.next()
    client.ack(first, "nack")
    second = client.next()
    equal((second.body, second.headers.get("redelivered")), ("again", "true"), "the second time")
    client.ack(second)
    client.end()


def transactions():
    client = Client()
    destination = unique("/topic")
    client.subscribe(destination)
    one = client.connection.begin()
    client.send(destination, "1", transaction=one)
    client.send(destination, "outside")
    client.send(destination, "2", transaction=one)
    client.receipt(lambda **headers: client.connection.commit(one, **headers))
    two = client.connection.begin("mine")
    client.send(destination, "dropped", transaction=two)
    client.receipt(lambda **headers: client.connection.abort(two, **headers))
    client.send(destination, "end")
    equal(client.bodies(4), ["outside", "1", "2", "end"], "messages")

    work = unique("/queue")
    for body in "12":
        client.send(work, body)
    worker, heir = Client(), Client()
    worker.subscribe(work, "client")
    first, second = worker.next(), worker.next()
    done, undone = worker.connection.begin(), worker.connection.begin()
    worker.ack(first, transaction=done)
    worker.ack(second, transaction=undone)
    worker.connection.commit(done)
    worker.connection.abort(undone)
    worker.end()
    heir.subscribe(work)
    heir.send(work, "end")
    equal(heir.bodies(2), ["2", "end"], "what was not acknowledged")
    heir.end()
    client.end()


def error():
    client = Client()
    client.connection.send("/nowhere", "x", receipt="the one")
    frame = client.seen.errors.get(timeout=PATIENCE)
    equal(frame.headers["receipt-id"], "the one", "receipt-id")
    assert "/nowhere" in frame.headers["message"] + frame.body, frame
    client.seen.disconnected.get(timeout=PATIENCE)


def heart_beats():
    client = Client(BRISK_PORT, heartbeats=(1000, 1000), heart_beat_receive_scale=4)
    equal(client.hello.headers["heart-beat"], "1000,1000", "heart-beat")
    begin = time.monotonic()
    for _ in range(4):
        client.seen.heart_beats.get(timeout=PATIENCE)
    assert time.monotonic() - begin > 1.5, "they came too fast"
    equal(client.seen.timeouts, 0, "heart-beats missed")
    client.end()


steps = [messages, frames, acknowledgements, transactions, error]
if HAS_NACK:
    steps += [nack, heart_beats]
for step in steps:
    try:
        step()
    except Exception as failure:
        raise AssertionError("%s of STOMP %s: %r" % (step.__name__, VERSION, failure)) from failure
print(json.dumps({"sessions": sessions, "steps": [step.__name__ for step in steps], "stomp.py": ".".join(map(str, stomp.__version__))}))
