# User data of every GPU machine. Whoever launches one puts a first line `#!/bin/sh` and these variables before it:
# expires_at (RFC 3339), and, empty where there are none: mig (profiles), ssh_keys (a line each) and their user.
# Who has made the key by which ssh knows the machine gives it as host_key, the private one. Who rents it by the time
# gives the seconds as lasts_s too: their clock may show another time than this one.

# Before anything that could fail or take long: the end. Shutting down ends the machine for good, see its launch.
at=$(date -ud "$expires_at" +%s) || at=0
now=$(date +%s)
if [ "${lasts_s:-0}" -gt 0 ]; then
    # What is sooner, but for a time that had passed when the machine began.
    [ "$at" -gt "$now" ] && [ "$at" -lt $((now + lasts_s)) ] || at=$((now + lasts_s))
fi
left=$((at - now))
[ "$left" -gt 0 ] || left=0
shutdown -h "+$(((left + 59) / 60))"

# The same to the second, and after a reboot. The session moves it when its deadline is moved.
root="${AIINFRA_ROOT:-}"
deadline="$root/usr/local/sbin/aiinfra-deadline"
cat >"$deadline" <<'DEADLINE'
#!/bin/sh
# aiinfra-deadline SECONDS | @EPOCH: this machine ends then, and no sooner or later than that; 0 is now.
case "$1" in
@*) at="${1#@}" ;;
*) at=$(($(date +%s) + ${1%%.*})) ;;
esac
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0" "@$at"
left=$((at - $(date +%s)))
if [ "$left" -le 0 ]; then
    shutdown -h now || systemctl poweroff || poweroff -f
    exit
fi
minutes=$(((left + 59) / 60))
# A shutdown that is planned already: some refuse another one.
shutdown -h "+$minutes" || { shutdown -c && shutdown -h "+$minutes"; }
units="${AIINFRA_ROOT:-}/etc/systemd/system"
cat >"$units/aiinfra-deadline.service" <<'UNIT'
[Unit]
Description=End this machine at its deadline

[Service]
Type=oneshot
ExecStart=/usr/bin/env systemctl poweroff
UNIT
# By either clock: one of them may be set back.
cat >"$units/aiinfra-deadline.timer" <<UNIT
[Unit]
Description=The deadline of this machine

[Timer]
OnCalendar=$(date -ud "@$at" '+%F %T') UTC
OnActiveSec=$left
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
UNIT
systemctl daemon-reload
systemctl enable aiinfra-deadline.timer
systemctl restart aiinfra-deadline.timer
DEADLINE
chmod 755 "$deadline"
"$deadline" "@$at"

# How the rest went, for who waits for it: an exit code.
trap 'echo $? >"$root/run/aiinfra-machine"' EXIT
set -eu
if [ -n "${host_key:-}" ]; then
    # Written aside: sshd may start at any moment.
    key="$root/etc/ssh/ssh_host_ed25519_key"
    (umask 077 && echo "$host_key" >"$key.part")
    ssh-keygen -y -f "$key.part" >"$key.pub"
    mv "$key.part" "$key"
    systemctl restart ssh || systemctl restart sshd
fi
if [ -n "$ssh_keys" ]; then
    home=$(getent passwd "$user" | cut -d: -f6)
    install -d -m 700 -o "$user" "$home/.ssh"
    echo "$ssh_keys" >>"$home/.ssh/authorized_keys"
fi
if [ -n "$mig" ]; then
    nvidia-smi -mig 1
    nvidia-smi mig -cgi "$mig" -C
fi
