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

# The next version: another number, and another reference of the configuration.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
dpkg-deb -R "$package" "$scratch/next"
cp -r "$scratch/next" "$scratch/old"
sed -i 's/^\(Version: .*\)$/\1+next/' "$scratch/next/DEBIAN/control"
echo '# The next version explains itself better.' >>"$scratch/next/usr/share/vehicle-classifier/config.toml"
dpkg-deb --root-owner-group -Znone -b "$scratch/next" "$root/test/next.deb" >/dev/null
# A version of before: its configuration was dpkg's to ask about, and it made no backup before an upgrade.
sed -i 's/^\(Version: .*\)$/\1~before/' "$scratch/old/DEBIAN/control"
mv "$scratch/old/usr/share/vehicle-classifier/config.toml" "$scratch/old/etc/vehicle-classifier/"
echo /etc/vehicle-classifier/config.toml >"$scratch/old/DEBIAN/conffiles"
rm "$scratch/old/DEBIAN/preinst"
dpkg-deb --root-owner-group -Znone -b "$scratch/old" "$root/test/old.deb" >/dev/null

# Databases: two schema versions older than this program's, and one newer.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python3 - "$root/test" <<'END'
import glob, sqlite3, sys

dumps = sorted(glob.glob("src/store/tests/schema/*.sql"))
newest = len(dumps)
for name, number, more in [
    ("older.db", newest - 2, ""),
    ("newer.db", newest, f"CREATE TABLE future (a INTEGER) STRICT; UPDATE store_head SET schema_version = {newest + 1};"),
]:
    database = sqlite3.connect(f"{sys.argv[1]}/{name}")
    database.executescript(open(dumps[number - 1]).read() + more)
    database.execute(f"PRAGMA application_id = {0x56434C53}")
    database.execute(f"PRAGMA user_version = {newest + 1 if more else number}")
    database.close()
END
# The sequence that the operator's page prints, to be run as it stands there.
awk '/^```sh$/ { inside = 1; text = ""; next } /^```$/ { if (text ~ /classifierd restore /) printf "%s", text; inside = 0 } inside { text = text $0 "\n" }' \
    docs/OPERATIONS.md >"$root/test/restore"

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

say "restore, as docs/OPERATIONS.md prints it, as root"
cat /test/restore
file=$(sed -n 's/^vehicle-classifierd restore //p' /test/restore)
expect "the page prints one sequence" test "$(grep -c '^vehicle-classifierd restore /' /test/restore)" = 1
install -d -m 700 -o vehicle-classifier -g vehicle-classifier "${file%/*}"
expect "root makes the backup that it names" vehicle-classifierd backup "$file"
curl -fsS -o /dev/null -H "Authorization: Bearer $(log_in "a longer walk by the river")" -F file=@$picture -F vehicle_id=LATER-1 $url/api/vehicle/report
expect "the sequence succeeds" bash -e /test/restore
expect "the unit serves" until_within 60 curl -fsS -o /dev/null $url/health
echo
expect "the old report is served, to the old account" the_report
expect "what came after the backup is not" not curl -fsS -o /dev/null -H "Authorization: Bearer $(log_in "a longer walk by the river")" $url/api/vehicle/report/LATER-1
expect "nothing was set aside" test -z "$(ls $state | grep damaged)"
expect "all of the state belongs to the unit" test -z "$(find $state ! -user vehicle-classifier)"
expect "root's other commands leave it so" sh -c "vehicle-classifierd store check && vehicle-classifierd token issue --name p --scope metrics >/dev/null && vehicle-classifierd doctor"
expect "all of it, still" test -z "$(find $state ! -user vehicle-classifier)"

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
printf '[unit]\nsite = "Ring road north"\n' >>/etc/vehicle-classifier/config.toml
before=$(pid)
expect "nothing asks, nothing stops" dpkg -i /test/next.deb </dev/null
expect "the new version runs" until_within 60 sh -c "systemctl is-active $unit && test \$(systemctl show -P MainPID $unit) != $before"
expect "the change to the configuration stayed" grep -q '^site = "Ring road north"' /etc/vehicle-classifier/config.toml
expect "the new reference came" grep -q 'explains itself better' /usr/share/vehicle-classifier/config.toml
expect "a backup was made before" test "$(ls /var/lib/vehicle-classifier-backup | grep -c '^unit-.*Z\.db$')" = 2
expect "accounts and password stayed" until_within 30 log_in "a longer walk by the river"
expect "the database is sound" as_unit store check
expect "the audit trail is unbroken" as_unit audit verify
expect "the report is still there" the_report

say "the way back: an older version finds the database of a newer one"
systemctl stop $unit
install -m 600 -o vehicle-classifier -g vehicle-classifier /test/newer.db $state/unit.db
rm -f $state/unit.db-wal $state/unit.db-shm
dpkg -i /test/first.deb </dev/null
expect "it does not start" until_within 30 sh -c "journalctl -u $unit -o cat --no-pager | grep -q 'this program knows versions up to'"
expect "and sets nothing aside" test -z "$(ls $state | grep damaged)"
systemctl stop $unit
expect "root restores the newest backup" vehicle-classifierd restore "$(ls /var/lib/vehicle-classifier-backup/unit-*Z.db | tail -1)"
systemctl reset-failed $unit
systemctl start $unit
expect "the old data is served" until_within 60 the_report

say "upgrade of a package and a database of two schema versions before, with its configuration changed"
systemctl stop $unit
mv $state/unit.db /test/kept.db
rm -f $state/unit.db-wal $state/unit.db-shm
dpkg --force-confnew --force-downgrade -i /test/old.deb </dev/null
sed -i 's/^#site = ""/site = "Ring road south"/' /etc/vehicle-classifier/config.toml
systemctl stop $unit
rm -f $state/unit.db*
install -m 600 -o vehicle-classifier -g vehicle-classifier /test/older.db $state/unit.db
expect "nothing asks, nothing stops" dpkg -i /test/next.deb </dev/null
systemctl start $unit
expect "the new version runs" until_within 60 curl -fsS -o /dev/null $url/health
expect "the change to the configuration stayed" sh -c "vehicle-classifierd config show | grep -q 'Ring road south'"
expect "the accounts are there" sh -c "vehicle-classifierd user list | grep -q ann"
expect "the report is there" sh -c "vehicle-classifierd export reports --from 1970-01-01T00:00:00Z --to 2100-01-01T00:00:00Z | grep -q v1"
expect "the database is sound" vehicle-classifierd store check
expect "nothing was set aside" test -z "$(ls $state | grep damaged)"
systemctl stop $unit
rm -f $state/unit.db*
install -m 600 -o vehicle-classifier -g vehicle-classifier /test/kept.db $state/unit.db
systemctl start $unit
expect "the database of before is served again" until_within 60 the_report

say "remove keeps the data, a new installation finds it"
dpkg -r vehicle-classifierd
expect "the unit is gone" not systemctl is-active $unit
expect "the database stayed" test -f $state/unit.db
# As on another root file system of an A/B update, where the account is unknown and its number is taken.
number=$(id -u vehicle-classifier)
userdel vehicle-classifier
systemd-sysusers --inline "u first-come $number"
dpkg -i /test/next.deb </dev/null
expect "it is active again" until_within 60 systemctl is-active $unit
expect "the account has another number" test "$(id -u vehicle-classifier)" != "$number"
expect "all of the state belongs to it" test -z "$(find $state /var/lib/vehicle-classifier-backup ! -user vehicle-classifier)"
expect "with the accounts it had" until_within 30 log_in "a longer walk by the river"
# And where its number is free.
dpkg -r vehicle-classifierd
number=$(id -u vehicle-classifier)
userdel vehicle-classifier
userdel first-come
dpkg -i /test/next.deb </dev/null
expect "it is active once more" until_within 60 systemctl is-active $unit
expect "the account got its number again" test "$(id -u vehicle-classifier)" = "$number"

say "purge"
echo '# mine' >/etc/vehicle-classifier/config.d/50-mine.toml
copies=$(find $state/backups /var/lib/vehicle-classifier-backup -name 'unit-*.db' | wc -l)
said=$(dpkg -P vehicle-classifierd 2>&1)
echo "$said"
expect "it says what it deletes" grep -q "purge deletes records, keys and accounts ($state)" <<<"$said"
expect "it says where the backups stay" grep -q 'the backups are kept in /var/lib/vehicle-classifier-backup' <<<"$said"
expect "all $copies of them are there, root's" test "$(find /var/lib/vehicle-classifier-backup -name 'unit-*.db' -user root | wc -l)" = "$copies"
rm -r /var/lib/vehicle-classifier-backup
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
TimeoutStartSec=15min
StandardOutput=append:/test/transcript
StandardError=append:/test/transcript
ExecStart=/test/drive
ExecStopPost=systemctl poweroff
END
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -s ../drive.service "$root/etc/systemd/system/default.target.wants/drive.service"

timeout 1000 systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --boot --console=pipe --link-journal=no \
    </dev/null >"$work/console" 2>&1 || true
cat "$root/test/transcript"
[[ $(cat "$root/test/result" 2>/dev/null) == 0 ]]
