#!/usr/bin/env python3
"""Checks a unit with clients that nobody of the project wrote.

    tests/standard_clients/run.py [--program FILE] [--examples N] [--seed N] [triton] [user] [admin]

`triton`: NVIDIA's tritonclient[http] asks for metadata and infers over /v2. `user`, `admin`: schemathesis reads the unit's
OpenAPI description and sends what it allows and what it forbids, with all its checks, as that role. All three when none is
named. Each gets a fresh unit on a free port. The packages of requirements.txt go into target/standard-clients the first time.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PASSWORD = "a long walk by the river"


def packages():
    """The Python of an environment that holds the pinned packages."""
    environment = ROOT / "target" / "standard-clients"
    python, wanted, done = environment / "bin" / "python", HERE / "requirements.txt", environment / "installed.txt"
    if not done.exists() or done.read_text() != wanted.read_text():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", wanted], check=True)
        done.write_text(wanted.read_text())
    return python


class Unit:
    """A running unit with the accounts `user` and `admin`, and a replayed camera."""

    def __init__(self, program, **settings):
        self.state = tempfile.TemporaryDirectory(prefix="unit-")
        settings = {
            "API__LISTEN": "127.0.0.1:0",
            "API__REQUESTS_PER_MINUTE_MAX": "0",
            "AUTH__LOGIN_FAILURES_MAX": "1000000",
            "CAPTURE__SOURCE": f"replay:{ROOT}/tests/pictures?fps=5&loop=true",
            "CLASSIFIER__MODELS_DIRECTORY": f"{ROOT}/models",
            "LOG__FORMAT": "text",
            **settings,
        }
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("VEHICLE_CLASSIFIER__")}
        self.environment |= {f"VEHICLE_CLASSIFIER__{key}": value for key, value in settings.items()}
        self.program = program
        self.log = open(f"{self.state.name}.log", "w")
        self.process = subprocess.Popen(self.command("serve"), env=self.environment, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            self.log.write(line)
            if ready := re.search(r"ready: (http\S+?)/? ", line):
                self.url = ready[1]
                break
        else:
            raise SystemExit("the unit did not start: " + pathlib.Path(self.log.name).read_text())
        # The rest of the log goes its own way, so that the pipe never fills.
        self.tee = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)
        for role in "user", "admin":
            arguments = ["user", "add", role + "-of-the-test", "--role", role, "--password-stdin"]
            subprocess.run(self.command(*arguments), env=self.environment, input=PASSWORD + "\n", text=True, check=True, stdout=subprocess.DEVNULL)

    def command(self, *arguments):
        return [self.program, *arguments, "--state-directory", self.state.name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.tee.wait(5)
        self.log.close()
        panics = [line for line in pathlib.Path(self.log.name).read_text().splitlines() if "panicked" in line]
        self.state.cleanup()
        if panics:
            raise SystemExit("the unit panicked:\n" + "\n".join(panics))
        os.unlink(self.log.name)


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--program", default=ROOT / "target/debug/vehicle-classifierd", type=pathlib.Path)
    asked.add_argument("--examples", default="50", help="cases of each operation and kind in the fuzzing phase (50)")
    asked.add_argument("--seed", default="1")
    asked.add_argument("--more", default="", help="further arguments of schemathesis")
    asked.add_argument("what", nargs="*", choices=["triton", "user", "admin", []])
    asked = asked.parse_args()
    program, python, failed = asked.program.resolve(), packages(), []
    for what in asked.what or ["triton", "user", "admin"]:
        with Unit(program) as unit:
            name = "admin-of-the-test" if what == "admin" else "user-of-the-test"
            environment = {**os.environ, "UNIT_URL": unit.url, "UNIT_NAME": name, "UNIT_PASSWORD": PASSWORD}
            environment |= {"SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "PYTHONPATH": str(HERE)}
            if what == "triton":
                command = [python, HERE / "triton.py", ROOT]
            else:
                command = [python.parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run"]
                command += [unit.url + "/api/openapi.json", "--max-examples", asked.examples, "--seed", asked.seed, *asked.more.split()]
            print(f"== {what}: {unit.url}", flush=True)
            # Schemathesis keeps notes where it runs.
            if subprocess.run(command, env=environment, cwd=unit.state.name).returncode:
                failed.append(what)
    if failed:
        raise SystemExit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
