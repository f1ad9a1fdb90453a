import os
import subprocess
import sys

from places import COMMANDS, SCRIPTS

# Runs each program with --help in one process, which begins without the library on its path.
HELP_OF_ALL = """\
import runpy, sys
folder, *programs = sys.argv[1:]
sys.path.insert(0, folder)
for program in programs:
    sys.argv = [program, "--help"]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        assert not end.code, program
print("loaded:", *sys.modules)
"""


def commands() -> list:
    return sorted(path for path in COMMANDS.glob("*.py") if path.name != "command.py")


def test_every_program_can_be_called_by_its_name():
    programs = sorted(SCRIPTS.glob("*.py"))
    assert programs and commands()
    assert [path.name for path in [*programs, *commands()] if not os.access(path, os.X_OK)] == []


def test_every_program_beside_the_library_is_run_by_a_rule():
    rules = "\n".join(path.read_text() for path in (SCRIPTS.parent / "rules").glob("*.smk"))
    assert [path.name for path in SCRIPTS.glob("*.py") if f" {path.name} " not in rules] == []
    assert not {path.name for path in commands()} & {path.name for path in SCRIPTS.glob("*.py")}


def test_commands_find_the_library_and_load_no_torch_for_their_help():
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, str(COMMANDS), *map(str, commands())],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text, _, loaded = done.stdout.rpartition("loaded:")
    assert text.count("usage:") == len(commands())
    assert "torch" not in loaded.split()


def test_a_reader_that_leaves_ends_a_program_without_a_traceback():
    code = "from ddpm_bench.cli import run; run(lambda: print('line\\n' * 10**6))"
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=SCRIPTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "line\n"
    program.stdout.close()
    assert program.stderr.read() == ""
    assert program.wait(timeout=60) == 141


def test_another_broken_pipe_is_no_silent_end():
    code = "from ddpm_bench.cli import run\ndef main():\n    raise BrokenPipeError\nrun(main)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr
