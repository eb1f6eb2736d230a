"""What the tests on emulated machines share: the machine with its console, and the daemon in it, seen from outside."""

import json
import os
import queue
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a long walk by the river"
# Of real time, against a guest that hangs; emulation is slow, and the machine may have other work.
BOOT_SECONDS = 1800
STEP_SECONDS = 1800


class Failed(Exception):
    """The unit did not do what it must."""


def say(text):
    print(f"device: {text}", flush=True)


def processor_of(program):
    """From the machine field of its ELF header."""
    machine = int.from_bytes(program.read_bytes()[18:20], "little")
    return {62: "x86_64", 183: "aarch64"}[machine]


def is_fast(processor):
    """Whether this machine's own processor runs the guest: QEMU_ACCEL=kvm says that it can."""
    return processor == os.uname().machine and os.environ.get("QEMU_ACCEL") == "kvm"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def machine(processor, cpu, paced):
    """qemu's words for the machine, and the name of its console."""
    if paced:
        # Every instruction takes a nanosecond of the guest's time.
        accelerator = ["-accel", "tcg,thread=single", "-icount", "shift=0"]
    else:
        accelerator = ["-accel", "kvm"] if is_fast(processor) else ["-accel", "tcg,thread=multi"]
    if processor == "aarch64":
        return ["-M", "virt,gic-version=3", "-cpu", cpu or "cortex-a53", *accelerator], "ttyAMA0"
    return ["-M", "q35", "-cpu", cpu or "max", *accelerator], "ttyS0"


class Guest:
    """The emulated machine, its console and the port of its daemon. It obeys the shell lines that come in over the console."""

    def __init__(self, processor, initrd, log, cpu=None, cores=2, paced=False, disk=None, kernel_words="rdinit=/init"):
        self.log = log
        self.port = free_port()
        words, console = machine(processor, cpu, paced)
        if disk:
            # What the guest flushes goes to this machine's memory, not to its disk (cache=unsafe): it has to outlive qemu, not this machine.
            words += ["-drive", f"file={disk},format=qcow2,if=none,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk"]
        self.process = subprocess.Popen(
            [f"qemu-system-{processor}", *words, "-smp", str(cores), "-m", "1024",
             "-kernel", ROOT / ".setup/device" / processor / "vmlinuz", "-initrd", initrd,
             "-append", f"console={console} quiet loglevel=2 panic=-1 no_timer_check net.ifnames=0 {kernel_words}",
             "-nographic", "-no-reboot", "-device", "virtio-rng-pci",
             # No boot ROM: emulated, the firmware takes its time over it.
             "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:8000", "-device", "virtio-net-pci,netdev=net,romfile="],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.count = 0

    def read(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.log.write(text + "\n")
            self.log.flush()
            self.lines.put(text)
        self.lines.put(None)

    def until(self, pattern, seconds):
        """Reads the console up to a line that matches; the lines before it."""
        before, limit = [], time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, limit - time.monotonic()))
            except queue.Empty:
                raise Failed(f"the console did not say {pattern!r} within {seconds} s: {before[-20:]}") from None
            if line is None:
                raise Failed(f"the guest ended before it said {pattern!r}: {before[-20:]}")
            if re.search(pattern, line):
                return before, line
            # vivid's kernel thread complains when the emulation is late.
            if not re.match(r"\[ *\d+\.\d+\]", line):
                before.append(line)

    def booted(self):
        """Seconds by the guest's own clock until its console obeys."""
        _, line = self.until("INIT-DONE", BOOT_SECONDS)
        return float(line.split()[-1])

    def run(self, command, seconds=STEP_SECONDS):
        """Runs a shell line in the guest; what it says."""
        self.count += 1
        mark = f"answer-{self.count}-"
        # The mark is put together by the shell, so that an echo of the command is not taken for its end.
        self.process.stdin.write(f"{command}; echo; echo answer-{self.count}''-$?\n".encode())
        self.process.stdin.flush()
        said, end = self.until(f"^{mark}\\d+", seconds)
        code = int(end[len(mark):])
        if code:
            raise Failed(f"{command!r} failed with {code}: {said[-10:]}")
        return "\n".join(said)

    def close(self):
        """As a power cut."""
        self.process.kill()
        self.process.wait()


class Api:
    """The daemon in a guest, as others on the network see it."""

    def __init__(self, guest):
        self.guest = guest
        self.url = f"http://127.0.0.1:{guest.port}"
        self.token = None

    def ask(self, path, body=None, content_type="application/json"):
        """The answer, or none when there is none yet."""
        request = urllib.request.Request(self.url + path, data=body)
        request.add_header("Content-Type", content_type)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except OSError:  # URLError, a connection that breaks, a time-out
            return None

    def get(self, path, body=None, content_type="application/json"):
        answer = self.ask(path, body, content_type)
        return json.loads(answer) if answer else None

    def ready(self):
        return self.get("/health/ready") is not None

    def log_in(self, name):
        body = json.dumps({"username": name, "password": PASSWORD}).encode()
        self.wait("logged in", lambda: self.get("/auth/token", body))
        self.token = self.get("/auth/token", body)["access_token"]

    def state(self):
        """What the unit says of itself, for a message."""
        return f"health: {self.get('/health')}"

    def clock(self):
        """Seconds since the guest's start, by its own clock."""
        return float(self.guest.run("cut -d' ' -f1 /proc/uptime").split()[0])

    def wait(self, what, condition, seconds=STEP_SECONDS, pause=0.2):
        """Seconds until it holds, by the guest's clock; not longer than so many of this machine's. Asking costs the guest instructions: a
        longer pause for what takes long."""
        begun, limit = self.clock(), time.monotonic() + seconds
        while not condition():
            if time.monotonic() > limit:
                raise Failed(f"it never came to this: {what}; {self.state()}")
            time.sleep(pause)
        return self.clock() - begun

    def metric(self, series):
        text = (self.ask("/metrics") or b"").decode()
        found = re.search(rf"^vehicle_classifier_{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def connected(self):
        return self.metric('camera_state{state="connected"}') == 1

    def unwatched(self, reason):
        """Seconds since midnight in which the unit was not watching, for this reason, as the counts' coverage has them."""
        days = self.get("/api/traffic/counts?interval=1d")["data"]["intervals"]
        return sum(day["reasons"].get(reason, 0) for day in days)
