import random

import pytest

from aiinfra_lab.host.frames import MOST_BYTES, Decoder, Kind, MessageChannel, TooLargeError, frame, pack, unpack

PARTS = [b"", b"kernel.status", b"<IDS|MSG>", bytes(range(256)) * 50]


def test_a_message_keeps_its_parts_as_they_are():
    assert unpack(pack(MessageChannel.IOPUB, PARTS, 12.5)) == (MessageChannel.IOPUB, 12.5, PARTS)
    assert unpack(pack(MessageChannel.STATE, [], 0.0)).parts == []


def test_frames_are_found_in_pieces_of_any_size():
    sent = [(Kind.MESSAGE, number, b"x" * (number * 37 % 5000)) for number in range(200)]
    stream = b"".join(frame(*each) for each in sent)
    cuts = sorted(random.Random(1).sample(range(len(stream)), 300))
    decoder, found = Decoder(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[begin:end])
    assert found == sent


@pytest.mark.parametrize(
    "bad", [b"HTTP/1.1 200 OK\r\n\r\n", frame(max(Kind) + 1), (MOST_BYTES + 1).to_bytes(4, "big") + bytes(9)]
)
def test_what_is_no_stream_of_ours_is_refused(bad):
    with pytest.raises(ValueError, match="no frame begins with"):
        list(Decoder().feed(bad))


@pytest.mark.parametrize("bad", [b"", b"\x01", pack(1, PARTS, 1.0)[:-1], pack(1, PARTS, 1.0) + b"x"])
def test_what_is_no_message_is_refused(bad):
    with pytest.raises(ValueError, match="message"):
        unpack(bad)


@pytest.mark.parametrize("parts", [[bytes(MOST_BYTES)], [bytes(MOST_BYTES // 2)] * 9, [b""] * 70_000])
def test_what_the_other_side_would_refuse_is_refused_before_it_goes(parts):
    with pytest.raises(TooLargeError, match="is the most that goes"):
        pack(MessageChannel.IOPUB, parts, 0.0)
