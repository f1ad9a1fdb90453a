"""The relay of a process's output: every byte, in order, in whole lines where that is asked for."""

import os

from ddpm_bench.machine.output_relay import OutputRelay, whole_lines
from ddpm_bench.records.log_tails import TAIL_BYTES


def relayed(capfdbinary, pieces: list[bytes], **options) -> tuple[list[bytes], OutputRelay]:
    """What has come out after each piece that was written, and at the end."""
    reading, writing = os.pipe()
    seen = []
    with open(reading, "rb") as pipe:  # noqa: PTH123
        relay = OutputRelay(pipe, **options)
        for piece in pieces:
            os.write(writing, piece)
            while not relay.tail.encode().endswith(piece):
                pass
            relay._thread.join(0.05)
            seen.append(capfdbinary.readouterr().err)
        os.close(writing)
        relay.end()
    return [*seen, capfdbinary.readouterr().err], relay


def test_output_is_relayed_as_it_comes_and_kept(capfdbinary):
    seen, relay = relayed(capfdbinary, [b"a step", b" more\nand", b" the end"])
    assert b"".join(seen) == b"a step more\nand the end"
    assert relay.tail == "a step more\nand the end"


def test_lines_are_relayed_whole_and_the_rest_at_the_end(capfdbinary):
    seen, _ = relayed(capfdbinary, [b"a step", b" more\nand", b" the end"], ready=whole_lines)
    assert seen[0] == b""
    assert b"".join(seen[:3]) == b"a step more\n"
    assert seen[3] == b"and the end"


def test_a_bar_ends_a_line_too():
    assert whole_lines(b"10%\r20") == 4
    assert whole_lines(b"10") == 0


def test_only_the_end_of_long_output_is_kept(capfdbinary):
    _, relay = relayed(capfdbinary, [b"x" * 50_000, b"y" * 50_000])
    assert len(relay.tail) == TAIL_BYTES and relay.tail.endswith("y" * 50_000)
