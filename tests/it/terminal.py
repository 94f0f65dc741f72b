"""Runs a program at a terminal of its own, answers its prompts, and tells what could be seen.

Argument: JSON with "program" (its words), "talk" (pairs of a prompt and what is typed then), and
if wanted "columns" (how wide the terminal is).
Prints JSON: "screen", "code" (negative: the signal that ended it), "echo" (whether the terminal
shows again what is typed).
"""

import json
import os
import pty
import select
import signal
import sys
import termios

SECONDS_MAX = 60

wishes = json.loads(sys.argv[1])
ours, theirs = pty.openpty()
if "columns" in wishes:
    termios.tcsetwinsize(theirs, (24, wishes["columns"]))
child = os.fork()
if child == 0:
    os.close(ours)
    os.setsid()
    import fcntl

    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(theirs, number)
    # Whoever started this may have had it ignored, as shells do for what runs in the background.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(wishes["program"][0], wishes["program"])

screen = b""


def see():
    """Adds what is printed to the screen; false when nothing more comes."""
    global screen
    ready, _, _ = select.select([ours], [], [], SECONDS_MAX)
    if not ready:
        os.kill(child, 9)
        sys.exit(f"nothing happened; the screen is {screen!r}")
    try:
        piece = os.read(ours, 4096)
    except OSError:
        piece = b""
    screen += piece
    return bool(piece)


seen = 0
for prompt, answer in wishes["talk"]:
    while prompt.encode() not in screen[seen:]:
        if not see():
            sys.exit(f"{prompt!r} was never asked; the screen is {screen!r}")
    seen = len(screen)
    os.write(ours, answer.encode())
_, status = os.waitpid(child, 0)
echo = bool(termios.tcgetattr(theirs)[3] & termios.ECHO)
os.close(theirs)
while see():
    pass
print(
    json.dumps(
        {
            "screen": screen.decode(),
            "code": os.waitstatus_to_exitcode(status),
            "echo": echo,
        }
    )
)
