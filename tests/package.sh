#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package in a clean Debian 12 that runs systemd (a container of systemd-nspawn,
# on this machine's kernel), drives the unit there, and prints the transcript: see usage().
set -euo pipefail

usage() {
    cat <<'END'
Usage: tests/package.sh PACKAGE.deb [WORK_DIRECTORY]        (or: make test-package)

Needs root, what .ci/setup --also package installs, and a Debian mirror for the first run; the clean tree stays in
target/clean-debian for the next. WORK_DIRECTORY: target/package-test. Exit code 0 when every step did what it says.
END
}

[[ -f ${1-} ]] || { usage >&2 && exit 2; }
package=$(realpath "$1")
work=$(realpath -m "${2:-$(dirname "${BASH_SOURCE[0]}")/../target/package-test}")
mkdir -p "$work"

clean=$("$(dirname "${BASH_SOURCE[0]}")/clean-debian" amd64)
root=$work/root
rm -rf "$root"
mkdir "$root"
tar -C "$root" -xf "$clean" --exclude='./dev/*'
mkdir -p "$root/test" "$root/var/log/journal"
: >"$root/etc/machine-id"
cp "$package" "$root/test/first.deb"

# The next version: another number, and another configuration file than the one that the administrator will have changed.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
dpkg-deb -R "$package" "$scratch"
sed -i 's/^\(Version: .*\)$/\1+next/' "$scratch/DEBIAN/control"
echo '# The next version explains itself better.' >>"$scratch/etc/vehicle-classifier/config.toml"
dpkg-deb --root-owner-group -Znone -b "$scratch" "$root/test/next.deb" >/dev/null

cat >"$root/test/drive" <<'END'
#!/bin/bash
# Runs in the container.
set -uo pipefail
failures=0
say() { printf '\n## %s\n' "$*"; }
# expect NAME COMMAND...: the command succeeds
expect() {
    local name=$1
    shift
    if "$@"; then echo "ok      $name"; else
        echo "FAILED  $name: $*"
        failures=$((failures + 1))
    fi
}
# until SECONDS COMMAND...: it does so within that time
until_within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.5
    done
}
not() { ! "$@"; }
unit=vehicle-classifierd.service
as_unit() { runuser -u vehicle-classifier -- vehicle-classifierd "$@"; }
pid() { systemctl show -P MainPID $unit; }
state=/var/lib/vehicle-classifier
url=http://127.0.0.1:8000
picture=/usr/share/vehicle-classifier/models/vehicle-type/1.0.0/golden.jpg
log_in() { curl -fsS -H 'Content-Type: application/json' -d "{\"username\":\"admin\",\"password\":\"$1\"}" $url/auth/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/'; }
the_report() { curl -fsS -o /dev/null -H "Authorization: Bearer $(log_in "a longer walk by the river")" $url/api/vehicle/report/TRUCK-7; }

say "install"
dpkg -i /test/first.deb
expect "the unit is active after the installation" until_within 60 systemctl is-active $unit
expect "it starts with the next boot" systemctl is-enabled $unit vehicle-classifier-backup.timer
expect "doctor is green" as_unit doctor
expect "health answers" curl -fsS $url/health
echo
expect "the state belongs to the unit alone" test "$(stat -c '%U:%G %a' $state)" = "vehicle-classifier:vehicle-classifier 700"
expect "the account has no shell and sees cameras" test "$(getent passwd vehicle-classifier | cut -d: -f7) $(id -nG vehicle-classifier)" = "/usr/sbin/nologin vehicle-classifier video"
systemctl status --no-pager --lines=0 $unit
systemd-analyze security --no-pager $unit | tail -1
verified=$(systemd-analyze verify --man=no $unit vehicle-classifier-backup.service vehicle-classifier-backup.timer vehicle-classifier-retry.timer 2>&1)
expect "systemd-analyze verify is silent" test -z "$verified"
grep -E '^(NoNewPrivs|Seccomp|CapBnd|CapEff):' /proc/$(pid)/status

say "a result"
password=$(cat $state/initial-admin-password)
token=$(log_in "$password")
curl -fsS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
    -d "{\"current_password\":\"$password\",\"new_password\":\"a longer walk by the river\"}" $url/auth/password
token=$(log_in "a longer walk by the river")
expect "a picture was classified inside the sandbox" curl -fsS -o /dev/null -H "Authorization: Bearer $token" -F file=@$picture -F vehicle_id=TRUCK-7 $url/api/vehicle/report
expect "and its report is kept" the_report
systemctl reload $unit
expect "a reload is heard" until_within 10 sh -c "journalctl -u $unit -o cat --no-pager | grep -q '^reloaded:'"

say "backup"
expect "the backup service runs" systemctl start vehicle-classifier-backup.service
expect "and leaves one copy" test "$(ls /var/lib/vehicle-classifier-backup | grep -c '^unit-.*Z\.db$')" = 1

say "chrony keeps the clock: the unit may ask the kernel"
install -D -m 644 /usr/share/doc/vehicle-classifierd/examples/kernel-clock.conf /etc/systemd/system/vehicle-classifierd.service.d/kernel-clock.conf
systemctl daemon-reload
systemctl restart vehicle-classifierd.service
expect "the unit is active with it" until_within 60 systemctl is-active $unit
expect "no call of it was forbidden" test "$(systemctl show -P ProtectClock $unit)" = no
rm -r /etc/systemd/system/vehicle-classifierd.service.d
systemctl daemon-reload
systemctl restart $unit

say "a hang: the process is stopped, the watchdog ends it, and it comes back"
hung=$(pid)
kill -STOP "$hung"
expect "another process serves" until_within 90 sh -c "curl -fsS $url/health && test \$(systemctl show -P MainPID $unit) != $hung"
journalctl -u $unit -o cat --no-pager | grep -iE 'watchdog|scheduled restart' | head -3

say "a configuration that cannot be used: given up after ten starts, told, tried again by the timer"
mkdir -p /etc/vehicle-classifier/config.d /run/systemd/system/vehicle-classifierd.service.d /run/systemd/system/vehicle-classifier-retry.timer.d
# The pauses of the field are too long for a test.
printf '[Service]\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=15s\n' >/run/systemd/system/vehicle-classifierd.service.d/test.conf
printf '[Timer]\nOnActiveSec=\nOnActiveSec=20s\nAccuracySec=1s\n' >/run/systemd/system/vehicle-classifier-retry.timer.d/test.conf
systemctl daemon-reload
echo 'nonsense = 1' >/etc/vehicle-classifier/config.d/bad.toml
systemctl restart $unit
expect "the unit is given up" until_within 30 systemctl is-failed $unit
expect "the alert is in the journal" until_within 10 sh -c "journalctl -p alert -t vehicle-classifier-alert --no-pager -q | grep -q 'has failed'"
journalctl -p alert -t vehicle-classifier-alert -o cat --no-pager -q
rm /etc/vehicle-classifier/config.d/bad.toml
expect "the timer starts it again" until_within 60 systemctl is-active $unit
rm -r /run/systemd/system/vehicle-classifierd.service.d /run/systemd/system/vehicle-classifier-retry.timer.d
systemctl daemon-reload

say "upgrade, with a configuration file changed by the administrator"
sed -i 's/^#site = ""/site = "Ring road north"/' /etc/vehicle-classifier/config.toml
before=$(pid)
dpkg --force-confold -i /test/next.deb
expect "the new version runs" until_within 60 sh -c "systemctl is-active $unit && test \$(systemctl show -P MainPID $unit) != $before"
expect "the change to the configuration stayed" grep -q '^site = "Ring road north"' /etc/vehicle-classifier/config.toml
expect "the new file lies beside it" grep -q 'explains itself better' /etc/vehicle-classifier/config.toml.dpkg-dist
expect "accounts and password stayed" until_within 30 log_in "a longer walk by the river"
expect "the database is sound" as_unit store check
expect "the audit trail is unbroken" as_unit audit verify
expect "the report is still there" the_report

say "remove keeps the data, a new installation finds it"
dpkg -r vehicle-classifierd
expect "the unit is gone" not systemctl is-active $unit
expect "the database stayed" test -f $state/unit.db
# As on another root file system of an A/B update, where the account is unknown and its number is taken.
number=$(id -u vehicle-classifier)
userdel vehicle-classifier
systemd-sysusers --inline "u first-come $number"
dpkg --force-confold -i /test/next.deb
expect "it is active again" until_within 60 systemctl is-active $unit
expect "the account has another number" test "$(id -u vehicle-classifier)" != "$number"
expect "all of the state belongs to it" test -z "$(find $state /var/lib/vehicle-classifier-backup ! -user vehicle-classifier)"
expect "with the accounts it had" until_within 30 log_in "a longer walk by the river"
# And where its number is free.
dpkg -r vehicle-classifierd
number=$(id -u vehicle-classifier)
userdel vehicle-classifier
userdel first-come
dpkg --force-confold -i /test/next.deb
expect "it is active once more" until_within 60 systemctl is-active $unit
expect "the account got its number again" test "$(id -u vehicle-classifier)" = "$number"

say "purge"
dpkg -P vehicle-classifierd
expect "no unit" not systemctl is-active $unit
left=$(find / -xdev \( -path /proc -o -path /sys -o -path /test -o -path /var/log -o -path /tmp -o -path /run \) -prune -o -iname '*vehicle*classif*' -print)
expect "nothing is left ($left)" test -z "$left"
expect "no account" not getent passwd vehicle-classifier

say "result"
echo "failures: $failures"
echo "$failures" >/test/result
END
chmod +x "$root/test/drive"
cat >"$root/etc/systemd/system/drive.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
TimeoutStartSec=8min
StandardOutput=append:/test/transcript
StandardError=append:/test/transcript
ExecStart=/test/drive
ExecStopPost=systemctl poweroff
END
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -s ../drive.service "$root/etc/systemd/system/default.target.wants/drive.service"

timeout 550 systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --boot --console=pipe --link-journal=no \
    </dev/null >"$work/console" 2>&1 || true
cat "$root/test/transcript"
[[ $(cat "$root/test/result" 2>/dev/null) == 0 ]]
