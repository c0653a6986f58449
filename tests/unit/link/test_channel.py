"""The channel: calls, answers, deadlines, shares, good-byes, and peers that do not play by the rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pgrid.errors import BadSeal, LimitReached, LinkClosed, Malformed, Oversized, TooLarge
from p2pgrid.link.channel import (
    MAX_IN_FLIGHT,
    MAX_VALUE,
    STRANGER,
    TRUSTED,
    Allowance,
    Answered,
    Channel,
    Closed,
    Event,
    Failed,
    TimedOut,
    Withdrawn,
)
from p2pgrid.link.frames import CLOSE, LAST, MORE, RECORD, Answer, Call, Cancel, Failure, Opener, Sealer, encode
from p2pgrid.link.handshake import Secured

THERE, BACK = b"t" * 32, b"b" * 32


def pair(allowance: Allowance = TRUSTED, **options: int) -> tuple[Channel, Channel]:
    ours = Channel(Secured(b"s" * 32, send_key=THERE, receive_key=BACK), TRUSTED, **options)
    theirs = Channel(Secured(b"c" * 32, send_key=BACK, receive_key=THERE), allowance, **options)
    return ours, theirs


def records(channel: Channel) -> list[bytes]:
    found = []
    while (record := channel.next_record()) is not None:
        found.append(record)
    return found


def carry(source: Channel, target: Channel, now: float = 0.0) -> list[Event]:
    return [event for record in records(source) for event in target.receive(record, now)]


def ask(channel: Channel, verb: str = "echo", args: bytes = b"args", timeout: float = 10, now: float = 0.0) -> int:
    return channel.call(verb, args, timeout=timeout, now=now)


@pytest.fixture
def evil() -> Callable[..., bytes]:
    """A peer that holds the keys and seals whatever it likes."""
    sealer = Sealer(THERE)
    return lambda payload, flag=LAST: sealer.seal(flag, payload)


def test_a_call_is_answered() -> None:
    client, server = pair()
    number = ask(client)
    assert carry(client, server) == []
    call = server.take()
    assert call == Call(number, 10_000, "echo", b"args")
    server.answer(number, b"value")
    assert carry(server, client) == [Answered(number, b"value")]
    assert client.next_deadline is None
    assert server.next_deadline is None


def test_a_call_fails_with_the_peers_error() -> None:
    client, server = pair()
    number = ask(client)
    carry(client, server)
    server.take()
    error = {"code": "P2P-0400", "cause": "No.", "fix": "None."}
    server.fail(number, error)
    assert carry(server, client) == [Failed(number, error)]


def test_both_ends_may_call() -> None:
    client, server = pair()
    numbers = ask(client), ask(server)
    carry(client, server)
    carry(server, client)
    for channel, number in ((server, numbers[0]), (client, numbers[1])):
        assert channel.take() is not None
        channel.answer(number, b"")
    assert carry(client, server) == [Answered(numbers[1], b"")]
    assert carry(server, client) == [Answered(numbers[0], b"")]


def test_answers_may_come_in_any_order() -> None:
    client, server = pair()
    first, second = ask(client), ask(client)
    carry(client, server)
    assert [server.take(), server.take()] != [None, None]
    server.answer(second, b"2")
    server.answer(first, b"1")
    assert carry(server, client) == [Answered(second, b"2"), Answered(first, b"1")]


def test_a_large_frame_travels_in_records() -> None:
    client, server = pair()
    ask(client, args=bytes(3 * RECORD))
    sent = records(client)
    assert len(sent) == 4
    for record in sent:
        server.receive(record, 0.0)
    call = server.take()
    assert call is not None
    assert call.args == bytes(3 * RECORD)


def test_the_largest_args_and_values_pass() -> None:
    client, server = pair()
    number = ask(client, args=bytes(MAX_VALUE))
    carry(client, server)
    assert server.take() is not None
    server.answer(number, bytes(MAX_VALUE))
    assert carry(server, client) == [Answered(number, bytes(MAX_VALUE))]


def test_too_large_args_and_values_are_our_own_fault() -> None:
    client, server = pair()
    with pytest.raises(TooLarge):
        ask(client, args=bytes(MAX_VALUE + 1))
    number = ask(client)
    carry(client, server)
    server.take()
    with pytest.raises(TooLarge):
        server.answer(number, bytes(MAX_VALUE + 1))
    server.fail(number, TooLarge("x").to_wire())
    assert isinstance(carry(server, client)[0], Failed)


# ---------------------------------------------------------------- deadlines


def test_a_call_times_out_at_its_deadline_and_the_peer_is_told() -> None:
    client, server = pair()
    number = ask(client, timeout=5, now=100.0)
    carry(client, server, now=100.0)
    server.take()
    assert client.next_deadline == 105.0
    assert client.poll(104.9) == []
    assert client.poll(105.0) == [TimedOut(number)]
    assert client.poll(106.0) == []
    assert carry(client, server, now=101.0) == [Withdrawn(number)]


def test_a_call_is_withdrawn_at_the_serving_end_by_its_own_clock() -> None:
    client, server = pair()
    number = ask(client, timeout=5)
    carry(client, server, now=50.0)
    server.take()
    assert server.next_deadline == 55.0
    assert server.poll(55.0) == [Withdrawn(number)]
    server.answer(number, b"too late")
    assert records(server) == []


def test_a_waiting_call_whose_deadline_passed_is_never_served() -> None:
    client, server = pair(STRANGER)
    for _ in range(STRANGER.serving + 1):
        ask(client, timeout=1)
    carry(client, server)
    taken = [server.take() for _ in range(STRANGER.serving)]
    assert None not in taken
    assert len(server.poll(2.0)) == STRANGER.serving
    for call in taken:
        assert call is not None
        server.drop(call.id)
    assert server.take() is None


def test_a_late_answer_is_ignored() -> None:
    client, server = pair()
    number = ask(client)
    carry(client, server)
    server.take()
    server.answer(number, b"late")
    late = records(server)
    client.cancel(number)
    assert [client.receive(record, 0.0) for record in late] == [[]]


@pytest.mark.parametrize(("timeout", "sent"), [(0.0, 1), (-5.0, 1), (1e9, 3_600_000), (0.5, 500)])
def test_deadlines_on_the_wire_are_bounded(timeout: float, sent: int) -> None:
    client, server = pair()
    ask(client, timeout=timeout)
    carry(client, server)
    call = server.take()
    assert call is not None
    assert call.deadline_ms == sent


# ---------------------------------------------------------------- shares


def test_our_own_calls_are_bounded() -> None:
    client, _ = pair()
    for _ in range(MAX_IN_FLIGHT):
        ask(client)
    with pytest.raises(LimitReached):
        ask(client)
    client.cancel(1)
    ask(client)


def test_further_calls_wait_for_a_share() -> None:
    client, server = pair(STRANGER)
    numbers = [ask(client) for _ in range(4)]
    carry(client, server)
    assert [server.take() is not None for _ in range(4)] == [True, True, False, False]
    server.answer(numbers[0], b"")
    assert server.take() is None, "an answer that was not sent holds its share: who does not read gets no more"
    records(server)
    third = server.take()
    assert third is not None
    assert third.id == numbers[2]


def test_trust_raises_the_share_at_once() -> None:
    client, server = pair(STRANGER)
    for _ in range(4):
        ask(client)
    carry(client, server)
    server.allowance = TRUSTED
    assert [server.take() is not None for _ in range(4)] == [True] * 4


def test_a_dropped_call_gives_its_share_back() -> None:
    client, server = pair(STRANGER)
    for _ in range(3):
        ask(client)
    carry(client, server)
    first, _ = server.take(), server.take()
    assert first is not None
    server.drop(first.id)
    assert server.take() is not None


# ---------------------------------------------------------------- good-byes


def test_a_goodbye_is_told_from_a_cut_wire() -> None:
    client, server = pair()
    client.close()
    assert carry(client, server) == [Closed("")]
    assert client.said_goodbye
    assert client.closed
    assert server.closed
    for channel in (client, server):
        with pytest.raises(LinkClosed):
            ask(channel)


def test_a_goodbye_carries_its_reason() -> None:
    client, server = pair()
    server.close("P2P-0102")
    server.close("P2P-0001")
    assert carry(server, client) == [Closed("P2P-0102")]


def test_a_goodbye_goes_before_what_was_not_sent() -> None:
    client, server = pair()
    ask(client, args=bytes(3 * RECORD))
    first = client.next_record()
    assert first is not None
    client.close()
    (goodbye,) = records(client)
    assert server.receive(first, 0.0) == []
    assert server.receive(goodbye, 0.0) == [Closed("")]


def test_a_record_after_the_goodbye_is_refused(evil: Callable[..., bytes]) -> None:
    _, server = pair()
    server.receive(evil(b"", CLOSE), 0.0)
    with pytest.raises(Malformed):
        server.receive(evil(encode(Cancel(1))), 0.0)


def test_a_link_whose_numbers_run_out_says_goodbye() -> None:
    """The last number of a direction is kept for the good-bye: no nonce is used twice, and no wire is cut."""
    client, server = pair(max_records=4)
    for _ in range(5):
        ask(client)
    sent = records(client)
    assert len(sent) == 4
    assert [event for record in sent for event in server.receive(record, 0.0)] == [Closed("P2P-0109")]
    assert client.closed


# ---------------------------------------------------------------- peers that do not play by the rules


def test_stranger_sends_a_frame_over_its_limit(evil: Callable[..., bytes]) -> None:
    _, server = pair(STRANGER)
    assert server.receive(evil(encode(Call(1, 1000, "a", bytes(STRANGER.frame - 100)))), 0.0) == []
    with pytest.raises(Oversized):
        server.receive(evil(bytes(STRANGER.frame + 1)), 0.0)


def test_trusted_peer_never_ends_a_frame(evil: Callable[..., bytes]) -> None:
    _, server = pair(TRUSTED)
    for _ in range(TRUSTED.frame // RECORD):
        server.receive(evil(bytes(RECORD), MORE), 0.0)
    with pytest.raises(Oversized):
        server.receive(evil(b"x", MORE), 0.0)


def test_endless_empty_records_are_refused(evil: Callable[..., bytes]) -> None:
    _, server = pair()
    with pytest.raises(Malformed):
        server.receive(evil(b"", MORE), 0.0)


def test_peer_opens_more_calls_than_it_may(evil: Callable[..., bytes]) -> None:
    _, server = pair()
    for number in range(1, MAX_IN_FLIGHT + 1):
        server.receive(evil(encode(Call(number, 1000, "a", b""))), 0.0)
    with pytest.raises(LimitReached):
        server.receive(evil(encode(Call(MAX_IN_FLIGHT + 1, 1000, "a", b""))), 0.0)


def test_stranger_parks_large_calls(evil: Callable[..., bytes]) -> None:
    """What waits for a share is bounded in bytes too."""
    _, server = pair(STRANGER)
    args = bytes(STRANGER.frame - 100)
    for number in range(1, 5):
        server.receive(evil(encode(Call(number, 1000, "a", args))), 0.0)
    with pytest.raises(LimitReached):
        server.receive(evil(encode(Call(5, 1000, "a", args))), 0.0)


def test_peer_calls_and_never_reads(evil: Callable[..., bytes]) -> None:
    """Answers that are not taken hold their shares, and calls that time out leave nothing behind."""
    _, server = pair(STRANGER)
    now = 0.0
    for number in range(1, 1000):
        server.receive(evil(encode(Call(number, 1, "a", bytes(100)))), now)
        call = server.take()
        if call is not None:
            server.answer(call.id, bytes(1000))
        now += 1.0
        server.poll(now)
    assert len(server._outbox) <= STRANGER.serving
    assert len(server._queue) == 0
    assert server._queued_bytes == 0


def test_peer_cancels_as_fast_as_it_calls(evil: Callable[..., bytes]) -> None:
    _, server = pair(STRANGER)
    for number in range(1, 1000):
        server.receive(evil(encode(Call(number, 60_000, "a", bytes(100)))), 0.0)
        server.take()
        server.receive(evil(encode(Cancel(number))), 0.0)
    assert len(server._serving) == STRANGER.serving, "a share comes back when the work has stopped, not before"
    assert len(server._asked) == len(server._queue) == server._queued_bytes == 0


@pytest.mark.parametrize("numbers", [[2], [1, 1], [1, 3], [1, 2, 1]])
def test_replayed_or_skipped_call_numbers(evil: Callable[..., bytes], numbers: list[int]) -> None:
    _, server = pair()
    *good, bad = numbers
    for number in good:
        server.receive(evil(encode(Call(number, 1000, "a", b""))), 0.0)
    with pytest.raises(Malformed):
        server.receive(evil(encode(Call(bad, 1000, "a", b""))), 0.0)


@pytest.mark.parametrize("frame", [Answer(1, b""), Failure(7, {"code": "", "cause": "", "fix": ""})])
def test_answer_to_a_call_never_made(evil: Callable[..., bytes], frame: Answer | Failure) -> None:
    _, server = pair()
    with pytest.raises(Malformed):
        server.receive(evil(encode(frame)), 0.0)


def test_second_answer_to_one_call(evil: Callable[..., bytes]) -> None:
    _, server = pair()
    ask(server)
    assert server.receive(evil(encode(Answer(1, b"first"))), 0.0) == [Answered(1, b"first")]
    assert server.receive(evil(encode(Answer(1, b"second"))), 0.0) == []


def test_cancel_of_what_was_never_asked(evil: Callable[..., bytes]) -> None:
    _, server = pair()
    assert server.receive(evil(encode(Cancel(99))), 0.0) == []


def test_records_of_the_other_direction_are_refused() -> None:
    """Reflection: what we sent does not open when it comes back."""
    client, _ = pair()
    ask(client)
    (sent,) = records(client)
    with pytest.raises(BadSeal):
        client.receive(sent, 0.0)


# ---------------------------------------------------------------- any order of events


class Conversation(RuleBasedStateMachine):
    """Two honest ends over a wire that delays as it likes, in order: every call ends once, with its own answer."""

    def __init__(self) -> None:
        super().__init__()
        self.client, self.server = pair(STRANGER)
        self.now = 0.0
        self.there: list[bytes] = []
        self.back: list[bytes] = []
        self.open: set[int] = set()
        self.ended: dict[int, Event | str] = {}
        self.serving: dict[int, bytes] = {}

    @precondition(lambda self: len(self.open) < MAX_IN_FLIGHT)
    @rule(size=st.sampled_from([0, 1, 100, 5000]), timeout=st.sampled_from([0.5, 2.0, 60.0]))
    def call(self, size: int, timeout: float) -> None:
        number = ask(self.client, args=bytes(size), timeout=timeout, now=self.now)
        assert number not in self.ended
        self.open.add(number)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.open:
            number = data.draw(st.sampled_from(sorted(self.open)))
            self.client.cancel(number)
            self.end(number, "cancelled")

    @rule()
    def send(self) -> None:
        self.there += records(self.client)

    @rule()
    def answer_one_record(self) -> None:
        record = self.server.next_record()
        if record is not None:
            self.back.append(record)

    @rule(many=st.integers(1, 5))
    def deliver(self, many: int) -> None:
        for record in self.there[:many]:
            for event in self.server.receive(record, self.now):
                assert isinstance(event, Withdrawn)
                if self.serving.pop(event.id, None) is not None:
                    self.server.drop(event.id)
        del self.there[:many]

    @rule(many=st.integers(1, 5))
    def deliver_back(self, many: int) -> None:
        for record in self.back[:many]:
            for event in self.client.receive(record, self.now):
                assert isinstance(event, Answered)
                assert event.value == str(event.id).encode()
                self.end(event.id, event)
        del self.back[:many]

    @rule()
    def serve(self) -> None:
        call = self.server.take()
        if call is not None:
            self.serving[call.id] = call.args

    @rule()
    def answer(self) -> None:
        if self.serving:
            number = next(iter(self.serving))
            del self.serving[number]
            self.server.answer(number, str(number).encode())

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for event in self.client.poll(self.now):
            assert isinstance(event, TimedOut)
            self.end(event.id, event)
        for event in self.server.poll(self.now):
            assert isinstance(event, Withdrawn)
            if self.serving.pop(event.id, None) is not None:
                self.server.drop(event.id)

    def end(self, number: int, how: Event | str) -> None:
        assert number in self.open
        self.open.remove(number)
        self.ended[number] = how

    @invariant()
    def limits_hold(self) -> None:
        assert len(self.client._awaited) == len(self.open) <= MAX_IN_FLIGHT
        assert len(self.server._serving) <= STRANGER.serving
        assert len(self.server._asked) <= MAX_IN_FLIGHT
        assert self.server._queued_bytes == sum(len(call.args) for call in self.server._queue)
        assert len(self.server._outbox) <= STRANGER.serving


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_opener_and_channel_agree_on_the_wire() -> None:
    client, _ = pair()
    ask(client, "a", b"\xc0", timeout=1)
    (record,) = records(client)
    flag, payload = Opener(THERE).open(record)
    assert (flag, bytes(payload)) == (LAST, encode(Call(1, 1000, "a", b"\xc0")))
